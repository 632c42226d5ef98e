"""The text of a table: the whole file, or a sample of its rows, in UTF-8, and where the table is in it."""

import codecs
import csv
import re
import sys
from itertools import chain
from typing import NamedTuple

from sklearn_ltdl.tables._blocks import recoded, records, rewritten
from sklearn_ltdl.tables._bytes import PART, as_utf8, bytes_of_utf16, largest, read_as, require_lines, too_large
from sklearn_ltdl.tables._columns import MOST_COLUMNS, too_many
from sklearn_ltdl.tables._layout import BLANKS, LAST_LINES, Layout, find_end, find_layout
from sklearn_ltdl.tables._notes import Note
from sklearn_ltdl.tables._quotes import find_quotes
from sklearn_ltdl.tables._sample import Drawing, Sample

_FORMULA = re.compile(rb'(?<=[,;\t|\r\n])=("[^"\r\n]*")(?=[,;\t|\r\n]|\Z)')
_SEEN = 1 << 22  # bytes, to the end of their line, in which the layout is looked for
_BEGIN = re.compile(rb'(?:\xef\xbb\xbf)?(?:"?sep=."?\r?\n)?')  # the second part tells Excel the delimiter


class Text(NamedTuple):
    """What is read of a text file.

    Parameters
    ----------
    data : bytes
        The lines above the rows, and the rows, in UTF-8.
    layout : Layout
    notes : list of Note
    sample : Sample or None
        Which rows these are; None if they are all.
    """

    data: bytes
    layout: Layout
    notes: list
    sample: Sample | None


def whole_text(where, data, form, least):
    """Return the Text of a file in memory; `form` is what the user says of it."""
    require_lines(where, data)
    data, notes = as_utf8(where, data, form.encoding)
    data = data[_begin(data, form) :].removesuffix(b"\x1a")  # with which DOS ends a file
    quotes = find_quotes(data)
    if quotes:
        data, notes = quotes.rewrite(data), [*notes, quotes.note]
    layout = _layout(where, data, form, least)
    end, more = find_end(data, layout)
    lines = data[:end].splitlines(keepends=True)
    header = _header(lines, layout)
    kept = [line for k, line in enumerate(lines) if k < layout.above or line.strip() != header]
    notes += layout.notes + more + _said_of_headers(len(lines) - len(kept))
    return Text(_without_formulas(b"".join(kept)), layout, notes, None)


def _header(lines, layout):
    """Return the line of the header, which may be repeated among the rows; None if it cannot be told from them."""
    delimiter = " " if layout.delimiter == BLANKS else layout.delimiter
    for line in lines[: layout.above] if layout.header else ():
        if next(csv.reader([line.decode(errors="replace").strip()], delimiter=delimiter), None) == layout.header:
            return line.strip()
    return None


def _said_of_headers(count):
    if count == 0:
        return []
    what = "A line that repeats the header is" if count == 1 else f"{count} lines that repeat the header are"
    return [Note("repeated header", f"{what} ignored.")]


def _without_formulas(data):
    """Return a text in which cells such as ="0123", which keep a spreadsheet from reading a number, are in quotes."""
    return _FORMULA.sub(rb"\1", data) if b'="' in data else data


def sampled_text(where, blocks, form, least, size):
    """Return the Text of a sample of the rows of a file that is read once and never kept.

    Parameters
    ----------
    where : str
    blocks : iterator of bytes
        The file; what is above its rows, and some of them, are in the first block.
    form : Form
    least : int
        Columns that are expected.
    size : int or 'all'
    """
    head, notes, encoding = next(blocks), [], form.encoding
    if encoding is None and head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, notes = "utf-16", [read_as("UTF-16")]
    if encoding is None and (encoding := bytes_of_utf16(head)) is not None:
        notes = [read_as("UTF-16")]
    if encoding is not None:
        blocks = recoded(where, chain([head], blocks), encoding)
        head = next(blocks)
    begin = _begin(head, form)
    seen = head[begin : begin + max(_SEEN, head.find(b"\n", begin + _SEEN) + 1)]
    seen = seen[: max(seen.rfind(b"\n"), seen.rfind(b"\r")) + 1]
    seen, blocks = as_utf8(where, seen)[0], chain(_cut(head[begin:]), blocks)
    quotes = find_quotes(seen)
    if quotes:
        seen, blocks, notes = quotes.rewrite(seen), rewritten(blocks, quotes.rewrite), [*notes, quotes.note]
    layout = _layout(where, seen, form, least)
    above, rows, sample, more = _drawn(where, blocks, layout, size)
    data, encoded = as_utf8(where, b"".join(above + rows))
    return Text(_without_formulas(data), layout, notes + encoded + layout.notes + more, sample)


def _begin(data, form):
    """Return where a text begins, below a mark of its encoding and the lines that the user leaves out."""
    place = _BEGIN.match(data).end()
    for _ in range(form.skip_rows):
        place = data.find(b"\n", place) + 1 or len(data)
    return place


def _layout(where, data, form, least):
    layout = find_layout(where, data, least, sep=form.sep, header=form.header)
    if len(layout.names) > MOST_COLUMNS + 1:  # the target
        raise ValueError(too_many(where, len(layout.names)))
    return layout


def _cut(data):
    """Yield bytes in parts."""
    for start in range(0, len(data), PART):
        yield data[start : start + PART]


def _drawn(where, blocks, layout, size):
    """Return the lines above the rows, the rows that are drawn, their Sample, and notes on lines below the rows."""
    drawing, above, last, n_bytes = Drawing(sys.maxsize if size == "all" else size), [], [], 0
    most, blank = largest(size), b" \r\n\x1a" if layout.delimiter == "\t" else b" \t\r\n\x1a"  # as pandas skips lines
    header, n_headers = None, 0
    for block in records(where, blocks, layout.delimiter):
        missing = layout.above - len(above)
        above += block[:missing] if missing > 0 else []
        block = block[max(0, missing) :]
        header = header or _header(above, layout)
        rows = [record for record in block if record.strip() != header] if header else block
        n_headers += len(block) - len(rows)
        last += rows
        if len(layout.names) > 1:  # else they are missing values
            last = [record for record in last if record.strip(blank)]
        drawing.add(last[:-LAST_LINES])
        last = last[-LAST_LINES:]
        n_bytes = n_bytes + sum(map(len, block)) if size == "all" else sum(map(len, drawing.kept))
        if n_bytes > most:
            raise too_large(where, most)
    text = b"".join([*above, *drawing.kept, *last])
    end, notes = find_end(text, layout)
    while last and end < len(text):
        end += len(last.pop())
    drawing.add(last)
    sample, rows = drawing.done()
    return above, rows, sample, notes + _said_of_headers(n_headers)
