r"""The choice of metric and of the number of rounds of a recursive feature machine, on rows that no metric has seen.

The rows are split into folds. Without a metric, the fits that leave out the folds come from one inverse. Let B be the
matrix of the coefficients, :math:`c = B y`. It is a block of the inverse of the system with the intercept, so that
without the rows F the coefficients are :math:`c_T - B_{TF} B_{FF}^{-1} c_F`, and the residuals of F are
:math:`B_{FF}^{-1} c_F`, the ridge being kept. One row more is left out by the diagonal of
:math:`B_{TT} - B_{TF} B_{FF}^{-1} B_{FT}`. With a metric of its own, each fold has a Gram matrix of its own.
"""

from typing import NamedTuple

import numpy as np
from scipy.linalg import cho_solve, cholesky, eigh, solve_triangular
from scipy.linalg.lapack import dpotrf, dpotri

from sklearn_ltdl.ntk._agop import ntk_agop
from sklearn_ltdl.ntk._gram import call_kernel, mean_diagonal
from sklearn_ltdl.ntk._sample import together
from sklearn_ltdl.ntk._solvers import DEFINITE, NO_FACTOR, _centre, _cholesky_search, _least, not_psd

FOLDS = 3
STANDARD_ERRORS = 2.0  # least significant difference of held-out errors
FEW_ROWS = 15  # of n rows, (1 + 15 / n) times as many standard errors: of few, these are uncertain themselves
LEAST_GAIN = 0.05  # share of the error without rounds that rounds must save
LEAST_STEP = 0.02  # share of its error that a candidate must lose in a round to make another
TYPICAL_ALPHA = 1e-4  # penalty of fits to squared residuals, and where the search begins in a first metric
SQUARES_ROUNDS = 2


class Candidate(NamedTuple):
    """A sequence of metrics: which part of the outer product is used, and of which target the first one is."""

    diagonal: bool
    squares: bool


CANDIDATES = {
    "full": Candidate(diagonal=False, squares=False),
    "diagonal": Candidate(diagonal=True, squares=False),
    "residual": Candidate(diagonal=True, squares=True),
}


class Fit(NamedTuple):
    """Coefficients with the kernel of rows in a metric, intercept, and penalty relative to the mean diagonal."""

    coef: np.ndarray
    intercept: np.ndarray
    alpha: float


def fit(X, Y, weight, root, settings, alpha=None, strides=(), blocks=()):
    """Return the `Fit` in a metric of some root, with the kernel of the settings.

    Parameters
    ----------
    X, Y, weight : ndarrays of shapes (n, n_features), (n, n_outputs) and (n,)
    root : ndarray of shape (n_features, n_features)
    settings : MachineSettings
    alpha : float, default=None
        Penalty relative to the kernel's mean diagonal; None takes that of the settings.
    strides : tuple of ints, default=()
        If any, go from `alpha` to the least leave-one-out error, in such steps of the grid.
    blocks : sequence of ndarrays of int, default=()
        Rows that are left out together.
    """
    K, scale, share = _scaled_gram(X @ root, weight, settings)
    n, alphas = len(K), settings.penalties(scale)
    alpha = alphas[0] if alpha is None else alpha
    mean, (scaling, row_means) = share @ Y / n, _centre(K, share)
    target = scaling * (Y - mean)
    if strides and len(alphas) > 1:
        ridges = _ridges(n * alphas, n)
        duals, left_out, tried, _ = _cholesky_search(K, target, scaling, ridges, n * alpha, strides, blocks)
        best = _least(np.sum(share[:, None, None] * left_out**2, axis=(0, 1)))
        dual, alpha = duals[..., best], alphas[tried][best]
    else:
        dual = cho_solve((_factored(K, _ridges(n * alpha, n)), True), target, check_finite=False)
    coef = scaling * dual
    return Fit(coef / scale, mean - row_means @ coef, alpha)


