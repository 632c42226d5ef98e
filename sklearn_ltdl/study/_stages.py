"""Growing stages of training rows: each has disjoint training sets, and one test part judges them all.

A verdict after each stage would be wrong too often if its intervals had the level of a single look. With K planned
stages the errors of each are divided by K (Bonferroni), whatever the dependence between them. No level makes a verdict
hold for more rows than were trained on; a verdict that two stages running share is right about them far more often than
the first that is decided (``benchmarks/stages.py``).
"""

from numbers import Integral

import numpy as np

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.study._folds import Split
from sklearn_ltdl.tables._notes import Note, spaced
from sklearn_ltdl.tables._sample import hashes

SETS = 4  # disjoint training sets of a stage
JUDGES = 20_000  # rows that all stages predict and none trains on, at most a fifth
FEWEST = 20  # training rows


def sizes_of(stages, *, is_alone=True):
    """Return the numbers of training rows of the stages, given as numbers or as a text such as ``'2000,8000'``.

    Parameters
    ----------
    stages : sequence of int or str
    is_alone : bool
        Whether no other option says which rows train.
    """
    if not is_alone:
        raise ParameterError("stages", "the stages draw their own rows; leave out cv (--time), repeats and curves.")
    try:
        words = stages.split(",") if isinstance(stages, str) else list(stages)
        sizes = [int(word) for word in words]
        whole = all(isinstance(word, str | Integral) for word in words)
    except (TypeError, ValueError):
        sizes, whole = [], False
    if not whole or len(sizes) < 2 or min(sizes) < FEWEST or (np.diff(sizes) <= 0).any():
        raise ParameterError(
            "stages",
            f"expected at least two growing numbers of training rows, from {FEWEST}, such as 2000,8000,32000; got "
            f"{stages!r}.",
        )
    return sizes


def rows_to_draw(sizes):
    """Return the number of rows that stages of these sizes use, and a quarter more: some may have no target."""
    return 5 * (JUDGES + SETS * sum(sizes)) // 4


def plan_stages(rows, sizes):
    """Return the splits of all stages for which there are rows, and notes.

    Clusters of rows, such as groups, stay together. Each training set has rows of its own: no two sets share a cluster,
    nor does a set share one with the test part.

    Parameters
    ----------
    rows : Rows
    sizes : list of int
    """
    cluster, n = rows.cluster, len(rows.X)
    order = np.argsort(hashes(0, cluster.max() + 1)[cluster], kind="stable")
    ends = np.append(np.flatnonzero(np.diff(cluster[order])) + 1, n)  # of the clusters, in this order

    def end_after(place):
        return ends[np.searchsorted(ends, place)]

    place = end_after(min(JUDGES, n // 5)) if n >= 5 else n
    test, splits = np.sort(order[:place]), []
    for stage, size in enumerate(sizes):
        sets = []
        while len(sets) < SETS and place + size <= n:
            sets.append(np.sort(order[place : place + size]))
            place = end_after(place + size)
        if len(sets) == SETS:
            splits += [Split(stage, k, train, test) for k, train in enumerate(sets)]
    found = sizes[: len(splits) // SETS]
    if len(found) < 2:
        least = 5 * SETS * sum(sizes[:2]) // 4
        text = f"expected about {least} rows for {SETS} training sets of {sizes[0]} and of {sizes[1]} rows"
        raise ParameterError("stages", f"{text}, and a test part, got {n}; take smaller stages.")
    for k, split in enumerate(splits):
        if len(np.unique(rows.target.values[split.train])) < 2:
            raise ParameterError("stages", f"training set {k + 1} has a single target; take larger stages.")
    notes = [
        Note("stages", f"The rows are too few for {SETS} disjoint training sets of {spaced(size)} rows.")
        for size in sizes[len(found) :]
    ]
    return splits, notes


def in_stages(jobs, splits, n_stages):
    """Return a list of dicts with the jobs of each stage, by (name, split, seed); without stages, of all jobs."""
    if not n_stages:
        return [jobs]
    return [{name: job for name, job in jobs.items() if splits[name[1]].repeat == stage} for stage in range(n_stages)]


def is_settled(verdicts):
    """Return whether the last two verdicts are decided and the same."""
    return len(verdicts) > 1 and verdicts[-1].code == verdicts[-2].code != "unclear"


def in_words(sizes, verdicts):
    """Return a sentence on the verdict of the stage before the last, or none."""
    if len(verdicts) < 2:
        return ""
    before = verdicts[-2].code
    at = f"{spaced(sizes[len(verdicts) - 2])} training rows"
    if is_settled(verdicts):
        return f"With {at} the verdict was the same."
    return f"With {at} it was {before}, so with more rows than {spaced(sizes[len(verdicts) - 1])} it may change again."


def stage_part(sizes, verdicts):
    """Return the verdict of each stage as part of the evidence, a list of dict."""
    return [
        {
            "n_train": size,
            "verdict": verdict.code,
            "possible": list(verdict.possible),
            "needs_features": verdict.needs_features,
            "model": verdict.recommendation.model,
            "bound": verdict.recommendation.bound,
        }
        for size, verdict in zip(sizes, verdicts)
    ]
