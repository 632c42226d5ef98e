"""Steps of a proximal Newton method: coordinate descent on the quadratic model of a finite sum with an l1 norm.

The model only contains columns with a nonzero coefficient, or with a gradient near the weight of the l1 norm; the
certificate of the next point covers all columns. A model of few columns and many rows is stored as its Hessian, other
models as their columns.
"""

from collections import deque
from functools import partial

import numpy as np
from scipy import sparse

from sklearn_ltdl.linear._hessians import TINY, hessian_of
from sklearn_ltdl.losses import Squared

NEAR = 0.8  # columns whose gradient exceeds this share of the l1 weight are in the model
FEW = 500  # most columns of a model that is stored as its Hessian
FLAT = 1e-3  # least curvature in the model, relative to the smoothness of the loss


def proximal_newton_step(problem, point, precision, known):
    """Return the coefficients that minimise the model at a point, and an extrapolation of the descent.

    Parameters
    ----------
    problem : FiniteSum
        Its loss is not coupled.
    point : Point
    precision : float
        Coordinate descent stops when a round lowers the model by less.
    known : dict
        Columns or Hessians from earlier steps, by output.
    """
    loss, share = problem.loss, problem.share
    pulls = -share[:, None] * loss.derivative(point.margins, problem.Y)
    bends = np.maximum(loss.second_derivative(point.margins, problem.Y), FLAT * loss.smoothness) * share[:, None]
    coef, ahead = point.coef.copy(), point.coef.copy()
    for k in range(len(coef)):
        which = _in_the_model(problem, point, k, known)
        if not len(which):
            continue
        c, pull = np.ascontiguousarray(bends[:, k]), np.ascontiguousarray(pulls[:, k])
        if problem.fit_intercept:
            pull -= pull.sum() / c.sum() * c
        is_small = not sparse.issparse(problem.X) and len(which) <= min(FEW, len(share) // 2)
        of = _epoch_of_hessian if is_small else _epoch_of_columns
        epoch = of(problem, which, c, pull, coef[k, which], known[k])
        trail = known[k].setdefault("trail", deque(maxlen=6))
        if trail and (len(trail[-1]) != len(which) or not isinstance(loss, Squared)):
            trail.clear()  # these were iterates of another model
        coef[k, which], ahead[k, which] = _minimised(epoch, coef[k, which], precision, trail)
    return coef, ahead


def _in_the_model(problem, point, k, known):
    """Return the columns in the model of an output: the last ones, as long as they include all that are needed."""
    needed = np.flatnonzero((point.coef[k] != 0) | (np.abs(point.gradient[k]) > NEAR * problem.l1))
    last = known.setdefault(k, {}).get("which", needed[:0])
    if np.isin(needed, last).all():
        return last
    return np.arange(problem.X.shape[1]) if 2 * len(needed) > problem.X.shape[1] else needed


def _epoch_of_hessian(problem, which, c, pull, coef, known):
    """Return one round of coordinate descent, as a function of the coefficients and their order."""
    from sklearn_ltdl.linear._columns import moment_epoch  # compiled code loads on first use

    if not (isinstance(problem.loss, Squared) and np.array_equal(known.get("which"), which)):
        X = problem.X if len(which) == problem.X.shape[1] else np.ascontiguousarray(problem.X[:, which])
        known.update(which=which, X=X, hessian=hessian_of(problem, X, c))
    gradient = problem.l2 * coef - pull @ known["X"]
    return partial(moment_epoch, known["hessian"], gradient, float(problem.l1))


def _epoch_of_columns(problem, which, c, pull, coef, known):
    from sklearn_ltdl.linear import _columns as compiled  # compiled code loads on first use

    X, is_dense = problem.X, not sparse.issparse(problem.X)
    is_known = np.array_equal(known.get("which"), which)
    if not is_known and is_dense:
        known.update(which=which, columns=compiled.copied_columns(X, which))
    elif not is_known:
        columns = compiled.copied_sparse_columns(X.data, X.indices, X.indptr, which, X.shape[1])
        known.update(which=which, columns=columns)
    if not (is_known and isinstance(problem.loss, Squared)):
        first, second = (compiled.dense_moments if is_dense else compiled.sparse_moments)(known["columns"], c)
        mean = first / c.sum() if problem.fit_intercept else np.zeros(len(which))
        known.update(mean=mean, bends=np.maximum(second - c.sum() * mean**2, 1e-12 * second + TINY))
    epoch = compiled.dense_epoch if is_dense else compiled.sparse_epoch
    shift = np.zeros(1)
    return partial(
        epoch, known["columns"], c, pull, shift, known["mean"], known["bends"], float(problem.l1), float(problem.l2)
    )


def _minimised(epoch, coef, precision, trail, most=1000):
    """Return the coefficients after rounds of coordinate descent, and an extrapolation of the last rounds.

    A round over all coefficients is followed by rounds over the nonzero ones, until a round over all lowers the model
    by no more than `precision`.
    """
    coef, everything, is_whole = coef.copy(), np.arange(len(coef)), True
    for count in range(1, most):
        little = epoch(coef, everything if is_whole else np.flatnonzero(coef)) <= precision
        trail.append(coef.copy())
        if is_whole and little:
            break
        is_whole = little or count % 6 == 0
    return coef, _extrapolated(np.array(trail))


def _extrapolated(trail):
    """Return the affine combination of iterates whose next change would be smallest (Anderson 1965)."""
    changes = np.diff(trail, axis=0)
    gram = changes @ changes.T
    if len(trail) < 3 or not np.trace(gram) > 0:
        return trail[-1]
    parts = np.linalg.solve(gram / np.trace(gram) + 1e-10 * np.eye(len(gram)), np.ones(len(gram)))
    return parts @ trail[1:] / parts.sum()
