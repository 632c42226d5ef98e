"""Methods on many tables: mean ranks, their uncertainty, and which methods differ significantly."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from sklearn_ltdl._shown import Shown, columns
from sklearn_ltdl._sklearn import Interval, draw_seed, validate_params

if TYPE_CHECKING:
    from pandas import DataFrame

LEVEL = 0.95  # of the bootstrap intervals


@dataclass(frozen=True, repr=False)
class MeanRanks(Shown):
    """Mean ranks of methods over tables, best first; the result of `mean_ranks`.

    Parameters
    ----------
    names : tuple of str
    ranks : ndarray of shape (n_methods,)
        A method that is the best on every table has rank 1.
    low, high : ndarray of shape (n_methods,)
        95 % bootstrap intervals: the mean ranks that other tables of the same kind might give.
    critical_difference : float
        Two methods whose mean ranks differ by less do not differ significantly (Nemenyi's test).
    p_value : float
        For the null hypothesis that all methods perform equally (Friedman's test, F statistic of Iman and Davenport).
    f_statistic, chi2 : float
        Statistics of this test: [1]_, section 3.2.2.
    alpha : float
        Level of Nemenyi's test: the probability that any two methods differ significantly if all perform equally.
    n_tables : int

    References
    ----------
    .. [1] J. Demšar. "Statistical comparisons of classifiers over multiple data sets". JMLR 7, 2006.
    """

    names: tuple
    ranks: np.ndarray
    low: np.ndarray
    high: np.ndarray
    critical_difference: float
    p_value: float
    f_statistic: float
    chi2: float
    alpha: float
    n_tables: int

    @property
    def groups(self):
        """Largest sets of at least two names whose mean ranks differ by less than the critical difference."""
        ends = np.searchsorted(self.ranks, self.ranks + self.critical_difference)  # just after each group
        starts = range(len(self.names))
        return [
            self.names[start:end]
            for start, end in zip(starts, ends)
            if end - start > 1 and (start == 0 or ends[start - 1] < end)
        ]

    def to_frame(self) -> "DataFrame":
        """Return a pandas DataFrame of mean rank, low and high, indexed by method."""
        from pandas import DataFrame

        columns = {"mean_rank": self.ranks, "low": self.low, "high": self.high}
        return DataFrame(columns, index=list(self.names)).rename_axis("method")

    def __str__(self) -> str:
        lines = [f"{'method':<10} {'mean rank':>9}  95 % interval"]
        lines += [
            f"{name:<10} {rank:>9.2f}  {low:.2f} to {high:.2f}"
            for name, rank, low, high in zip(self.names, self.ranks, self.low, self.high)
        ]
        chance = f"p = {self.p_value:.2g}" if self.p_value >= 1e-4 else "p < 0.0001"
        lines += [
            f"Null hypothesis that all methods perform equally: {chance} (Friedman's test, {self.n_tables} tables).",
            f"Mean ranks that differ by less than {self.critical_difference:.2f} do not differ significantly",
            f"(Nemenyi's test, level {self.alpha:g}).",
        ]
        return "\n".join(lines)

    def _headline(self):
        return f"{len(self.names)} methods on {self.n_tables} tables, best {self.names[0]}, p = {self.p_value:.2g}"

    def _tables(self):
        yield columns(method=self.names, mean_rank=self.ranks, low=self.low, high=self.high)


@validate_params(
    {
        "losses": ["array-like"],
        "names": ["array-like", None],
        "alpha": [Interval(Real, 0, 1, closed="neither")],
        "n_resamples": [Interval(Integral, 100, None, closed="left")],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def mean_ranks(losses, *, names=None, alpha=0.05, n_resamples=10_000, random_state=0) -> MeanRanks:
    r"""Rank methods on each table, and test which mean ranks differ significantly.

    Parameters
    ----------
    losses : pandas DataFrame or array-like of shape (n_tables, n_methods)
        Smaller is better; equal losses share the mean of their ranks. NaN is a method that failed on a table; it has
        the last rank there.
    names : list of str, default=None
        One per method; None takes the columns of a DataFrame.
    alpha : float, default=0.05
        Level of Nemenyi's test.
    n_resamples : int, default=10000
        Bootstrap samples of the tables.
    random_state : int, RandomState instance or None, default=0
        Draws the bootstrap samples.

    Returns
    -------
    ranks : MeanRanks
        `names`, `ranks` and intervals, best first; `critical_difference`, `p_value` and `groups`. Printing shows them.

    Raises
    ------
    ValueError
        If there are fewer than two tables or two methods.

    See Also
    --------
    CriticalDifferenceDisplay : The same ranks in a figure.

    Notes
    -----
    With :math:`N` tables, :math:`k` methods and mean ranks :math:`R_j` [1]_,

    .. math::
        \chi_F^2 = \frac{12 N}{k (k+1)} \Big( \sum_j R_j^2 - \frac{k (k+1)^2}{4} \Big), \quad
        F = \frac{(N-1) \chi_F^2}{N (k-1) - \chi_F^2}, \quad
        \mathrm{CD} = q_\alpha \sqrt{\frac{k (k+1)}{6 N}},

    where F has :math:`k-1` and :math:`(k-1)(N-1)` degrees of freedom, and :math:`q_\alpha` is the quantile of the
    studentized range over :math:`\sqrt 2`. All of them assume that the tables are independent, so two copies of a table
    count twice. With fewer than about ten tables, the bootstrap intervals are too narrow.

    References
    ----------
    .. [1] J. Demšar. "Statistical comparisons of classifiers over multiple data sets". JMLR 7, 2006.

    Examples
    --------
    >>> from sklearn_ltdl.study import mean_ranks
    >>> ranks = mean_ranks([[0.1, 0.2, 0.3], [0.1, 0.3, 0.2], [0.2, 0.3, 0.4]], names=["a", "b", "c"])
    >>> ranks.names, ranks.ranks.round(2).tolist()
    (('a', 'b', 'c'), [1.0, 2.33, 2.67])
    """
    if names is None:
        names = getattr(losses, "columns", range(np.shape(losses)[-1] if np.ndim(losses) else 0))
    names, losses = list(map(str, names)), np.asarray(losses, dtype=float)
    if losses.ndim != 2 or losses.shape[1] != len(names) or min(losses.shape) < 2:
        raise ValueError(
            f"losses: expected shape (n_tables, n_methods), both at least 2, with {len(names)} names; got shape "
            f"{losses.shape}."
        )
    by_table = stats.rankdata(np.where(np.isnan(losses), np.inf, losses), axis=1)
    n, k = by_table.shape
    mean = by_table.mean(axis=0)
    chi2 = 12 * n / (k * (k + 1)) * (np.sum(mean**2) - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi2
    f = (n - 1) * chi2 / rest if rest > 1e-9 * chi2 else np.inf  # every table has the same order
    counts = np.random.default_rng(draw_seed(random_state)).multinomial(n, np.full(n, 1 / n), size=n_resamples)
    low, high = np.quantile(counts @ by_table / n, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    critical = stats.studentized_range.ppf(1 - alpha, k, np.inf) / np.sqrt(2) * np.sqrt(k * (k + 1) / (6 * n))
    order = np.argsort(mean, kind="stable")
    return MeanRanks(
        tuple(names[j] for j in order),
        mean[order],
        low[order],
        high[order],
        float(critical),
        float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
        float(f),
        float(chi2),
        float(alpha),
        n,
    )