def metric_root(M, diagonal):
    """Return the symmetric root of a metric or of its diagonal, scaled to the trace d; the identity for M = 0."""
    if not np.trace(M) > 0:
        return np.eye(len(M))
    M = M * (len(M) / np.trace(M))
    if diagonal:
        return np.diag(np.sqrt(np.diagonal(M)))
    values, vectors = eigh(M, check_finite=False)
    return (vectors * np.sqrt(np.maximum(values, 0.0))) @ vectors.T


def outer_product(X, weight, root, coef, settings):
    """Return the average gradient outer product, at the rows of a fit in a metric."""
    return root @ ntk_agop(X @ root, weight, None, coef, depth=settings.depth) @ root


def product_of_squares(X, squares, weight, settings):
    """Return the outer product of a fit to squared residuals in a metric that an earlier fit to them has made.

    A pure interaction, such as x y, leaves the mean of the target constant along each column, but not its variance.
    The gradients show this best with a small penalty: of the columns of squares that are mostly noise, leave-one-out
    chooses a fit that is nearly linear or constant.
    """
    root, squares = np.eye(X.shape[1]), squares[:, None]
    for _ in range(SQUARES_ROUNDS):
        found = fit(X, squares, weight, root, settings, TYPICAL_ALPHA)
        M = outer_product(X, weight, root, found.coef, settings)
        root = metric_root(M, diagonal=True)
    return M


def _scaled_gram(X, weight, settings):
    """Return the Gram matrix over its mean diagonal, the latter, and the weights with the sum n."""
    K = call_kernel(settings.kernel, X)
    share = weight * (len(X) / weight.sum())
    scale = mean_diagonal(K, share)
    K /= scale
    return K, scale, share


def _ridges(ridges, n):
    return np.maximum(ridges, DEFINITE * n)  # with less, null functions lose their digits


def _factored(K, ridge):
    """Return the lower Cholesky factor of K plus a ridge, in the memory of K."""
    K[np.diag_indices(len(K))] += ridge
    factor, failed = dpotrf(K.T, lower=1, clean=0, overwrite_a=1)
    if failed:
        raise not_psd(NO_FACTOR)
    return factor


class Inverse(NamedTuple):
    """The matrix B of the coefficients, of shape (n, n), for the kernel over its mean diagonal `scale`."""

    matrix: np.ndarray
    scale: float

    @classmethod
    def of(cls, X, weight, alpha, settings):
        """Return B for rows without a metric at a penalty relative to the kernel's mean diagonal."""
        K, scale, share = _scaled_gram(X, weight, settings)
        root, _ = _centre(K, share)
        n, ridge = len(K), _ridges(len(K) * alpha, len(K))
        lower = np.tril(dpotri(_factored(K, ridge), lower=1, overwrite_c=1)[0])
        B = lower + np.tril(lower, -1).T
        B -= root * root.T / (n * (n + ridge))
        B *= root
        B *= root.T
        return cls(B, scale)

    def left_out(self, Y):
        """Return the leave-one-out residuals."""
        return self.matrix @ Y / np.diagonal(self.matrix)[:, None]

    def without(self, Y, train, test):
        """Return coefficients and leave-one-out residuals of the rows `train`, and the residuals of `test`.

        The targets of `test` are used for their residuals alone.
        """
        between = self.matrix[np.ix_(test, train)]
        L = cholesky(self.matrix[np.ix_(test, test)], lower=True, check_finite=False)
        coef = self.matrix @ Y
        residuals = cho_solve((L, True), coef[test], check_finite=False)
        coef = coef[train] - between.T @ residuals
        seen = solve_triangular(L, between, lower=True, overwrite_b=True, check_finite=False)
        diagonal = np.diagonal(self.matrix)[train] - np.einsum("ij,ij->j", seen, seen)
        return coef / self.scale, coef / diagonal[:, None], residuals


