r"""Ordered rules that rewrite quotation marks of another kind as those that RFC 4180 describes.

A rule takes whole lines in UTF-8, of which the first are enough, and returns a `Rewriting`, or None if the lines do not
need it. They are asked before the delimiter is known.
"""

import csv
import re
from collections.abc import Callable
from typing import NamedTuple

from sklearn_ltdl.tables._notes import Note

_SEEN = 60  # maximum number of lines that are inspected
_SIGNS = ",;\t|"
_WHOLE = re.compile(rb'^[ \t]*"((?:[^"\r\n]|"")*)"[ \t,;]*(?=\r?$)', re.MULTILINE)
_SINGLE = re.compile(
    rb"(^|[,;\t|])( *)'((?:[^'\\\r\n]|\\[^\r\n]|''|'(?![,;\t|\r\n]|\Z))*+)'(?= *(?:[,;\t|\r\n]|\Z))", re.MULTILINE
)


class Rewriting(NamedTuple):
    """How lines are rewritten.

    Parameters
    ----------
    rewrite : callable
        Maps the bytes of whole lines to the bytes with usual quotation marks.
    note : Note
    """

    rewrite: Callable[[bytes], bytes]
    note: Note


def _lines(data):
    """Return the first lines that are not empty."""
    return [line for line in data[: 1 << 20].splitlines()[: 2 * _SEEN] if line.strip()][:_SEEN]


def _widths(lines, **options):
    """Return the number of cells of each line for the delimiter with the most in the first, or None on an error."""
    text = [line.decode(errors="replace") for line in lines]
    sign = max(_SIGNS, key=lambda sign: text[0].count(sign))
    try:
        return [len(cells) for cells in csv.reader(text, delimiter=sign, skipinitialspace=True, strict=True, **options)]
    except csv.Error:
        return None


def _are_equal(widths, n):
    """Return whether each of `n` lines has the same number of cells, more than one."""
    return widths is not None and len(widths) == n > 1 and len({*widths}) == 1 and widths[0] > 1


def quoted_lines(data):
    r"""Read lines such as ``"1,""a b"",2"``, each of which is one quoted cell that holds the row."""
    lines = _lines(data)
    inner = [_without_quotes(line) for line in lines]
    if not any(line != other for line, other in zip(lines[1:], inner[1:])) or _are_equal(_widths(lines), len(lines)):
        return None
    if not _are_equal(_widths(inner), len(lines)):
        return None
    note = Note("quoted lines", "Quotation marks around whole lines are removed.")
    return Rewriting(_without_quotes, note)


def _without_quotes(data):
    return _WHOLE.sub(lambda match: match[1].replace(b'""', b'"') if _holds_row(match[1]) else match[0], data)


def _holds_row(cell):
    return any(sign in cell for sign in (b",", b";", b"\t", b"|"))


def escaped_quotes(data):
    r"""Read ``\"`` in a quoted cell as a quotation mark."""
    lines = _lines(data)
    if not any(b'\\"' in line for line in lines):
        return None
    n, escaped = len(lines), {"escapechar": "\\", "doublequote": False}
    if _are_equal(_widths(lines), n) or not _are_equal(_widths(lines, **escaped), n):
        return None
    note = Note("escaped quotes", "Backslashes before quotation marks are read as escapes.")
    return Rewriting(lambda data: data.replace(b'\\"', b'""'), note)


def single_quotes(data):
    """Read ``'a, b'`` as one cell, if cells in half of the lines are written so."""
    lines = _lines(data)
    found = [_SINGLE.search(line) is not None for line in lines[1:]]
    if not found or sum(found) < len(found) / 2:
        return None
    begin = sum(len(re.findall(rb"(?:^|[,;\t|]) *'", line)) for line in lines)
    inside = sum(len(re.findall(rb"[,;\t|] *'", match[3])) for line in lines for match in _SINGLE.finditer(line))
    if begin - inside != sum(len(_SINGLE.findall(line)) for line in lines):
        return None  # an apostrophe begins a cell, as in 'n
    if not _are_equal(_widths([_double(line) for line in lines]), len(lines)):
        return None
    return Rewriting(_double, Note("single quotes", "Single quotation marks around cells are removed."))


def _double(data):
    return _SINGLE.sub(_doubled, data)


def _doubled(match):
    text = match[3].replace(b"''", b"'").replace(b"\\'", b"'").replace(b'"', b'""')
    return match[1] + match[2] + b'"' + text + b'"'


QUOTES = (quoted_lines, escaped_quotes, single_quotes)


def find_quotes(data):
    """Return the Rewriting of the first rule that applies, or None."""
    return next((found for found in (rule(data) for rule in QUOTES) if found), None)
