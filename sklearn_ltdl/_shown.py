"""How results are shown: one line at a prompt, a sentence and tables in a notebook."""

from collections.abc import Iterator
from dataclasses import fields
from html import escape
from typing import Any

import numpy as np

MOST_ROWS = 24  # of a table; a longer table shows only its first and last rows
_NUMBER = "text-align: right; padding: 0.1em 0.7em; font-variant-numeric: tabular-nums"
_TEXT = "text-align: left; padding: 0.1em 0.7em"

Tables = Iterator[tuple[tuple[str, ...], list[tuple[Any, ...]]]]


class Shown:
    """A result that is a dataclass and shows itself; subclasses define its `_headline` and its `_tables`."""

    def _headline(self) -> str:
        """Return one line of plain text."""
        return ", ".join(f"{field.name}={cell(getattr(self, field.name))}" for field in fields(self))  # type: ignore

    def _tables(self) -> Tables:
        """Yield pairs of a header and rows; the header is a tuple of text, a row a tuple of values."""
        yield ("", "value"), [(field.name, getattr(self, field.name)) for field in fields(self)]  # type: ignore

    def _notes(self):
        """Return sentences to show below the tables."""
        return ()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._headline()})"

    def _repr_html_(self) -> str:
        """Return the HTML that a notebook shows; all text is escaped."""
        parts = [f"<p><b>{escape(type(self).__name__)}</b>: {escape(self._headline())}</p>"]
        parts += [_html_table(header, list(rows)) for header, rows in self._tables()]
        notes = "".join(f"<li>{escape(str(note))}</li>" for note in self._notes())
        if notes:
            parts.append(f"<ul>{notes}</ul>")
        return f'<div style="max-width: 60em; overflow-x: auto">{"".join(parts)}</div>'


def cell(value) -> str:
    """Return a value as short text: numbers with four digits, arrays by their shape, long text cut off."""
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        return cell(value.item()) if value.ndim == 0 else f"array of shape {value.shape}"
    if isinstance(value, Shown):
        return type(value).__name__
    text = str(getattr(value, "value", value))
    return text if len(text) <= 200 else f"{text[:199]}…"


def columns(**values):
    """Return a header and rows from arrays of the same length, by name."""
    return tuple(name.replace("_", " ") for name in values), list(zip(*values.values()))


def _html_table(header, rows):
    styles = [
        _TEXT if all(value is None or isinstance(value, str) for value in column) else _NUMBER for column in zip(*rows)
    ]
    if len(rows) > MOST_ROWS:
        half = MOST_ROWS // 2
        rows = [*rows[:half], ("…",) * len(header), *rows[-half:]]
    lines = [_html_row("th", header, styles), *(_html_row("td", row, styles) for row in rows)]
    return f'<table style="border-collapse: collapse; margin: 0.5em 0">{"".join(lines)}</table>'


def _html_row(tag, values, styles):
    cells = (f'<{tag} style="{style}">{escape(cell(value))}</{tag}>' for value, style in zip(values, styles))
    return f"<tr>{''.join(cells)}</tr>"
