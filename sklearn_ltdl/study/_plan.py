"""The plan of a comparison: which rows are used, and which methods are fitted on which rows, as jobs with keys."""

from functools import partial
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_consistent_length

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._sklearn import refuse_masked
from sklearn_ltdl._targets import checked_weights, is_missing
from sklearn_ltdl.rows._rows import as_rows, sample_of
from sklearn_ltdl.running._journal import fingerprint
from sklearn_ltdl.study._evidence import EXPLAIN, EXPLAINED, is_path, path_along_scale
from sklearn_ltdl.study._folds import copied, draw_splits, given_splits
from sklearn_ltdl.study._importance import folds_of, importance_by_permutation, is_importance
from sklearn_ltdl.study._jobs import Data, fit_and_predict, identity, is_fit, versions
from sklearn_ltdl.study._models import FAMILIES, METHODS, Contender, given
from sklearn_ltdl.study._verdict import HELD_BACK, HeldOut
from sklearn_ltdl.tables._columns import group_numbers, read_columns
from sklearn_ltdl.tables._described import describe
from sklearn_ltdl.tables._kinds import as_table, rows_of
from sklearn_ltdl.tables._notes import Note, spaced
from sklearn_ltdl.tables._sample import Sample
from sklearn_ltdl.tables._target import Target, in_logarithms, read_target
from sklearn_ltdl.tables._warnings import Examined, counts_of, warnings_of

BESIDE = ("scale_path", "importance")  # jobs that fit no method for its score
MANY_COLUMNS = 2000  # beyond which some methods are left out
_TOO_WIDE = {  # the methods that take too long there, with the reason
    "rfm": "it decomposes a matrix of columns by columns in every round",
    "lazy": "each of its neurons has a weight for every column",
    "rich": "each of its neurons has a weight for every column",
    "forest": "each split of its trees searches all columns",
}


class Rows(NamedTuple):
    """The rows that are used: they have a target, and a weight above 0.

    Parameters
    ----------
    X : DataFrame or ndarray of shape (n_rows, n_columns)
    target : Target
    weight : ndarray of shape (n_rows,)
    is_weighted : bool
        Whether the user gave weights.
    groups, copies : ndarray of shape (n_rows,) or None
        Number of the group of each row; without groups, a number that copies of a row share, if there are any.
    kept : boolean ndarray
        Mask over all rows that were given; True for the rows that are used.
    number : integer ndarray of shape (n_rows,)
        Number of each row in the user's table, from 0.
    n_drawn, n_rows_of_table : int or None
        Numbers of rows that were drawn, and of the table from which they were; None if they were not drawn.
    columns : list of Column
    name : str or None
        Name of the target.
    warnings : list of Note
        What may lead to wrong conclusions.
    """

    X: object
    target: Target
    weight: np.ndarray
    is_weighted: bool
    groups: np.ndarray | None
    copies: np.ndarray | None
    kept: np.ndarray
    number: np.ndarray
    n_drawn: int | None
    n_rows_of_table: int | None
    columns: list
    name: str | None
    warnings: list

    @property
    def cluster(self):
        """Number of the unit of independent evidence to which each row belongs."""
        numbers = self.groups if self.groups is not None else self.copies
        return np.arange(len(self.X)) if numbers is None else numbers

    @property
    def labels(self):
        """The index of a DataFrame, or the number of each row of an array, as text."""
        return [str(label) for label in getattr(self.X, "index", self.number)]

    @property
    def data(self):
        """The data that all fits share."""
        target, weight = self.target, self.weight if self.is_weighted else None
        return Data(self.X, target.values, weight, target.task, None if target.classes is None else len(target.classes))


