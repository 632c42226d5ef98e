"""Prediction intervals from the leave-one-out residuals and the weights of a machine's predictions."""

import numpy as np

from sklearn_ltdl._threads import by_threads

CACHED_ENTRIES = 2**17  # entries of a matrix that is sorted in a core's cache


def jackknife_plus(weights, sample, residuals, row_residuals, coverage):
    """Return the lower and the upper ends of the intervals at some new rows, of shape (2, n_new, n_outputs).

    Barber, Candes, Ramdas and Tibshirani (2021), equation 1.5, with weights. The residual of a row is at the penalty
    that would have been chosen without the row; at the penalty chosen with it, coverage drops by a third of a percent.

    Parameters
    ----------
    weights : ndarray of shape (n_new, n_points)
        Weights of the targets in the predictions.
    sample : Sample
    residuals : ndarray of shape (n_points, n_outputs)
        Target minus leave-one-out prediction of each point.
    row_residuals : ndarray of shape (n_kept, n_outputs)
        The same for each row, at the penalty chosen without the row.
    coverage : float
    """
    ends = np.empty((2, len(weights), sample.targets.shape[1]))
    room = _room(sample, coverage)
    merged = len(sample.point) > len(sample.points)
    order = slice(None) if merged else np.argsort(sample.point)  # rows in the order of points, if each row is a point
    widths, row_weight = np.abs(row_residuals[order]), sample.row_weight[order]

    def finish(rows):
        for output, (left_out, width) in enumerate(zip(residuals.T, widths.T)):
            shift = sample.of_block(weights[rows] * left_out)
            shift = shift[:, sample.point] if merged else shift
            prediction = weights[rows] @ sample.targets[:, output]
            ends[0, rows, output] = prediction - _high(shift + width, row_weight, room)
            ends[1, rows, output] = prediction + _high(np.subtract(width, shift, out=shift), row_weight, room)

    few = max(1, CACHED_ENTRIES // weights.shape[1])
    by_threads(finish, [slice(i, min(i + few, len(weights))) for i in range(0, len(weights), few)])
    return ends


def jackknife(sample, row_residuals, coverage):
    """Return half the width of intervals of constant width, of shape (n_outputs,).

    With random centres a single row hardly changes the function, so leave-one-out predictions equal the prediction.
    """
    room = _room(sample, coverage)
    return np.array([_high(np.abs(r)[None].copy(), sample.row_weight, room)[0] for r in row_residuals.T])


def _room(sample, coverage):
    """Return the weight of rows that may lie above an end; the new row counts with weight 1."""
    return (1.0 - coverage) * (sample.row_weight.sum() + 1) * (1 + 1e-12) - 1.0


def _high(values, weight, room):
    """Return, for each row, the smallest entry above which weights sum to at most `room`; inf if `room` is negative.

    If weights are counts, this is the entry of rank ``floor(room) + 1`` from above among the copies.
    """
    n = values.shape[1]
    if room < 0:
        return np.full(len(values), np.inf)
    if np.ptp(weight) == 0:
        k = n - 1 - min(n - 1, int(room / weight[0]))
        values.partition(k, axis=1)
        return values[:, k].copy()
    order = np.argsort(-values, axis=1)
    weight = weight[order]
    k = np.sum(np.cumsum(weight, axis=1) - weight <= room, axis=1) - 1
    return np.take_along_axis(values, np.take_along_axis(order, k[:, None], axis=1), axis=1)[:, 0]
