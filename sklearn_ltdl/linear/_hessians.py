"""Second derivatives of a finite sum at a point, with the intercept eliminated.

The Hessian comes in three forms: factorised (`newton_step`), as a product (`hessian_product`) and as its diagonal
(`hessian_diagonal`).
"""

from contextlib import suppress

import numpy as np
from scipy import sparse

from sklearn_ltdl.linear._gram import COMPILED, column_products, curved_product

TINY = np.finfo(float).tiny


def newton_step(point):
    """Return the function that maps a gradient at `point` to the Newton step of the coefficients."""
    problem, n_outputs = point.problem, len(point.coef)
    if problem.loss.coupled:
        P = _probabilities(point)
        hessian = _hessian(problem, n_outputs, lambda j, k: problem.share * P[:, j] * ((j == k) - P[:, k]))
        solve = inverse(hessian, problem.l2)
        return lambda gradient: solve(gradient.ravel()).reshape(gradient.shape)
    of_outputs = curvatures(point).T
    if n_outputs == 1 or np.ptp(of_outputs, axis=0).max() == 0:  # outputs of the squared loss share their Hessian
        solve = inverse(_hessian(problem, 1, lambda j, k: of_outputs[0]), problem.l2)
        return lambda gradient: solve(gradient.T).T
    solves = [inverse(_hessian(problem, 1, lambda j, k, c=c: c), problem.l2) for c in of_outputs]
    return lambda gradient: np.array([solve(row) for solve, row in zip(solves, gradient)])


def hessian_product(point):
    """Return the function that multiplies coefficients by the Hessian."""
    return _coupled_product(point) if point.problem.loss.coupled else _separate_product(point)


def _coupled_product(point):
    problem, X, share = point.problem, point.problem.X, point.problem.share[:, None]
    P = _probabilities(point)
    corner = np.diag((share * P).sum(axis=0)) - P.T @ (share * P)

    def curved(Z):
        return share * P * (Z - np.sum(P * Z, axis=1, keepdims=True))

    def product(V):
        Z = X @ V.T
        if problem.fit_intercept:
            Z -= np.linalg.lstsq(corner, curved(Z).sum(axis=0), rcond=1e-14)[0]
        return problem.l2 * V + problem.transposed(curved(Z))

    return product


def _separate_product(point):
    problem, X, C = point.problem, point.problem.X, curvatures(point)
    edge = problem.transposed(C) if problem.fit_intercept else 0.0
    total_curvature = np.maximum(C.sum(axis=0), TINY)
    blocks = problem.blocks()

    def product(V):
        result = problem.l2 * V
        if sparse.issparse(X):
            result += problem.transposed(C * (X @ V[0])[:, None] if len(V) == 1 else C * (X @ V.T))
        elif problem.is_compiled:
            result += curved_product(X, C[:, 0], V[0])
        else:  # rows are read once: they are still in the cache for the second product
            for rows in blocks:
                A = X[rows]
                result += ((C[rows, 0] * (A @ V[0])) @ A)[None] if len(V) == 1 else (C[rows] * (A @ V.T)).T @ A
        if problem.fit_intercept:
            result -= edge * (np.sum(edge * V, axis=1) / total_curvature)[:, None]
        return result

    return product


