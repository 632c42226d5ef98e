"""The best model of a comparison, fitted on all rows and applied to new rows."""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import joblib
import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.pipeline import Pipeline

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._targets import is_missing
from sklearn_ltdl.rows._rows import Rows, as_rows, sample_of
from sklearn_ltdl.running._pool import JobError, run_each
from sklearn_ltdl.study._comparison import Comparison
from sklearn_ltdl.study._log import LogTarget
from sklearn_ltdl.study._models import METHODS, HeldLazy, Tuned, given
from sklearn_ltdl.study._saved import last_step
from sklearn_ltdl.tables._columns import encoded_width, hint, most_cells, read_columns
from sklearn_ltdl.tables._kinds import as_table
from sklearn_ltdl.tables._notes import listed
from sklearn_ltdl.tables._pipeline import make_table_pipeline
from sklearn_ltdl.tables._target import read_target

BLOCK_BY_BLOCK = frozenset({"linear", "rbf", "laplace", "ntk", "rfm", "lazy", "rich"})  # methods that take Rows


def winner(
    comparison: Comparison,
    X: ArrayLike | Rows,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    also: Mapping[str, Any] | None = None,
) -> Pipeline:
    """Return the best model of a comparison, fitted on all rows.

    Parameters
    ----------
    comparison : Comparison
        The result of `compare`.
    X : pandas or polars DataFrame, array-like of shape (n_samples, n_features), or Rows
        The table of the comparison. Linear models, kernel machines and networks are fitted on all Rows block by block,
        after a preprocessing fitted on the rows that were compared. The forest, boosting, estimators in `also` and all
        models after ``log=True`` are fitted on the largest sample that fits in memory.
    y : array-like of shape (n_samples,)
        The target of the comparison; rows without a target are left out. None with Rows, in which a row without a
        target is an error where they are read block by block.
    sample_weight : array-like of shape (n_samples,), default=None
    also : dict of str to estimator, default=None
        As passed to `compare`.

    Returns
    -------
    pipeline : sklearn.pipeline.Pipeline
        As made by `make_table_pipeline`, with the method with the least loss. Columns are read as in the comparison,
        and classes have the labels of `y`. A network is fitted once, with the first seed, while the comparison averages
        several networks. For a method that chooses among settings, the pipeline holds the chosen model. After
        ``log=True`` it predicts the mean of the target in its own unit, ``exp(f(x))`` times a factor; see `LogTarget`.

    Raises
    ------
    ValueError
        If a column of the comparison is missing, or its weights or its best model are not given.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import compare
    >>> from sklearn_ltdl.study import winner
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = winner(compare(X, y, models=["linear"]), X, y)
    >>> model.predict(X[["bp", "bmi", "s5", *X.columns.difference(["bp", "bmi", "s5"])]]).shape  # in another order
    (442,)
    """
    task, seed = comparison.settings["task"], comparison.settings["seed"]
    methods = METHODS | {name: given(estimator) for name, estimator in (also or {}).items()}
    name = comparison.best
    if name not in methods:
        raise ValueError(f"The best model, {name!r}, is not part of the package: pass it in also, as to compare.")
    rows = as_rows(X, y, sample_weight)
    is_weighted = sample_weight is not None if rows is None else rows.has_weight
    if is_weighted != comparison.settings["weights"]:
        raise ParameterError("sample_weight", "expected the weights of the comparison, or None if it had no weights.")
    if rows is not None and name in BLOCK_BY_BLOCK and not comparison.settings["log"]:
        return _block_by_block(comparison.settings, rows, methods[name].build(task, seed))
    if rows is not None:
        block = sample_of(rows, size_that_fits(comparison, rows))[0]
        X, y, sample_weight = block.X, block.y, block.weight
    X, y = as_table(X), np.asarray(y)
    present = ~is_missing(y)
    weight = {}
    if sample_weight is not None:
        present &= np.asarray(sample_weight) > 0
        weight = {"estimator__sample_weight": np.asarray(sample_weight)[present]}
    target = read_target(y[present], task)
    table = as_compared(comparison.settings, X)
    labels = target.values if target.classes is None else target.classes[target.values]
    estimator = methods[name].build(task, seed)
    pipeline = make_table_pipeline(LogTarget(estimator) if comparison.settings["log"] else estimator)
    pipeline.fit(table.iloc[present] if hasattr(table, "iloc") else table[present], labels, **weight)
    if comparison.settings["log"]:
        pipeline[-1].estimator_ = getattr(pipeline[-1].estimator_, "best_estimator_", pipeline[-1].estimator_)
    else:
        pipeline.steps[-1] = ("estimator", getattr(pipeline[-1], "best_estimator_", pipeline[-1]))
    if rows is not None:
        pipeline.is_sampled_ = True
    return pipeline