def drawn_of(X, y, groups, sample_weight, sample):
    """Return the table, the target, groups, weights and Sample of Rows, as `compare` takes them; arrays as they are."""
    rows = as_rows(X, y, sample_weight, groups)
    if rows is None:
        return X, y, groups, sample_weight, sample
    if sample == "all" or isinstance(sample, Sample):
        raise ParameterError("sample", f"expected a number of rows to draw from X, which is Rows; got {sample!r}.")
    block, numbers, n_rows = sample_of(rows, sample)
    y = block.y
    if len(rows.columns.target) == 1:
        import pandas as pd

        y = pd.Series(y, name=rows.columns.target[0])
    return block.X, y, block.groups, block.weight, Sample(numbers, n_rows)


def read_rows(X, y, *, categorical, numeric, task, log, groups, sample_weight, sample):
    """Return the Rows of a table, and notes on how it is read; the parameters are those of `compare`."""
    for values, name in ((X, "X"), (y, "y"), (sample_weight, "sample_weight"), (groups, "groups")):
        refuse_masked(values, name)
    name = None if getattr(y, "name", None) is None else str(y.name)
    X, y = as_table(X), np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ParameterError(
            "y", f"expected one target, of shape (n_samples,), got shape {y.shape}; compare one target at a time."
        )
    check_consistent_length(X, y)
    for values, what in ((groups, "groups"), (sample_weight, "sample_weight")):
        if values is not None and np.shape(values)[:1] != (len(y),):
            raise ParameterError(what, f"shape {np.shape(values)}; expected one value for each of {len(y)} rows.")
    groups = None if groups is None else np.asarray(groups)
    n_given = len(y)
    sample, given = _drawn(sample, n_given)
    if len(given) < n_given:
        X, y = rows_of(X, given), y[given]
        groups, sample_weight = (part if part is None else np.asarray(part)[given] for part in (groups, sample_weight))
    X, columns = read_columns(X, categorical=categorical, numeric=numeric, number=sample.rows)
    present = ~is_missing(y)
    weight = np.ones(len(y)) if sample_weight is None else np.where(present, sample_weight, 0.0)
    if present.any() and not weight.any():
        raise ParameterError(
            "sample_weight", "zero for every row that has a target; give at least one a positive weight."
        )
    weight = checked_weights(weight, len(y))
    kept = present & (weight > 0)
    X, target = rows_of(X, kept), read_target(y[kept], "regression" if log and task == "auto" else task)
    notes = [] if sample.is_whole else [_about(sample)]
    notes += [Note("column", line) for line in describe(columns)] + ([target.note] if target.note else [])
    if log:
        target = in_logarithms(target)
        notes.append(Note("log", "The logarithm of the target is predicted: losses and scores are of the logarithm."))
    if not present.all():
        notes.append(Note("no target", f"{np.sum(~present)} rows have no target and are left out."))
    groups = None if groups is None else group_numbers(groups[kept])
    copies = None if groups is not None else copied(X, target.values)
    seen = [column for column in columns if column.kind != "left out"]
    number = sample.rows[kept]
    examined = Examined(X, seen, target, number + 1, groups is not None, log, not sample.is_whole)
    warnings = warnings_of(examined)
    notes += [Note("classes", line) for line in _counted(target)]
    weighted = sample_weight is not None
    mask = np.zeros(n_given, dtype=bool)
    mask[given[kept]] = True
    drawn = (None, None) if sample.is_whole else (len(sample.rows), sample.n_rows)
    weight = weight[kept]
    return Rows(X, target, weight, weighted, groups, copies, mask, number, *drawn, columns, name, warnings), notes


def _drawn(sample, n_given):
    """Return the Sample of the user's table, and the numbers of its rows among those that were given."""
    if isinstance(sample, Sample):
        if len(sample.rows) != n_given:
            raise ParameterError("sample", f"expected a sample of the {n_given} rows of X, got {len(sample.rows)}.")
        return sample, np.arange(n_given)
    drawn = Sample.draw(n_given, sample)
    return drawn, drawn.rows


