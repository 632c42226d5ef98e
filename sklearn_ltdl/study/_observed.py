"""What was predicted against what was observed, row by row: points, confusion, calibration, and rows out of line."""

import numpy as np
from scipy import stats
from scipy.special import softmax

from sklearn_ltdl._targets import log_odds
from sklearn_ltdl.losses import probabilities
from sklearn_ltdl.running._journal import conforms
from sklearn_ltdl.study._models import predict
from sklearn_ltdl.study._verdict import SCORE_LEVEL
from sklearn_ltdl.tables._kinds import rows_of

MOST_POINTS = 500  # of predictions that are kept
MOST_CLASSES = 12  # of a confusion table; the others share its last line
MOST_BINS, FEWEST_IN_BIN = 10, 20  # of a calibration curve
UNLIKELY = 0.05  # a class of less probability looks like a mistake
FAR = 3.5  # robust standard deviations beyond which a residual does (Iglewicz and Hoaglin 1993)
MOST_SUSPECTS = 20  # rows that are kept
POWERS = np.geomspace(0.5, 10.0, 40)  # of the odds
WRONG = np.array([0.0, 0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.07, 0.1, 0.15, 0.2, 0.3])  # shares of labels
MOST_ROWS_OF_FIT = 2000  # that choose among them


def predicted_numbers(y, splits, predictions, seed):
    """Return points of observed and predicted numbers, of at most 500 rows, each with its first prediction.

    Parameters
    ----------
    y : ndarray of shape (n_rows,)
    splits : list of Split
    predictions : list of ndarray
        One a split.
    seed : int
        Draws the rows, the same for every model.
    """
    rows, first = _firsts(splits, predictions)
    chosen = np.arange(len(rows))
    if len(rows) > MOST_POINTS:
        chosen = np.sort(np.random.default_rng(seed).choice(len(rows), MOST_POINTS, replace=False))
    return {"n_rows": len(rows), "observed": y[rows[chosen]].tolist(), "predicted": first[chosen].tolist()}


def predicted_classes(y, classes, splits, predictions):
    """Return the confusion table and the calibration curve of probabilities, with each row's first prediction.

    Parameters
    ----------
    y : integer ndarray of shape (n_rows,)
    classes : list of str
    splits : list of Split
    predictions : list of ndarray of shape (n_test, n_classes)

    Returns
    -------
    part : dict
        n_rows; labels, and confusion: counts of rows, observed down and predicted across; calibration: of the second
        of two classes, or else of the class that is predicted, the mean probability, the share of rows that are of the
        class with a 95 % interval (Wilson's), and the number of rows, bin by bin.
    """
    rows, first = _firsts(splits, predictions)
    observed, predicted = y[rows], first.argmax(axis=1)
    place, labels = np.arange(len(classes)), list(classes)
    if len(classes) > MOST_CLASSES:
        frequent = np.argsort(-np.bincount(observed, minlength=len(classes)), kind="stable")[: MOST_CLASSES - 1]
        place = np.full(len(classes), len(frequent))
        place[frequent] = np.arange(len(frequent))
        labels = [*(classes[code] for code in frequent), f"{len(classes) - len(frequent)} others"]
    confusion = np.zeros((len(labels), len(labels)), dtype=int)
    np.add.at(confusion, (place[observed], place[predicted]), 1)
    two = len(classes) == 2
    chance, hit = (first[:, 1], observed == 1) if two else (first.max(axis=1), observed == predicted)
    named = classes[1] if two else None
    calibration = {"class": named, **_calibration(chance, hit)}
    return {"n_rows": len(rows), "labels": labels, "confusion": confusion.tolist(), "calibration": calibration}


def _firsts(splits, predictions):
    """Return the rows that were predicted, and the first prediction of each."""
    rows, first = np.unique(np.concatenate([split.test for split in splits]), return_index=True)
    return rows, np.concatenate(predictions)[first]