def _block_by_block(settings, rows, estimator):
    """Return the pipeline of a method, its last step fitted on all Rows, the others on the rows of the comparison."""
    block = sample_of(rows, settings["n_drawn"] or max(2, len(rows)))[0]
    X, y = as_compared(settings, as_table(block.X)), np.asarray(block.y)
    pipeline = make_table_pipeline(estimator)
    prepare = pipeline[:-1].fit(X)
    prepare.is_sampled_ = True
    ungrouped = replace(rows, columns=rows.columns._replace(groups=None))
    prepared = ungrouped.map(Prepared(prepare))
    if isinstance(estimator, Tuned):
        weight = () if block.weight is None else (block.weight,)
        setting = estimator.chosen(prepare.transform(X), y, *weight)
        model = clone(estimator.estimator).set_params(**setting).fit(prepared)
    else:
        model = estimator.fit(prepared)
    pipeline.steps[-1] = ("estimator", model.best_estimator_ if isinstance(model, HeldLazy) else model)
    pipeline.is_sampled_ = True
    return pipeline


@dataclass(frozen=True)
class Prepared:
    """The map of a block of a table to numbers: read as new rows for the model, then preprocessed.

    Parameters
    ----------
    prepare : Pipeline
        The fitted preprocessing.
    """

    prepare: Pipeline

    def __call__(self, X):
        """Return the numbers of the rows of a block."""
        if hasattr(X, "columns"):
            X = matched("X", self.prepare, X)[0]
        elif X.dtype.kind == "f":
            X = np.where(np.isinf(X), np.nan, X)
        return self.prepare.transform(X)


def size_that_fits(comparison, rows, n_jobs=None):
    """Return how many of the Rows of a comparison fit in memory; see `rows_that_fit`."""
    few = sample_of(rows, comparison.settings["n_drawn"] or max(2, len(rows)))[0]
    return rows_that_fit(comparison, few.X, n_jobs)


def rows_that_fit(comparison, X, n_jobs=None):
    """Return how many rows of the table of a comparison fit in memory, with a fit in each job; `X` are some of them."""
    columns = [column for column in comparison.settings["columns"] if column["kind"] != "left out"]
    kinds = [column["kind"] for column in columns]
    width = encoded_width(kinds, as_compared(comparison.settings, as_table(X)))
    return most_cells() // (width * joblib.effective_n_jobs(n_jobs))


def winner_in_time(comparison, X, y, *, decimal, strays, time_limit, total_time=None, sample_weight=None, also=None):
    """Return `winner`, fitted in a process that is killed at a limit of time, or a JobError.

    Parameters
    ----------
    decimal : {',', '.'} or None
        Decimal sign of the file. The model stores it as `decimal_`, so that new rows are read in the same way.
    strays : dict of str to tuple of str
        The texts that were treated as missing in each column of the file. The model stores them as `strays_`.
    time_limit : float or None
        Time limit in seconds.
    total_time : TotalTime or None, default=None
        Of the comparison and the fit.
    """
    fit = partial(winner, sample_weight=sample_weight, also=also)
    ((_, model),) = run_each(fit, [(comparison, X, y)], time_limit=time_limit, total_time=total_time)
    if not isinstance(model, JobError):
        model.decimal_ = decimal
        model.strays_ = {name: list(texts) for name, texts in strays.items()}
        model.is_sampled_ = comparison.settings["n_rows_of_table"] is not None
    return model