def _about(sample):
    """Return a note on a sample."""
    few, all_rows = spaced(len(sample.rows)), spaced(sample.n_rows)
    text = (
        f"{few} of {all_rows} rows are drawn at random. What is said of columns, classes and copies is said of these "
        "rows; sample=N (--sample N) draws more."
    )
    return Note("sample", text)


def _counted(target):
    """Return a line with the number of rows of each class, the most frequent first; none for numbers."""
    counts = sorted(counts_of(target).items(), key=lambda item: -item[1])
    named = ", ".join(f"{label!r} {count}" for label, count in counts[:10])
    return [f"{len(counts)} classes by rows: {named}{', ...' if len(counts) > 10 else ''}."] if counts else []


def plan_splits(rows, cv, repeats, seed):
    """Return the splits of the rows, and notes on groups, copies and rare classes."""
    drawn, cluster, notes = isinstance(cv, Integral), rows.cluster, []
    n, n_clusters = len(rows.X), rows.cluster.max() + 1
    if rows.groups is not None:
        notes.append(Note("groups", f"The {n} rows count as {n_clusters} groups of independent evidence."))
    if rows.copies is not None:
        held = "are in one fold, and " if drawn else ""
        text = f"The {n} rows are {n_clusters} distinct rows and copies of them: copies {held}count as one row"
        notes.append(Note("copies", f"{text} of evidence."))
    if not drawn and repeats != 1:
        raise ParameterError(
            "repeats", f"{repeats} draws of the folds need an integer cv, got splits; repeat the splits in cv."
        )
    together = rows.copies if rows.groups is None and drawn else rows.groups
    splits = draw_splits(cv if drawn else given_splits(cv, rows.kept), repeats, rows.target, together, seed)
    predicted = np.concatenate([split.test for split in splits])
    if len(np.unique(cluster[predicted])) < 2:
        what = "a single group" if rows.groups is not None else "a single row and its copies"
        raise ParameterError("cv", f"the test rows form {what}, so no error can be estimated; use at least two.")
    notes += _rare(rows.target, splits)
    if any(np.intersect1d(cluster[split.train], cluster[split.test]).size for split in splits):
        what = "groups" if rows.groups is not None else "rows with copies"
        text = f"The splits predict {what} that are also used for training, so the scores do not hold for new data."
        notes.append(Note("shared", text))
    return splits, notes


def _rare(target, splits):
    """Return notes on classes that some training rows lack."""
    if target.classes is None:
        return []
    lacking = [set(range(len(target.classes))) - set(target.values[split.train]) for split in splits]
    rare = sorted(set().union(*lacking))
    if not rare:
        return []
    named = ", ".join(repr(str(target.classes[code])) for code in rare[:5]) + (", ..." if len(rare) > 5 else "")
    text = (
        f"Classes with too few rows for some training folds: {named}. No model can predict these classes in those "
        "folds, which costs all models equally; consider merging them."
    )
    return [Note("rare classes", text)]


def chosen_methods(models, also):
    """Return the methods to run by name: the methods of this package in their usual order, then the user's."""
    wanted = list(METHODS) if models is None else [models] if isinstance(models, str) else list(models)
    unknown = [name for name in wanted if name not in METHODS]
    if unknown:
        hint = " A file goes before --models." if any(Path(name).exists() for name in map(str, unknown)) else ""
        raise ParameterError(
            "models", f"expected names among {', '.join(METHODS)}; got {', '.join(map(repr, unknown))}.{hint}"
        )
    for name, item in also.items():
        contender = item if isinstance(item, Contender) else Contender(item)
        estimator = contender.estimator
        if name in METHODS or name in BESIDE:
            raise ParameterError("also", f"the name {name!r} is taken; give the estimator another name.")
        if isinstance(estimator, type) or not hasattr(estimator, "fit") or not hasattr(estimator, "get_params"):
            raise TypeError(f"also: expected an estimator for {name!r}, such as Ridge(), got {estimator!r}.")
        if contender.family not in FAMILIES:
            raise ParameterError("also", f"family of {name!r} must be one of {FAMILIES}, got {contender.family!r}.")
        if not (isinstance(contender.n_seeds, Integral) and contender.n_seeds >= 1):
            raise ParameterError(
                "also", f"n_seeds of {name!r} must be a whole number of at least 1, got {contender.n_seeds!r}."
            )
    wanted += ["dummy", "linear", *(held_back for name, held_back in HELD_BACK.items() if name in wanted)]
    chosen = {name: METHODS[name] for name in METHODS if name in wanted}
    return chosen | {name: given(item) for name, item in also.items()}


