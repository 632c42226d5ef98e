"""A file of results by key that survives a killed run; it does not depend on the kind of result."""

import hashlib
import json
import os
import stat
import sys
from inspect import isfunction
from pathlib import Path

import numpy as np

from sklearn_ltdl.running._written import unwritable

_FORMAT = 3
_HEADER = json.dumps({"journal": "ltdl compare", "format": _FORMAT}).encode()
_AT_THE_END = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
_LONGEST = 1 << 30  # bytes in a line
_MOST_LINES = 8  # that a message names


class Journal:
    """A file of results by key, with one JSON object per line; each result is added as soon as it is available.

    Each line has a digest of its key and content. If a line is incomplete because a run was killed, or altered by
    accident, it does not match its digest and is dropped. The digest is not a signature: a person who can write the
    file can write a line that matches.

    Parameters
    ----------
    path : str, path-like or None
        With None, results are not stored.

    Attributes
    ----------
    results : dict of str to dict
    dropped : dict of int to str
        Reason why a line is not used, by line number; the first line has number 1.
    """

    def __init__(self, path):
        self.path = None if path is None else Path(path)
        self.results, self.dropped, self._numbers = {}, {}, {}
        if self.path is not None:
            self._open()

    def known(self, key, is_result):
        """Return the result of a job, or None if there is no result that ``is_result(result)`` accepts."""
        result = self.results.get(key)
        if result is not None and not is_result(result):
            self.dropped[self._numbers[key]] = "holds no result of this fit"
            del self.results[key]
            return None
        return result

    def add(self, key, result):
        """Store a result."""
        self.results[key] = result
        if self.path is not None:
            entry = {"key": key, **result}
            self._append(json.dumps(entry | {"sum": _digest(entry)}, allow_nan=False).encode())

    def message(self):
        """Return one sentence about the lines that are not used, or None if all are used."""
        if not self.dropped:
            return None
        reasons = [f"line {number} {self.dropped[number]}" for number in sorted(self.dropped)]
        named = "; ".join(reasons[:_MOST_LINES]) + ("; ..." if len(reasons) > _MOST_LINES else "")
        if len(reasons) == 1:
            return f"{self._where}: 1 line is ignored ({named}); its fit runs again."
        return f"{self._where}: {len(reasons)} lines are ignored ({named}); their fits run again."

    @property
    def _where(self):
        return f"journal {self.path}"

    def _open(self):
        head = False
        try:
            if self.path.exists():
                if not stat.S_ISREG(self.path.stat().st_mode):
                    raise ValueError(f"{self._where}: expected the name of a file, got a folder, a device or a pipe.")
                with self.path.open("rb") as file:
                    head = self._read(file)
                with self.path.open("ab"):  # an error is raised now, not after the work
                    pass
        except OSError as error:
            raise unwritable(self._where, error) from error
        if not head:
            self._append(_HEADER)

    def _read(self, file):
        """Read all lines, and return whether the header of a journal is among them."""
        head = False
        for number, line in enumerate(_lines(file), 1):
            if number == 1:
                self._require_format(line)
            if line == _HEADER:  # also if another process began at the same time
                head = True
            elif line == b"" or (line and not self.results and _HEADER.startswith(line)):  # incomplete
                pass
            else:
                self._take(number, line)
            if number > 1:
                self._require_known(head)
        self._require_known(head)
        return head

    def _take(self, number, line):
        """Store the result of a line, or the reason why it is not a result."""
        try:
            key, result = _entry(line)
        except ValueError as error:
            self.dropped[number] = str(error)
        else:
            self.results[key], self._numbers[key] = result, number

    def _require_format(self, line):
        """Raise a ValueError if a line is the header of a journal of another version."""
        try:
            head = json.loads((line or b"")[:1000])
            theirs = head["format"] if head["journal"] == "ltdl compare" else _FORMAT
        except (ValueError, TypeError, KeyError, RecursionError):
            return
        if theirs != _FORMAT:
            raise ValueError(
                f"{self._where}: this journal has format {theirs!r}, and this version of sklearn_ltdl reads and writes "
                f"format {_FORMAT}, whose lines have digests. The file is unchanged; name a new file."
            )

    def _require_known(self, head):
        """Raise a ValueError if lines were read and none of them belongs to a journal."""
        if self.dropped and not head and not self.results:
            raise ValueError(f"{self._where}: expected a new file or the journal of a run, got another file.")

    def _append(self, line):
        """Add a line at the end of the file, on a line of its own even if the last line is incomplete."""
        try:
            descriptor = os.open(self.path, _AT_THE_END, 0o666)
            try:
                size = os.lseek(descriptor, 0, os.SEEK_END)
                if size:
                    os.lseek(descriptor, size - 1, os.SEEK_SET)
                    line = line if os.read(descriptor, 1) == b"\n" else b"\n" + line
                data = memoryview(line + b"\n")
                while data:  # one call unless the disk is full, so that the lines of two processes do not mix
                    data = data[os.write(descriptor, data) :]
            finally:
                os.close(descriptor)
        except OSError as error:
            raise unwritable(self._where, error, "Results that are in it are kept.") from error


