"""Pictures of a comparison, and of comparisons over many tables."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._types import Seed
from sklearn_ltdl.study._comparison import Comparison
from sklearn_ltdl.study._ranks import MeanRanks, mean_ranks

_FAMILIES = {  # a colour (Okabe and Ito's, for every kind of sight), a mark and a line for each, so that grey will do
    "dummy": ("0.6", "x", ":"),
    "linear": ("0.25", "s", ":"),
    "kernel": ("#0072b2", "o", "--"),
    "rfm": ("#cc79a7", "v", "--"),
    "network": ("#d55e00", "^", "-"),
    "trees": ("#009e73", "D", "-."),
}
_OTHER = ("black", "*", (0, (1, 3)))
_ANSWERS = {"yes": "#0072b2", "no": "0.5", "undecided": "white"}


class ComparisonDisplay:
    """Scores of the models, and the differences on which the verdict rests.

    The first panel has a model a line, with its 95 % interval; it leaves out the baseline, and of R2 what is below 0.
    The second has a pair of models a line: the share of the baseline's loss that the first saves over the second, with
    an 80 % interval, against the margin (shaded) within which two models count as equal, and the answers to the
    questions that the pair stands for. A hollow mark is undecided. The question whether any model beats the baseline
    has a line only where there is no other.

    Parameters
    ----------
    comparison : Comparison
        What `compare` returns.

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
    figure_ : matplotlib Figure
    scores_ : dict of str to matplotlib ErrorbarContainer
        By the name of the model; the baseline and models that failed are missing.
    contrasts_ : dict of str to matplotlib ErrorbarContainer
        By the name of the contrast; those of one pair of models share one, and those that have no line are missing.

    See Also
    --------
    LazyToRichDisplay : One network at several scales, with the other models for comparison.
    ContrastCurveDisplay : The differences against the number of rows.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn_ltdl import ComparisonDisplay, compare
    >>> X, y = load_diabetes(return_X_y=True)
    >>> display = ComparisonDisplay(compare(X, y, models=["linear"])).plot()
    >>> sorted(display.scores_)
    ['linear']
    """

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison

    def plot(self, *, axes: Any = None) -> Self:
        """Draw both panels.

        Parameters
        ----------
        axes : sequence of two matplotlib Axes, default=None
            Those of a new figure if None.

        Returns
        -------
        display : ComparisonDisplay
        """
        import matplotlib.pyplot as plt

        methods = scored(self.comparison)[::-1]
        pairs = pairs_of(self.comparison.verdict)
        if axes is None:
            height = 1.2 + 0.32 * max(len(methods), 1.4 * len(pairs))
            _, axes = plt.subplots(1, 2, figsize=(10, height), layout="constrained")
        self.axes_: Any = np.asarray(axes)
        self.figure_: Any = axes[0].figure
        self.scores_: Any = draw_scores(axes[0], self.comparison)
        self.contrasts_: Any = draw_contrasts(axes[1], self.comparison)
        axes[0].set_title("Out-of-fold scores")
        axes[1].set_title("Differences, the margin shaded")
        return self


def scored(comparison: Comparison):
    """Return the rows of the models that have a score, without the baseline, the best first."""
    ran = (row for row in comparison.methods if not row["failure"] and row["family"] != "dummy")
    return sorted(ran, key=lambda row: -row["score"])


def pairs_of(verdict):
    """Return the names of the contrasts of each pair of models, without the baseline where there are others."""
    drawn = {name: row for name, row in verdict.evidence.items() if "low" in row}
    pairs = {}
    for name, row in drawn.items():
        if name != "signal" or len(drawn) == 1:
            pairs.setdefault((row["candidate"], row["reference"]), []).append(name)
    return pairs


def draw_scores(ax: Any, comparison: Comparison):
    """Draw the score of each model with its interval, and return the drawings by name."""
    methods = scored(comparison)[::-1]
    drawn = {row["method"]: _draw_score(ax, line, row) for line, row in enumerate(methods)}
    ax.set_yticks(range(len(methods)), [row["method"] for row in methods])
    ax.set_ylim(-0.5, max(len(methods), 1) - 0.5)
    ax.set_xlabel(comparison.settings["scoring"])
    ax.grid(axis="x", alpha=0.3)
    if comparison.settings["scoring"] == "R2" and ax.get_xlim()[0] < 0 < ax.get_xlim()[1]:
        ax.set_xlim(left=-0.05 * ax.get_xlim()[1])  # models below are worse than a constant, however much
    return drawn


def draw_contrasts(ax: Any, comparison: Comparison):
    """Draw what the first of each pair of models saves over the second, and return the drawings by contrast."""
    evidence, pairs = comparison.verdict.evidence, pairs_of(comparison.verdict)
    margin = 100 * comparison.settings["margin"]
    ax.axvspan(-margin, margin, color="0.88")
    ax.axvline(0, color="0.5", linewidth=0.8)
    drawn = {}
    for line, names in enumerate(reversed(pairs.values())):
        answers = dict.fromkeys(evidence[name]["answer"] for name in names)
        container = _draw_contrast(ax, line, evidence[names[0]])
        drawn |= dict.fromkeys(names, container)
        ax.text(1.02, line, ", ".join(answers), transform=ax.get_yaxis_transform(), va="center", fontsize="small")
    ax.set_ylim(-0.5, max(len(pairs), 1) - 0.5)
    ax.set_yticks(range(len(pairs)), [f"{first} against {second}" for first, second in reversed(pairs)])
    ax.set_xlabel("loss saved, % of the baseline's")
    ax.grid(axis="x", alpha=0.3)
    return {name: drawn[name] for names in pairs.values() for name in names}


def _draw_score(ax, line, row):
    colour, mark, _ = style_of(row["family"])
    ends = [[row["score"] - row["score_low"]], [row["score_high"] - row["score"]]]
    return ax.errorbar(row["score"], line, xerr=ends, color=colour, marker=mark, capsize=3)


def style_of(family):
    """Return the colour, the mark and the line of a family."""
    return _FAMILIES.get(family, _OTHER)


def _draw_contrast(ax, line, row):
    center, low, high = (100 * row[key] for key in ("difference", "low", "high"))
    fill, edge = _ANSWERS[row["answer"]], "black" if row["answer"] == "undecided" else _ANSWERS[row["answer"]]
    ends = [[center - low], [high - center]]
    return ax.errorbar(center, line, xerr=ends, color=edge, marker="o", markerfacecolor=fill, capsize=3)


class LazyToRichDisplay:
    """One network from rich to lazy: only the scale of its output changes. The other models are shown for comparison.

    All are of the first fold, in the unit of the verdict: the share of the baseline's loss on the rows held out that is
    saved. The network trains on at most 1000 rows of that fold, the others on all of them. A hollow mark is a training
    that did not converge, the dashed line at the right the limit of large scales.

    Parameters
    ----------
    comparison : Comparison
        What `compare` returns with ``curves=True``.
    models : list of str, default=None
        Whose lines are drawn. None takes the linear model, and of the kernels and of the trees the one that saves most.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    curve_ : matplotlib Line2D
        The network.
    lines_ : dict of str to matplotlib Line2D
        By the name of the model.

    Raises
    ------
    ValueError
        Without ``curves=True``, or if those trainings failed.

    See Also
    --------
    ScalePathDisplay : More of the network alone.

    Examples
    --------
    >>> from sklearn_ltdl import LazyToRichDisplay, compare
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(120, n_features=5, random_state=0)
    >>> comparison = compare(X, y, models=["ntk"], curves=True)
    >>> sorted(LazyToRichDisplay(comparison).plot().lines_)
    ['linear', 'ntk']
    """

    def __init__(self, comparison: Comparison, *, models: Sequence[str] | None = None) -> None:
        self.comparison = comparison
        self.models = models

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the network's curve and the models' lines.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            A new figure's if None.

        Returns
        -------
        display : LazyToRichDisplay
        """
        import matplotlib.pyplot as plt

        path = _evidence(self.comparison, "scale_path")
        losses = {
            row["method"]: (row["loss"], row["family"])
            for row in self.comparison.results
            if row["repeat"] == row["fold"] == 0 and row["loss"] is not None
        }
        dummy = losses["dummy"][0]
        saved = {name: (100 * (1 - loss / dummy), family) for name, (loss, family) in losses.items()}
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        scales, share = np.array(path["scale"]), 100 * (1 - np.array(path["losses"]) / dummy)
        converged, network = np.array(path["converged"]), _FAMILIES["network"][0]
        self.curve_: Any = ax.plot(scales, share, "-^", color=network, label="network")[0]
        ax.plot(scales[~converged], share[~converged], "^", color=network, markerfacecolor="white")
        limit = 100 * (1 - path["linearized_loss"] / dummy)
        ax.hlines(limit, scales[-1], 3 * scales[-1], color=network, linestyle="--", label="its linear limit")
        self.lines_: dict[Any, Any] = {}
        for name in self._drawn(saved) if self.models is None else self.models:
            value, family = saved[name]
            colour, _, line = _FAMILIES.get(family, _OTHER)
            self.lines_[name] = ax.axhline(value, color=colour, linestyle=line, label=name)
        ax.set(
            xscale="log",
            xlabel="scale of the output: rich (left) to lazy (right)",
            ylabel="loss saved, % of the baseline's",
        )
        plain_ticks(ax, scales)
        floor = min([0.0, *(value for value, _ in saved.values() if value > -20)])
        ax.set_ylim(bottom=max(ax.get_ylim()[0], floor - 5))
        ax.legend()
        return self

    def _drawn(self, saved):
        for family in ("linear", "kernel", "trees"):
            of_family = [name for name in saved if saved[name][1] == family]
            if of_family:
                yield max(of_family, key=lambda name: saved[name][0])


