"""The comparison: the same folds for every method, out-of-fold losses row by row, and what they say."""

import json
import os
import platform
import sys
import textwrap
import time
import warnings
from collections import Counter
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from numbers import Integral, Real
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.model_selection import RepeatedKFold, RepeatedStratifiedKFold
from sklearn.utils.validation import check_consistent_length

import sklearn_ltdl
from sklearn_ltdl._sklearn import Interval, StrOptions, draw_seed, validate_params
from sklearn_ltdl.study._columns import describe, is_missing, read_columns
from sklearn_ltdl.study._methods import METHODS, per_row_loss, predict
from sklearn_ltdl.study._pool import JobError, run_each
from sklearn_ltdl.study._tables import make_table_pipeline, read_target
from sklearn_ltdl.study._verdict import LEVEL, Verdict, decide, draw_contrasts

SMALL_TABLE = 1000  # rows up to which the folds are drawn three times: one draw of five makes wide intervals
FEWEST_ROWS_OF_A_CLASS = 4  # leaves two in training at cv=2, for the inner cross-validation


@dataclass(frozen=True)
class Comparison:
    """What `compare` found; printing it shows the table and the verdict.

    Parameters
    ----------
    verdict : Verdict
        With `code`, `sentence` and `evidence`.
    methods : tuple of dict
        One a method: score with 95 % interval, mean loss, mean seconds of a fold, failure and notes.
    results : tuple of dict
        One a method and fold: score, loss, seconds, failure and notes.
    settings : dict
        Task, sizes, folds, margin, seed and versions.
    """

    verdict: Verdict
    methods: tuple
    results: tuple
    settings: dict

    def to_frame(self):
        """Return the table of methods as a pandas DataFrame, indexed by method."""
        from pandas import DataFrame

        return DataFrame(self.methods).set_index("method")

    def to_json(self, path=None):
        """Return everything as JSON text; with a path, write it there at once or not at all."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        if path is not None:
            path = Path(path)
            part = path.with_name(f"{path.name}.{os.getpid()}.part")
            part.write_text(text + "\n", encoding="utf-8")
            part.replace(path)
        return text

    @property
    def failed(self):
        """Names of the methods that have no score."""
        return [row["method"] for row in self.methods if row["failure"]]

    def __str__(self):
        score, loss = ("R2", "loss") if self.settings["task"] == "regression" else ("accuracy", "log loss")
        lines = [f"{'model':<9} {score:>9}  {'95 % interval':<17} {loss:>10} {'fit s':>8} {'predict s':>10}"]
        for row in self.methods:
            if row["failure"]:
                lines.append(f"{row['method']:<9} failed: {row['failure']}")
                continue
            ends = f"{row['score_low']:.3f} to {row['score_high']:.3f}"
            lines.append(
                f"{row['method']:<9} {row['score']:>9.3f}  {ends:<17} {row['loss']:>10.4g} "
                f"{row['fit_seconds']:>8.2f} {row['predict_seconds']:>10.2f}"
            )
        lines += [f"  {row['method']}: {note}" for row in self.methods for note in row["notes"]]
        lines += ["", *self._questions(), ""]
        verdict = textwrap.fill(f"Verdict ({self.verdict.code}): {self.verdict.sentence}", 100)
        if self.verdict.code == "unclear" and self.settings["repeats"] == 1:
            verdict += "\nRepeats of the folds (repeats=3, or --repeats 3) narrow the intervals."
        return "\n".join([*lines, verdict])

    def _questions(self):
        """Return the contrasts as lines of a table."""
        margin = f"{100 * self.settings['margin']:g}%"
        yield f"Loss that the first model saves, in % of the dummy's ({margin} counts as nothing):"
        for contrast in self.verdict.evidence.values():
            models = interval = "(models failed)"
            if "low" in contrast:
                models = f"{contrast['candidate']}, {contrast['reference']}"
                interval = f"{100 * contrast['low']:z.1f} to {100 * contrast['high']:z.1f}"
            yield f"{contrast['question']:<50} {models:<18} {interval:>16}  {contrast['answer']}"


class _Fit(NamedTuple):
    """One fitted pipeline's predictions on the rows held out, or the reason why there are none."""

    prediction: np.ndarray | None
    fit_seconds: float
    predict_seconds: float
    notes: tuple
    failure: str | None


