"""Does the recommendation of a sample hold on the whole table? A few models are fitted on all its rows."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._hashes import hashes_of
from sklearn_ltdl._targets import is_missing
from sklearn_ltdl.rows._rows import Rows, as_rows
from sklearn_ltdl.running._clock import TotalTime
from sklearn_ltdl.running._pool import JobError, run_each
from sklearn_ltdl.study._comparison import Comparison
from sklearn_ltdl.study._folds import Split, copied
from sklearn_ltdl.study._jobs import Data, failed, fit_and_predict, run
from sklearn_ltdl.study._models import METHODS, given, per_row_loss
from sklearn_ltdl.study._plan import drawn_of, seed_of
from sklearn_ltdl.study._verdict import LEVEL, Contrast, HeldOut
from sklearn_ltdl.study._winner import as_compared, size_that_fits
from sklearn_ltdl.tables._columns import group_numbers
from sklearn_ltdl.tables._kinds import as_table, rows_of
from sklearn_ltdl.tables._notes import spaced
from sklearn_ltdl.tables._sample import Sample, hashes
from sklearn_ltdl.tables._target import in_logarithms, read_target

HELD_OUT = 20_000  # rows that judge, a fifth of the table at most


def confirm(
    comparison: Comparison,
    X: ArrayLike | Rows,
    y: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    also: Mapping[str, Any] | None = None,
    sample: Sample | None = None,
    split: tuple[ArrayLike, ArrayLike] | None = None,
    n_jobs: int | None = None,
    time_limit: float | None = None,
    total_time: float | None = None,
) -> Comparison:
    """Fit the recommended model of a sample and its strongest rival on all rows, and compare them on rows held out.

    The rows that judge train no model. Without groups and `split`, they are not in the sample, nor copies of rows that
    train: they had no part in the recommendation.

    Parameters
    ----------
    comparison : Comparison
        The result of `compare` on a sample of the table.
    X, y, sample_weight, groups, also
        As passed to `compare`. Of Rows, which `scan` makes, as many are drawn as fit in memory, and the sentence says
        how many of how many these are.
    sample : Sample, default=None
        That of `read_table`, if `X` is itself drawn from a file: it must be larger than the sample of the comparison.
    split : pair of integer arrays, default=None
        The rows that train and the rows that judge, such as earlier and later ones. None draws those that judge, as
        whole groups if there are groups.
    n_jobs, time_limit, total_time
        As in `compare`.

    Returns
    -------
    comparison : Comparison
        With ``evidence['confirmed']``: n_train, n_test, a sentence, the fields of the `Contrast` of the rival and the
        recommended model, and lists method, loss, score (R2 or accuracy), fit_seconds and failure.

    Examples
    --------
    >>> from sklearn_ltdl import compare
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> from sklearn_ltdl.study import confirm
    >>> X, y = make_multi_index(3000, random_state=0)
    >>> comparison = compare(X, y, models=["linear"], sample=300)
    >>> part = confirm(comparison, X, y).evidence["confirmed"]
    >>> part["n_train"], part["n_test"]
    (2400, 600)
    """
    settings = comparison.settings
    if settings["n_rows_of_table"] is None:
        raise ValueError("There is nothing to confirm: the comparison has used all rows.")
    methods = METHODS | {name: given(estimator) for name, estimator in (also or {}).items()}
    reference, candidate = _pair(comparison)
    if lost := [name for name in (reference, candidate) if name not in methods]:
        raise ParameterError("also", f"the comparison had {lost[0]!r}; pass the estimators that it was given.")
    X, y, groups, sample_weight, sample = _in_memory(comparison, X, y, groups, sample_weight, sample, n_jobs)
    X, y = as_table(X), np.asarray(y)
    _check_lengths(X, y, sample, sample_weight=sample_weight, groups=groups)
    weight = np.ones(len(y)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    number = np.arange(len(y)) if sample is None else sample.rows
    kept = np.flatnonzero(~is_missing(y) & (weight > 0))
    target = read_target(y[kept], settings["task"])
    target = in_logarithms(target) if settings["log"] else target
    table = as_compared(settings, rows_of(X, kept))
    if groups is None:
        copies = copied(table, target.values)
        cluster = np.arange(len(kept)) if copies is None else copies
    else:
        cluster = group_numbers(np.asarray(groups)[kept])
    weight = weight[kept]
    n_classes = None if target.classes is None else len(target.classes)
    data = Data(table, target.values, None if sample_weight is None else weight, target.task, n_classes)
    if split is None:
        train, test = _held_out(number[kept], settings["n_drawn"], None if groups is None else cluster)
        train = train[~np.isin(cluster[train], cluster[test])]
    else:
        place = np.full(len(y), -1)
        place[kept] = np.arange(len(kept))
        train, test = (place[rows][place[rows] >= 0] for rows in map(np.asarray, split))
        test = np.sort(test[np.argsort(hashes(0, len(test)))[:HELD_OUT]])
    split = Split(0, 0, train, test)
    names = list(dict.fromkeys(["dummy", "linear", reference, candidate]))
    clock = TotalTime.of(total_time)
    clock.end_preparation()
    limits = {"n_jobs": n_jobs, "time_limit": time_limit, "total_time": clock}
    fits = _fitted(data, {name: methods[name] for name in names}, split, settings["seed"], limits)
    held_out, share = HeldOut.of([split], weight, cluster), (len(y), settings["n_rows_of_table"])
    part = _judged(fits, data, split, held_out, (candidate, reference), settings["margin"], share)
    return replace(comparison, evidence={**comparison.evidence, "confirmed": part})


def _in_memory(comparison, X, y, groups, sample_weight, sample, n_jobs) -> tuple[Any, Any, Any, Any, Any]:
    """Return the table, the target, groups, weights and Sample, of Rows as many as fit; arrays as they are."""
    rows = as_rows(X, y, sample_weight, groups)
    if rows is None:
        return X, y, groups, sample_weight, sample
    if sample is not None:
        raise ParameterError("sample", f"expected None, because X is Rows, which are drawn from here; got {sample!r}.")
    return drawn_of(rows, None, None, None, size_that_fits(comparison, rows, n_jobs))


def _check_lengths(X, y, sample, **columns):
    """Raise an error that names what does not have one value for each row."""
    given = {"X": X, **{name: values for name, values in columns.items() if values is not None}}
    for name, values in given.items():
        if len(values) != len(y):
            raise ParameterError(name, f"expected one entry for each of the {len(y)} values of y, got {len(values)}.")
    if sample is not None and len(sample.rows) != len(y):
        raise ParameterError("sample", f"expected a sample of the {len(y)} rows of X, got one of {len(sample.rows)}.")


def _pair(comparison):
    """Return the recommended model, and the one of least loss among its rivals, or among all others."""
    advice = comparison.verdict.recommendation
    losses = {row["method"]: row["loss"] for row in comparison.methods if not row["failure"]}
    others = [name for name in losses if name not in (advice.model, "dummy")]
    rivals = [name for name in advice.rivals if name in others] or others
    return advice.model, min(rivals, key=losses.get) if rivals else "dummy"


def _held_out(number, n_drawn, groups):
    """Return the rows that train and those that judge: not drawn for the comparison, or whole groups."""
    most = min(HELD_OUT, len(number) // 5)
    if groups is None:
        order = np.argsort(hashes_of(number), kind="stable")
        test = np.sort(order[n_drawn:][:most])
        if len(test) < 2:
            raise ParameterError("X", f"expected more than the {n_drawn} rows of the comparison, got {len(number)}.")
    else:
        sizes = np.bincount(groups)
        order = np.argsort(hashes(0, len(sizes)))
        chosen = order[np.cumsum(sizes[order]) <= most] if sizes[order[0]] <= most else order[:1]
        test = np.flatnonzero(np.isin(groups, chosen))
    return np.setdiff1d(np.arange(len(number)), test), test


def _fitted(data, methods, split, seed, limits):
    """Return the results of the fits of each method, by name."""
    jobs = [(name, s) for name, method in methods.items() for s in range(method.n_seeds)]
    arguments = [(fit_and_predict, methods[name], seed_of(seed, 0, s), split.train, split.test) for name, s in jobs]
    fits = {name: [] for name in methods}
    for index, result in run_each(run, arguments, shared=(data,), **limits):
        fits[jobs[index][0]].append(failed(str(result)) if isinstance(result, JobError) else result)
    return fits


def _judged(fits, data, split, held_out, pair, margin, share):
    """Return the part of the evidence."""
    y, weight = data.y[split.test], held_out.weight[split.test]
    part = {"n_train": len(split.train), "n_test": len(split.test)}
    part |= {key: [] for key in ("method", "loss", "score", "fit_seconds", "failure")}
    losses = {}
    for name, results in fits.items():
        failure = next((result["failure"] for result in results if result["failure"]), None)
        loss = score = None
        if failure is None:
            prediction = np.mean([result["prediction"] for result in results], axis=0, dtype=float)
            losses[name] = per_row_loss(data.task, prediction, y, len(split.train))
            loss = float(np.average(losses[name], weights=weight))
            if data.task == "regression":
                score = 1 - loss / np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
            else:
                score = np.average(prediction.argmax(axis=1) == y, weights=weight)
        seconds = sum(result["fit_seconds"] for result in results)
        row = name, loss, None if score is None else float(score), seconds, failure
        for key, value in zip(("method", "loss", "score", "fit_seconds", "failure"), row):
            part[key].append(value)
    candidate, reference = pair
    lost = [name for name in ("dummy", *pair) if name not in losses]
    if lost:
        failure = part["failure"][part["method"].index(lost[0])]
        return part | {"sentence": f"Not confirmed: the fit of {lost[0]} on {part['n_train']} rows failed: {failure}."}
    mean, half = held_out.share(losses[reference] - losses[candidate], losses["dummy"], LEVEL)
    contrast = Contrast("confirmed", candidate, reference, mean, mean - half, mean + half, margin, len(split.test))
    return part | {"sentence": _sentence(part, contrast, *share)} | asdict(contrast)


def _sentence(part, contrast, n_read, n_rows):
    where = "On all rows" if n_read == n_rows else f"On {spaced(n_read)} of {spaced(n_rows)} rows"
    outcome = {
        "above": f"{where}, prefer {contrast.candidate}",
        "undecided": f"{where}, the choice between {contrast.reference} and {contrast.candidate} is open",
    }.get(contrast.state, f"{where}, {contrast.reference} is confirmed")
    sizes = f"fitted on {spaced(part['n_train'])} rows and judged on {spaced(part['n_test'])} others"
    return f"{outcome}: {sizes}, {contrast}."