def _lines(file):
    """Yield the lines of a file, and None for a line that is too long to be read."""
    while line := file.readline(_LONGEST):
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = file.readline(_LONGEST)
            yield None
        else:
            yield line.rstrip(b"\r\n")


def _entry(line):
    """Return the key and the result of a line, or raise a ValueError that says why there is no result."""
    try:
        entry = json.loads((line or b"").decode("ascii"), parse_constant=_refuse, object_pairs_hook=_distinct)
        digest, key = entry.pop("sum"), entry["key"]
        fits = isinstance(key, str) and digest == _digest(entry)
    except (ValueError, TypeError, AttributeError, KeyError, RecursionError, MemoryError) as error:
        raise ValueError("is incomplete or damaged") from error
    if not fits:
        raise ValueError("does not match its digest")
    del entry["key"]
    return key, entry


def _digest(entry):
    return hashlib.sha256(json.dumps(entry, allow_nan=False).encode()).hexdigest()[:16]


def _refuse(constant):
    raise ValueError(f"{constant} is not a number")


def _distinct(pairs):
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def conforms(value, form):
    """Return whether plain values, as returned by JSON, have a form.

    Parameters
    ----------
    value : object
    form : object
        None, str, bool or int: this value or type. float: a finite number. A tuple: one of several forms. A dict: a
        dict with these names; ``{str: form}`` is a dict with any names. A list: a list with these entries;
        ``[form, ...]`` is a list of any length. A function: it returns True for the value.
    """
    if form is None:
        return value is None
    if form is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if isinstance(form, type):
        return type(value) is form
    if isinstance(form, tuple):
        return any(conforms(value, one) for one in form)
    if isfunction(form):
        return bool(form(value))
    if type(value) is not type(form):
        return False
    if isinstance(form, dict):
        forms = dict.fromkeys(value, form[str]) if str in form else form
        return value.keys() == forms.keys() and all(conforms(value[name], forms[name]) for name in forms)
    forms = [form[0]] * len(value) if form[-1:] == [...] else form
    return len(value) == len(forms) and all(map(conforms, value, forms))


def fingerprint(*values):
    """Return a hash of tables, arrays and plain values that is the same in every process."""
    digest = hashlib.sha256()
    for value in values:
        if hasattr(value, "iloc"):
            columns = (
                (f"{name!r} {value.dtypes.iloc[j]}", value.iloc[:, j].to_numpy())
                for j, name in enumerate(value.columns)
            )
        else:
            columns = [("", value)]
        for name, column in columns:
            if not isinstance(column, np.ndarray):
                text = repr(column)
            elif column.dtype.kind in "OT":
                text = f"{column.shape} {[str(entry) for entry in column.ravel()]} {[type(v) for v in column.ravel()]}"
            else:
                digest.update(f"{column.dtype.str} {column.shape}".encode())
                digest.update(np.ascontiguousarray(column).view(np.uint8).data)
                text = ""
            digest.update(f"{name}\x00{text}\x00".encode())
    return digest.hexdigest()
