"""Comparisons on a user's own table."""

from importlib import import_module

_MODULE_OF = {
    "Comparison": "_study",
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

__all__ = [*_MODULE_OF]


def __getattr__(name):  # the command line says --help before scikit-learn is imported
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__():
    return sorted([*globals(), *_MODULE_OF])
