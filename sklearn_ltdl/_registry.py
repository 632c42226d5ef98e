"""Named objects of one kind: a loss, an activation, a solver is added by one decorator."""

import re
from typing import Any, TypeVar

_Item = TypeVar("_Item")


class Registry(dict[str, Any]):
    """Objects of one kind by name, in order of registration.

    Parameters
    ----------
    kind : str
        What the objects are, for messages: 'loss', 'activation', 'solver'.
    """

    def __init__(self, kind) -> None:
        super().__init__()
        self.kind = kind

    def register(self, item):
        """Add a function, or an instance of a NamedTuple class, under its snake-case name; use as a decorator."""
        if isinstance(item, type):
            item.__eq__, item.__ne__, item.__hash__ = _same_class_and_fields, _different, _hash_with_class  # type: ignore
        self[_snake_case(item.__name__)] = item() if isinstance(item, type) else item  # type: ignore
        return item

    def resolve(self, item: Any) -> Any:
        """Return the object of a name; an object that is not a name stands for itself."""
        return self[item] if isinstance(item, str) else item

    def member(self, item: Any, name: str) -> Any:
        """Return a member of an object, or the default where the object leaves it out."""
        return getattr(item, name) if hasattr(item, name) else self.defaults[name](item)


def _snake_case(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


# A NamedTuple without fields equals every other one; these make type and fields count.
def _same_class_and_fields(self, other):
    return type(self) is type(other) and tuple.__eq__(self, other)


def _different(self, other):
    return not _same_class_and_fields(self, other)


def _hash_with_class(self):
    return hash((type(self), tuple(self)))