def _calibration(chance, hit):
    """Return mean probabilities and shares of hits in bins of about equally many rows."""
    n_bins = max(1, min(MOST_BINS, len(chance) // FEWEST_IN_BIN))
    bins = np.array_split(np.argsort(chance, kind="stable"), n_bins)
    counts = np.array([len(rows) for rows in bins])
    shares = np.array([hit[rows].mean() for rows in bins])
    z = stats.norm.ppf((1 + SCORE_LEVEL) / 2)
    middle = (shares + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z * np.sqrt(shares * (1 - shares) / counts + (z / (2 * counts)) ** 2) / (1 + z**2 / counts)
    return {
        "probabilities": [float(chance[rows].mean()) for rows in bins],
        "shares": shares.tolist(),
        "low": np.minimum(middle - half, shares).tolist(),  # they agree at 0 and 1, but for rounding
        "high": np.maximum(middle + half, shares).tolist(),
        "n_rows": counts.tolist(),
    }


def left_out(model, data, train, test):
    """Return what a fitted pipeline of a kernel predicts for each row from all others, training rows first.

    Parameters
    ----------
    model : Pipeline
        Its last step is an `NTKKernelRegressor` or `NTKKernelClassifier`, fitted on the training rows: their
        leave-one-out predictions are known from the fit, and the other rows had no part in it.
    data : Data
    train, test : ndarray

    Returns
    -------
    found : dict of lists
        Of numbers, predicted. Of classes, given and other: the probabilities of the row's own class and of the most
        probable one beside it, which is `likelier`; and unlikely: the probability that the row is of a class whose
        probability is below 0.05.
    """
    machine, rows = model[-1], np.concatenate([train, test])
    unseen = predict(model, rows_of(data.X, test), data.task, data.n_classes)
    if data.task == "regression":
        return {"predicted": np.concatenate([machine.loo_predictions_, unseen]).tolist()}
    scores = machine.loo_decision_function_.reshape(len(train), -1)
    scores = log_odds(scores, machine.inverse_temperature_, machine.score_power_)
    chance = np.zeros((len(rows), data.n_classes))
    chance[: len(train), machine.classes_] = probabilities(scores)
    chance[len(train) :] = unseen
    chance = sharpened(chance, data.y[rows])
    unlikely = np.sum(chance * (chance < UNLIKELY), axis=1)
    own = np.arange(len(rows)), data.y[rows]
    given = chance[own]
    chance[own] = -1.0
    likelier = chance.argmax(axis=1)
    return {
        "given": given.tolist(),
        "other": chance[own[0], likelier].tolist(),
        "likelier": likelier.tolist(),
        "unlikely": unlikely.tolist(),
    }


def sharpened(chance, y):
    """Return the probabilities of the true classes, where some labels may be wrong.

    Wrong labels make probabilities that fit all labels too cautious. A label is taken to be wrong with one probability,
    and then to be any other class alike (Angluin and Laird 1988); this probability and a power of the odds are those of
    the greatest likelihood on a grid.

    Parameters
    ----------
    chance : ndarray of shape (n_rows, n_classes)
        Probabilities of the labels.
    y : integer ndarray of shape (n_rows,)
        The labels.
    """
    n_rows, n_classes = chance.shape
    some = np.linspace(0, n_rows - 1, min(n_rows, MOST_ROWS_OF_FIT)).astype(int)
    logs = np.log(np.maximum(chance, 1e-12))
    likelihoods = []
    for power in POWERS:
        own = softmax(power * logs[some], axis=1)[np.arange(len(some)), y[some]]
        mixed = own + np.multiply.outer(WRONG, (1 - own) / (n_classes - 1) - own)
        likelihoods.append(np.log(np.maximum(mixed, 1e-12)).sum(axis=1).max())
    return softmax(POWERS[int(np.argmax(likelihoods))] * logs, axis=1)


def is_left_out(found):
    """Return whether plain values are what `left_out` returns."""
    some = [float, ...]
    if conforms(found, {"predicted": some}):
        return True
    form = {"given": some, "other": some, "likelier": [int, ...], "unlikely": some}
    return conforms(found, form) and len({len(column) for column in found.values()}) == 1


def suspects(found, y, classes, split, labels):
    """Return the rows that are most out of line, and how many to expect by chance.

    Parameters
    ----------
    found : dict
        What `left_out` returned.
    y : ndarray of shape (n_rows,)
    classes : list of str or None
    split : Split
    labels : list of str
        Of the rows.

    Returns
    -------
    part : dict
        n_rows; limit, of the probability of a row's own class, or of a residual in robust standard deviations; found,
        the number of rows beyond it; expected, the number if the probabilities are right and no label is wrong, or if
        residuals are normal; and of the rows the most out of line first, lists rows, observed, predicted and strength:
        the probability of the predicted class less that of the row's own, or the residual in robust standard
        deviations.
    """
    rows = np.concatenate([split.train, split.test])
    if classes is None:
        predicted = np.array(found["predicted"])
        residual = y[rows] - predicted
        center = np.median(residual)
        spread = stats.median_abs_deviation(residual, scale="normal")
        strength = (residual - center) / max(spread, 1e-6 * np.std(y[rows]))  # exact for most rows: no spread
        beyond, limit = np.abs(strength) > FAR, FAR
        expected = len(rows) * 2 * stats.norm.sf(FAR)
        order = np.argsort(-np.abs(strength), kind="stable")[:MOST_SUSPECTS]
        shown = y[rows[order]].tolist(), predicted[order].tolist()
    else:
        given = np.array(found["given"])
        strength, beyond, limit = np.array(found["other"]) - given, given < UNLIKELY, UNLIKELY
        expected = np.sum(found["unlikely"])
        order = np.argsort(-strength, kind="stable")[:MOST_SUSPECTS]
        likelier = np.array(found["likelier"])[order]
        shown = [classes[code] for code in y[rows[order]]], [classes[code] for code in likelier]
    return {
        "n_rows": len(rows),
        "limit": limit,
        "found": int(np.sum(beyond)),
        "expected": float(expected),
        "rows": [labels[row] for row in rows[order]],
        "observed": shown[0],
        "predicted": shown[1],
        "strength": strength[order].tolist(),
    }
