"""The comparison: the same folds for every method, out-of-fold losses row by row, and what they say."""

import json
import os
import textwrap
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from scipy.stats import t
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring, get_scorer_names
from sklearn.utils.validation import check_consistent_length

from sklearn_ltdl._shown import Shown
from sklearn_ltdl._sklearn import HasMethods, Interval, StrOptions, draw_seed, refuse_masked, validate_params, warn
from sklearn_ltdl._targets import checked_weights, is_missing
from sklearn_ltdl.study._columns import describe, group_numbers, hint, read_columns
from sklearn_ltdl.study._evidence import EXPLAIN, EXPLAINED, differences, is_path, path_along_scale, smaller_splits
from sklearn_ltdl.study._folds import copied, draw_splits, given_splits
from sklearn_ltdl.study._jobs import (
    Data,
    failed,
    fingerprint,
    fit_and_predict,
    identity,
    is_fit,
    may_change,
    rows_of,
    run,
    versions,
)
from sklearn_ltdl.study._journal import Journal
from sklearn_ltdl.study._methods import FAMILIES, METHODS, Contender, given, per_row_loss
from sklearn_ltdl.study._pool import JobError, run_each
from sklearn_ltdl.study._progress import Progress
from sklearn_ltdl.study._tables import read_target
from sklearn_ltdl.study._terminal import say
from sklearn_ltdl.study._verdict import HELD_BACK, LEVEL, SCORE_LEVEL, HeldOut, Verdict, decide, draw_contrasts
from sklearn_ltdl.study._written import write_whole

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What `compare` found; printing it shows the table and the verdict.

    Parameters
    ----------
    verdict : Verdict
        With `code`, `sentence` and `evidence`.
    methods : tuple of dict
        One a method: score with 95 % interval, mean loss, mean seconds of a fold, failure and notes.
    results : tuple of dict
        One a method and fold: score, loss, seconds, failure and notes.
    evidence : dict
        What is shown beside the verdict and did not decide it; a part is None where it was not asked for, or has only
        the key 'failure'.

        differences : dict of lists, with ``curves=True``
            How each contrast moves with the number of training rows: columns contrast, n_train, candidate, reference,
            difference, low and high, as in the evidence of the verdict.
        scale_path : dict, with ``curves=True``
            The network at several scales, on at most 1000 rows of the first fold: lists scale, scores, losses,
            displacements, kernel_changes and converged; linearized_score, linearized_loss, n_train, rich_scale, and the
            name of the score.
        regime : dict
            Of the rich network of the first fold, by `regime_report` on the rows held out: verdict, sentence, scale,
            n_rows, score, diagnostics (a dict), spectrum_before and spectrum_after (lists).
        agop : dict
            Of the RFM of the first fold: n_rounds, eigenvalues (largest first, of sum 1), and the columns after
            preprocessing with their importances, largest first.
    settings : dict
        Task, sizes, folds, margin, seed and versions.
    """

    verdict: Verdict
    methods: tuple
    results: tuple
    evidence: dict
    settings: dict

    def to_frame(self) -> "DataFrame":
        """Return the table of methods as a pandas DataFrame, indexed by method."""
        from pandas import DataFrame

        return DataFrame(self.methods).set_index("method")

    def to_json(self, path=None) -> str:
        """Return everything as JSON text; with a path, write it there at once or not at all."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        if path is not None:
            write_whole(path, text + "\n")
        return text

    def to_html(self, path=None) -> str:
        """Return a report as one HTML page that needs nothing else; with a path, write it there at once or not at all.

        It takes jinja2 and matplotlib, the extra ``report``.
        """
        from sklearn_ltdl.study._report import to_html

        page = to_html(self)
        if path is not None:
            write_whole(path, page)
        return page

    @property
    def failed(self) -> list[str]:
        """Names of the methods that have no score."""
        return [row["method"] for row in self.methods if row["failure"]]

    @property
    def best(self) -> str:
        """Name of the method of least loss; it may be the dummy."""
        return min((row for row in self.methods if not row["failure"]), key=lambda row: row["loss"])["method"]

    def __str__(self) -> str:
        loss = "loss" if self.settings["task"] == "regression" else "log loss"
        width = max(9, *(len(row["method"]) for row in self.methods))
        score = self.settings["scoring"]
        level = f"{100 * SCORE_LEVEL:.0f}% interval"
        lines = [f"{'model':<{width}} {score:>9}  {level:<17} {loss:>10} {'fit s':>8} {'predict s':>10}"]
        for row in self.methods:
            if row["failure"]:
                lines.append(f"{row['method']:<{width}} failed: {row['failure']}")
                continue
            ends = f"{row['score_low']:.3f} to {row['score_high']:.3f}"
            lines.append(
                f"{row['method']:<{width}} {row['score']:>{max(9, len(score))}.3f}  {ends:<17} {row['loss']:>10.4g} "
                f"{row['fit_seconds']:>8.2f} {row['predict_seconds']:>10.2f}"
            )
        lines += [f"  {row['method']}: {note}" for row in self.methods for note in row["notes"]]
        lines += ["", *self._questions(), ""]
        return "\n".join([*lines, textwrap.fill(f"Verdict ({self.verdict.code}): {self.verdict.sentence}", 100)])

    def _headline(self):
        return f"{self.verdict.code}: {self.verdict.sentence}"

    def _tables(self):
        loss = "squared error" if self.settings["task"] == "regression" else "log loss"
        keys = ("method", "score", "score_low", "score_high", "loss", "fit_seconds")
        header = ("model", self.settings["scoring"], "95 % from", "to", loss, "fit s")
        yield header, [tuple(row[key] for key in keys) for row in self.methods]
        header = ("question", "first", "second", "saves %", "from", "to", "answer")
        rows = [
            (
                *(part.get(key) for key in ("question", "candidate", "reference")),
                *(100 * part[key] if key in part else None for key in ("difference", "low", "high")),
                part["answer"],
            )
            for part in self.verdict.evidence.values()
        ]
        yield header, rows

    def _notes(self):
        return [f"{row['method']}: {note}" for row in self.methods for note in row["notes"]] + [
            f"{row['method']} failed: {row['failure']}" for row in self.methods if row["failure"]
        ]

    def _questions(self):
        """Return the contrasts as lines of a table."""
        margin = f"{100 * self.settings['margin']:g}%"
        level = f"{100 * LEVEL:.0f}% interval"
        yield f"Loss that the first model saves, in % of the dummy's, {level} ({margin} counts as nothing):"
        for contrast in self.verdict.evidence.values():
            models = interval = "(models failed)"
            if "low" in contrast:
                models = f"{contrast['candidate']}, {contrast['reference']}"
                interval = f"{100 * contrast['low']:z.1f} to {100 * contrast['high']:z.1f}"
            yield f"{contrast['question']:<50} {models:<18} {interval:>16}  {contrast['answer']}"


