"""Say how the columns of a table are read."""

import textwrap

MOST_LINES = 8  # maximum number of lines about the columns of one kind
_TITLES = {"number": ("number", "numbers"), "date": ("date", "dates"), "category": ("category", "categories")}


def describe(columns):
    """Return lines that describe how the columns are read, by kind, with remarks and the columns left out."""
    lines = []
    for kind, titles in _TITLES.items():
        chosen = [column for column in columns if column.kind == kind]
        if chosen:
            missing = sum(column.n_missing > 0 for column in chosen)
            holes = f" ({missing} with missing values)" if missing else ""
            names = _fitting([column.name for column in chosen])
            lines.append(f"{len(chosen):>5} {titles[len(chosen) > 1]:<10}  {names}{holes}")
            lines += _some([f"{column.name}: {column.note}" for column in chosen if column.note])
    left_out = [column for column in columns if column.kind == "left out"]
    if left_out:
        lines.append(f"{len(left_out):>5} left out")
        lines += _some([f"{column.name}: {column.note}" for column in left_out])
    if any(column.note.code not in ("empty", "constant") for column in left_out):
        lines.append(f"{'':>8}(--categorical NAME or --numeric NAME keeps one; in Python, categorical= and numeric=)")
    return lines


def _fitting(names, width=70):
    """Return as many names as fit in the width."""
    shown, length = [], 0
    for name in map(_plain, names):
        length += len(name) + 2
        if shown and length > width:
            return f"{', '.join(shown)}, ..."
        shown.append(textwrap.shorten(name, width, placeholder="..."))
    return ", ".join(shown)


def _some(lines):
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [f"{'':>8}{textwrap.shorten(_plain(line), 110, placeholder=' ...')}" for line in lines[:MOST_LINES] + more]


def _plain(text):
    """Return a text of the user without characters that could control a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
