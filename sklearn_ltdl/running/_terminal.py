"""The only place that prints; no text, wherever it comes from, can control the terminal."""

import re
import sys
from dataclasses import is_dataclass, replace

_UNSAFE = re.compile(  # control characters, and characters that change the direction or line of the following text
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


def clean(text):
    r"""Return a text with control, escape and bidirectional characters shown as ``\x1b``; newlines and tabs stay."""
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), str(text))


def cleaned(value):
    """Return plain values, or a dataclass of plain values, with all their texts cleaned."""
    if is_dataclass(value):
        return replace(value, **cleaned(vars(value)))
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {cleaned(name): cleaned(entry) for name, entry in value.items()}
    return type(value)(map(cleaned, value)) if type(value) in (list, tuple) else value


def say(*lines):
    """Print lines on stderr, each on one line."""
    for line in lines:
        show(clean(line).replace("\n", " "), sys.stderr)


def show(text, file=None, end="\n"):
    """Print a text that may have several lines; characters that the output cannot encode are shown as ``\\xe9``."""
    file = sys.stdout if file is None else file
    encoding = getattr(file, "encoding", None) or "utf-8"
    print(clean(text).encode(encoding, "backslashreplace").decode(encoding), end=end, file=file, flush=True)


def rewrite(line, end):
    """Replace the last line on a terminal."""
    print("\r\x1b[2K", end="", file=sys.stderr)
    show(line, sys.stderr, end=end)