def as_compared(settings, X):
    """Return the table with its columns read as in the comparison; after a sample, infinite values are missing."""
    columns = settings["columns"]
    if settings["n_rows_of_table"] is not None:
        if hasattr(X, "iloc"):
            X = X.replace([np.inf, -np.inf], np.nan)
        elif X.dtype.kind == "f":
            X = np.where(np.isinf(X), np.nan, X)
    by_kind = {kind: [c["name"] for c in columns if c["kind"] == kind] for kind in ("number", "category")}
    if not hasattr(X, "iloc"):
        numeric = [] if X.dtype.kind in "biuf" else by_kind["number"]
        return read_columns(X, categorical=by_kind["category"], numeric=numeric)[0]
    kept = [c["name"] for c in columns if c["kind"] != "left out"]
    require_columns("X", kept, X)
    return read_columns(
        X.loc[:, [str(label) in kept for label in X.columns]],
        categorical=by_kind["category"],
        numeric=by_kind["number"],
    )[0]


def require_columns(where, names, table):
    """Raise a ValueError that says which columns are missing, and suggests similar names."""
    present = list(map(str, table.columns))
    missing = [name for name in names if name not in present]
    if missing:
        others = [name for name in present if name not in names]
        raise ValueError(
            f"{where}: expected the {len(names)} columns of the model, but {listed(missing)} "
            f"{'is' if len(missing) == 1 else 'are'} missing; {hint(missing[0], others or present)}"
        )


def as_trained(model):
    """Return how to read new rows for a model: its categories as text, and the decimal sign and strays of its table."""
    encode, text = getattr(model, "named_steps", {}).get("encode"), []
    if hasattr(encode, "feature_names_in_"):
        text = list(encode.feature_names_in_[_of_kind(model, "levels")])
    return {"text": text, "decimal": getattr(model, "decimal_", None), "strays": getattr(model, "strays_", None)}


def _of_kind(model, kind):
    """Return a mask of the columns of a pipeline that one of its encoders takes: numbers, dates or levels."""
    encode = model.named_steps["encode"]
    chosen = np.zeros(encode.n_features_in_, dtype=bool)
    for name, _, columns in encode.transformers_:
        if name == kind:
            chosen[np.arange(len(chosen))[columns]] = True
    return chosen


def matched(where, model, table):
    """Return the columns of a table that a model takes, in its order, and notes on the others."""
    names = None
    with suppress(AttributeError):
        names = list(model.feature_names_in_)
    if names is None:
        wanted = getattr(model, "n_features_in_", table.shape[1])
        if table.shape[1] != wanted:
            raise ValueError(
                f"{where}: the model expects {wanted} columns, without names, but the table has {table.shape[1]} "
                f"({listed(list(table.columns))}). Keep only the columns of the model."
            )
        return table.to_numpy(), []
    require_columns(where, names, table)
    others = [name for name in table.columns if name not in names]
    notes = [f"The model does not use {listed(others)}."] if others else []
    X, more = _fitting(model, table[names]) if getattr(model, "is_sampled_", False) else (table[names], [])
    return X, notes + more


def _fitting(model, X):
    """Return new rows for a model fitted on a sample, where what does not fit is missing, and notes on it."""
    lost = {}
    for kind, read in (("numbers", _as_numbers), ("dates", _as_dates)):
        for name in X.columns[_of_kind(model, kind)]:
            if X[name].dtype.kind not in "mM":
                column = read(X[name])
                n_lost = int((column.isna() & X[name].notna()).sum())
                lost |= {name: n_lost} if n_lost else {}
                X = X.assign(**{name: column})
    if not lost:
        return X, []
    values = f"{sum(lost.values())} value{'s' * (sum(lost.values()) != 1)} in {listed(lost)}"
    return X, [f"The model was fitted on a sample: {values}, unlike those that it has seen, are treated as missing."]


def _as_numbers(column):
    from pandas import to_numeric

    return to_numeric(column, errors="coerce").astype(float).replace([np.inf, -np.inf], np.nan)


def _as_dates(column):
    from pandas import to_datetime

    return to_datetime(column.astype(object), format="ISO8601", utc=True, errors="coerce")


def predictions(model, X, *, proba=False):
    """Return a DataFrame with the prediction of each row and, if asked, the probability of each class."""
    from pandas import DataFrame

    if proba and not hasattr(model, "predict_proba"):
        raise ValueError(f"--proba: expected a classifier with probabilities, got {type(last_step(model)).__name__}.")
    columns = {"prediction": np.asarray(model.predict(X))}
    if proba:
        columns |= {f"probability_{label}": p for label, p in zip(model.classes_, model.predict_proba(X).T)}
    return DataFrame(columns)
