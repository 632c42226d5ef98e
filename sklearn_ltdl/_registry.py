"""Named objects of one kind, such as losses, activations or solvers; a decorator adds an object."""

import re
from typing import Any, TypeVar

_Item = TypeVar("_Item")


class Registry(dict[str, Any]):
    """Objects of one kind by name, in order of registration.

    Parameters
    ----------
    kind : str
        Name of the kind for messages, such as 'loss', 'activation' or 'solver'.
    defaults : dict of callable or None, default=None
        Members that an object may leave out. Each has a function that computes the member from the object.
    """

    def __init__(self, kind: str, defaults: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.defaults: dict[str, Any] = defaults or {}

    def register(self, item: _Item) -> _Item:
        """Add a function, or an instance of a NamedTuple class, under its snake-case name; use as a decorator."""
        made: Any = item
        if isinstance(made, type):
            if not hasattr(made, "_fields"):
                raise TypeError(
                    f"{made.__name__} must be a NamedTuple; define it as class {made.__name__}(NamedTuple)."
                )
            for name, method in _COMPARED.items():
                setattr(made, name, method)
        self[_snake_case(made.__name__)] = made() if isinstance(made, type) else made
        return item

    def resolve(self, item: Any) -> Any:
        """Return the object with a name; an argument that is not a name is returned as it is."""
        return self[item] if isinstance(item, str) else item

    def member(self, item: Any, name: str) -> Any:
        """Return a member of an object; if the object leaves it out, the default computes it."""
        return getattr(item, name) if hasattr(item, name) else self.defaults[name](item)


def _snake_case(name):
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


# A NamedTuple without fields equals every other such tuple; these functions also compare the type.
def _same_class_and_fields(self, other):
    return type(self) is type(other) and tuple.__eq__(self, other)


def _different(self, other):
    return not _same_class_and_fields(self, other)


def _hash_with_class(self):
    return hash((type(self), tuple(self)))


_COMPARED = {"__eq__": _same_class_and_fields, "__ne__": _different, "__hash__": _hash_with_class}
