"""The comparison: the same folds for every method, out-of-fold losses row by row, and the verdict."""

import os
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._sklearn import HasMethods, Interval, StrOptions, draw_seed, validate_params, warn
from sklearn_ltdl._types import Seed
from sklearn_ltdl.rows._rows import Rows
from sklearn_ltdl.running._clock import TotalTime
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.running._pool import JobError, run_each
from sklearn_ltdl.running._progress import Progress
from sklearn_ltdl.running._terminal import say
from sklearn_ltdl.study._comparison import Comparison, Interrupted
from sklearn_ltdl.study._evidence import of_networks, of_rows, smaller_splits
from sklearn_ltdl.study._importance import MOST_COLUMNS
from sklearn_ltdl.study._jobs import as_array, as_plain, failed, may_change, run, versions
from sklearn_ltdl.study._judging import judge, unfinished
from sklearn_ltdl.study._options import OPTIONS, Choice, Number
from sklearn_ltdl.study._plan import (
    Plan,
    chosen_methods,
    drawn_of,
    importance_job,
    jobs_of,
    plan_splits,
    read_rows,
    that_can_run,
)
from sklearn_ltdl.study._scores import as_scorer, score_name
from sklearn_ltdl.study._stages import in_stages, is_settled, plan_stages, rows_to_draw, sizes_of
from sklearn_ltdl.study._verdict import HeldOut
from sklearn_ltdl.tables._sample import Sample
from sklearn_ltdl.tables._warnings import counts_of


def _constraints():
    """Return the constraints on the parameters of `compare`: of its options, and of parameters that only Python has."""
    kinds = {int: Integral, float: Real}
    constraints = {
        "categorical": ["array-like"],
        "numeric": ["array-like"],
        "groups": ["array-like", None],
        "sample_weight": ["array-like", None],
        "verbose": ["verbose"],
    }
    for option in OPTIONS:
        takes = option.takes
        if takes is None:
            allowed = ["boolean"]
        elif isinstance(takes, Number):
            allowed = [Interval(kinds[takes.kind], takes.low, takes.high, closed=takes.closed)]
            allowed += [StrOptions({*takes.words})] if takes.words else []
        else:
            allowed = [StrOptions({*takes.words})] if isinstance(takes, Choice) else [str]
        constraints[option.name] = allowed + [None] * (option.default is None)
    in_python = {
        "models": ["array-like", None],
        "also": [Mapping, None],
        "cv": [*constraints["cv"], HasMethods(["split", "get_n_splits"]), "array-like"],
        "scoring": [str, callable, None],
        "journal": [str, os.PathLike, None],
        "sample": [*constraints["sample"], Sample],
        "stages": ["array-like", str, None],
        "total_time": [*constraints["total_time"], TotalTime],
        "scheduler": "no_validation",
        "random_state": ["random_state"],
    }
    return constraints | in_python


