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
    defaults : dict of callable or None, default=None
        Members that an object may leave out, each with a function of the object that computes it.
    """

    def __init__(self, kind: str, defaults: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.defaults = defaults or {}

    def register(self, item: _Item) -> _Item:
        """Add a function, or an instance of a NamedTuple class, under its snake-case name; use as a decorator."""
        made: Any = item
        if isinstance(made, type):
            for name, method in _COMPARED.items():
                setattr(made, name, method)
        self[_snake_case(made.__name__)] = made() if isinstance(made, type) else made
        return item

    def resolve(self, item: Any) -> Any:
        """Return the object of a name; an object that is not a name stands for itself."""
        return self[item] if isinstance(item, str) else item

    def member(self, item: Any, name: str) -> Any:
        """Return a member of an object, computed by the default if the object leaves it out."""
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


_COMPARED = {"__eq__": _same_class_and_fields, "__ne__": _different, "__hash__": _hash_with_class}
