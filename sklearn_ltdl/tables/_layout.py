"""Find the table in a text file: its delimiter, its header, and lines around the table that are not rows."""

import csv
import io
import re
from contextlib import suppress
from itertools import islice
from typing import NamedTuple

import numpy as np

from sklearn_ltdl.tables._bytes import REMEDY
from sklearn_ltdl.tables._cells import MARKS
from sklearn_ltdl.tables._kinds import is_numeral
from sklearn_ltdl.tables._notes import Note, listed

DELIMITERS = ",;\t|"
BLANKS = r"\s+"  # pandas' delimiter for one or more blanks
UNNAMED = "\0"  # prefix of the name of a column without a name
_MOST_NAMED = 8  # maximum number of renamed columns in a note
_SEEN = 50  # maximum number of lines below the header that are inspected
_LONGEST = 1 << 16  # maximum number of bytes of a line below the table
_MOST_CELLS = 100_000  # maximum number of cells that are inspected
_AGREE = 5  # so many lines of the same width make the lines above them a title
LAST_LINES = 20  # maximum number of lines below the rows, such as totals and remarks
_COMMENT = re.compile(r"\s*(?:#|%|//)")
_DATE = re.compile(r"\d{1,4}[-/.]\d{1,2}[-/.]\d{1,4}(?:[ T].*)?")
_TOTAL = re.compile(
    r"(?i)\W*(?:grand |sub-?)?(?:totals?|sum|average|mean|summe|gesamt|insgesamt|mittelwert|totale|totaux|somme|moyenne"
    r"|suma|media|totaal|median|std(?:\.? ?dev)?|standard deviation|overall|gesamtsumme|durchschnitt|promedio"
    r"|gemiddelde|razem|og[oó]łem|итого|всего|合計|合计|总计|總計|toplam|summa|i alt|yhteensä|Σ"
    r"|total (?:g[eé]n[eé]ral|\d{4}|\(all\)|rows: \d+))\W*"
)

_REMARK = re.compile(  # such as "Source: Eurostat"
    r"\s*(?:[#*]|.*[^\W\d]{2}.*\s|\(\d+ rows?\)|(?i:end|eof|ende)$|[-=_]{3,}$|\d{1,2}\) )"
)
_SOURCE = re.compile(r"(?i)(?:sources?|notes?|remarks?|quelle|anmerkung|fuente|nota|fonte|updated|exported)\b.*:")
_RULE = re.compile(
    r"[\s|+]*(?::?[-=\u2500]{2,}|:-+:|:-|-:)[-=\u2500|+:\s]*"
)  # a cell of a line that is drawn below a header


class Layout(NamedTuple):
    """Position and layout of the table.

    Parameters
    ----------
    delimiter : str
        Delimiter for pandas.
    names : list of str
        Column names; those of unnamed columns begin with `UNNAMED`.
    above : int
        Number of lines above the first row.
    notes : list of Note
    header : list of str
        Cells of the header, if a line below that repeats it cannot be a row; else empty.
    """

    delimiter: str
    names: list
    above: int
    notes: list
    header: list = []


class _Line(NamedTuple):
    """A non-empty line: its number (a line break within a cell does not count) and its cells."""

    number: int
    cells: list

    @property
    def n_filled(self):
        return sum(map(_is_name, self.cells))


