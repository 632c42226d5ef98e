"""Texts of any size in blocks of records, of which one is in memory at a time."""

import re
from itertools import chain

from sklearn_ltdl.tables._bytes import LONGEST_LINE, REMEDY, decoder_of, not_encoded
from sklearn_ltdl.tables._layout import BLANKS

_CLOSING = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


def recoded(where, blocks, encoding):
    """Yield blocks of a text in UTF-8; characters may begin in one and end in the next."""
    decoder, n_bytes = decoder_of(encoding), 0
    for block in chain(blocks, [b""]):
        try:
            text = decoder.decode(block, final=not block).encode()
        except UnicodeDecodeError as error:
            raise not_encoded(where, encoding, n_bytes + error.start, error.reason) from error
        n_bytes += len(block)
        if text:
            yield text


def rewritten(blocks, rewrite):
    """Yield the blocks of a text, of which whole lines are rewritten."""
    rest = b""
    for block in blocks:
        data = rest + block
        end = data.rfind(b"\n") + 1
        rest = data[end:]
        if end:
            yield rewrite(data[:end])
    if rest:
        yield rewrite(rest)


def records(where, blocks, delimiter):
    """Yield lists of the records of a text, with their ends: lines, and several lines where a cell is in quotes.

    Parameters
    ----------
    where : str
    blocks : iterable of bytes
    delimiter : str
    """
    sign = rb"[ \t]" if delimiter == BLANKS else re.escape(delimiter.encode())
    opening = re.compile(rb"(?:^|" + sign + rb') *"')
    rest, begun = b"", []  # of a line, and lines of a record
    for block in chain(blocks, [None]):
        data = rest + (block or b"")
        lines = data.splitlines(keepends=True)
        rest = lines.pop() if block is not None and lines else b""  # it may go on
        found = lines
        if begun or b'"' in data:
            found = []
            for line in lines:
                if begun or line.count(b'"') % 2:  # an even number closes what it opens
                    goes_on = _ends_in_quotes(line, opening, bool(begun))
                    begun.append(line)
                    if goes_on:
                        continue
                    line, begun = b"".join(begun), []
                found.append(line)
        if len(rest) > LONGEST_LINE:
            raise ValueError(f"{where}: expected a table, got a line of more than {LONGEST_LINE >> 20} MiB; {REMEDY}.")
        if sum(map(len, begun)) > LONGEST_LINE:
            raise ValueError(f"{where}: expected a table; a quotation mark that opens is never closed.")
        if found:
            yield found
    if begun:
        yield [b"".join(begun)]


def _ends_in_quotes(line, opening, is_inside):
    """Return whether a line ends within quotation marks; these open at the beginning of a cell only."""
    place = 0
    while True:
        if is_inside:
            closed = _CLOSING.match(line, place)
            if closed is None:
                return True
            place = closed.end()
        opened = opening.search(line, place)
        if opened is None:
            return False
        place, is_inside = opened.end(), True
