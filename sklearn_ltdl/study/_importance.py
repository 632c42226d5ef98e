"""How much worse a model predicts rows that it has not seen when one of their columns is shuffled."""

import numpy as np

from sklearn_ltdl.running._journal import conforms
from sklearn_ltdl.study._jobs import fitted, is_stopped, seconds, timed
from sklearn_ltdl.study._models import per_row_loss, predict
from sklearn_ltdl.study._verdict import SCORE_LEVEL
from sklearn_ltdl.tables._kinds import rows_of

ENOUGH_ROWS = 100  # that are held out, of as many folds as it takes: each costs a fit
MOST_ROWS = 300  # in all
MOST_COLUMNS = 200  # of a table, beyond which every column would have too little time
MOST_PREDICTIONS = 12_000  # in all, which sets how often each column is shuffled
MOST_PERMUTATIONS = 10


def folds_of(splits, chosen):
    """Return the numbers of the first splits that together hold out 100 rows, each with its test rows, 300 in all."""
    folds, n_rows = [], 0
    for k in chosen:
        if n_rows < ENOUGH_ROWS:
            folds.append((k, splits[k].test[: MOST_ROWS - n_rows]))
            n_rows += len(folds[-1][1])
    return folds


def importance_by_permutation(data, method, folds, held_out, unit):
    """Return what shuffling each column adds to the loss on held-out rows, with 95 % intervals.

    Parameters
    ----------
    data : Data
    method : Method
    folds : list of (seed, train, test)
    held_out : HeldOut
        Of the test rows of the folds.
    unit : float
        Mean loss of the baseline.

    Returns
    -------
    result : dict
        Of plain values: n_rows, n_permutations, and one a column, in units of the baseline's loss, importances, low and
        high; failure and fit_seconds.
    """
    return timed(_importance, data, method, folds, held_out, unit)


def _importance(data, method, folds, held_out, unit):
    n_columns = data.X.shape[1]
    n_rows = len(held_out.row)
    times = int(np.clip(MOST_PREDICTIONS // (n_rows * n_columns), 1, MOST_PERMUTATIONS))
    added = np.concatenate([_added(data, method, fold, times) for fold in folds], axis=1) / unit
    means, halves = zip(*(held_out.interval(column, SCORE_LEVEL) for column in added))
    return {
        "n_rows": n_rows,
        "n_permutations": times,
        "importances": list(means),
        "low": [mean - half for mean, half in zip(means, halves)],
        "high": [mean + half for mean, half in zip(means, halves)],
    }


def _added(data, method, fold, times):
    """Return what shuffling adds to the loss of each test row of a fold, of shape (n_columns, n_test)."""
    seed, train, test = fold
    model = fitted(data, method, seed, train)
    rng = np.random.default_rng(seed)
    X, n = rows_of(data.X, np.tile(test, times)), len(test)
    y = np.tile(data.y[test], times)

    def losses(table):
        found = per_row_loss(data.task, predict(model, table, data.task, data.n_classes), y[: len(table)], len(train))
        return found.reshape(-1, n).mean(axis=0)

    whole = losses(X[:n])
    added = []
    for j in range(X.shape[1]):
        shuffled = rows_of(data.X, np.concatenate([rng.permutation(test) for _ in range(times)]))
        table = X.copy()
        if hasattr(table, "iloc"):
            table.isetitem(j, shuffled.iloc[:, j].array)
        else:
            table[:, j] = shuffled[:, j]
        added.append(losses(table) - whole)
    return np.array(added)


def is_importance(n_columns, result):
    """Return whether plain values are what `importance_by_permutation` returns, or of a job that was stopped."""
    columns = [float] * n_columns
    form = {
        "n_rows": int, "n_permutations": int, "importances": columns, "low": columns, "high": columns,
        "failure": None, "fit_seconds": seconds,
    }  # fmt: skip
    return conforms(result, form) or is_stopped(result)


def importance_part(result, name, columns):
    """Return the importances as part of the evidence, largest first.

    Parameters
    ----------
    result : dict
        Of the job.
    name : str
        Of the method.
    columns : list of str
    """
    if result["failure"]:
        return {"failure": result["failure"]}
    order = sorted(range(len(columns)), key=lambda j: -result["importances"][j])
    listed = {key: [result[key][j] for j in order] for key in ("importances", "low", "high")}
    sizes = {key: result[key] for key in ("n_rows", "n_permutations")}
    return {"method": name, **sizes, "columns": [columns[j] for j in order], **listed}