def find_layout(where, data, least, *, sep=None, header=True):
    """Return the Layout of a file in UTF-8, of which the first lines are enough.

    The delimiter is the comma, semicolon, tab or bar that splits the header into the most columns, if the lines below
    have the same width. A title above the header is allowed. Otherwise the delimiter is blanks.

    Parameters
    ----------
    where : str
    data : bytes
    least : int
        Expected number of columns, at least.
    sep : str or None
        The delimiter, if the user gives it.
    header : bool
        Whether there is a header; otherwise columns are named by position.
    """
    lines = {sign: found for sign in _signs(sep) if (found := _lines(data, sign))}
    if not lines:
        raise ValueError(f"{where}: expected a table, got text whose first line has no end; {REMEDY}.")
    delimiter, place = _place(lines, least)
    found = lines[delimiter]
    if header and _is_above_header(found, place):
        place += 1
    notes = _said_above(found[:place])
    names = _names(found, place, delimiter, header)
    if sum(not name.startswith(UNNAMED) for name in names) < least:
        first = names[0][:40].lstrip(UNNAMED) if names else ""
        raise ValueError(
            f"{where}: expected the names of at least two columns in the first line (comma, semicolon, tab, bar or "
            f"blanks between them), got {first!r}; remove the lines above the header (--skip-rows N), or name another "
            "delimiter (--sep SIGN)."
        )
    rows, cells = found[place + header :], []
    above = found[place].number if header else (found[place - 1].number if place else 0)
    if header and rows and all(map(_RULE.fullmatch, filter(str.strip, rows[0].cells))):
        notes.append(Note("rule", f"The line below the header is ignored: {_shown(rows[0])}."))
        above, rows = rows[0].number, rows[1:]
    if header and _is_distinct(names, rows):
        cells = found[place].cells
        rows = [line for line in rows if line.cells != cells]
    if header:
        _require_header(where, names, rows)
    names, more = _distinct(names)
    notes += more
    if header and _is_units(rows, len(names)):
        above = rows[0].number
        notes.append(Note("units row", f"The line below the header is ignored: {_shown(rows[0])}."))
    return Layout(BLANKS if delimiter == " " else delimiter, names, above, notes, cells)


def _signs(sep):
    if sep is None:
        return [*DELIMITERS, " "]
    return [" " if sep in (" ", BLANKS, "blank", "blanks") else {"tab": "\t", "\\t": "\t"}.get(sep, sep)]


def _lines(data, sign):
    """Return the first non-empty lines, or none if they cannot be parsed with this delimiter."""
    text = io.TextIOWrapper(io.BytesIO(data), "utf-8", newline="")
    source = (line.lstrip(" ") for line in text) if sign == " " else text
    reader, found = csv.reader(source, delimiter=sign, skipinitialspace=True), []
    with suppress(csv.Error):
        for number, cells in enumerate(reader, start=1):
            if sign == " " and cells and cells[-1] == "":
                cells = cells[:-1]
            if any(map(_is_name, cells)):
                found.append(_Line(number, cells))
            if len(found) > 2 * _SEEN or (len(found) > _AGREE and len(found) * len(cells) > _MOST_CELLS):
                break
    return found


def _is_name(cell):
    return cell.strip(f"{DELIMITERS} ") != ""


def _place(lines, least):
    """Return the delimiter, and the index of the header line."""
    starts = {sign: _after_comments(found) for sign, found in lines.items()}
    agreeing = {s: place for s, place in starts.items() if s != " " and _agrees(lines[s], place, least)}
    if agreeing:
        sign = max(agreeing, key=lambda sign: len(lines[sign][agreeing[sign]].cells))
        return sign, agreeing[sign]
    titled = {}
    for sign, found in lines.items():
        place = next((k for k in range(starts[sign], min(len(found), _SEEN)) if _begins(found, k)), None)
        if place is not None and (sign != " " or place == starts[sign]):
            titled[sign] = place
    if titled:
        sign = max(titled, key=lambda sign: (sign != " ", -titled[sign], len(lines[sign][titled[sign]].cells)))
        return sign, titled[sign]
    known = [sign for sign in lines if sign != " "] or list(lines)
    sign = max(known, key=lambda sign: len(lines[sign][min(starts[sign], len(lines[sign]) - 1)].cells))
    return sign, min(starts[sign], len(lines[sign]) - 1)


def _is_above_header(found, place):
    """Return whether a line only has headings over the header below it: some of its inner cells are empty or repeat."""
    if len(found) < place + 4:
        return False
    cells, below, rows = found[place].cells, found[place + 1].cells, found[place + 2 : place + 2 + _SEEN]
    names = [cell.strip() for cell in below]
    if len(cells) != len(below) or not all(names) or len({*names}) < len(names) or any(map(is_numeral, names)):
        return False
    inner = [cell.strip() for cell in cells[1:-1]]
    spans = "" in inner or len({*filter(None, inner)}) < len([*filter(None, inner)])
    numeric = [j for j in range(len(names)) if all(is_numeral(row.cells[j]) for row in rows if j < len(row.cells))]
    return spans and len(numeric) > 1