@validate_params(
    {
        "categorical": ["array-like"],
        "numeric": ["array-like"],
        "task": [StrOptions({"auto", "regression", "classification"})],
        "models": ["array-like", None],
        "cv": [Interval(Integral, 2, None, closed="left")],
        "repeats": [Interval(Integral, 1, None, closed="left"), None],
        "n_jobs": [Integral, None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
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
    cv=5,
    repeats=None,
    n_jobs=None,
    time_limit=None,
    margin=0.01,
    random_state=0,
    verbose=0,
):
    """Ask of a table whether it needs a kernel, feature learning or trees, or whether a linear model is enough.

    Every method is fitted on the same folds, stratified for classes, each in `make_table_pipeline`. The verdict rests
    on paired differences of out-of-fold losses, row by row (squared error; log loss of probabilities smoothed as if
    one row of each class were added to the training rows), each with an interval: Student's over the rows or the
    corrected one of Nadeau and Bengio over the folds, whichever is wider. Differences are in units of the dummy's
    loss. The best method of a family is picked in each fold by the losses on the other folds.

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
        Names among 'dummy', 'linear', 'rbf', 'laplace', 'ntk', 'lazy', 'rich', 'forest' and 'boosting'; None takes
        all. 'dummy' and 'linear' always run: the verdict is relative to them.
    cv : int, default=5
        Number of folds.
    repeats : int or None, default=None
        Times that the folds are drawn anew: more narrow the intervals. None is 3 up to 1000 rows and 1 beyond.
    n_jobs : int or None, default=None
        Fits that run at a time, as in joblib: None is 1, -1 is one a core.
    time_limit : float or None, default=None
        Seconds of one fit with its predictions, after which its process is killed and the method counts as failed.
    margin : float, default=0.01
        Differences below this share of the dummy's loss are equivalent in practice.
    random_state : int, RandomState instance or None, default=0
    verbose : int, default=0
        With 1, a line on stderr as each fit ends.

    Returns
    -------
    comparison : Comparison
        With `verdict`, `methods`, `results`, `settings`, `to_frame()` and `to_json()`.

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
    names = _chosen(models)
    X, columns = read_columns(X, categorical=categorical, numeric=numeric)
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y.ndim != 1:
        raise ValueError(f"y: expected one target, of shape (n_samples,), got shape {y.shape}; compare one at a time.")
    check_consistent_length(X, y)
    present = ~is_missing(y)
    X, target = _rows(X, present), read_target(y[present], task)
    notes = describe(columns) + ([target.note] if target.note else [])
    if not present.all():
        notes.append(f"{np.sum(~present)} rows have no target and are left out.")
    if verbose:
        _say(*notes)
    _check_sizes(target, cv)

    seed = draw_seed(random_state)
    repeats = repeats or (3 if len(X) <= SMALL_TABLE else 1)
    splitter = RepeatedKFold if target.classes is None else RepeatedStratifiedKFold
    splits = list(splitter(n_splits=cv, n_repeats=repeats, random_state=seed).split(X, target.values))
    jobs = [
        (split, name, s) for split in range(len(splits)) for name in names for s in range(METHODS[name].n_seeds)
    ]  # fold by fold, so that the time left can be told early
    arguments = [
        (name, int(np.random.SeedSequence((seed, split, s)).generate_state(1)[0] // 2), *splits[split])
        for split, name, s in jobs
    ]
    fits = {}
    start = time.monotonic()
    for index, fit in run_each(
        partial(_fit_and_predict, X, target.values, target.task), arguments, n_jobs=n_jobs, time_limit=time_limit
    ):
        fits[jobs[index]] = fit = _Fit(None, 0.0, 0.0, (), str(fit)) if isinstance(fit, JobError) else fit
        if verbose:
            _report(jobs[index], fit, len(fits), len(jobs), cv, time.monotonic() - start)

    fold_of = np.empty((len(X), repeats), dtype=int)
    for split, (_, test) in enumerate(splits):
        fold_of[test, split // cv] = split % cv
    scored = {name: _score(name, fits, splits, target, fold_of) for name in names}
    losses = {name: loss for name, (_, _, loss) in scored.items() if loss is not None}
    if "dummy" not in losses:
        raise RuntimeError(f"No model can be fitted, not even the dummy: {scored['dummy'][0]['failure']}.")
    contrasts = draw_contrasts(losses, {name: METHODS[name].family for name in names}, fold_of, float(margin))
    settings = {
        "task": target.task,
        "classes": None if target.classes is None else [str(label) for label in target.classes],
        "n_rows": len(X),
        "n_columns": X.shape[1],
        "columns": [column._asdict() for column in columns],
        "models": names,
        "cv": int(cv),
        "repeats": int(repeats),
        "margin": float(margin),
        "time_limit": time_limit and float(time_limit),
        "seed": seed,
        "notes": notes,
        "versions": {
            "python": platform.python_version(),
            "sklearn_ltdl": sklearn_ltdl.__version__,
            **{package: version(package) for package in ("scikit-learn", "numpy", "scipy", "jax")},
        },
    }
    return Comparison(
        decide(contrasts),
        tuple(summary for summary, _, _ in scored.values()),
        tuple(result for _, results, _ in scored.values() for result in results),
        settings,
    )


def _chosen(models):
    """Return the names to run, in their usual order."""
    wanted = list(METHODS) if models is None else [models] if isinstance(models, str) else list(models)
    unknown = [name for name in wanted if name not in METHODS]
    if unknown:
        hint = " A file goes before --models." if any(Path(name).exists() for name in map(str, unknown)) else ""
        raise ValueError(
            f"models: expected names among {', '.join(METHODS)}; got {', '.join(map(repr, unknown))}.{hint}"
        )
    return [name for name in METHODS if name in wanted or name in ("dummy", "linear")]


def _check_sizes(target, cv):
    n = len(target.values)
    if n < 2 * cv:
        raise ValueError(f"cv={cv} folds need at least {2 * cv} rows with a target, got {n}; lower cv or add rows.")
    if target.classes is None:
        return
    counts = np.bincount(target.values)
    fewest = max(cv, FEWEST_ROWS_OF_A_CLASS)
    if counts.min() < fewest:
        rare = target.classes[counts.argmin()]
        raise ValueError(
            f"cv={cv} folds need at least {fewest} rows of each class, got {counts.min()} of class {str(rare)!r}. "
            "Merge or leave out rare classes, lower cv, or say task='regression' (--task regression) for counts."
        )


def _rows(X, chosen):
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]


def _fit_and_predict(X, y, task, name, seed, train, test):
    """Fit one method on the training rows and predict the others; an exception of the model is a reason."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        start = time.perf_counter()
        try:
            model = make_table_pipeline(METHODS[name].build(task, seed)).fit(_rows(X, train), y[train])
            middle = time.perf_counter()
            prediction = predict(model, _rows(X, test), task)
            end = time.perf_counter()
            if not np.isfinite(np.square(prediction).sum()):
                raise ArithmeticError("the predictions are not finite numbers")
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return _Fit(None, time.perf_counter() - start, 0.0, (), reason)
    notes = [
        f"{warning.category.__name__}: {' '.join(str(warning.message).split())}"
        for warning in caught
        if issubclass(warning.category, UserWarning | RuntimeWarning)
    ]
    solver = getattr(model[-1], "solver_", "")
    if "nystroem" in solver:
        notes.append(f"{solver}: fitted on a subsample of centres")
    return _Fit(prediction, middle - start, end - middle, tuple(dict.fromkeys(notes)), None)


def _score(name, fits, splits, target, fold_of):
    """Return one method's summary, its results fold by fold, and its losses of shape (n_rows, n_repeats), or None."""
    method, y, cv = METHODS[name], target.values, int(fold_of.max()) + 1
    losses, gains = np.empty(fold_of.shape), np.empty(fold_of.shape)
    results = []
    for split, (train, test) in enumerate(splits):
        seeds = [fits[split, name, s] for s in range(method.n_seeds)]
        result = {
            "method": name, "family": method.family, "repeat": split // cv, "fold": split % cv,
            "n_train": len(train), "n_test": len(test), "score": None, "loss": None,
            "fit_seconds": sum(fit.fit_seconds for fit in seeds),
            "predict_seconds": sum(fit.predict_seconds for fit in seeds),
            "failure": next((fit.failure for fit in seeds if fit.failure), None),
            "notes": [note for fit in seeds for note in fit.notes],
        }  # fmt: skip
        if not result["failure"]:
            prediction = np.mean([fit.prediction for fit in seeds], axis=0)
            cell = test, split // cv
            losses[cell] = per_row_loss(target.task, prediction, y[test], len(train))
            if target.task == "regression":
                gains[cell] = 1 - losses[cell] / y.var()
            else:
                gains[cell] = prediction.argmax(axis=1) == y[test]
            result["score"], result["loss"] = float(gains[cell].mean()), float(losses[cell].mean())
        results.append(result)

    failures = [result["failure"] for result in results if result["failure"]]
    summary = {
        "method": name, "family": method.family, "score": None, "score_low": None, "score_high": None, "loss": None,
        "fit_seconds": float(np.mean([result["fit_seconds"] for result in results])),
        "predict_seconds": float(np.mean([result["predict_seconds"] for result in results])),
        "failure": f"in {len(failures)} of {len(splits)} folds, {failures[0]}" if failures else None,
        "notes": _gathered([note for result in results for note in result["notes"]], len(splits) * method.n_seeds),
    }  # fmt: skip
    if failures:
        return summary, results, None
    by_row = gains.mean(axis=1)
    half = stats.t.ppf((1 + LEVEL) / 2, len(y) - 1) * by_row.std(ddof=1) / np.sqrt(len(y))
    lowest = -np.inf if target.task == "regression" else 0.0
    summary |= {
        "score": float(by_row.mean()),
        "score_low": float(max(lowest, by_row.mean() - half)),
        "score_high": float(min(1.0, by_row.mean() + half)),
        "loss": float(losses.mean()),
    }
    return summary, results, losses


def _gathered(notes, n_fits):
    """Return one note a kind, which is the part before the first colon, with the number of fits."""
    counts = Counter(note.partition(":")[0] for note in notes)
    first = {note.partition(":")[0]: note for note in reversed(notes)}
    return [f"{first[kind]} ({counts[kind]} of {n_fits} fits)" for kind in counts]


def _say(*lines):
    for line in lines:
        print(line, file=sys.stderr, flush=True)


def _report(job, fit, done, total, cv, elapsed):
    split, name, _ = job
    outcome = f"failed, {fit.failure}" if fit.failure else f"{fit.fit_seconds + fit.predict_seconds:.1f} s"
    left = f", about {elapsed * (total - done) / done:.0f} s left" if done < total else ""
    _say(f"[{done:>{len(str(total))}}/{total}] {name}, fold {split % cv + 1}: {outcome}{left}")