class Interrupted(KeyboardInterrupt):
    """An interruption of `compare`, with what was done.

    Attributes
    ----------
    comparison : Comparison or None
        Of the fits that were done; None if not even the dummy was.
    """

    def __init__(self, message, comparison) -> None:
        super().__init__(message)
        self.comparison = comparison


@validate_params(
    {
        "categorical": ["array-like"],
        "numeric": ["array-like"],
        "task": [StrOptions({"auto", "regression", "classification"})],
        "models": ["array-like", None],
        "also": [Mapping, None],
        "cv": [Interval(Integral, 2, None, closed="left"), HasMethods(["split", "get_n_splits"]), "array-like"],
        "groups": ["array-like", None],
        "sample_weight": ["array-like", None],
        "scoring": [str, callable, None],
        "repeats": [Interval(Integral, 1, None, closed="left")],
        "n_jobs": [Integral, None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "total_time": [Interval(Real, 0, None, closed="neither"), None],
        "curves": ["boolean"],
        "journal": [str, os.PathLike, None],
        "backend": [StrOptions({"loky", "dask"})],
        "margin": [Interval(Real, 0, 1, closed="neither")],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    },
    prefer_skip_nested_validation=False,
)
def compare(
    X,
    y,
    *,
    categorical=(),
    numeric=(),
    task="auto",
    models=None,
    also=None,
    cv=5,
    repeats=1,
    groups=None,
    sample_weight=None,
    scoring=None,
    margin=0.01,
    curves=False,
    n_jobs=None,
    time_limit=None,
    total_time=None,
    journal=None,
    backend="loky",
    scheduler=None,
    random_state=0,
    verbose=0,
) -> Comparison:
    """Ask of a table whether it needs a kernel, feature learning or trees, or whether a linear model is enough.

    Every method is fitted on the same folds, stratified for classes, each in `make_table_pipeline`. The verdict rests
    on paired differences of out-of-fold losses, row by row (squared error; log loss of probabilities smoothed as if
    one row of each class were added to the training rows), each with an interval: Student's over the rows, with the
    correction of Nadeau and Bengio for the training rows that folds share. Rows of one group count as one, and so do
    copies of a row, in all columns and the target, where there are too many for chance. Differences are in units of the
    dummy's loss. The best method of a family is picked in each fold by the losses on the other folds.

    Parameters
    ----------
    X : pandas or polars DataFrame, or array-like of shape (n_samples, n_features)
        Numbers, booleans, dates and text; missing values are welcome. Columns of a DataFrame are left out that are
        constant, free text, or identifiers: text of its own in nearly every row, or distinct whole numbers under a
        name such as ``id``.
    y : array-like of shape (n_samples,)
        Rows without a target are left out.
    categorical, numeric : list of str or int, default=()
        Columns, by name or by number in an array, to be read as categories, or as numbers (what is no number is then
        missing), and not left out. A categorical dtype says the same of a column.
    task : {'auto', 'regression', 'classification'}, default='auto'
        'auto' takes text, booleans and at most 10 distinct whole numbers as classes, other numbers as they are.
    models : list of str or None, default=None
        Names among 'dummy', 'linear', 'rbf', 'laplace', 'ntk', 'rfm', 'lazy', 'rich', 'forest' and 'boosting'; None
        takes all. 'dummy' and 'linear' always run, and 'lazy' beside 'rich' and 'ntk' beside 'rfm': the verdict is
        relative to them.
    also : dict of str to estimator or Contender, default=None
        Other estimators to show beside them, by name. They have no part in the verdict, unless a
        `sklearn_ltdl.study.Contender` gives the family to which they belong.
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds, drawn at random; or the splits themselves, such as ``TimeSeriesSplit(5)`` for rows in the order
        of time. What is not predicted in any of them does not count.
    repeats : int, default=1
        Times that the folds of an integer `cv` are drawn. More make the verdict depend less on the draw, and narrow the
        intervals a little: the rows stay the same.
    groups : array-like of shape (n_samples,), default=None
        Rows of one group are in one fold, and are not independent evidence.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in fits, losses and scores; a row of weight 0 is left out.
    scoring : str, callable or None, default=None
        Score to show, as in scikit-learn, whatever decides; None is R2 or accuracy.
    margin : float, default=0.01
        Differences below this share of the dummy's loss are equivalent in practice.
    curves : bool, default=False
        Whether to show as well how the contrasts move with the number of training rows, and the network with its scale.
        It takes about as long again as one draw of the folds.
    n_jobs : int or None, default=None
        Fits that run at a time, as in joblib: None is 1, -1 is one a core.
    time_limit : float or None, default=None
        Seconds of one fit with its predictions, after which its process is killed and the method counts as failed.
    total_time : float or None, default=None
        Seconds after which no other fit is started and those that run are killed. If the folds were drawn anew several
        times, the draws that are done decide; else the methods that miss a fold count as failed.
    journal : str or path-like, default=None
        File to which each result is added as it comes. A run that was stopped, even killed, goes on with the same file
        where it was: results are reused for the same data, settings and versions, and the same source of classes of
        your own in `also`, and the outcome is that of an undisturbed run. Fits that failed are tried again.
    backend : {'loky', 'dask'}, default='loky'
        Processes of this machine, or the workers of a Dask cluster.
    scheduler : str or distributed.Client, default=None
        Address of the scheduler of the Dask cluster, such as ``'tcp://127.0.0.1:8786'``.
    random_state : int, RandomState instance or None, default=0
    verbose : int, default=0
        With 1, progress and the time left on stderr.

    Returns
    -------
    comparison : Comparison
        With `verdict`, `methods`, `results`, `evidence`, `settings`, `to_frame()` and `to_json()`.

    References
    ----------
    Nadeau and Bengio (2003), "Inference for the generalization error", Machine Learning 52, eq. (16).

    Chizat, Oyallon and Bach (2019), "On lazy training in differentiable programming", arXiv:1812.07956: the lazy and
    the rich network differ by the scale of their output only.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import compare
    >>> X, y = load_diabetes(return_X_y=True)
    >>> compare(X, y, models=["linear"]).verdict.code
    'linear'
    """
    methods = _chosen(models, also or {})
    if (backend == "dask") != (scheduler is not None):
        raise ValueError(
            f"backend={backend!r} and scheduler={scheduler!r}: a Dask cluster takes backend='dask' (--backend dask) "
            "and the address of its scheduler, such as scheduler='tcp://127.0.0.1:8786'; give both or none."
        )
    for values, name in ((X, "X"), (y, "y"), (sample_weight, "sample_weight"), (groups, "groups")):
        refuse_masked(values, name)
    X, columns = read_columns(X, categorical=categorical, numeric=numeric)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"y: expected one target, of shape (n_samples,), got shape {y.shape}; compare one at a time.")
    groups = None if groups is None else np.asarray(groups)
    check_consistent_length(X, y, groups, sample_weight)
    present = ~is_missing(y)
    weight = np.ones(len(y)) if sample_weight is None else np.where(present, sample_weight, 0.0)
    if present.any() and not weight.any():
        raise ValueError("sample_weight is zero for every row that has a target; give at least one a positive weight.")
    weight = checked_weights(weight, len(y))
    kept = present & (weight > 0)
    X, weight, target = rows_of(X, kept), weight[kept], read_target(y[kept], task)
    groups = None if groups is None else group_numbers(groups[kept])
    drawn = isinstance(cv, Integral)
    copies = None if groups is not None else copied(X, target.values)
    cluster = groups if groups is not None else copies if copies is not None else np.arange(len(X))
    notes = describe(columns) + ([target.note] if target.note else [])
    if not present.all():
        notes.append(f"{np.sum(~present)} rows have no target and are left out.")
    if groups is not None:
        notes.append(f"The {len(X)} rows count as {cluster.max() + 1} groups of independent evidence.")
    if copies is not None:
        notes.append(
            f"The {len(X)} rows are {cluster.max() + 1} distinct ones and copies of them: copies "
            f"{'are in one fold, and ' if drawn else ''}count as one row of evidence."
        )

    seed = draw_seed(random_state)
    if not drawn and repeats != 1:
        raise ValueError(f"repeats={repeats} draws the folds of an integer cv anew; got splits. Repeat them in cv.")
    if not drawn:
        cv = given_splits(cv, kept)
    splits = draw_splits(cv, repeats, target, copies if groups is None and drawn else groups, seed)
    predicted = np.concatenate([split.test for split in splits])
    if len(np.unique(cluster[predicted])) < 2:
        what = "one group" if groups is not None else "one row and its copies"
        raise ValueError(f"cv: the splits predict rows of {what}, which has no error to tell; predict two at least.")
    notes += _rare(target, splits)
    if any(np.intersect1d(cluster[split.train], cluster[split.test]).size for split in splits):
        what = "groups" if groups is not None else "rows with copies"
        notes.append(f"The splits predict {what} that they train on: this tells nothing of new ones.")
    n_classes = None if target.classes is None else len(target.classes)
    data = Data(X, target.values, None if sample_weight is None else weight, target.task, n_classes)
    scorer = _scorer(scoring, data, target.classes, splits)
    if verbose:
        say(*notes)
    if curves:
        splits += smaller_splits(splits, target, seed)
    jobs = _jobs(data, methods, splits, curves, seed)
    settings = {
        "task": target.task,
        "classes": None if target.classes is None else [str(label) for label in target.classes],
        "n_rows": len(X),
        "n_columns": X.shape[1],
        "n_clusters": int(cluster.max()) + 1,
        "columns": [column._asdict() for column in columns],
        "models": list(methods),
        "cv": int(cv) if drawn else " ".join(str(cv).split()) if hasattr(cv, "split") else f"{len(cv)} splits",
        "repeats": int(repeats),
        "groups": groups is not None,
        "weights": sample_weight is not None,
        "scoring": scoring if isinstance(scoring, str) else "score" if scoring else _score_name(target.task),
        "margin": float(margin),
        "time_limit": time_limit and float(time_limit),
        "total_time": total_time and float(total_time),
        "seed": seed,
        "notes": notes,
        "versions": versions(),
    }
    plan = _Plan(data, methods, splits, jobs, weight, cluster, scorer, settings)
    results, limits = {}, {"time_limit": time_limit, "total_time": total_time}
    try:
        _work(plan, results, Journal(journal), n_jobs, limits, scheduler, verbose)
    except KeyboardInterrupt as stop:
        done = f"{len(results)} of {len(jobs)} fits are done"
        kept = f"{done} and kept in {journal}; run again with it to go on" if journal else done
        for identifier in jobs:
            results.setdefault(identifier, failed("interrupted", "time"))
        try:
            partial = _collate(plan, results)
        except RuntimeError:  # not even the dummy is done
            partial = None
        raise Interrupted(f"{kept}.", partial) from stop
    return _collate(plan, results)


