r"""Kernel ridge in the span of the kernel functions of some rows, the centres, with all rows as data.

With :math:`K_{mm} = L L'` the Gram matrix of the centres, :math:`\phi(x) = L^{-1} k(x)` are features whose inner
product is the kernel, and the problem is a linear ridge regression on them. The n x n matrix is never formed: rows are
processed in blocks, and their kernel values are computed when they are needed. Kernel values may be in single precision
if the noise that this adds to the features is less than the penalty (`single_precision_noise`). This is so for the
rough kernels of ReLU networks, not for smooth kernels. Sums over blocks and m x m matrices are in double precision.

A centre is also a row. If it is left out only as a row, the fit to the other rows still uses its kernel function, and
no row determines the value at the centre. The error there would differ from that of a new row, and alpha would be
chosen too large. Therefore a centre is left out both as a row and as a centre. Let r, h be its residual and leverage, H
the inverse Hessian in the coefficients c, k its centred kernel values, :math:`q = (H k)_j` and s its weight. Removing
the row changes c_j to :math:`c_j - s q r / (1 - h)` and H_jj to :math:`H_{jj} + s q^2 / (1 - h)`. The condition c_j = 0
then adds :math:`q / (1 - h)` times their quotient to the residual r / (1 - h).
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh
from scipy.linalg.blas import get_blas_funcs
from scipy.linalg.lapack import dpotrf, dpstrf, dtrtri

from sklearn_ltdl.ntk._solvers import ROUNDING, RidgePath, _filtered, _least, _ratio, least_ridges, not_psd, row_blocks
from sklearn_ltdl.results import Status
from sklearn_ltdl.rows._gather import Slices, gather

PATH_ROWS = 5000  # at most so many leave-one-out residuals compare penalties: more choose no better
PILOT_CENTRES = 1000  # number of centres of the problem that chooses alpha for 'pcg'
MAX_STEPS = 200  # maximum number of conjugate gradient steps
LARGEST_LEVERAGE = 0.9  # noisy estimates are clipped to this share of the largest possible leverage
PROBES = 4  # random targets that estimate mean leverages
JITTERS = (1e-12, 1e-10, 1e-7, 1e-5)  # tried in turn on the centres' diagonal of mean 1; the last is for float32


def solve_nystroem(cross, centre_gram, centres, Y, weight, alphas, seed=0):
    r"""Solve the normal equations of the features for every penalty, from one eigendecomposition.

    Parameters
    ----------
    cross : callable
        ``cross(rows)`` returns the kernel between rows (a slice or indices) and the centres, as a new array of shape
        (len(rows), n_centres) in single or double precision, which is overwritten.
    centre_gram : ndarray of shape (n_centres, n_centres)
        In double precision; mean diagonal 1.
    centres : ndarray of shape (n_centres,) or (0,)
        Which of the rows they are; none if others span the function of a centre that is left out.
    Y, weight, alphas
        As in `solve_exact`.
    seed : int, default=0
        Seed for drawing the rows on which penalties are compared, if there are more than `PATH_ROWS`.
    """
    n, m = len(Y), len(centre_gram)
    mean = weight @ Y / n
    spectrum = _spectrum(cross, centre_gram, Y - mean, weight)
    errors, best = choose_alpha(cross, centres, spectrum, alphas, Y - mean, weight, seed)

    whiten, shift, g, ridge = spectrum.solved(n * alphas[[best]], n)
    residuals = np.empty(Y.shape)

    narrow = _narrow(whiten, cross)
    for rows in row_blocks(n, m):
        psi = _features(narrow, cross(rows))
        psi -= shift.astype(psi.dtype)[:, None]
        fit, leverage = psi.T @ g.astype(psi.dtype), np.einsum("ji,ji->i", psi, psi)[:, None]
        residuals[rows] = _ratio(Y[rows] - mean - fit, 1.0 - weight[rows, None] * (1.0 / n + leverage))
    leave_centre_out = leave_one_out(cross, centres, spectrum, ridge, Y - mean, weight, n)
    for rows in row_blocks(len(centres), m):
        residuals[centres[rows]] = leave_centre_out(centres[rows])[..., 0]
    return RidgePath(whiten.T @ g, mean - shift @ g, residuals, alphas, errors, best, "nystroem")


def solve_pcg(cross, centre_gram, centres, Y, weight, alphas, seed=0, tol=1e-4):
    r"""Solve by conjugate gradients, preconditioned by the problem that has the centres as its only data (Falkon).

    Parameters
    ----------
    cross, centre_gram, centres, Y, weight, alphas, seed
        As in `solve_nystroem`; ``cross(rows, columns)`` returns the kernel with some of the centres. From several
        alphas, the one that `solve_nystroem` chooses with `PILOT_CENTRES` of the centres is used.
    tol : float, default=1e-4
        Stop when the preconditioned residual is at most `tol` times the residual at zero coefficients. The
        suboptimality is then about ``tol ** 2`` relative to the decrease of the objective from zero coefficients.

    Returns
    -------
    RidgePath
        `alphas` and `errors` are those of the pilot problem. `residuals` are from generalised cross-validation: the
        leverages of the centres are replaced by their mean, and so are those of the other rows. Random targets estimate
        both means.

    References
    ----------
    .. [1] A. Rudi, L. Carratino, L. Rosasco. "FALKON: an optimal large scale kernel method". NeurIPS 2017,
       algorithm 1.
    .. [2] G. Golub, M. Heath, G. Wahba. "Generalized cross-validation as a method for choosing a good ridge
       parameter". Technometrics 21, 1979.
    .. [3] M. F. Hutchinson. "A stochastic estimator of the trace of the influence matrix for Laplacian smoothing
       splines". Communications in Statistics 19, 1990.
    """
    n, m = len(Y), len(centre_gram)
    mean, rng = weight @ Y / n, np.random.default_rng(seed)
    errors, best = None, 0
    if len(alphas) > 1:
        pilot = np.sort(rng.permutation(m)[:PILOT_CENTRES])

        def part(rows):
            return cross(rows, pilot)

        spectrum = _spectrum(part, centre_gram[np.ix_(pilot, pilot)], Y - mean, weight)
        errors, best = choose_alpha(part, centres[pilot], spectrum, alphas, Y - mean, weight, seed)
        del spectrum
    alpha = alphas[best]

    # The features of the centres are the rows of L. If A A' is their covariance plus alpha, A^-1 phi is nearly white.
    L = _factor(centre_gram, JITTERS)
    share = weight[centres] / weight[centres].sum()
    phi = L - share @ L
    covariance = (phi.T * share) @ phi
    covariance[np.diag_indices(m)] += max(alpha, 10 * ROUNDING * np.trace(covariance))
    A_inverse = _inverse(_factor(covariance, (0.0,)))
    whiten = _trmm(A_inverse, _inverse(L))
    del L, phi, covariance

    roots = np.sqrt(weight)[:, None]
    probes = rng.choice([-1.0, 1.0], (n, PROBES))
    targets = np.hstack([weight[:, None] * (Y - mean), roots * probes, weight[:, None]])
    products = _correlate(cross, lambda K, rows: targets[rows], n, m)
    kernel_mean = products[:, -1] / n
    sides = whiten @ (products[:, :-1] - np.outer(kernel_mean, targets[:, :-1].sum(axis=0))) / n

    def multiply(beta):
        C = whiten.T @ beta

        def fits(K, rows):
            return weight[rows, None] * (K @ C - kernel_mean @ C)

        return whiten @ _correlate(cross, fits, n, m) / n + alpha * (A_inverse @ (A_inverse.T @ beta))

    beta, n_iter, status = _conjugate_gradients(multiply, sides, Y.shape[1], tol)
    C, fits = whiten.T @ beta, np.empty((n, sides.shape[1]))
    for rows in row_blocks(n, m):
        fits[rows] = cross(rows) @ C - kernel_mean @ C
    fits, smoothed = np.split(fits, [Y.shape[1]], axis=1)
    leverages = np.mean(probes * roots * smoothed, axis=1)  # the mean is right, but single values are noisy
    is_centre = np.isin(np.arange(n), centres)
    for kind in (is_centre, ~is_centre):
        if kind.any():
            mean_leverage = leverages[kind].sum() / weight[kind].sum()
            most = LARGEST_LEVERAGE * (1.0 - weight[kind] / n)  # the rest is due to the intercept
            leverages[kind] = np.clip(weight[kind] * mean_leverage, 0.0, most)
    residuals = _ratio(Y - mean - fits, 1.0 - weight[:, None] / n - leverages[:, None])
    if errors is None:
        errors = np.array([np.sum(weight @ residuals**2) / n])
    coef = C[:, : Y.shape[1]]
    intercept = mean - kernel_mean @ coef
    return RidgePath(coef, intercept, residuals, alphas, errors, best, "pcg", n_iter=n_iter, status=status)


def single_precision_noise(centre_gram):
    r"""Return a bound on the variance that single-precision kernel values, of mean 1, add to a feature.

    Errors :math:`\epsilon` of the values give a feature an error of variance :math:`\epsilon^2 |L^{-1}|^2 / m` on
    average. The error acts as a penalty, but also as features that are unrelated to the target.
    """
    inverse = whitener(centre_gram)
    return np.finfo(np.float32).eps ** 2 * np.sum(inverse**2) / len(inverse)


def independent(centre_gram):
    """Return, in order, the centres that span the functions of all up to rounding, by pivoted Cholesky."""
    _, order, rank, _ = dpstrf(centre_gram, lower=1, tol=JITTERS[0])
    return np.sort(order[:rank] - 1)


class Spectrum(NamedTuple):
    r"""Moments of the features over the rows.

    Parameters
    ----------
    inverse : ndarray of shape (m, m)
        :math:`L^{-1}`
    mean : ndarray of shape (m,)
    moments : ndarray of shape (m, n_outputs)
        :math:`\sum_i s_i \phi_i y_i'`
    w, U : ndarrays of shape (m,) and (m, m)
        Eigenvalues and vectors of :math:`\sum_i s_i (\phi_i - \bar\phi)(\phi_i - \bar\phi)'`.
    """

    inverse: np.ndarray
    mean: np.ndarray
    moments: np.ndarray
    w: np.ndarray
    U: np.ndarray

    def trace(self, n):
        """Return the sum over n rows of the squared features, whose rounding the eigenvalues have."""
        return self.w.sum() + n * self.mean @ self.mean

    @classmethod
    def of(cls, inverse, n, sums):
        """Return the spectrum of `feature_moments`, summed over rows of weights of sum n."""
        scatter, total, moments = sums
        scatter -= np.outer(total, total / n)
        w, U = eigh(scatter, lower=True, overwrite_a=True, check_finite=False, driver="evd")
        return cls(inverse, total / n, moments, np.maximum(w, 0.0), U)

    def solved(self, ridges, n):
        """Return R^-1 L^-1, R^-1 times the mean feature and the moments, and the ridge that was added.

        With R R' the features' scatter plus the ridge, psi = R^-1 (phi - mean) has leverage |psi|^2 and the fit psi'g.
        """
        ridge = least_ridges(ridges, self.trace(n))
        R_inverse = _inverse(_factor((self.U * (self.w + ridge)) @ self.U.T, (0.0,)))
        return _trmm(R_inverse, self.inverse), R_inverse @ self.mean, R_inverse @ self.moments, ridge


def feature_moments(block, triangle):
    """Return sums over rows of phi phi', phi and phi y', of which the first is its lower triangle; for `gather`.

    Parameters
    ----------
    block : tuple of ndarrays
        Kernel values between rows and centres, which are overwritten, targets of mean 0, and weights.
    triangle : ndarray of shape (m, m)
        :math:`L^{-1}`, in the precision of the kernel values.
    """
    K, Y, weight = block
    phi = _features(triangle, K)
    total = phi @ weight.astype(phi.dtype)
    moments = phi @ (weight[:, None] * Y).astype(phi.dtype)
    phi *= np.sqrt(weight).astype(phi.dtype)
    scatter = get_blas_funcs("syrk", [phi])(1.0, phi, lower=1)
    return tuple(np.asarray(sums, np.float64) for sums in (scatter, total, moments))


def whitener(centre_gram):
    """Return the inverse of the Cholesky factor of the Gram matrix of the centres."""
    return _inverse(_factor(centre_gram, JITTERS))


def _spectrum(cross, centre_gram, Y, weight):
    """Return the moments of the features, for targets of mean 0, from one pass over the rows."""
    inverse = whitener(centre_gram)
    slices = Slices(row_blocks(len(Y), len(centre_gram)), lambda rows: (cross(rows), Y[rows], weight[rows]))
    return Spectrum.of(inverse, len(Y), gather(feature_moments, slices, _narrow(inverse, cross)))


def choose_alpha(cross, centres, spectrum, alphas, Y, weight, seed, n=None):
    """Return the mean squared leave-one-out residuals of each penalty and the index of the least.

    Of n rows in all, those given may be a part, in which the centres are.
    """
    n = len(Y) if n is None else n
    some = np.sort(np.random.default_rng(seed).permutation(len(Y))[:PATH_ROWS])
    ridges = least_ridges(n * alphas, spectrum.trace(n))
    residuals = leave_one_out(cross, centres, spectrum, ridges, Y, weight, n)
    errors = np.zeros(len(alphas))
    for block in row_blocks(len(some), len(spectrum.w)):
        rows = some[block]
        errors += np.einsum("i,ikr->r", weight[rows], residuals(rows) ** 2)
    errors /= weight[some].sum()
    return errors, _least(errors)


def leave_one_out(cross, centres, spectrum, ridges, Y, weight, n):
    """Return the function from row indices to leave-one-out residuals of shape (len(rows), n_outputs, n_ridges).

    The rows given may be a part of all n.
    """
    filters, projections = 1.0 / (spectrum.w[:, None] + ridges), spectrum.U.T @ spectrum.moments
    back, offset = spectrum.inverse.T @ spectrum.U, spectrum.mean @ spectrum.U  # c = back a
    place = np.full(len(Y), -1)
    place[centres] = np.arange(len(centres))

    def residuals(rows):
        K = cross(rows)
        V, s = K @ back.astype(K.dtype) - offset.astype(K.dtype), weight[rows, None]
        fits, leverages = _filtered(V, projections.astype(K.dtype), filters.astype(K.dtype))
        rest = np.maximum(1.0 - s * (1.0 / n + leverages), np.finfo(float).tiny)
        left_out = (Y[rows, :, None] - fits) / rest[:, None, :]

        at = np.flatnonzero(place[rows] >= 0)
        s, rest, B = s[at], rest[at], back[place[rows[at]]]
        coef, curvature = _filtered(B, projections, filters)
        q = (V[at] * B) @ filters
        coef -= (s * q)[:, None, :] * left_out[at]
        left_out[at] += (q / rest / (curvature + s * q**2 / rest))[:, None, :] * coef
        return left_out

    return residuals


def choose_alpha_by_groups(cross, group, spectrum, alphas, Y, weight, n):
    """Return the same as `choose_alpha`, of rows whose groups are left out together."""
    ridges = least_ridges(n * alphas, spectrum.trace(n))
    squares = (leave_groups_out(cross, group, spectrum, ridges, Y, weight, n) ** 2).sum(axis=1)
    errors = weight @ squares / weight.sum()
    return errors, _least(errors)


def leave_groups_out(cross, group, spectrum, ridges, Y, weight, n):
    r"""Return residuals of shape (len(Y), n_outputs, n_ridges) of fits to the rows of the other groups.

    With M the smoother between the rows of a group, of weights S, they are :math:`(I - M S)^{-1}` times the residuals.
    No centre is among the rows given, which may be a part of all n; groups are whole.
    """
    filters, projections = 1.0 / (spectrum.w[:, None] + ridges), spectrum.U.T @ spectrum.moments
    back, offset = spectrum.inverse.T @ spectrum.U, spectrum.mean @ spectrum.U
    left_out, order = np.empty((*Y.shape, len(ridges))), np.argsort(group, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        V = cross(rows).astype(np.float64, copy=False) @ back - offset
        residuals = Y[rows, :, None] - _filtered(V, projections, filters)[0]
        for k, filtering in enumerate(filters.T):
            smoother = 1.0 / n + (V * filtering) @ V.T
            left_out[rows, :, k] = np.linalg.solve(np.eye(len(rows)) - smoother * weight[rows], residuals[..., k])
    return left_out


def _conjugate_gradients(multiply, sides, n_outputs, tol):
    """Solve for each column separately until the first `n_outputs` have converged; also return steps and status."""
    beta, residual = np.zeros_like(sides), sides.copy()
    direction, squares = sides.copy(), np.sum(sides**2, axis=0)
    target = tol**2 * squares
    for n_iter in range(1, MAX_STEPS + 1):
        product = multiply(direction)
        curvature = np.sum(direction * product, axis=0)
        active = (squares > target) & (curvature > 0)  # a direction without curvature is only rounding
        step = np.divide(squares, curvature, out=np.zeros_like(squares), where=active)
        beta += step * direction
        residual -= step * product
        previous, squares = squares, np.sum(residual**2, axis=0)
        if np.all(squares[:n_outputs] <= target[:n_outputs]):
            return beta, n_iter, Status.CONVERGED
        direction = residual + np.divide(squares, previous, out=np.zeros_like(squares), where=active) * direction
    return beta, n_iter, Status.OUT_OF_STEPS


def _correlate(cross, values, n, m):
    """Return the sum over rows of k_i v_i' in double precision, where ``values(K, rows)`` has shape (len(rows), q).

    Kernel values may be in single precision: conjugate gradients tolerate an inexact kernel, but not inexact products.
    """

    def read(rows):
        return cross(rows).astype(np.float64, copy=False), rows

    return gather(lambda block, _: (block[0].T @ values(*block),), Slices(row_blocks(n, m), read))[0]


def _narrow(triangle, cross):
    return triangle.astype(cross(slice(0, 1)).dtype)


def _features(triangle, K):
    """Return ``triangle @ K.T``, in the memory of K."""
    return get_blas_funcs("trmm", [K])(1.0, triangle, K.T, lower=1, overwrite_b=1)


def _trmm(A, B):
    return get_blas_funcs("trmm", [A])(1.0, A, B, lower=1)


def _factor(A, jitters):
    """Return the lower Cholesky factor of A plus the smallest of the jitters that makes it positive definite."""
    for jitter in jitters:
        L = np.array(A.T, order="F")
        L[np.diag_indices(len(A))] += jitter
        L, failed = dpotrf(L, lower=1, overwrite_a=1)
        if not failed:
            return L
    raise not_psd(f"no Cholesky factor between the centres, even with {jitter:.0e} added to its diagonal")


def _inverse(L):
    return dtrtri(L, lower=1, overwrite_c=1)[0]
