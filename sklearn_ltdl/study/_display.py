"""Pictures of comparisons over many tables."""

from sklearn_ltdl.study._ranks import mean_ranks


class CriticalDifferenceDisplay:
    """Mean ranks of methods over tables, and which of them are not told apart.

    The best method is on the left. Black bars join methods whose mean ranks differ by less than the critical
    difference, which is drawn above the axis. Blue lines are 95 % bootstrap intervals of the mean ranks.

    Parameters
    ----------
    ranks : MeanRanks
        What `mean_ranks` returns.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    stems_ : dict of str to matplotlib Line2D
        From the axis to each method's name.
    intervals_ : dict of str to matplotlib Line2D
    bars_ : list of matplotlib Line2D
        One a group of methods.
    difference_ : matplotlib Line2D
        The critical difference.

    See Also
    --------
    mean_ranks : The numbers, and what they mean.

    References
    ----------
    .. [1] J. Demšar. "Statistical comparisons of classifiers over multiple data sets". JMLR 7, 2006, figure 1.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl.study import CriticalDifferenceDisplay
    >>> losses = np.random.default_rng(0).random((20, 3)) + [0.0, 0.1, 1.0]
    >>> display = CriticalDifferenceDisplay.from_losses(losses, names=["ntk", "rich", "linear"])
    >>> display.ranks.groups
    [('rich', 'ntk')]
    """

    def __init__(self, ranks):
        self.ranks = ranks

    @classmethod
    def from_losses(cls, losses, *, names=None, alpha=0.05, random_state=0, ax=None):
        """Rank methods on each table, and draw their mean ranks.

        Parameters
        ----------
        losses : pandas DataFrame or array-like of shape (n_tables, n_methods)
            As in `mean_ranks`.
        names : list of str, default=None
            One a method; None takes the columns of a DataFrame.
        alpha : float, default=0.05
            Level of Nemenyi's test.
        random_state : int, RandomState instance or None, default=0
            Draws the bootstrap samples.
        ax : matplotlib Axes, default=None
            A new figure's if None.

        Returns
        -------
        display : CriticalDifferenceDisplay
        """
        return cls(mean_ranks(losses, names=names, alpha=alpha, random_state=random_state)).plot(ax=ax)

    @property
    def size(self):
        """Width and height of a figure, in inches."""
        return 8, 1.4 + 0.3 * (len(self.ranks.names) // 2 + 1 + 0.4 * len(self.ranks.groups))

    def plot(self, ax=None):
        """Draw the mean ranks.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            A new figure's if None.

        Returns
        -------
        display : CriticalDifferenceDisplay
        """
        names, ranks, groups = self.ranks.names, self.ranks.ranks, self.ranks.groups
        k, left = len(names), (len(names) + 1) // 2
        top = 0.4 * len(groups)  # the bars are between the axis and the names
        height = {j: -top - 0.6 - (j if j < left else k - 0.5 - j) for j in range(k)}  # no two are the same
        if ax is None:
            import matplotlib.pyplot as plt

            _, ax = plt.subplots(figsize=self.size, layout="constrained")
        self.ax_, self.figure_ = ax, ax.figure
        ax.set(xlim=(1 - 0.02 * k, k + 0.02 * k), ylim=(min(height.values()) - 0.6, 1.6))
        ax.spines[:].set_visible(False)
        ax.xaxis.tick_top()
        ax.spines["top"].set(visible=True, position=("data", 0))
        ax.set(yticks=[], xticks=range(1, k + 1))
        self.stems_, self.intervals_ = {}, {}
        for j, name in enumerate(names):
            end, side = (1 - 0.02 * k, "right") if j < left else (k + 0.02 * k, "left")
            self.stems_[name] = ax.plot([ranks[j], ranks[j], end], [0, height[j], height[j]], color="0.3", lw=1)[0]
            ax.text(end, height[j], f" {name}  {ranks[j]:.2f} ", ha=side, va="center")
            self.intervals_[name] = ax.plot(
                [self.ranks.low[j], self.ranks.high[j]], [height[j]] * 2, color="tab:blue", lw=2.5, alpha=0.5
            )[0]
        self.bars_ = []
        for row, group in enumerate(groups):
            ends = [ranks[names.index(group[0])] - 0.01 * k, ranks[names.index(group[-1])] + 0.01 * k]
            self.bars_ += ax.plot(ends, [-0.4 * row - 0.4] * 2, color="black", lw=4, solid_capstyle="butt")
        difference = self.ranks.critical_difference
        self.difference_ = ax.plot([1, 1 + difference], [1.3, 1.3], color="black", lw=2)[0]
        ax.text(1 + difference, 1.3, f"  critical difference {difference:.2f}", va="center")
        return self