class _Job(NamedTuple):
    """A function, its arguments beside the data, the key of its result, and what says whether a value is one."""

    function: object
    arguments: tuple
    key: str
    is_result: object


class _Plan(NamedTuple):
    """What is to be done, and what is needed to make something of it."""

    data: Data
    methods: dict
    splits: list
    jobs: dict  # (name, number of the split, number of the seed) -> _Job
    weight: np.ndarray
    cluster: np.ndarray
    scorer: object
    settings: dict


def seed_of(seed, split, number):
    """Return the seed of one of the fits of a method in a split."""
    return int(np.random.SeedSequence((seed, split, number)).generate_state(1)[0] // 2)


def _jobs(data, methods, splits, curves, seed):
    """Return the jobs by identifier, fold by fold, so that the time left can be told early."""
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
                jobs[name, k, s] = _Job(fit_and_predict, arguments, key, is_result)
    if curves:
        rows = splits[0].train, splits[0].test
        key = fingerprint(base, "scale_path", seed, *rows)
        jobs["scale_path", 0, 0] = _Job(path_along_scale, (seed, *rows), key, is_path)
    return jobs


def _work(plan, results, journal, n_jobs, limits, scheduler, verbose):
    """Do the jobs whose results the journal does not hold, and put all results into `results`."""
    missing, time_limit = [], limits["time_limit"]
    for identifier, job in plan.jobs.items():
        known = journal.known(job.key, job.is_result)
        if known is None or known.get("time_limit", time_limit) != time_limit:
            missing.append(identifier)  # what was stopped at another limit may now come to its end
        else:
            results[identifier] = known
    if journal.dropped:
        warn(journal.message())
    if verbose and results:
        say(f"{len(results)} of {len(plan.jobs)} fits are in {journal.path}.")
    progress = Progress([name for name, *_ in missing], verbose)
    arguments = [(plan.jobs[identifier].function, *plan.jobs[identifier].arguments) for identifier in missing]
    try:
        for index, result in run_each(
            run, arguments, shared=(plan.data,), n_jobs=n_jobs, scheduler=scheduler, **limits
        ):
            name, k, _ = identifier = missing[index]
            if isinstance(result, JobError):
                result = failed(str(result), result.missing) | {"time_limit": time_limit}
            if not result.get("missing") and not may_change(result):
                journal.add(plan.jobs[identifier].key, result)
            results[identifier] = result
            seconds = result.get("fit_seconds", 0.0) + result.get("predict_seconds", 0.0)
            progress.tell(name, f"fold {plan.splits[k].fold + 1}", seconds, result["failure"])
    finally:
        progress.close()


def _collate(plan, results):
    """Return the Comparison of the results of all jobs."""
    settings, notes = plan.settings, []
    main = [k for k, split in enumerate(plan.splits) if split.share == 1]
    whole = sorted({plan.splits[k].repeat for k in main} - _unfinished(plan, results))
    if whole and len(whole) < settings["repeats"]:
        main = [k for k in main if plan.splits[k].repeat in whole]
        settings = {**settings, "repeats": len(whole)}
        notes = [f"The time was over after {len(whole)} of {plan.settings['repeats']} draws of the folds."]
    settings = {**settings, "notes": settings["notes"] + notes}
    held_out = HeldOut.of([plan.splits[k] for k in main], plan.weight, plan.cluster)
    scored = {name: _score(plan, results, name, main, held_out) for name in plan.methods}
    losses = {name: loss for name, (_, _, loss) in scored.items() if loss is not None}
    if "dummy" not in losses:
        raise RuntimeError(f"No model can be fitted, not even the dummy: {scored['dummy'][0]['failure']}.")
    families = {name: method.family for name, method in plan.methods.items()}
    contrasts = draw_contrasts(losses, families, held_out, settings["margin"])
    evidence = {"differences": None, "scale_path": None, "regime": None, "agop": None}
    for part, identifier in {"regime": ("rich", 0, 0), "agop": ("rfm", 0, 0)}.items():
        evidence[part] = results[identifier].get("explained") if identifier in results else None
    if ("scale_path", 0, 0) in results:
        evidence["scale_path"] = results["scale_path", 0, 0]
        smaller = [k for k, split in enumerate(plan.splits) if split.share < 1]
        n_train = int(np.mean([len(plan.splits[k].train) for k in main]))
        evidence["differences"] = differences(
            {k: plan.splits[k] for k in smaller},
            lambda name, chosen: _losses(plan, results, name, chosen),
            families,
            plan.weight,
            plan.cluster,
            settings["margin"],
            (n_train, contrasts),
        )
    verdict = decide(contrasts)
    compared = [name for name in families if families[name] not in ("dummy", "other")]
    if not set(METHODS) - {"dummy"} <= set(compared):  # nothing was learned of the models left out
        verdict = replace(verdict, sentence=f"{verdict.sentence} (Of {', '.join(compared)} alone.)")
    return Comparison(
        verdict,
        tuple(summary for summary, _, _ in scored.values()),
        tuple(result for _, rows, _ in scored.values() for result in rows),
        evidence,
        settings,
    )


def _unfinished(plan, results):
    """Return the draws of the folds in which some fit was not done for want of time."""
    cut = {k for (_, k, _), result in results.items() if result.get("missing") == "time"}
    return {plan.splits[k].repeat for k in cut if plan.splits[k].share == 1}


def _chosen(models, also):
    """Return the methods to run by name, in their usual order, then the others."""
    wanted = list(METHODS) if models is None else [models] if isinstance(models, str) else list(models)
    unknown = [name for name in wanted if name not in METHODS]
    if unknown:
        hint = " A file goes before --models." if any(Path(name).exists() for name in map(str, unknown)) else ""
        raise ValueError(
            f"models: expected names among {', '.join(METHODS)}; got {', '.join(map(repr, unknown))}.{hint}"
        )
    for name, item in also.items():
        contender = item if isinstance(item, Contender) else Contender(item)
        estimator = contender.estimator
        if name in METHODS or name == "scale_path":
            raise ValueError(f"also: the name {name!r} is taken; give the estimator another.")
        if isinstance(estimator, type) or not hasattr(estimator, "fit") or not hasattr(estimator, "get_params"):
            raise TypeError(f"also: expected an estimator for {name!r}, such as Ridge(), got {estimator!r}.")
        if contender.family not in FAMILIES:
            raise ValueError(f"also: family of {name!r} must be one of {FAMILIES}, got {contender.family!r}.")
        if not (isinstance(contender.n_seeds, Integral) and contender.n_seeds >= 1):
            raise ValueError(f"also: n_seeds of {name!r} must be a whole number from 1, got {contender.n_seeds!r}.")
    wanted += ["dummy", "linear", *(held_back for name, held_back in HELD_BACK.items() if name in wanted)]
    chosen = {name: METHODS[name] for name in METHODS if name in wanted}
    return chosen | {name: given(item) for name, item in also.items()}


def _rare(target, splits):
    """Return notes on classes that some training rows lack."""
    if target.classes is None:
        return []
    lacking = [set(range(len(target.classes))) - set(target.values[split.train]) for split in splits]
    rare = sorted(set().union(*lacking))
    if not rare:
        return []
    named = ", ".join(repr(str(target.classes[code])) for code in rare[:5]) + (", ..." if len(rare) > 5 else "")
    return [
        f"Classes with too few rows for some training parts: {named}. No model can name them there, and each pays the "
        "same for it; merge such classes if that matters."
    ]


def _score_name(task):
    return "R2" if task == "regression" else "accuracy"


class _Given(BaseEstimator):
    """What predicts what it was given: the mean over seeds, for a scorer."""

    def __init__(self, prediction, classes=None) -> None:
        self.prediction = prediction
        self.classes = classes

    def fit(self, X, y) -> Self:
        return self

    def __sklearn_is_fitted__(self):
        return True


class _GivenNumbers(RegressorMixin, _Given):
    def predict(self, X):
        return self.prediction


class _GivenClasses(ClassifierMixin, _Given):
    @property
    def classes_(self):
        return self.classes

    def predict(self, X):
        return self.classes[self.prediction.argmax(axis=1)]

    def predict_proba(self, X) -> np.ndarray:
        return self.prediction


def _scorer(scoring, data, classes, splits):
    """Return a function of predictions and rows, or None for the usual scores; it is tried before the work is done."""
    if scoring is None:
        return None
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        raise ValueError(f"scoring={scoring!r} is no score of scikit-learn; {hint(scoring, get_scorer_names())}")
    kind = _GivenNumbers if data.task == "regression" else _GivenClasses
    y = data.y if classes is None else classes[data.y]
    scorer = check_scoring(kind(None, classes), scoring=scoring)

    def score(prediction, rows):
        weights = {} if data.weight is None else {"sample_weight": data.weight[rows]}
        return float(scorer(kind(prediction, classes), np.zeros((len(rows), 1)), y[rows], **weights))

    rng = np.random.default_rng(0)
    for split in splits:
        n = len(split.test)
        guess = rng.standard_normal(n) if classes is None else rng.dirichlet(np.ones(len(classes)), n)
        try:
            value = score(guess, split.test)
        except Exception as error:
            reason = f"it is no score for {data.task}" if isinstance(error, AttributeError) else error
            raise ValueError(f"scoring={scoring!r} fails on a fold of these data: {reason}") from error
        if not np.isfinite(value):
            raise ValueError(f"scoring={scoring!r} is {value} on a fold of these data; expected a finite score.")
    return score


def _prediction(plan, results, name, k):
    """Return the predictions of a method in a split, the mean over its seeds, or None if one failed."""
    fits = [results[name, k, s] for s in range(plan.methods[name].n_seeds)]
    return None if any(fit["failure"] for fit in fits) else np.mean([fit["prediction"] for fit in fits], axis=0)


def _losses(plan, results, name, chosen):
    """Return the losses of a method in some splits, one after the other, or None if it failed in one."""
    losses = []
    for k in chosen:
        prediction, split = _prediction(plan, results, name, k), plan.splits[k]
        if prediction is None:
            return None
        losses.append(per_row_loss(plan.data.task, prediction, plan.data.y[split.test], len(split.train)))
    return np.concatenate(losses)


def _score(plan, results, name, chosen, held_out):
    """Return one method's summary, its results fold by fold, and its losses of shape (n_predictions,), or None."""
    method, data = plan.methods[name], plan.data
    losses = _losses(plan, results, name, chosen)
    predicted = np.unique(held_out.row)
    y, weight = data.y[predicted], plan.weight[predicted]
    spread = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
    gains, rows = [], []
    for k in chosen:
        split, fits = plan.splits[k], [results[name, k, s] for s in range(method.n_seeds)]
        row = {
            "method": name, "family": method.family, "repeat": split.repeat, "fold": split.fold,
            "n_train": len(split.train), "n_test": len(split.test), "score": None, "loss": None,
            "fit_seconds": sum(fit["fit_seconds"] for fit in fits),
            "predict_seconds": sum(fit["predict_seconds"] for fit in fits),
            "failure": next((fit["failure"] for fit in fits if fit["failure"]), None),
            "notes": [note for fit in fits for note in fit["notes"]],
        }  # fmt: skip
        prediction = _prediction(plan, results, name, k)
        if prediction is not None:
            y, weight = data.y[split.test], plan.weight[split.test]
            loss = per_row_loss(data.task, prediction, y, len(split.train))
            gain = 1 - loss / spread if data.task == "regression" else (prediction.argmax(axis=1) == y).astype(float)
            gains.append(gain)
            usual = np.average(gain, weights=weight)
            row["score"] = float(usual if plan.scorer is None else plan.scorer(prediction, split.test))
            row["loss"] = float(np.average(loss, weights=weight))
        rows.append(row)

    failures = [row["failure"] for row in rows if row["failure"]]
    summary = {
        "method": name, "family": method.family, "score": None, "score_low": None, "score_high": None, "loss": None,
        "fit_seconds": float(np.mean([row["fit_seconds"] for row in rows])),
        "predict_seconds": float(np.mean([row["predict_seconds"] for row in rows])),
        "failure": f"in {len(failures)} of {len(chosen)} folds, {failures[0]}" if failures else None,
        "notes": _gathered([note for row in rows for note in row["notes"]], len(chosen) * method.n_seeds),
    }  # fmt: skip
    if failures:
        return summary, rows, None
    if plan.scorer is None:
        score, half = held_out.interval(np.concatenate(gains), SCORE_LEVEL)
    else:  # no mean over rows: the interval of Nadeau and Bengio over the splits
        by_split = np.array([row["score"] for row in rows])
        score, size = float(by_split.mean()), len(by_split)
        ratio = np.mean([row["n_test"] / row["n_train"] for row in rows])
        half = t.ppf((1 + SCORE_LEVEL) / 2, size - 1) * np.sqrt((1 / size + ratio) * by_split.var(ddof=1))
    lowest, highest = {"R2": (-np.inf, 1.0), "accuracy": (0.0, 1.0)}.get(plan.settings["scoring"], (-np.inf, np.inf))
    summary |= {
        "score": score,
        "score_low": float(max(lowest, score - half)),
        "score_high": float(min(highest, score + half)),
        "loss": float(held_out.mean(losses)),
    }
    return summary, rows, losses


def _gathered(notes, n_fits):
    """Return one note a kind, which is the part before the first colon, with the number of fits."""
    counts = Counter(note.partition(":")[0] for note in notes)
    first = {note.partition(":")[0]: note for note in reversed(notes)}
    return [f"{first[kind]} ({counts[kind]} of {n_fits} fits)" for kind in counts]