@validate_params(_constraints(), prefer_skip_nested_validation=False)
def compare(
    X: ArrayLike | Rows,
    y: ArrayLike | None = None,
    *,
    categorical: Sequence[str | int] = (),
    numeric: Sequence[str | int] = (),
    task: str = "auto",
    log: bool = False,
    models: Sequence[str] | None = None,
    also: Mapping[str, Any] | None = None,
    sample: int | str | Sample = 20_000,
    stages: Sequence[int] | str | None = None,
    cv: Any = 5,
    repeats: int = 1,
    groups: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    scoring: str | Callable[..., float] | None = None,
    margin: float = 0.01,
    curves: bool = False,
    n_jobs: int | None = None,
    time_limit: float | None = None,
    total_time: float | None = None,
    journal: str | os.PathLike[str] | None = None,
    backend: str = "loky",
    scheduler: Any = None,
    random_state: Seed = 0,
    verbose: int = 0,
) -> Comparison:
    """Find out whether a table needs a kernel, feature learning or trees, or whether a linear model is enough.

    Every method is fitted on the same folds, each in `make_table_pipeline`. Folds are stratified for classification.
    The verdict rests on paired differences of out-of-fold losses, row by row. The loss is the squared error, or the log
    loss of probabilities that are smoothed as if one row of each class were added to the training rows. Each difference
    has an interval: Student's interval over the rows, with the correction of Nadeau and Bengio for the training rows
    that folds share. Rows of one group count as one row. Copies of a row, equal in all columns and the target, also
    count as one row if there are more of them than chance explains. Differences are in units of the baseline's loss. In
    each fold, the best method of a family is picked by its losses on the other folds.

    Parameters
    ----------
    X : pandas or polars DataFrame, array-like of shape (n_samples, n_features), or Rows
        Numbers, booleans, dates and text; missing values are allowed. Columns of a DataFrame are left out if they are
        constant, free text, row numbers or identifiers. Identifiers are unique texts in nearly every row, or distinct
        whole numbers under a name such as ``id``. A few texts among numbers become missing values. Rows, which `scan`
        makes, have the target, weights and groups inside; `sample` rows of them are drawn in one pass.
    y : array-like of shape (n_samples,)
        Rows without a target are left out. None with Rows.
    categorical, numeric : list of str or int, default=()
        Columns to treat as categorical or as numeric, by name, or by number in an array. They are not left out. In
        numeric columns, non-numeric values become missing. A column with a categorical dtype is always categorical.
    task : {'auto', 'regression', 'classification'}, default='auto'
        'auto' treats text, booleans and at most 10 distinct whole numbers as classes, and other numbers as numbers.
    log : bool, default=False
        Whether to predict the logarithm of the target, which must be positive. This suits prices, sales and other
        numbers of which a few are much larger than the rest. Losses, scores and the verdict are those of the logarithm.
        The model of `sklearn_ltdl.study.winner` predicts in the unit of the target.
    models : list of str or None, default=None
        Names among 'dummy', 'linear', 'rbf', 'laplace', 'ntk', 'rfm', 'lazy', 'rich', 'forest' and 'boosting'; None
        runs all. 'dummy' and 'linear' always run. 'lazy' runs with 'rich', and 'ntk' with 'rfm', because the verdict
        compares them. On more than 2000 columns 'rfm', 'lazy', 'rich' and 'forest' are left out, and a note says so.
    also : dict of str to estimator or Contender, default=None
        Further estimators to show, by name. They do not affect the verdict, unless a `sklearn_ltdl.study.Contender`
        gives the family to which they belong.
    sample : int, 'all' or Sample, default=20000
        Number of rows to draw from a longer table: those with the least hashes of their numbers, the same for every
        `random_state`, in their order. The verdict says how many there are. With `groups` and `sample_weight`, rows are
        drawn alike. Of splits in `cv`, the rows that are drawn are left. 'all' draws none. The `sample` that
        `read_table` returns says that the rows of `X` are drawn from a longer file.
    stages : sequence of int or str, default=None
        Growing numbers of training rows of a long table, such as ``(2000, 8000, 32_000)``, instead of folds. Each stage
        has four training sets, none of which shares a row (or group) with another; one test part of up to 20 000 rows
        judges all of them. The comparison ends when two stages running have the same verdict. As many rows are drawn as
        the stages use, whatever `sample`. Intervals are wider than 80 %, for there are several verdicts (Bonferroni).
    cv : int, splitter or iterable of (train, test), default=5
        Number of folds, drawn at random; or the splits themselves, such as ``TimeSeriesSplit(5)`` for rows in the order
        of time. Rows that are not predicted in any split are not evaluated.
    repeats : int, default=1
        Number of times that the folds of an integer `cv` are drawn. With more draws, the verdict depends less on the
        draw, and the intervals are slightly narrower, although the rows stay the same.
    groups : array-like of shape (n_samples,), default=None
        All rows of a group are in the same fold, and they are not independent evidence.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in fits, losses and scores; a row with weight 0 is left out.
    scoring : str, callable or None, default=None
        Score to show, as in scikit-learn; it does not affect the verdict. None is R2 or accuracy. For two classes, the
        area under the ROC curve (AUC) is shown as well, because accuracy says little about a rare class.
    margin : float, default=0.01
        Differences below this share of the baseline's loss count as ties.
    curves : bool, default=False
        Whether to also compute learning curves of the contrasts, and the network's score across scales. Roughly doubles
        the run time.
    n_jobs : int or None, default=None
        Number of fits at a time, as in joblib: None is 1, -1 is one per core.
    time_limit : float or None, default=None
        Time limit in seconds for one fit with its predictions. After it, the process is killed and the method counts as
        failed.
    total_time : float or None, default=None
        Time limit in seconds for everything, from the reading of the rows to the verdict. When it is over, running fits
        are killed and no further fit starts. If the folds are drawn several times, the verdict then rests on the draws
        that are done. Otherwise it rests on the folds that are done, at least two; methods that have not finished two
        folds count as failed, and a note says so.
    journal : str or path-like, default=None
        File to which each result is added as soon as it is available. A run that was stopped, or even killed, resumes
        from the same file. Results are reused for the same data, settings and versions, and the same source of your own
        classes in `also`. The outcome equals that of an uninterrupted run. Failed fits are run again.
    backend : {'loky', 'dask'}, default='loky'
        Processes of this machine, or the workers of a Dask cluster.
    scheduler : str or distributed.Client, default=None
        Address of the scheduler of the Dask cluster, such as ``'tcp://127.0.0.1:8786'``.
    random_state : int, RandomState instance or None, default=0
    verbose : int, default=0
        With 1, print progress and the time left on stderr.

    Returns
    -------
    comparison : Comparison
        With `verdict`, `methods`, `results`, `evidence`, `settings`, `summary`, `to_frame()` and `to_json()`.

    References
    ----------
    Nadeau and Bengio (2003), "Inference for the generalization error", Machine Learning 52, eq. (16).

    Chizat, Oyallon and Bach (2019), "On lazy training in differentiable programming", arXiv:1812.07956: the lazy and
    the rich network differ only in the scale of their output.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import compare
    >>> X, y = load_diabetes(return_X_y=True)
    >>> compare(X, y, models=["linear"]).verdict.code
    'linear'
    """
    lists = {"categorical": categorical, "numeric": numeric}
    _check_arguments({**lists, "models": models, "cv": cv}, backend, scheduler)
    clock = TotalTime.of(total_time)
    methods = chosen_methods(models, also or {})
    is_alone = isinstance(cv, Integral) and repeats == 1 and not curves
    sizes = None if stages is None else sizes_of(stages, is_alone=is_alone)
    if sizes and not isinstance(sample, Sample):
        sample = rows_to_draw(sizes)
    X, y, groups, sample_weight, sample = drawn_of(X, y, groups, sample_weight, sample)
    parts = {"groups": groups, "sample_weight": sample_weight, "sample": sample}
    rows, notes = read_rows(X, y, **lists, task=task, log=log, **parts)
    methods, too_wide = that_can_run(methods, rows.X.shape[1])
    notes += too_wide
    seed = draw_seed(random_state)
    splits, more = plan_splits(rows, cv, repeats, seed) if sizes is None else plan_stages(rows, sizes)
    notes += more
    n_stages = 0 if sizes is None else splits[-1].repeat + 1
    scorer = as_scorer(scoring, rows.data, rows.target.classes, splits)
    if verbose:
        say(*notes)
    if curves:
        splits += smaller_splits(splits, rows.target, seed)
    settings = _described(rows, methods, cv) | {
        "repeats": int(repeats),
        "stages": sizes and sizes[:n_stages],
        "level": HeldOut.of(splits[:1], rows.weight, rows.cluster, n_stages).level,
        "groups": groups is not None,
        "weights": rows.is_weighted,
        "scoring": scoring if isinstance(scoring, str) else "score" if scoring else score_name(rows.target.task),
        "log": bool(log),
        "margin": float(margin),
        "time_limit": time_limit and float(time_limit),
        "total_time": float(clock) if clock.is_limited else None,
        "seed": seed,
        "notes": notes,
        "warnings": rows.warnings,
        "versions": versions(),
    }
    jobs, *later = in_stages(jobs_of(rows.data, methods, splits, curves, seed), splits, n_stages)
    plan = Plan(rows.data, methods, splits, jobs, later, rows.weight, rows.cluster, scorer, settings, rows.labels, seed)
    clock.end_preparation()
    return _carried_out(plan, journal, n_jobs, {"time_limit": time_limit, "total_time": clock}, scheduler, verbose)


