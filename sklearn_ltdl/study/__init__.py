"""Comparisons of models on a user's table."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

_MODULE_OF = {
    "Comparison": "_comparison",
    "Contender": "_models",
    "compare": "_study",
    "confirm": "_confirm",
    "ComparisonDisplay": "_display",
    "LazyToRichDisplay": "_display",
    "ContrastCurveDisplay": "_display",
    "winner": "_winner",
    "MeanRanks": "_ranks",
    "mean_ranks": "_ranks",
    "CriticalDifferenceDisplay": "_display",
}

if TYPE_CHECKING:  # for editors and type checkers; a test holds it equal to the mapping
    from sklearn_ltdl.study._comparison import Comparison
    from sklearn_ltdl.study._confirm import confirm
    from sklearn_ltdl.study._display import (
        ComparisonDisplay,
        ContrastCurveDisplay,
        CriticalDifferenceDisplay,
        LazyToRichDisplay,
    )
    from sklearn_ltdl.study._models import Contender
    from sklearn_ltdl.study._ranks import MeanRanks, mean_ranks
    from sklearn_ltdl.study._study import compare
    from sklearn_ltdl.study._winner import winner

__all__ = [
    "Comparison",
    "ComparisonDisplay",
    "Contender",
    "ContrastCurveDisplay",
    "CriticalDifferenceDisplay",
    "LazyToRichDisplay",
    "MeanRanks",
    "compare",
    "confirm",
    "mean_ranks",
    "winner",
]


def __getattr__(name: str) -> Any:  # the command line prints --help before scikit-learn is imported
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_MODULE_OF])