class Choice(NamedTuple):
    """What the held-out rows say.

    Parameters
    ----------
    name : str
        Of the candidate, or 'none'.
    n_rounds : int
    errors : dict of ndarrays of shape (n_tried, n)
        Squared held-out errors of each candidate after 0, 1, ... rounds.
    held_out : ndarray of shape (n, n_outputs)
        Held-out predictions of the choice.
    alphas : list of length n_rounds + 1
        Penalties after 0, 1, ... rounds, relative to the kernel's mean diagonal; None for those of the settings.
    ranks : dict of floats
        Effective rank of the first metric of each candidate.
    folds : list of tuples of ndarrays
        Training rows and held-out rows of each fold.
    roots : list of ndarrays
        Root of the metric of the last round in each fold.
    """

    name: str
    n_rounds: int
    errors: dict
    held_out: np.ndarray
    alphas: list
    ranks: dict
    folds: list
    roots: list


def choose(X, Y, weight, first, names, max_rounds, settings):
    """Try the rounds of some candidates in cross-validation, and choose.

    Parameters
    ----------
    X, Y, weight : ndarrays of shapes (n, n_features), (n, n_outputs) and (n,)
    first : Machine
        The fit to these rows without a metric, which has chosen its penalty. Its blocks are left out together.
    names : sequence of str
    max_rounds : int
    settings : MachineSettings
    """
    block = first.sample.block
    folds = folds_of(block, settings.random_state)
    squares = any(CANDIDATES[name].squares for name in names)
    held_out, products = _first_round(X, Y, weight, folds, first.relative_alpha, squares, settings)
    alpha = first.relative_alpha if settings.alpha == "loo" else None
    paths = {
        name: Path(CANDIDATES[name].diagonal, products[CANDIDATES[name].squares], [], [held_out], [alpha])
        for name in names
    }
    running, made = list(paths.values()), 0
    while running and made < max_rounds:
        made += 1
        for path in running:
            path.advance(X, Y, weight, folds, block, settings)
        running = still_running(running, Y, weight)
    errors = {name: path.errors(Y) for name, path in paths.items()}
    ranks = {name: path.effective_rank() for name, path in paths.items()}
    name, n_rounds = best_round(errors, weight, [test for _, test in folds])
    if n_rounds == 0:
        return Choice(name, 0, errors, held_out, [alpha], ranks, folds, [])
    path = paths[name]
    roots = [root for root, _ in path.fits[n_rounds - 1]]
    return Choice(name, n_rounds, errors, path.held_out[n_rounds], path.alphas[: n_rounds + 1], ranks, folds, roots)