def hessian_diagonal(point):
    """Return an approximate diagonal of the Hessian, in the shape of the coefficients; if dense, from 1000 rows."""
    problem, X, C = point.problem, point.problem.X, curvatures(point)
    diagonal = np.full(point.coef.shape, problem.l2 + TINY)
    if not sparse.issparse(X):
        stride = max(1, len(X) // 1000)
        return diagonal + stride * C[::stride].T @ X[::stride] ** 2
    if X.nnz <= COMPILED:
        return diagonal + (sparse.csr_array((X.data**2, X.indices, X.indptr), X.shape).T @ C).T
    from sklearn_ltdl.linear._columns import add_squares  # compiled code loads on first use

    for k in range(len(diagonal)):
        add_squares(X.data, X.indices, X.indptr, C[:, k], diagonal[k])
    return diagonal


def _probabilities(point):
    return point.problem.loss.derivative(point.margins, point.problem.Y) + point.problem.Y


def curvatures(point):
    """Return the second derivative of the loss in each output times the share, of shape (n_samples, n_outputs)."""
    problem = point.problem
    if problem.loss.coupled:
        P = _probabilities(point)
        return problem.share[:, None] * (P * (1 - P))
    return problem.share[:, None] * problem.loss.second_derivative(point.margins, problem.Y)


def _hessian(problem, K, weight):
    """Return the Hessian in the coefficients of K outputs, with the intercept eliminated.

    `weight(j, k)` is the second derivative in outputs j and k times the share, one number per row.
    """
    X, p = problem.X, problem.X.shape[1]
    diagonal = sum(weight(k, k) for k in range(K))
    centre = diagonal @ X / max(diagonal.sum(), TINY) * problem.fit_intercept if sparse.issparse(X) else None
    hessian = np.empty((K, p, K, p))
    edge, corner = np.empty((K, p, K)), np.empty((K, K))
    for j in range(K):
        for k in range(j + 1):
            rows = weight(j, k)
            gram, edge[j, :, k] = _moments(X, centre, rows)
            hessian[j, :, k], hessian[k, :, j] = gram, gram
            edge[k, :, j] = edge[j, :, k]
            corner[j, k] = corner[k, j] = rows.sum()
    hessian, edge = hessian.reshape(K * p, K * p), edge.reshape(K * p, K)
    if problem.fit_intercept and K == 1:
        hessian -= np.outer(edge, edge / max(corner[0, 0], TINY))
    elif problem.fit_intercept:
        hessian -= edge @ np.linalg.lstsq(corner, edge.T, rcond=1e-14)[0]
    hessian[np.diag_indices_from(hessian)] += problem.l2
    return hessian


def hessian_of(problem, X, curvature):
    """Return the Hessian of the loss of one output in dense columns, from the second derivatives times the shares."""
    hessian, edge = _moments(X, None, curvature)
    least = 1e-12 * np.diagonal(hessian) + TINY  # up to rounding, the value for constant columns
    if problem.fit_intercept:
        hessian -= np.outer(edge, edge) / max(curvature.sum(), TINY)
    hessian[np.diag_indices_from(hessian)] = np.maximum(np.diagonal(hessian), least)
    return hessian


def _moments(X, centre, weight):
    """Return ``A' diag(weight) A`` and ``A' weight`` for weights of one sign; A is X, or ``X - centre`` if sparse."""
    p = X.shape[1]
    if sparse.issparse(X):
        first = X.T @ weight
        gram = (X.T @ (sparse.diags_array(weight) @ X)).toarray()
        gram -= np.outer(centre, first) + np.outer(first - weight.sum() * centre, centre)
        return gram, first - weight.sum() * centre
    equal = np.ptp(weight) == 0
    factor, root = (weight[0], np.ones(1)) if equal else (np.sign(weight.sum()), np.sqrt(np.abs(weight)))
    products, _ = column_products(X, np.empty((len(X), 0)), root)
    return factor * products[:p, :p], factor * products[p, :p]


def inverse(hessian, alpha):
    """Return the function that multiplies by the inverse, or for alpha = 0 by the pseudo-inverse."""
    from scipy.linalg import cho_factor, cho_solve, eigh

    if alpha > 0:
        with suppress(np.linalg.LinAlgError):  # alpha can be smaller than the rounding of large features
            factor = cho_factor(hessian, check_finite=False)
            return lambda vector: cho_solve(factor, vector, check_finite=False)
    values, vectors = eigh(hessian)
    kept = values > len(values) * np.finfo(float).eps * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    return lambda vector: vectors @ ((vectors.T @ vector).T / values).T
