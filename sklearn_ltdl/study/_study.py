"""The comparison: the same folds for every method, out-of-fold losses row by row, and what they say."""

import os
from collections.abc import Mapping
from dataclasses import replace
from numbers import Integral, Real

import numpy as np

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl._sklearn import HasMethods, Interval, StrOptions, draw_seed, validate_params, warn
from sklearn_ltdl.running._journal import Journal
from sklearn_ltdl.running._pool import JobError, run_each
from sklearn_ltdl.running._progress import Progress
from sklearn_ltdl.running._terminal import say
from sklearn_ltdl.study._comparison import Comparison, Interrupted
from sklearn_ltdl.study._evidence import differences, smaller_splits
from sklearn_ltdl.study._jobs import as_array, as_plain, failed, may_change, run, versions
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._options import OPTIONS, Choice, Number
from sklearn_ltdl.study._plan import Plan, chosen_methods, jobs_of, plan_splits, read_rows, that_can_run
from sklearn_ltdl.study._scores import as_scorer, losses_of, score_name, score_of
from sklearn_ltdl.study._verdict import HeldOut, decide, draw_contrasts
from sklearn_ltdl.tables._notes import Note
from sklearn_ltdl.tables._warnings import FEW_EVENTS, counts_of


def _constraints():
    """Return the constraints on the parameters of `compare`: those of its options, and of what files cannot hold."""
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
        else:
            allowed = [StrOptions({*takes.words})] if isinstance(takes, Choice) else [str]
        constraints[option.name] = allowed + [None] * (option.default is None)
    in_python = {
        "models": ["array-like", None],
        "also": [Mapping, None],
        "cv": [*constraints["cv"], HasMethods(["split", "get_n_splits"]), "array-like"],
        "scoring": [str, callable, None],
        "journal": [str, os.PathLike, None],
        "scheduler": "no_validation",
        "random_state": ["random_state"],
    }
    return constraints | in_python