def _after_comments(found):
    """Return the index of the first line that is not a comment; a comment with a cell per column may be the header."""
    for k, line in enumerate(found):
        if not _COMMENT.match(line.cells[0]):
            return k
        below = next((other for other in found[k + 1 :] if not _COMMENT.match(other.cells[0])), None)
        if below and len(line.cells) == len(below.cells) > 1 and _looks_like_rows(below):
            return k
    return 0


def _looks_like_rows(line):
    """Return whether a line contains a number, and so is not a header."""
    return any(is_numeral(cell) for cell in line.cells)


def _agrees(found, place, least):
    """Return whether at least half of the lines below have the width of a line, or one cell more, as R writes."""
    width, below = len(found[place].cells), found[place + 1 : place + 1 + _SEEN]
    if found[place].n_filled < max(least, 2) or not below:
        return False
    return 2 * sum(len(line.cells) in _widths(width, below) for line in below) >= len(below)


def _widths(width, below):
    """Return the allowed widths of lines below a header; R does not name the column of row names."""
    rows = list(map(_looks_like_rows, below))
    return {width, width + 1} if rows[0] or not any(rows) else {width}  # otherwise the line is a title


def _begins(found, place):
    """Return whether a line begins a table: the next five have its width, or one cell more, as R writes."""
    width, below = len(found[place].cells), found[place + 1 : place + 1 + _AGREE]
    found_widths = {len(line.cells) for line in below}
    allowed = _widths(width, below) if place == 0 and below else {width}
    return found[place].n_filled > 1 and len(below) > 1 and len(found_widths) == 1 and found_widths <= allowed


def _said_above(lines):
    """Return notes on lines above the header."""
    comments = [line for line in lines if _COMMENT.match(line.cells[0])]
    titles = [line for line in lines if line not in comments]
    notes = []
    for code, what, chosen in (("comments", "comment", comments), ("title", "title", titles)):
        if chosen:
            many = f"{len(chosen)} {what} lines above the table are" if len(chosen) > 1 else f"A {what} line is"
            notes.append(Note(code, f"{many} ignored: {_shown(chosen[0])}."))
    return notes


def _shown(line):
    text = " ".join(" ".join(cell for cell in line.cells if cell.strip()).split())
    return repr(text if len(text) <= 60 else f"{text[:57]}...")


def _names(found, place, delimiter, header):
    """Return the names of the columns."""
    cells, below = found[place].cells, found[place + 1 : place + 1 + _SEEN]
    if not header:
        return [str(j + 1) for j in range(max(len(line.cells) for line in found[place : place + 1 + _SEEN]))]
    if _COMMENT.match(cells[0]) and re.fullmatch(r"\s*#.+", cells[0]):
        cells = [_COMMENT.sub("", cells[0], count=1), *cells[1:]]
    names = [name.strip() or f"{UNNAMED}{j}" for j, name in enumerate(cells)]
    if below and all(len(line.cells) == len(names) + 1 for line in below):  # R does not name the column of row names
        last = all(not line.cells[-1].strip() for line in below) and delimiter != " "
        names = [*names, f"{UNNAMED}{len(names)}"] if last else [f"{UNNAMED}-1", *names]
    return names


def _require_header(where, names, rows):
    """Raise a ValueError if the first line looks like the rows below it."""
    columns = list(zip(*(line.cells for line in rows if len(line.cells) == len(names))))
    named = [name for name in names if not name.startswith(UNNAMED)]
    like = []
    for name, values in zip(names, columns):
        known = [value.strip() for value in values if value.strip() and value.strip().lower() not in MARKS]
        if not name.startswith(UNNAMED) and known and _is_one_of(name, known):
            like.append(name)
    numbers = [name for name in named if is_numeral(name) and np.isfinite(float(name))]
    counted = named == [str(j) for j in range(len(named))]
    if counted or _is_series([name for name in like if is_numeral(name)], like):
        return
    if like or (numbers and len(numbers) == len(named)):
        found = f"{listed(like or numbers)}, as in the rows below"
    elif len(columns) > 1 and all(name in values for name, values in zip(names, columns)):
        found = f"{listed(names)}, which also occur in the rows below"
    else:
        return
    raise ValueError(
        f"{where}: expected column names in the first line, got {found}. Is it a row? Use --no-header (header=False in "
        "Python), or put a header line above it; if it is the header, rename these columns."
    )