def folds_of(block, seed):
    """Return the training rows and the rows of at most `FOLDS` folds of whole blocks, of about equal numbers of rows.

    A block is in the fold to which the middle of its rows belongs.
    """
    sizes, n = np.bincount(block), len(block)
    drawn = np.random.default_rng(seed).permutation(len(sizes))
    middles = np.cumsum(sizes[drawn]) - sizes[drawn] / 2
    ends = np.cumsum([n // FOLDS + (k < n % FOLDS) for k in range(FOLDS)])
    place = np.argsort(drawn)[block]  # of each row's block among those that are drawn
    order = np.argsort(place, kind="stable")
    fold = np.searchsorted(ends, middles)[place[order]]
    return [(np.setdiff1d(order, test), test) for test in np.split(order, np.flatnonzero(np.diff(fold)) + 1)]


class Path(NamedTuple):
    """The rounds of a candidate in all folds.

    Parameters
    ----------
    diagonal : bool
    products : list
        Outer product of each fold for the metric of the first round.
    fits : list
        By round, root of the metric and coefficients of each fold.
    held_out, alphas : lists
        Predictions and penalties after 0, 1, ... rounds.
    """

    diagonal: bool
    products: list
    fits: list
    held_out: list
    alphas: list

    def errors(self, Y):
        """Return the squared errors after 0, 1, ... rounds, summed over outputs, of shape (n_tried, n)."""
        return np.array([np.sum((scores - Y) ** 2, axis=1) for scores in self.held_out])

    def effective_rank(self):
        """Return the mean over folds of (tr M)^2 / tr M^2 for the metric M of the first round, whose trace is d."""
        roots = [root for root, _ in self.fits[0]]
        return float(np.mean([len(root) ** 2 / np.sum((root @ root) ** 2) for root in roots]))

    def advance(self, X, Y, weight, folds, block, settings):
        """Make one more round in each fold. The first fold chooses the penalty, which the others take over.

        In the first metric the search is wide and begins at a typical penalty: at the large one of a fit that explains
        nothing, leave-one-out may have a minimum of its own. Later it begins at the penalty of the round before.
        """
        alpha, strides, roots = self.alphas[-1], (1,), []
        if not self.fits and alpha is not None:
            alpha, strides = TYPICAL_ALPHA, (4, 1)
        for k, (train, _) in enumerate(folds):
            M = self.products[k]
            if self.fits:
                M = outer_product(X[train], weight[train], *self.fits[-1][k], settings)
            roots.append(metric_root(M, self.diagonal))
        coefs, scores, alpha = fit_folds(X, Y, weight, folds, roots, block, settings, alpha, strides)
        self.fits.append(list(zip(roots, coefs)))
        self.held_out.append(scores)
        self.alphas.append(alpha)


def fit_folds(X, Y, weight, folds, roots, block, settings, alpha, strides):
    """Return the coefficients of each fold in its metric, held-out predictions, and the penalty.

    The first fold chooses the penalty from `alpha` on, in some strides, and the others take it over.
    """
    coefs, scores = [], np.empty(Y.shape)
    for k, ((train, test), root) in enumerate(zip(folds, roots)):
        search = () if k else (strides, together(np.unique(block[train], return_inverse=True)[1]))
        found = fit(X[train], Y[train], weight[train], root, settings, alpha, *search)
        alpha = None if alpha is None else found.alpha
        scores[test] = call_kernel(settings.kernel, X[test] @ root, X[train] @ root) @ found.coef + found.intercept
        coefs.append(found.coef)
    return coefs, scores, alpha


def _first_round(X, Y, weight, folds, alpha, squares, settings):
    """Return held-out predictions without a metric, and outer products of the fits to Y and to squared residuals."""
    inverse = Inverse.of(X, weight, alpha, settings)
    held_out, products, identity = np.empty(Y.shape), {False: [], True: []}, np.eye(X.shape[1])
    for train, test in folds:
        coef, left_out, residuals = inverse.without(Y, train, test)
        held_out[test] = Y[test] - residuals
        products[False].append(outer_product(X[train], weight[train], identity, coef, settings))
        if squares:
            squared = np.sum(left_out**2, axis=1)
            products[True].append(product_of_squares(X[train], squared, weight[train], settings))
    return held_out, products


def still_running(paths, Y, weight):
    """Return those of some paths that may make one more round: their error falls, and no other has one much lower."""
    errors = [path.errors(Y) for path in paths]
    best = min((rounds[-1] for rounds in errors), key=lambda error: weight @ error)
    return [
        path
        for path, rounds in zip(paths, errors)
        if weight @ rounds[-1] < (1.0 - LEAST_STEP) * (weight @ rounds[-2]) and not is_less(best, rounds[-1], weight)
    ]


def is_less(errors, others, weight):
    """Return whether the mean of some errors is less than that of others by more than chance."""
    gains = others - errors
    mean = np.average(gains, weights=weight)
    deviation = np.sqrt(np.sum((weight * (gains - mean)) ** 2)) / weight.sum()
    return mean > STANDARD_ERRORS * (1.0 + FEW_ROWS / len(gains)) * deviation


def best_round(errors, weight, folds):
    """Return the candidate and the round of least error if it is much better than none in each fold, else none.

    A gain may be significant, but too small to make up for the worse choice of the penalty that leave-one-out makes in
    a metric that has seen the targets.
    """
    tried = [(weight @ error, name, k) for name, rounds in errors.items() for k, error in enumerate(rounds) if k]
    if not tried:
        return "none", 0
    least, name, k = min(tried)
    none = errors[name][0]
    gains = weight * (none - errors[name][k])
    pays = least < (1.0 - LEAST_GAIN) * (weight @ none) and all(gains[rows].sum() > 0 for rows in folds)
    return (name, k) if pays and is_less(errors[name][k], none, weight) else ("none", 0)
