"""Notes: sentences for the user that programs can tell apart by their code."""


class Note(str):
    """A sentence, and the code of what it says.

    Parameters
    ----------
    code : str
        What is noted, such as 'thousands': the same for all notes of one kind.
    text : str
    """

    __slots__ = ("code",)

    def __new__(cls, code, text):
        note = super().__new__(cls, text)
        note.code = code
        return note

    def __getnewargs__(self):
        return self.code, str(self)


def rows(count):
    """Return the number of rows with its noun."""
    return f"{count} {'row' if count == 1 else 'rows'}"


def listed(names, most=8, *, quoted=False):
    """Return the names as a list that is not longer than `most`; they get quotes unless they have them."""
    names = list(names)
    shown = names[:most] if quoted else [repr(str(name)) for name in names[:most]]
    return ", ".join(shown) + (", ..." if len(names) > most else "")
