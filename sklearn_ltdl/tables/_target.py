"""The target of a table: the column to predict, and whether it holds numbers or classes."""

from decimal import Decimal
from numbers import Real
from typing import NamedTuple

import numpy as np

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.tables._columns import identifies, target_position
from sklearn_ltdl.tables._kinds import is_numeral
from sklearn_ltdl.tables._notes import Note

MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is numeric
MOST_DOUBTFUL_INTEGERS = 30  # with at most so many, a note says how the target was read


class Target(NamedTuple):
    """The target of a table.

    Parameters
    ----------
    task : {'regression', 'classification'}
    values : ndarray of shape (n_samples,)
        Numbers, or codes of the classes.
    classes : ndarray of shape (n_classes,) or None
    note : Note or str
        Note on how an ambiguous target was read; empty if it was clear.
    """

    task: str
    values: np.ndarray
    classes: np.ndarray | None
    note: Note | str


def read_target(y, task):
    """Return the Target for values without missing ones; `task` is 'auto', 'regression' or 'classification'."""
    y = np.asarray(y)
    if y.dtype.kind in "OUST":
        objects = y.dtype.kind == "O"
        numeric = objects and all(isinstance(v, Real | Decimal) and not isinstance(v, bool) for v in y)
        spelled = task == "regression" and not numeric and all(isinstance(v, str) and is_numeral(v) for v in y)
        y = y.astype(float) if numeric or spelled else y.astype(str)
    if y.dtype.kind in "mMc":
        found = "complex numbers" if y.dtype.kind == "c" else f"times such as {y[0]!s}" if len(y) else "times"
        raise ParameterError(
            "y", f"expected numbers or classes, got {found}; predict a number, such as days since a date."
        )
    distinct = np.unique(y)
    if len(y) < 2:
        found = "one row with a target" if len(y) else "no row with a target: its column is empty"
        raise ParameterError("y", f"expected rows to learn from, got {found}.")
    if len(distinct) < 2:
        raise ParameterError("y", f"expected at least two distinct values, got only {distinct[0]!s}.")
    is_number = y.dtype.kind in "iuf"
    if is_number and not np.isfinite(y).all():
        raise ParameterError("y", "expected finite numbers, got infinite values; drop those rows.")
    whole = is_number and np.all(distinct == np.round(distinct))
    note = ""
    if task == "auto":
        few = len(distinct) <= MOST_CLASSES_OF_INTEGERS
        task = "classification" if not is_number or (whole and few) else "regression"
        if whole and 2 < len(distinct) <= MOST_DOUBTFUL_INTEGERS:
            other = "regression" if few else "classification"
            text = f"The target's {len(distinct)} distinct whole numbers are read as {task}; task={other!r} "
            note = Note("target", f"{text}(--task {other}) reads them differently.")
    if task == "regression":
        if not is_number and y.dtype.kind != "b":
            raise ParameterError(
                "y", f"expected numbers for task='regression', got values such as {str(distinct[0])!r}."
            )
        return Target(task, y.astype(float), None, note)
    classes, codes = np.unique(y.astype(int) if whole else y, return_inverse=True)
    if len(classes) > max(2, len(y) // 4):
        strays = [label for label in classes.astype(str) if not is_numeral(label)]
        if 0 < len(strays) < len(classes) / 2:
            raise ParameterError(
                "y",
                f"{len(classes) - len(strays)} of {len(classes)} distinct values are numbers, {str(strays[0])!r} is "
                "not; correct it, or leave its cell empty.",
            )
        raise ParameterError(
            "y",
            f"expected classes, got {len(classes)} distinct values such as {str(classes[0])!r} in {len(y)} rows; "
            "choose another target column, correct its numbers, or use task='regression' (--task regression).",
        )
    return Target(task, codes, classes, note)


def in_logarithms(target):
    """Return the Target with logarithms of its positive numbers."""
    if target.task != "regression":
        raise ParameterError("log", "expected a numeric target, got classes; leave log out.")
    if not (target.values > 0).all():
        least, count = target.values.min(), int(np.sum(target.values <= 0))
        raise ParameterError(
            "log",
            f"expected a positive target, got {count} of {len(target.values)} values that are not, such as {least:g}; "
            "leave log out, or predict something positive.",
        )
    return target._replace(values=np.log(target.values))


def _require_answer(name, values):
    """Raise a ValueError if the last column numbers or identifies the rows."""
    reason = identifies(name, values)
    if reason is not None:
        raise ValueError(
            f"Which column is to be predicted? The last one, {name!r}, {reason}. Name another one with --target, or "
            f"this one if it is meant (target={name!r} in Python)."
        )


def split_target(table, column=None):
    """Split a table into the columns to predict from and the target: by name, by position from 1 or -1, or the last.

    The last column is no target if it only numbers or identifies the rows, by its name and its values.
    """
    position = target_position(column, [str(name) for name in table.columns])
    if column is None:
        _require_answer(str(table.columns[-1]), table.iloc[:, -1])
    return table.drop(columns=table.columns[position]), table.iloc[:, position]
