"""Comparisons on a user's own table."""

from importlib import import_module
from typing import TYPE_CHECKING

_MODULE_OF = {
    "Comparison": "_study",
    "Contender": "_methods",
    "compare": "_study",
    "ComparisonDisplay": "_display",
    "LazyToRichDisplay": "_display",
    "ContrastCurveDisplay": "_display",
    "make_table_pipeline": "_tables",
    "winner": "_winner",
    "MeanRanks": "_ranks",
    "mean_ranks": "_ranks",
    "CriticalDifferenceDisplay": "_display",
}

if TYPE_CHECKING:  # what editors and type checkers read; equal to the mapping, as a test says
    from sklearn_ltdl.study._display import (
        ComparisonDisplay,
        ContrastCurveDisplay,
        CriticalDifferenceDisplay,
        LazyToRichDisplay,
    )
    from sklearn_ltdl.study._methods import Contender
    from sklearn_ltdl.study._ranks import MeanRanks, mean_ranks
    from sklearn_ltdl.study._study import Comparison, compare
    from sklearn_ltdl.study._tables import make_table_pipeline
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
    "make_table_pipeline",
    "mean_ranks",
    "winner",
]


def __getattr__(name):  # the command line says --help before scikit-learn is imported
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULE_OF])
