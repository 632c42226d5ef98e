"""Scores and losses of the predictions of each method, fold by fold and in total."""

from collections import Counter
from typing import Self

import numpy as np
from scipy.stats import t
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.metrics import check_scoring, get_scorer_names, roc_auc_score

from sklearn_ltdl._errors import ParameterError
from sklearn_ltdl.study._models import per_row_loss
from sklearn_ltdl.study._verdict import SCORE_LEVEL
from sklearn_ltdl.tables._columns import hint
from sklearn_ltdl.tables._notes import Note


def score_name(task):
    """Return the name of the default score."""
    return "R2" if task == "regression" else "accuracy"


class _Given(BaseEstimator):
    """An estimator for scorers that predicts given values: the mean over seeds."""

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


def as_scorer(scoring, data, classes, splits):
    """Return a function of predictions and rows, or None for the default scores; it is tested before any fit runs."""
    if scoring is None:
        return None
    if isinstance(scoring, str) and scoring not in get_scorer_names():
        reason = f"{scoring!r} is not a score of scikit-learn; {hint(scoring, get_scorer_names())}"
        raise ParameterError("scoring", reason)
    kind = _GivenNumbers if data.task == "regression" else _GivenClasses
    y = data.y if classes is None else classes[data.y]
    scorer = check_scoring(kind(None, classes), scoring=scoring)

    def score(prediction, rows):
        if classes is not None:
            prediction = prediction / prediction.sum(axis=1, keepdims=True)  # float32 sums to 1 less nearly
        weights = {} if data.weight is None else {"sample_weight": data.weight[rows]}
        return float(scorer(kind(prediction, classes), np.zeros((len(rows), 1)), y[rows], **weights))

    rng = np.random.default_rng(0)
    for split in splits:
        n = len(split.test)
        guess = rng.standard_normal(n) if classes is None else rng.dirichlet(np.ones(len(classes)), n)
        try:
            value = score(guess, split.test)
        except Exception as error:
            reason = f"it is not a score for {data.task}" if isinstance(error, AttributeError) else error
            raise ParameterError("scoring", f"{scoring!r} fails on a fold of these data: {reason}") from error
        if not np.isfinite(value):
            raise ParameterError("scoring", f"{scoring!r} is {value} on a fold of these data; expected a finite score.")
    return score


def prediction_of(plan, results, name, k):
    """Return the predictions of a method in a split, the mean over its seeds, or None if a fit failed."""
    fits = [results[name, k, s] for s in range(plan.methods[name].n_seeds)]
    return (
        None
        if any(fit["failure"] for fit in fits)
        else np.mean([fit["prediction"] for fit in fits], axis=0, dtype=float)
    )


def losses_of(plan, results, name, chosen):
    """Return the losses of a method in some splits, one split after the other, or None if it failed in a split."""
    losses = []
    for k in chosen:
        prediction, split = prediction_of(plan, results, name, k), plan.splits[k]
        if prediction is None:
            return None
        losses.append(per_row_loss(plan.data.task, prediction, plan.data.y[split.test], len(split.train)))
    return np.concatenate(losses)


def score_of(plan, results, name, chosen, held_out):
    """Return one method's summary, its results fold by fold, and its losses of shape (n_predictions,), or None."""
    method, data = plan.methods[name], plan.data
    losses = losses_of(plan, results, name, chosen)
    predicted = np.unique(held_out.row)
    y, weight = data.y[predicted], plan.weight[predicted]
    spread = np.average((y - np.average(y, weights=weight)) ** 2, weights=weight)
    gains, rows = [], []
    for k in chosen:
        split, fits = plan.splits[k], [results[name, k, s] for s in range(method.n_seeds)]
        row = {
            "method": name, "family": method.family, "repeat": split.repeat, "fold": split.fold,
            "n_train": len(split.train), "n_test": len(split.test), "score": None, "auc": None, "loss": None,
            "fit_seconds": sum(fit["fit_seconds"] for fit in fits),
            "predict_seconds": sum(fit["predict_seconds"] for fit in fits),
            "failure": next((fit["failure"] for fit in fits if fit["failure"]), None),
            "notes": [Note(*note) for fit in fits for note in fit["notes"]],
        }  # fmt: skip
        prediction = prediction_of(plan, results, name, k)
        if prediction is not None:
            y, weight = data.y[split.test], plan.weight[split.test]
            loss = per_row_loss(data.task, prediction, y, len(split.train))
            gain = 1 - loss / spread if data.task == "regression" else (prediction.argmax(axis=1) == y).astype(float)
            gains.append(gain)
            usual = np.average(gain, weights=weight)
            row["score"] = float(usual if plan.scorer is None else plan.scorer(prediction, split.test))
            row["loss"] = float(np.average(loss, weights=weight))
            row["auc"] = _auc(y, prediction, weight, data.n_classes)
        rows.append(row)

    failures = [row["failure"] for row in rows if row["failure"]]
    summary = {
        "method": name, "family": method.family, "score": None, "score_low": None, "score_high": None, "auc": None,
        "usual_score": None, "loss": None,
        "fit_seconds": float(np.mean([row["fit_seconds"] for row in rows])),
        "predict_seconds": float(np.mean([row["predict_seconds"] for row in rows])),
        "failure": f"in {len(failures)} of {len(chosen)} folds, {failures[0]}" if failures else None,
        "notes": _gathered([note for row in rows for note in row["notes"]], len(chosen) * method.n_seeds),
    }  # fmt: skip
    if failures:
        return summary, rows, None
    if plan.scorer is None:
        score, half = held_out.interval(np.concatenate(gains), SCORE_LEVEL)
    else:  # the score need not be a mean over rows, so use the interval of Nadeau and Bengio over the splits
        by_split = np.array([row["score"] for row in rows])
        score, size = float(by_split.mean()), len(by_split)
        ratio = np.mean([row["n_test"] / row["n_train"] for row in rows])
        half = t.ppf((1 + SCORE_LEVEL) / 2, size - 1) * np.sqrt((1 / size + ratio) * by_split.var(ddof=1))
    lowest, highest = {"R2": (-np.inf, 1.0), "accuracy": (0.0, 1.0)}.get(plan.settings["scoring"], (-np.inf, np.inf))
    areas = [row["auc"] for row in rows if row["auc"] is not None]
    summary |= {
        "usual_score": float(held_out.mean(np.concatenate(gains))),
        "score": score,
        "score_low": float(max(lowest, score - half)),
        "score_high": float(min(highest, score + half)),
        "auc": float(np.mean(areas)) if areas else None,
        "loss": float(held_out.mean(losses)),
    }
    return summary, rows, losses


def _auc(y, prediction, weight, n_classes):
    """Return the area under the ROC curve where there are two classes, and rows of both; else None."""
    if n_classes != 2 or len(np.unique(y)) < 2:
        return None
    return float(roc_auc_score(y, prediction[:, 1], sample_weight=weight))


def _gathered(notes, n_fits):
    """Return one note per code, with the number of fits."""
    counts = Counter(note.code for note in notes)
    first = {note.code: note for note in reversed(notes)}
    return [Note(code, f"{first[code]} ({counts[code]} of {n_fits} fits)") for code in counts]