def that_can_run(methods, n_columns):
    """Return the methods that can run on so many columns, and notes on the others."""
    if n_columns <= MANY_COLUMNS:
        return methods, []
    notes = [
        Note("too wide", f"{name} is not run on more than {MANY_COLUMNS} columns, here {n_columns}: {reason}.")
        for name, reason in _TOO_WIDE.items()
        if name in methods
    ]
    return {name: method for name, method in methods.items() if name not in _TOO_WIDE}, notes


class Job(NamedTuple):
    """A function, its arguments after the data, the key of its result, and a function that checks a result."""

    function: object
    arguments: tuple
    key: str
    is_result: object


class Plan(NamedTuple):
    """The jobs of a comparison, and what is needed to evaluate their results."""

    data: Data
    methods: dict
    splits: list
    jobs: dict  # (name, number of the split, number of the seed) -> Job
    later: list  # of such dicts: the jobs of later stages
    weight: np.ndarray
    cluster: np.ndarray
    scorer: object
    settings: dict
    labels: list  # of the rows
    seed: int


def seed_of(seed, split, number):
    """Return the seed of one of the fits of a method in a split."""
    return int(np.random.SeedSequence((seed, split, number)).generate_state(1)[0] // 2)


def jobs_of(data, methods, splits, curves, seed):
    """Return the jobs by identifier, fold by fold, so that the remaining time can be estimated early."""
    base = fingerprint(data.X, data.y, data.weight, data.task, data.n_classes, versions())
    identities = {name: identity(name, method) for name, method in methods.items()}
    jobs = {}
    for k, split in enumerate(splits):
        for name, method in methods.items():
            for s in range(method.n_seeds):
                drawn = seed_of(seed, k, s)
                explain = EXPLAIN.get(name) if k == s == 0 else None
                key = fingerprint(base, identities[name], drawn, split.train, split.test, explain is not None)
                is_result = partial(is_fit, len(split.test), data.n_classes, explain and EXPLAINED[name])
                arguments = method, drawn, split.train, split.test, explain
                jobs[name, k, s] = Job(fit_and_predict, arguments, key, is_result)
    if curves:
        rows = splits[0].train, splits[0].test
        key = fingerprint(base, "scale_path", seed, *rows)
        jobs["scale_path", 0, 0] = Job(path_along_scale, (seed, *rows), key, is_path)
    return jobs


def importance_job(plan, name, chosen, unit):
    """Return the job, by its identifier, that shuffles columns for a method in some of the splits.

    Parameters
    ----------
    plan : Plan
    name : str
    chosen : list of int
        Numbers of splits whose fits are whole.
    unit : float
        Mean loss of the baseline.
    """
    folds = folds_of(plan.splits, chosen)
    splits = [plan.splits[k]._replace(test=test) for k, test in folds]
    held_out = HeldOut.of(splits, plan.weight, plan.cluster)
    key = fingerprint(
        "importance", unit, plan.cluster, *(part for k, test in folds for part in (plan.jobs[name, k, 0].key, test))
    )
    drawn = [(seed_of(plan.seed, k, 0), plan.splits[k].train, test) for k, test in folds]
    arguments = plan.methods[name], drawn, held_out, unit
    is_result = partial(is_importance, plan.data.X.shape[1])
    return {("importance", 0, 0): Job(importance_by_permutation, arguments, key, is_result)}