def _is_distinct(names, rows):
    """Return whether a name is no number where most rows have numbers, so that the header cannot be a row."""
    columns = zip(*(line.cells for line in rows if len(line.cells) == len(names)))
    numeric = (sum(map(is_numeral, values)) >= 0.5 * len(values) for values in columns)
    return any(is_number and not is_numeral(name) for name, is_number in zip(names, numeric))


def _is_one_of(name, values):
    """Return whether the name and the values are all numbers or all dates."""
    if is_numeral(name):
        return np.isfinite(float(name)) and all(map(is_numeral, values))
    return bool(_DATE.fullmatch(name)) and all(_DATE.fullmatch(value) for value in values)


def _is_series(numerals, like):
    """Return whether names are years or whole numbers in equal steps, such as one column per year."""
    if len(numerals) < 2 or len(numerals) < len(like) or not all(re.fullmatch(r"\d+", name) for name in numerals):
        return False
    numbers = np.array(numerals, dtype=float)
    steps = np.diff(numbers)
    years = bool(((numbers >= 1800) & (numbers <= 2200)).all())
    return bool(steps[0] > 0 and (steps == steps[0]).all() and (years or len(numbers) > 2))


def _distinct(names):
    """Return distinct names, and a note on those that were renamed."""
    taken, renamed, copies, given = {*names}, {}, {}, []
    for name in names:
        new = name
        while name in copies and new in taken:
            copies[name] += 1  # so that a million copies of one name take a million steps
            new = f"{name}.{copies[name]}"
        copies.setdefault(name, 0)
        if new != name:
            renamed[new] = name
            taken.add(new)
        given.append(new)
    if not renamed:
        return given, []
    text = ", ".join(f"{name!r} as {new!r}" for new, name in islice(renamed.items(), _MOST_NAMED))
    text += ", ..." * (len(renamed) > _MOST_NAMED)
    return given, [Note("repeated names", f"Repeated names are made distinct: {text}.")]


def _is_units(rows, width):
    """Return whether the first row has no numbers in columns where the others do, like units below a header."""
    rows = [line.cells for line in rows if len(line.cells) == width]
    if len(rows) < 3:
        return False
    first, *others = rows
    numeric = []
    for j in range(width):
        known = [cells[j].strip() for cells in others if cells[j].strip()]
        if known and sum(is_numeral(value) for value in known) >= 0.9 * len(known):
            numeric.append(first[j].strip())
    words = [text for text in numeric if not is_numeral(text) and text.lower() not in MARKS and text]
    bracketed = all(re.fullmatch(r"[(\[].*[)\]]", text) for text in words)
    return bool(words) and not any(map(is_numeral, numeric)) and (len(words) > 1 or bracketed)


def _is_remark(filled, is_short):
    """Return whether the cells of a line below the rows are a remark."""
    if not filled:
        return False
    source = bool(_SOURCE.match(filled[0])) and not any(map(is_numeral, filled[1:]))
    return source or (len(filled) == 1 and is_short and bool(_REMARK.match(filled[0])))


def find_end(data, layout):
    """Return where the last row of a file in UTF-8 ends, and notes on totals and remarks below it."""
    end, notes, width = len(data), [], len(layout.names)
    delimiter = " " if layout.delimiter == BLANKS else layout.delimiter
    for _ in range(LAST_LINES if width > 1 else 0):
        tail = data[max(0, end - _LONGEST) : end].rstrip()
        start = max(tail.rfind(b"\n"), tail.rfind(b"\r")) + 1
        line = tail[start:].decode(errors="replace")
        if not start or line.count('"') % 2:
            break
        cells = next(csv.reader([line.lstrip(" ")], delimiter=delimiter, skipinitialspace=True), [])
        filled = [cell.strip() for cell in cells if cell.strip()]
        place = max(0, end - _LONGEST) + start
        if len(filled) > 1 and _TOTAL.fullmatch(filled[0]) and data.find(filled[0].encode(), 0, place) < 0:
            notes.append(Note("totals row", f"The last line is ignored: {_shown(_Line(0, cells))}."))
        elif delimiter != " " and _is_remark(filled, len(cells) < width):
            notes.append(Note("remark", f"A line below the table is ignored: {_shown(_Line(0, cells))}."))
        else:
            break
        end = place
    return end, notes