@validate_params(_constraints(), prefer_skip_nested_validation=False)
def compare(
    X,
    y,
    *,
    categorical=(),
    numeric=(),
    task="auto",
    log=False,
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
        constant, free text, row numbers, or identifiers: text of its own in nearly every row, or distinct whole
        numbers under a name such as ``id``. A few texts among numbers are missing values.
    y : array-like of shape (n_samples,)
        Rows without a target are left out.
    categorical, numeric : list of str or int, default=()
        Columns, by name or by number in an array, to be read as categories, or as numbers (what is no number is then
        missing), and not left out. A categorical dtype says the same of a column.
    task : {'auto', 'regression', 'classification'}, default='auto'
        'auto' takes text, booleans and at most 10 distinct whole numbers as classes, other numbers as they are.
    log : bool, default=False
        Whether to predict the logarithm of the target, which must be positive: for prices, sales and other numbers of
        which a few are much larger than the rest. Losses, scores and the verdict are of the logarithm. The model of
        `sklearn_ltdl.study.winner` predicts in the unit of the target.
    models : list of str or None, default=None
        Names among 'dummy', 'linear', 'rbf', 'laplace', 'ntk', 'rfm', 'lazy', 'rich', 'forest' and 'boosting'; None
        takes all. 'dummy' and 'linear' always run, and 'lazy' beside 'rich' and 'ntk' beside 'rfm': the verdict is
        relative to them. On more than 2000 columns 'rfm', 'lazy', 'rich' and 'forest' are left out, and a note says so.
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
        Score to show, as in scikit-learn, whatever decides; None is R2 or accuracy. Of two classes the area under the
        ROC curve (AUC) is shown as well, for accuracy says little of a rare one.
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
    methods = chosen_methods(models, also or {})
    if (backend == "dask") != (scheduler is not None):
        raise ParameterError(
            "scheduler",
            f"a Dask cluster takes backend 'dask' and the address of its scheduler, such as "
            f"tcp://127.0.0.1:8786; got backend {backend!r} and scheduler {scheduler!r}.",
        )
    rows, notes = read_rows(
        X, y, categorical=categorical, numeric=numeric, task=task, log=log, groups=groups, sample_weight=sample_weight
    )
    methods, too_wide = that_can_run(methods, rows.X.shape[1])
    notes += too_wide
    seed = draw_seed(random_state)
    splits, more = plan_splits(rows, cv, repeats, seed)
    notes += more
    scorer = as_scorer(scoring, rows.data, rows.target.classes, splits)
    if verbose:
        say(*notes)
    if curves:
        splits += smaller_splits(splits, rows.target, seed)
    settings = _described(rows, methods, cv) | {
        "repeats": int(repeats),
        "groups": groups is not None,
        "weights": rows.is_weighted,
        "scoring": scoring if isinstance(scoring, str) else "score" if scoring else score_name(rows.target.task),
        "log": bool(log),
        "margin": float(margin),
        "time_limit": time_limit and float(time_limit),
        "total_time": total_time and float(total_time),
        "seed": seed,
        "notes": notes,
        "warnings": rows.warnings,
        "versions": versions(),
    }
    jobs = jobs_of(rows.data, methods, splits, curves, seed)
    plan = Plan(rows.data, methods, splits, jobs, rows.weight, rows.cluster, scorer, settings)
    return _carried_out(plan, journal, n_jobs, {"time_limit": time_limit, "total_time": total_time}, scheduler, verbose)


def _described(rows, methods, cv):
    """Return the settings that speak of the table, the models and the folds."""
    target, n = rows.target, len(rows.X)
    drawn = isinstance(cv, Integral)
    return {
        "task": target.task,
        "classes": None if target.classes is None else [str(label) for label in target.classes],
        "class_counts": counts_of(target) or None,
        "n_rows": n,
        "n_columns": rows.X.shape[1],
        "n_clusters": int(rows.cluster.max()) + 1,
        "columns": [column._asdict() for column in rows.columns],
        "models": list(methods),
        "cv": int(cv) if drawn else " ".join(str(cv).split()) if hasattr(cv, "split") else f"{len(cv)} splits",
    }


def _carried_out(plan, journal, n_jobs, limits, scheduler, verbose):
    """Return the Comparison of a plan; an interruption carries that of what was done."""
    results = {}
    try:
        _work(plan, results, Journal(journal), n_jobs, limits, scheduler, verbose)
    except KeyboardInterrupt as stop:
        done = f"{len(results)} of {len(plan.jobs)} fits are done"
        kept = f"{done} and kept in {journal}; run again with it to go on" if journal else done
        for identifier in plan.jobs:
            results.setdefault(identifier, failed("interrupted", "time"))
        try:
            partial = _collate(plan, results)
        except RuntimeError:  # not even the dummy is done
            partial = None
        raise Interrupted(f"{kept}.", partial) from stop
    return _collate(plan, results)


def _work(plan, results, journal, n_jobs, limits, scheduler, verbose):
    """Do the jobs whose results the journal does not hold, and put all results into `results`."""
    missing, time_limit = [], limits["time_limit"]
    for identifier, job in plan.jobs.items():
        known = journal.known(job.key, job.is_result)
        if known is None or known.get("time_limit", time_limit) != time_limit:
            missing.append(identifier)  # what was stopped at another limit may now come to its end
        else:
            results[identifier] = _with_array(known, plan.data.n_classes)
            journal.results.pop(job.key)  # as text it takes ten times the memory
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
            if journal.path is not None and not result.get("missing") and not may_change(result):
                journal.add(plan.jobs[identifier].key, as_plain(result))
                journal.results.pop(plan.jobs[identifier].key)
            results[identifier] = result
            seconds = result.get("fit_seconds", 0.0) + result.get("predict_seconds", 0.0)
            progress.tell(name, f"fold {plan.splits[k].fold + 1}", seconds, result["failure"])
    finally:
        progress.close()


def _with_array(result, n_classes):
    """Return a result of a journal as `fit_and_predict` returns it."""
    return result | {"prediction": as_array(result["prediction"], n_classes)} if "prediction" in result else result


def _collate(plan, results):
    """Return the Comparison of the results of all jobs."""
    settings, notes = plan.settings, []
    main = [k for k, split in enumerate(plan.splits) if split.share == 1]
    whole = sorted({plan.splits[k].repeat for k in main} - _unfinished(plan, results))
    if whole and len(whole) < settings["repeats"]:
        main = [k for k in main if plan.splits[k].repeat in whole]
        settings = {**settings, "repeats": len(whole)}
        text = f"The time was over after {len(whole)} of {plan.settings['repeats']} draws of the folds."
        notes = [Note("repeats", text)]
    settings = {**settings, "notes": settings["notes"] + notes}
    held_out = HeldOut.of([plan.splits[k] for k in main], plan.weight, plan.cluster)
    scored = {name: score_of(plan, results, name, main, held_out) for name in plan.methods}
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
            lambda name, chosen: losses_of(plan, results, name, chosen),
            families,
            plan.weight,
            plan.cluster,
            settings["margin"],
            (n_train, contrasts),
        )
    verdict = decide(contrasts)
    if any(note.code == "few events" for note in settings["warnings"]) and verdict.code != "unclear":
        text = (
            f"Some class has fewer than {FEW_EVENTS} rows, too few for a verdict; else it would be: {verdict.sentence}"
        )
        verdict = replace(verdict, code="unclear", sentence=text)
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