class ContrastCurveDisplay:
    """How the differences between models move with the number of training rows.

    Each line is a contrast: the share of the baseline's loss that its first model saves over the second, with an 80 %
    interval, for folds whose training rows were thinned at random. Within the margin, shaded, two models count as
    equal. A difference that still grows at the right may be decided by more rows.

    Parameters
    ----------
    comparison : Comparison
        What `compare` returns with ``curves=True``.
    contrasts : list of str, default=('beyond_linear', 'feature_learning', 'recursive_features', 'beyond_all')
        Names in ``comparison.verdict.evidence``; those that were not drawn are left out.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    curves_ : dict of str to matplotlib ErrorbarContainer
        By the name of the contrast.

    Raises
    ------
    ValueError
        Without ``curves=True``.

    See Also
    --------
    ComparisonDisplay : The differences with all rows.

    Examples
    --------
    >>> from sklearn_ltdl import ContrastCurveDisplay, compare
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(240, n_features=5, random_state=0)
    >>> comparison = compare(X, y, models=["ntk"], curves=True)
    >>> sorted(ContrastCurveDisplay(comparison).plot().curves_)
    ['beyond_linear']
    """

    def __init__(
        self,
        comparison: Comparison,
        *,
        contrasts: Sequence[str] | None = ("beyond_linear", "feature_learning", "recursive_features", "beyond_all"),
    ) -> None:
        self.comparison = comparison
        self.contrasts = contrasts

    def plot(self, *, ax: Any = None) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            A new figure's if None.

        Returns
        -------
        display : ContrastCurveDisplay
        """
        import matplotlib.pyplot as plt

        table = {name: np.array(column) for name, column in _evidence(self.comparison, "differences").items()}
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        self.curves_: dict[Any, Any] = {}
        margin = 100 * self.comparison.settings["margin"]
        ax.axhspan(-margin, margin, color="0.85")
        ax.axhline(0, color="0.5", linewidth=0.8)
        marks = iter(["o", "^", "v", "D", "s", "*"])
        for k, name in enumerate(self.contrasts):
            chosen = table["contrast"] == name
            if not chosen.any():
                continue
            n, center, low, high = (table[key][chosen] for key in ("n_train", "difference", "low", "high"))
            self.curves_[name] = ax.errorbar(
                n * 1.03**k,  # side by side
                100 * center,
                yerr=100 * np.array([center - low, high - center]),
                marker=next(marks),
                capsize=3,
                label=self.comparison.verdict.evidence[name]["question"],
            )
        ax.set(xscale="log", xlabel="training rows", ylabel="loss saved, % of the baseline's")
        plain_ticks(ax, np.unique(table["n_train"]))
        if self.curves_:
            ax.legend(fontsize="small")
        return self


def plain_ticks(ax: Any, values):
    """Put ticks of a logarithmic axis at some values."""
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()


def _evidence(comparison, part):
    found = comparison.evidence[part]
    if found is None or found.get("failure"):
        reason = "were not asked for: say compare(..., curves=True)" if found is None else found["failure"]
        raise ValueError(f"This comparison has no {part.replace('_', ' ')}; its curves {reason}.")
    return found


class CriticalDifferenceDisplay:
    """Mean ranks of methods over tables, and which of them do not differ significantly.

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

    def __init__(self, ranks: MeanRanks) -> None:
        self.ranks = ranks

    @classmethod
    def from_losses(
        cls,
        losses: ArrayLike,
        *,
        names: Sequence[str] | None = None,
        alpha: float = 0.05,
        random_state: Seed = 0,
        ax: Any = None,
    ) -> Self:
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
    def size(self) -> tuple[float, float]:
        """Width and height of a figure, in inches."""
        return 8, 1.4 + 0.3 * (len(self.ranks.names) // 2 + 1 + 0.4 * len(self.ranks.groups))

    def plot(self, ax: Any = None) -> Self:
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
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        ax.set(xlim=(1 - 0.02 * k, k + 0.02 * k), ylim=(min(height.values()) - 0.6, 1.6))
        ax.spines[:].set_visible(False)
        ax.xaxis.tick_top()
        ax.spines["top"].set(visible=True, position=("data", 0))
        ax.set(yticks=[], xticks=range(1, k + 1))
        self.stems_: dict[Any, Any] = {}
        self.intervals_: dict[Any, Any] = {}
        for j, name in enumerate(names):
            end, side = (1 - 0.02 * k, "right") if j < left else (k + 0.02 * k, "left")
            self.stems_[name] = ax.plot([ranks[j], ranks[j], end], [0, height[j], height[j]], color="0.3", lw=1)[0]
            ax.text(end, height[j], f" {name}  {ranks[j]:.2f} ", ha=side, va="center")
            self.intervals_[name] = ax.plot(
                [self.ranks.low[j], self.ranks.high[j]], [height[j]] * 2, color="tab:blue", lw=2.5, alpha=0.5
            )[0]
        self.bars_: list[Any] = []
        for row, group in enumerate(groups):
            ends = [ranks[names.index(group[0])] - 0.01 * k, ranks[names.index(group[-1])] + 0.01 * k]
            self.bars_ += ax.plot(ends, [-0.4 * row - 0.4] * 2, color="black", lw=4, solid_capstyle="butt")
        difference = self.ranks.critical_difference
        self.difference_: Any = ax.plot([1, 1 + difference], [1.3, 1.3], color="black", lw=2)[0]
        ax.text(1 + difference, 1.3, f"  critical difference {difference:.2f}", va="center")
        return self