def _check_arguments(lists, backend, scheduler):
    """Raise an error if a list is an array without dimensions, or if the backend and the scheduler contradict."""
    for name, value in lists.items():
        if isinstance(value, np.ndarray) and value.ndim == 0:
            raise ParameterError(name, f"expected a list, got {value!r}.")
    if (backend == "dask") != (scheduler is not None):
        raise ParameterError(
            "scheduler",
            f"a Dask cluster needs backend 'dask' and the address of its scheduler, such as "
            f"tcp://127.0.0.1:8786; got backend {backend!r} and scheduler {scheduler!r}.",
        )


def _described(rows, methods, cv):
    """Return the settings that describe the table, the models and the folds."""
    target, n = rows.target, len(rows.X)
    drawn = isinstance(cv, Integral)
    return {
        "task": target.task,
        "target": rows.name,
        "classes": None if target.classes is None else [str(label) for label in target.classes],
        "class_counts": counts_of(target) or None,
        "n_rows": n,
        "n_drawn": rows.n_drawn,
        "n_rows_of_table": rows.n_rows_of_table,
        "n_columns": rows.X.shape[1],
        "n_clusters": int(rows.cluster.max()) + 1,
        "columns": [column._asdict() for column in rows.columns],
        "models": list(methods),
        "cv": int(cv) if drawn else " ".join(str(cv).split()) if hasattr(cv, "split") else f"{len(cv)} splits",
    }


