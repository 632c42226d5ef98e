"""Tables as users have them: from a file to typed columns, and to the numbers that models take."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULE_OF = {"make_table_pipeline": "_pipeline", "read_table": "_files"}

if TYPE_CHECKING:  # what editors and type checkers read; equal to the mapping, as a test says
    from sklearn_ltdl.tables._files import read_table
    from sklearn_ltdl.tables._pipeline import make_table_pipeline

__all__ = ["make_table_pipeline", "read_table"]


def __getattr__(name: str) -> Any:  # the command line says --help before scikit-learn is imported
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
