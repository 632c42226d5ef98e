"""Compare solvers of one finite sum with each other and with their theoretical rates."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone

from sklearn_ltdl._sklearn import check_number, draw_seed
from sklearn_ltdl._types import MatrixLike, Seed
from sklearn_ltdl.linear._estimators import SAGClassifier, SAGRegressor
from sklearn_ltdl.linear._solvers import SOLVERS, Draw, conjugate_gradients
from sklearn_ltdl.losses import Squared

if TYPE_CHECKING:
    from pandas import DataFrame

SHOWN = ("sgd", "gd", "agd", "sag", "saga", "sdca", "catalyst")
SHOWN_WITH_L1 = ("gd", "agd", "saga", "svrg")
DENSE_SIDE = 3000  # above this side, the effective dimension is estimated
PROBES = 20
ROUNDING = 1e-14  # stop at this gap, a share of the range of the objective


def compare_solvers(
    X: MatrixLike,
    y: ArrayLike,
    sample_weight: ArrayLike | None = None,
    *,
    estimator: Any = None,
    solvers: Sequence[str] | None = None,
    max_iter: int = 50,
    random_state: Seed = None,
) -> "tuple[DataFrame, ConvergenceDisplay]":
    """Run several solvers on one problem and certify every epoch, to compare how fast they approach the minimum.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    sample_weight : array-like of shape (n_samples,), default=None
    estimator : SAGRegressor or SAGClassifier, default=None
        Supplies loss, penalty, step and sampling. None takes ``SAGRegressor()`` if `y` is of floats, else
        ``SAGClassifier()``.
    solvers : list of str, default=None
        Values of the estimator's parameter `solver`. None takes 'sgd', 'gd', 'agd', 'sag', 'saga', 'sdca' and
        'catalyst', or with an l1 norm 'gd', 'agd', 'saga' and 'svrg'.
    max_iter : int, default=50
        Maximum number of epochs of each solver.
    random_state : int, RandomState instance or None, default=None

    Returns
    -------
    frame : DataFrame
        One row per solver and epoch, with columns 'solver', 'passes', 'seconds', 'primal', 'dual', 'gap' and
        'suboptimality'. The suboptimality is the primal objective minus that of a reference solution with a relative
        gap of 1e-12.
    display : ConvergenceDisplay
        Not drawn yet; call ``display.plot()``.

    See Also
    --------
    ConvergenceDisplay : Draws the frame; ``ConvergenceDisplay.from_data`` does both.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_ltdl import compare_solvers
    >>> X, y = load_diabetes(return_X_y=True)
    >>> frame, display = compare_solvers(scale(X), y, solvers=["sag", "gd"], random_state=0)
    >>> frame.groupby("solver")["suboptimality"].last().idxmin()
    'sag'
    """
    import pandas as pd

    if estimator is None:
        estimator = SAGRegressor() if np.asarray(y).dtype.kind == "f" else SAGClassifier()
    if solvers is None:
        solvers = SHOWN_WITH_L1 if estimator.l1_ratio > 0 else SHOWN
    is_list = isinstance(solvers, Iterable) and np.ndim(solvers) == 1
    unknown = [name for name in solvers if name not in SOLVERS] if is_list else [solvers]
    if unknown or not len(solvers):
        raise ValueError(f"solvers must be a list of some of {sorted(SOLVERS)}; got {unknown or 'none'}.")
    check_number("max_iter", max_iter, Integral, 0)
    problem = clone(estimator)._task(X, y, sample_weight).problem
    if problem.alpha == 0:
        raise ValueError("compare_solvers needs alpha > 0: without a penalty there is no certified minimum to compare.")
    if problem.nothing_to_gain:
        raise ValueError("The best constant prediction already minimises this problem; there is nothing to compare.")
    seed = draw_seed(random_state)
    best = SOLVERS["auto"](problem, tol=1e-12, max_iter=20_000, seed=seed)
    lowest = problem.at(best.coef, best.intercept)
    parts = []
    for name in solvers:
        options = {"tol": ROUNDING, "seed": seed, "step": estimator.step_size, "sampling": estimator.sampling}
        SOLVERS[name](problem, max_iter=1, **options)  # compiles
        solution = SOLVERS[name](problem, max_iter=max_iter, every=1, **options)
        parts.append(pd.DataFrame({"solver": name, **vars(solution.trace)}))
    frame = pd.concat(parts, ignore_index=True)
    frame["suboptimality"] = frame["primal"] - min(lowest.objective, frame["primal"].min())
    statistical_error = None
    if isinstance(problem.loss, Squared) and problem.l1 == 0:
        noise = problem.share @ np.sum((problem.Y - lowest.margins) ** 2, axis=1)
        size = 1 / np.sum(problem.share**2)  # the number of rows, for equal weights
        statistical_error = 0.5 * effective_dimension(problem, seed) * noise / size
    rates = {name: _rate(name, problem, estimator.sampling) for name in solvers}
    display = ConvergenceDisplay(
        frame,
        scale=problem.start.objective - lowest.objective,
        statistical_error=statistical_error,
        rates={name: rate for name, rate in rates.items() if rate is not None},
    )
    return frame, display


def effective_dimension(problem, seed=0):
    r"""Return :math:`\mathrm{tr}\,\Sigma (\Sigma + \alpha I)^{-1}` of the (with an intercept: centred) covariance.

    Exact up to 3000 rows or columns; above, Hutchinson's estimate with 20 random sign vectors.
    """
    n, p = problem.X.shape
    X, share = problem.X, problem.share
    centre = share @ X if problem.fit_intercept else np.zeros(p)
    if min(n, p) <= DENSE_SIDE and n * p <= 10**8:
        A = np.sqrt(share)[:, None] * ((X if isinstance(X, np.ndarray) else X.toarray()) - centre)
        values = np.maximum(np.linalg.eigvalsh(A @ A.T if n < p else A.T @ A), 0)
        return float(np.sum(values / (values + problem.l2)))

    def covariance(v):
        z = share * (X @ v - centre @ v)
        return X.T @ z - z.sum() * centre

    rng, traces = np.random.default_rng(seed), []
    for _ in range(PROBES):
        signs = rng.choice([-1.0, 1.0], size=p)
        solved, *_ = conjugate_gradients(lambda v: covariance(v) + problem.l2 * v, signs, lambda _: 1e-4 * np.sqrt(p))
        traces.append(p - problem.l2 * signs @ solved)
    return float(np.mean(traces))


def _rate(name, problem, sampling):
    """Return the theoretical factor of the suboptimality per epoch, None if the rate is not geometric."""
    n, mu = len(problem.Y), problem.l2
    L = Draw(problem, sampling).smoothness
    whole = problem.loss_smoothness + mu
    kappa = max(np.mean(problem.term_smoothness) / n - mu, 0.0)
    factors = {
        "gd": 1 - mu / whole,
        "agd": 1 - np.sqrt(mu / whole),
        "sag": (1 - min(mu / (16 * L), 1 / (8 * n))) ** n,
        "saga": (1 - min(mu / (3 * L), 1 / (4 * n))) ** n,
        "svrg": (1 - min(mu / (6 * L), 1 / (2 * n))) ** n,
        "sdca": (1 - mu / (mu * n + np.max(problem.term_smoothness))) ** n,
        "catalyst": 1 - 0.5 * np.sqrt(mu / (mu + kappa)),
    }
    return factors.get(name)


class ConvergenceDisplay:
    """Plot of the suboptimality of solvers against passes over the data and against seconds.

    Dotted lines are the theoretical rates from the first epoch on. The grey band is the statistical error of the
    minimum itself; optimising further below it does not improve predictions on new rows.

    Parameters
    ----------
    frame : DataFrame
        The table that `compare_solvers` returns.
    scale : float
        Range of the objective, from the best constant prediction to the minimum. Suboptimalities are divided by it.
    statistical_error : float, default=None
        ``d_eff sigma^2 / (2n)`` in units of the objective (half squared errors), where d_eff is the trace of ``Sigma
        (Sigma + alpha I)^-1`` for the covariance Sigma of the features, and sigma^2 is the variance of the residuals.
        None for losses other than the squared loss.
    rates : dict of str to float, default=None
        Theoretical factor of the suboptimality per epoch, by solver.

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : dict of str to list of matplotlib Line2D
        The lines in the two panels, by solver.

    See Also
    --------
    compare_solvers : Runs the solvers.

    References
    ----------
    .. [1] F. Bach. "Can learning theory resist deep learning?". Invited talk, 2019.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_ltdl import ConvergenceDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = ConvergenceDisplay.from_data(scale(X), y, solvers=["sag", "gd"], random_state=0)
    >>> list(display.lines_)
    ['sag', 'gd']
    """

    def __init__(
        self, frame: "DataFrame", *, scale: float, statistical_error: float | None = None, rates: Any = None
    ) -> None:
        self.frame = frame
        self.scale = scale
        self.statistical_error = statistical_error
        self.rates = rates

    @classmethod
    def from_data(
        cls, X: MatrixLike, y: ArrayLike, sample_weight: ArrayLike | None = None, *, axes: Any = None, **options: Any
    ) -> Self:
        """Run the solvers and plot their suboptimality.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
        axes : two matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.
        **options
            Options of `compare_solvers`.

        Returns
        -------
        display : ConvergenceDisplay
        """
        return compare_solvers(X, y, sample_weight, **options)[1].plot(axes)

    def plot(self, axes: Any = None) -> Self:
        """Draw the two panels.

        Parameters
        ----------
        axes : two matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : ConvergenceDisplay
        """
        import matplotlib.pyplot as plt

        if axes is None:
            _, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
        self.axes_: Any = np.asarray(axes)
        self.figure_: Any = axes[0].figure
        self.lines_: dict[Any, Any] = {}
        floor = 1e-16
        for name, part in self.frame.groupby("solver", sort=False):
            height = np.maximum(part["suboptimality"] / self.scale, floor)
            self.lines_[name] = [
                ax.semilogy(part[column], height, label=name)[0] for ax, column in zip(axes, ("passes", "seconds"))
            ]
            rate = (self.rates or {}).get(name)
            if rate is not None and len(part) > 1:
                passes = part["passes"].to_numpy()
                promised = height.iloc[1] * rate ** (passes[1:] - passes[1])
                axes[0].semilogy(passes[1:], promised, ":", color=self.lines_[name][0].get_color(), linewidth=1)
        lowest = self.frame.loc[self.frame["suboptimality"] > 0, "suboptimality"].min() / self.scale
        for ax, label in zip(axes, ("passes over the data", "seconds")):
            ax.set(xlabel=label, ylim=(max(lowest / 3, 1e-15), None))
            if self.statistical_error:
                level = self.statistical_error / self.scale
                ax.axhspan(ax.get_ylim()[0], level, color="0.9", zorder=0)
                ax.axhline(level, color="0.5", linewidth=1, linestyle="--", label="statistical error")
        axes[0].set_ylabel("suboptimality / range of the objective")
        axes[1].legend()
        return self