def _carried_out(plan, journal, n_jobs, limits, scheduler, verbose):
    """Return the Comparison of a plan; an interruption carries the Comparison of the fits that are done."""
    results = {}
    try:
        _work(plan, results, Journal(journal), n_jobs, limits, scheduler, verbose)
    except KeyboardInterrupt as stop:
        done = f"{len(results)} of {len(plan.jobs)} fits are done"
        kept = f"{done} and kept in {journal}; run again with it to resume" if journal else done
        for identifier in plan.jobs:
            results.setdefault(identifier, failed("interrupted", "time"))
        try:
            partial = _collate(plan, results)
        except RuntimeError:  # not even the baseline is done
            partial = None
        raise Interrupted(f"{kept}.", partial) from stop
    return _collate(plan, results)


def _work(plan, results, journal, n_jobs, limits, scheduler, verbose):
    """Run the jobs whose results are not in the journal, and put all results into `results`."""
    missing, arguments, told, time_limit = [], [], set(), limits["time_limit"]

    def ask(jobs):
        """Take the results of jobs from the journal, and put the other jobs on the list."""
        for identifier, job in jobs.items():
            known = journal.known(job.key, job.is_result)
            if known is None or known.get("time_limit", time_limit) != time_limit:
                missing.append(identifier)  # a fit that was stopped at another limit may now finish
                arguments.append((job.function, *job.arguments))
            else:
                results[identifier] = _with_array(known, plan.data.n_classes)
                journal.results.pop(job.key)  # as text it takes ten times the memory
        if journal.dropped.keys() - told:
            told.update(journal.dropped)
            warn(journal.message())

    ask(plan.jobs)
    while len(results) == len(plan.jobs) and (more := _follow_up(plan, results)):
        ask(more)
    if verbose and results:
        say(f"{len(results)} of {len(plan.jobs)} fits are in {journal.path}.")
    progress = Progress([name for name, *_ in missing], verbose)
    try:
        for index, result in run_each(
            run, arguments, shared=(plan.data,), n_jobs=n_jobs, scheduler=scheduler, **limits
        ):
            name, k, _ = identifier = missing[index]
            if isinstance(result, JobError):
                result = failed(str(result), result.missing) | {"time_limit": time_limit}
            if journal.path is not None and not result.get("missing") and not may_change(result):
                journal.add(plan.jobs[identifier].key, as_plain(result))
                journal.results.pop(plan.jobs[identifier].key)
            results[identifier] = result
            seconds = result.get("fit_seconds", 0.0) + result.get("predict_seconds", 0.0)
            n_asked = len(missing)
            while len(results) == len(plan.jobs) and (more := _follow_up(plan, results)):
                ask(more)
                for other, *_ in missing[n_asked:]:
                    progress.expect(other)
            if result.get("missing") == "time":
                progress.leave(name, result["failure"])
                continue
            compiling = result.get("compile_seconds", 0.0)
            progress.tell(name, _place(plan, k), seconds, result["failure"], compiling)
    finally:
        progress.close()


def _place(plan, k):
    """Return which split a job is of."""
    split = plan.splits[k]
    if plan.settings["stages"] is None:
        return f"fold {split.fold + 1}"
    return f"{len(split.train)} rows, set {split.fold + 1}"


def _with_array(result, n_classes):
    """Return a result of a journal as `fit_and_predict` returns it."""
    return result | {"prediction": as_array(result["prediction"], n_classes)} if "prediction" in result else result


def _follow_up(plan, results):
    """Return the jobs that can be stated once all others are done, and add them to the plan."""
    if ("importance", 0, 0) in plan.jobs:
        return {}
    try:
        judged = judge(plan, results)
    except RuntimeError:  # not even the baseline could be fitted
        return {}
    if plan.later and not unfinished(plan, results) and not is_settled(judged.verdicts):
        more = plan.later.pop(0)
        plan.jobs.update(more)
        return more
    name = judged.verdict.recommendation.model
    if plan.methods[name].family == "dummy" or plan.data.X.shape[1] > MOST_COLUMNS:
        return {}
    more = importance_job(plan, name, judged.main, float(judged.held_out.mean(judged.losses["dummy"])))
    plan.jobs.update(more)
    return more


def _collate(plan, results):
    """Return the Comparison of the results of all jobs."""
    judged = judge(plan, results)
    scored = judged.scored.values()
    return Comparison(
        judged.verdict,
        tuple(summary for summary, _, _ in scored),
        tuple(result for _, rows, _ in scored for result in rows),
        {**of_networks(plan, results, judged), **of_rows(plan, results, judged), "confirmed": None},
        judged.settings,
    )
