"""Plots of the regime of a network, and of its path from lazy to rich."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._types import Seed
from sklearn_ltdl.diagnostics._axes import name_rows, panels_of
from sklearn_ltdl.diagnostics._rates import fit_rate
from sklearn_ltdl.diagnostics._regime import LAZY_GAP, RICH_GAP, RegimeReport, regime_report
from sklearn_ltdl.diagnostics._regime_path import MAX_ROWS as PATH_ROWS
from sklearn_ltdl.diagnostics._regime_path import RegimePath, regime_path
from sklearn_ltdl.diagnostics._scale_path import ScalePath, scale_path

LAZY_SCALE = 3.0  # a power law is fitted from this scale on
_FAINT = 1e-6  # smaller changes are drawn as 0
_ROUNDING = 1e-10  # smaller eigenvalues, relative to the largest, are not drawn

_LOSSES = {"losses": ("new rows", "tab:blue"), "train_losses": ("rows of training", "tab:grey")}
_MOVES = {"displacements": ("displacement", "tab:orange"), "kernel_changes": ("kernel change", "tab:green")}
_CHANGES = (  # the verdict depends on the first
    "mean_gap",
    "linearization_gap",
    "prediction_gap",
    "displacement",
    "kernel_angle",
    "kernel_change",
    "kernel_misalignment",
    "activation_flips",
)
_BEFORE, _AFTER = "tab:blue", "tab:orange"
_ALONG = (  # the panels of a path along training
    {"losses": ("loss", "tab:blue")},
    {
        "alignments": ("alignment with the target", "tab:red"),
        "kernel_distances": ("distance from the first kernel", "tab:green"),
        "kernel_velocities": ("distance from the one before", "tab:grey"),
    },
    {"kernel_norms": ("norm of the kernel", "tab:green"), "displacements": ("displacement", "tab:orange")},
)
_SCORES = {
    "score_network": ("network", "black"),
    "score_kernel_before": ("ridge, kernel before", _BEFORE),
    "score_kernel_after": ("ridge, kernel after", _AFTER),
}


class ScalePathDisplay:
    r"""Plot of losses and of changes in training against the scale of a network's output.

    The first panel shows the losses. The dashed line is the held-out loss of the linear model around the same initial
    weights, which is the limit of large scales. The second panel shows the displacement of the weights and the relative
    change of the tangent kernel, each with a dotted power law. The power law is fitted to scales of at least 3, or to
    the largest half of the scales if fewer than three are so large. Hollow markers show trainings that did not
    converge.

    Parameters
    ----------
    path : ScalePath
        Result of `scale_path`.

    Attributes
    ----------
    axes_ : ndarray of two matplotlib Axes
    figure_ : matplotlib Figure
    curves_ : dict of str to matplotlib Line2D
        By column of the path: 'losses', 'train_losses', 'displacements', 'kernel_changes', and for a factory
        'kernel_losses'.
    limit_ : matplotlib Line2D
        The loss of the linear model.
    hollow_ : dict of str to matplotlib Line2D
        Markers of trainings that did not converge, by column.
    rates_ : dict of str to Rate
        Power laws of 'displacements' and 'kernel_changes'; a power law is missing if fewer than three of its points are
        positive.
    rate_lines_ : dict of str to matplotlib Line2D

    See Also
    --------
    scale_path : Train the networks.
    RegimeDisplay : Plot of one network in more detail.

    Notes
    -----
    With a smooth activation and a centred output, the displacement decreases as 1 / scale, and the change of the kernel
    as 1 / scale, or as 1 / scale**2 with ``centering='doubled'`` [1]_. With ReLU the change of the kernel does not
    follow a clean power law, because neurons switch on and off one by one.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019,
       arXiv:1812.07956, figures 1 and 2.

    Examples
    --------
    >>> from sklearn_ltdl import LazyNetRegressor, ScalePathDisplay
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(200, n_features=10, random_state=0)
    >>> network = LazyNetRegressor(width=64, activation="tanh", random_state=0)
    >>> display = ScalePathDisplay.from_estimator(network, X, y, [0.1, 1, 10, 100, 1000])
    >>> round(display.rates_["displacements"].exponent, 1)
    -1.0
    """

    def __init__(self, path: ScalePath) -> None:
        self.path = path

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        scales: ArrayLike | None = None,
        *,
        X_test: ArrayLike | None = None,
        y_test: ArrayLike | None = None,
        random_state: Seed = 0,
        axes: Any = None,
    ) -> Self:
        """Train a network at several scales, and plot its path.

        Parameters
        ----------
        estimator : LazyNetRegressor, LazyNetClassifier, Pipeline that ends with one, or None
            As in `scale_path`.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        scales : array-like of shape (n_scales,), default=None
            Positive scales; None means nine scales from 0.01 to 100.
        X_test, y_test : array-like, default=None
            Held-out rows on which the networks are scored; None holds out a quarter of the rows.
        random_state : int, RandomState instance or None, default=0
            As in `scale_path`.
        axes : array-like of two matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : ScalePathDisplay
        """
        path = scale_path(X, y, scales, estimator=estimator, X_test=X_test, y_test=y_test, random_state=random_state)
        return cls(path).plot(axes=axes)

    def plot(self, axes: Any = None) -> Self:
        """Draw the path.

        Parameters
        ----------
        axes : array-like of two matplotlib Axes, default=None
            Axes for the losses and for the changes; None makes a new figure.

        Returns
        -------
        display : ScalePathDisplay
        """
        path = self.path
        self.axes_: Any = panels_of(axes, ("the losses", "what moved"), figsize=(10, 4.2), sharex=True)
        self.figure_: Any = self.axes_[0].figure
        self.curves_: dict[Any, Any] = {}
        self.hollow_: dict[Any, Any] = {}
        self.rates_: dict[Any, Any] = {}
        self.rate_lines_: dict[Any, Any] = {}
        losses, moves = self.axes_
        for name, (label, colour) in _LOSSES.items():
            self._draw(losses, name, label, colour)
        self.limit_: Any = losses.axhline(
            path.linearized_loss, color=_LOSSES["losses"][1], linestyle="--", label="linear model, new rows"
        )
        for name, (label, colour) in _MOVES.items():
            values = getattr(path, name)
            rate = _rate(path.scales, values)
            if rate is not None:
                line = moves.plot(path.scales, rate(path.scales), ":", color=colour, alpha=0.8)[0]
                self.rates_[name], self.rate_lines_[name] = rate, line
            self._draw(moves, name, label if rate is None else f"{label}, exponent {rate}", colour)
        if path.kernel_losses is not None:
            self._draw(losses, "kernel_losses", "ridge with its kernel, new rows", "tab:purple")
        if not np.all(path.converged):
            losses.plot([], [], "o", color="0.3", markerfacecolor="white", label="not converged")
        loss = "log loss" if path.score == "accuracy" and path.kernel_losses is None else "mean squared error"
        losses.set(xlabel="scale (large is lazy)", ylabel=loss)
        moves.set(xlabel="scale (large is lazy)", ylabel="relative change in training")
        losses.set(xscale="log", yscale="log")
        moves.set(xscale="log", yscale="log")
        low, high = losses.get_ylim()
        losses.set_ylim(low * (low / high) ** 0.3)
        losses.legend(loc="lower left", ncols=2)
        moves.legend()
        return self

    def _draw(self, ax, name, label, colour):
        """Draw a column of the path, with hollow markers for points that did not converge."""
        values, hollow = getattr(self.path, name), ~self.path.converged
        self.curves_[name] = ax.plot(self.path.scales, values, "o-", color=colour, label=label)[0]
        self.hollow_[name] = ax.plot(
            self.path.scales[hollow], values[hollow], "o", color=colour, markerfacecolor="white"
        )[0]


class RegimeDisplay:
    """Plot of a regime report: whether a trained network was lazy.

    The first panel shows the changes in training, which are all near 0 in a lazy network. The verdict depends only on
    the first row, where its limits are drawn. A triangle at the end of the axis is a change of less than 1e-6. The
    second panel shows the scores of the network and of ridge regression with its tangent kernel before and after
    training. The third panel shows the spectrum of the average gradient outer product: a network that has learned to
    use few directions of its input has few large eigenvalues.

    Parameters
    ----------
    report : RegimeReport
        Result of `regime_report`.

    Attributes
    ----------
    axes_ : ndarray of three matplotlib Axes
    figure_ : matplotlib Figure
    changes_ : dict of str to matplotlib Line2D
        Marker of each change, by name; unknown changes have no marker.
    limits_ : list of two matplotlib Line2D
        Limits of the verdict: below the first the network is lazy, above the second it has learned features.
    scores_ : dict of str to matplotlib Line2D
    spectra_ : list of two matplotlib Line2D
        Spectra before and after training.

    See Also
    --------
    regime_report : Compute the report.
    ScalePathDisplay : Plot of one network at several scales.

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from sklearn.preprocessing import scale
    >>> from sklearn_ltdl import LazyNetRegressor, RegimeDisplay
    >>> X, y = load_diabetes(return_X_y=True)
    >>> X = scale(X)
    >>> network = LazyNetRegressor(random_state=0).fit(X[:300], y[:300])
    >>> display = RegimeDisplay.from_estimator(network, X[300:], y[300:])
    >>> display.axes_[0].get_title()
    'Verdict: lazy'
    """

    def __init__(self, report: RegimeReport) -> None:
        self.report = report

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        X: Any,
        y: Any,
        *,
        before: Any = None,
        after: Any = None,
        max_rows: int | None = None,
        random_state: Seed = 0,
        axes: Any = None,
    ) -> Self:
        """Report on a trained network, and plot the report.

        Parameters
        ----------
        model : estimator, Pipeline that ends with one, search over one, or callable
            As in `regime_report`.
        X : array-like of shape (n_samples, n_features)
            Rows that the network was *not* trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        before, after : parameters, default=None
            As in `regime_report`.
        max_rows : int, default=None
            Maximum number of rows, which are drawn at random; None as in `regime_report`.
        random_state : int, RandomState instance or None, default=0
            Seed for drawing the rows.
        axes : array-like of three matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : RegimeDisplay
        """
        report = regime_report(model, X, y, before=before, after=after, max_rows=max_rows, random_state=random_state)
        return cls(report).plot(axes=axes)

    def plot(self, axes: Any = None) -> Self:
        """Draw the report.

        Parameters
        ----------
        axes : array-like of three matplotlib Axes, default=None
            Axes for the changes, the scores and the spectra; None makes a new figure.

        Returns
        -------
        display : RegimeDisplay
        """
        panels = "the changes", "the scores", "the spectra"
        self.axes_: Any = panels_of(axes, panels, figsize=(14, 3.8), width_ratios=(1.25, 1, 1.1))
        self.figure_: Any = self.axes_[0].figure
        self._draw_changes(self.axes_[0])
        self._draw_scores(self.axes_[1])
        self._draw_spectra(self.axes_[2])
        return self

    def _draw_changes(self, ax):
        changes = {name: self.report.diagnostics[name] for name in _CHANGES}
        changes = {name: value for name, value in changes.items() if value is not None}
        seen = [value for value in changes.values() if value > _FAINT]
        low, high = min([0.01, *seen]) / 2, 4 * max([1.0, *seen])
        self.changes_: dict[Any, Any] = {}
        for row, (name, value) in enumerate(changes.items()):
            clear = value > _FAINT
            look = {"marker": "o" if clear else "<", "color": "0.4" if row else "tab:red"}
            self.changes_[name] = ax.plot(value if clear else low, row, markersize=8, clip_on=False, **look)[0]
        limits = {LAZY_GAP: ("lazy  ", "right"), RICH_GAP: ("  features", "left")}
        self.limits_: list[Any] = []
        for limit, (word, side) in limits.items():
            self.limits_ += ax.plot([limit, limit], [-0.9, 0.4], color="tab:red", linewidth=1)
            ax.text(limit, -0.6, word, color="tab:red", ha=side, va="center", fontsize="small")
        name_rows(ax, [f"{name.replace('_', ' ')}  {value:.2g}" for name, value in changes.items()], top=-1.0)
        ax.set(xscale="log", xlim=(low, high), xlabel="change (0 in the lazy limit)")
        ax.set_title(f"Verdict: {self.report.verdict}")

    def _draw_scores(self, ax):
        values = {name: self.report.diagnostics[name] for name in _SCORES}
        self.scores_: Any = {
            name: ax.plot(value, row, "o", color=_SCORES[name][1], markersize=8)[0]
            for row, (name, value) in enumerate(values.items())
        }
        low, high = min(values.values()), max(values.values())
        reach = max(0.65 * (high - low), 0.05)
        name_rows(ax, [f"{_SCORES[name][0]}  {value:.3f}" for name, value in values.items()], top=-0.6)
        ax.set(xlim=((low + high) / 2 - reach, min((low + high) / 2 + reach, 1 + 0.1 * reach)))
        ax.set(xlabel=f"{self.report.score} (of ridge, leave-one-out)", title="Scores")

    def _draw_spectra(self, ax):
        from matplotlib.ticker import MaxNLocator

        self.spectra_: list[Any] = []
        least = 0.05
        for word, colour, marker in (("before", _BEFORE, "s"), ("after", _AFTER, "o")):
            spectrum = getattr(self.report, f"spectrum_{word}")
            if not len(spectrum):
                continue  # inputs that are not real numbers have no gradients
            shown = spectrum[spectrum > _ROUNDING * spectrum.max()]
            width = self.report.diagnostics[f"directions_{word}"]
            label = f"{word} training: {width:.3g} directions"
            least = min([least, *shown])
            size = 6 if len(spectrum) <= 20 else 3
            self.spectra_ += ax.plot(
                range(1, len(shown) + 1), shown, marker=marker, color=colour, markersize=size, label=label
            )
        ax.set(yscale="log", xlabel="index", ylabel="share of the trace", title="Spectrum of the gradients")
        ax.set_ylim(least**1.4, 1.5)  # the legend is below the spectra
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        if self.spectra_:
            ax.legend(loc="lower left")


class RegimePathDisplay:
    """Plot of a network along its training: loss, direction of the tangent kernel, and growth.

    The first panel shows the loss. The second panel shows the alignment of the kernel with the target, and its distance
    (1 - CKA) from the first kernel and from the kernel of the previous checkpoint. A kernel that turned early and then
    stayed has a large distance from the first kernel and a small distance from the previous one. The third panel shows
    the norm of the kernel relative to the first, and the displacement of the weights.

    Parameters
    ----------
    path : RegimePath
        Result of `regime_path`.

    Attributes
    ----------
    axes_ : ndarray of three matplotlib Axes
    figure_ : matplotlib Figure
    curves_ : dict of str to matplotlib Line2D
        By column of the path: 'losses', 'alignments', 'kernel_distances', 'kernel_velocities', 'kernel_norms',
        'displacements'.

    See Also
    --------
    regime_path : Compute the path.
    RegimeDisplay : Plot of one network in more detail.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl import RegimePathDisplay
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.standard_normal((40, 3)), rng.standard_normal(40)
    >>> def apply_fn(w, X):
    ...     return X @ w
    >>> display = RegimePathDisplay.from_estimator(apply_fn, [np.ones(3), 2 * np.ones(3)], X, y)
    >>> sorted(display.curves_)[0]
    'alignments'
    """

    def __init__(self, path: RegimePath) -> None:
        self.path = path

    @classmethod
    def from_estimator(
        cls,
        model: Any,
        checkpoints: Sequence[Any],
        X: Any,
        y: Any,
        *,
        steps: ArrayLike | None = None,
        classes: ArrayLike | None = None,
        max_rows: int | None = PATH_ROWS,
        random_state: Seed = 0,
        axes: Any = None,
    ) -> Self:
        """Follow a network along its training, and plot its path.

        Parameters
        ----------
        model : module of PyTorch, function of JAX, or fitted MLP of scikit-learn
            As in `regime_path`.
        checkpoints : sequence of state_dict, path, (coefs, intercepts) or tree of arrays
            The weights at two or more times in training, the first at the start.
        X : array-like of shape (n_samples, n_features)
            Rows that the network was *not* trained on.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        steps : array-like of shape (n_checkpoints,), default=None
            Increasing numbers, such as epochs; None counts from 0.
        classes : array-like of shape (n_classes,), default=None
            As in `regime_report`.
        max_rows : int, default=300
            Maximum number of rows, which are drawn at random.
        random_state : int, RandomState instance or None, default=0
            Seed for drawing the rows.
        axes : array-like of three matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : RegimePathDisplay
        """
        path = regime_path(
            model, checkpoints, X, y, steps=steps, classes=classes, max_rows=max_rows, random_state=random_state
        )
        return cls(path).plot(axes=axes)

    def plot(self, axes: Any = None) -> Self:
        """Draw the path.

        Parameters
        ----------
        axes : array-like of three matplotlib Axes, default=None
            Axes for the loss, the direction of the kernel, and the growth; None makes a new figure.

        Returns
        -------
        display : RegimePathDisplay
        """
        path = self.path
        self.axes_: Any = panels_of(axes, ("the loss", "the direction", "what grew"), figsize=(14, 3.8), sharex=True)
        self.figure_: Any = self.axes_[0].figure
        self.curves_: dict[Any, Any] = {}
        for ax, curves in zip(self.axes_, _ALONG):
            for name, (label, colour) in curves.items():
                values = getattr(path, name)
                self.curves_[name] = ax.plot(path.steps, values, "o-", color=colour, label=label, markersize=4)[0]
            ax.set(xlabel="step")
            ax.legend()
        loss, direction, grew = self.axes_
        loss.set(ylabel="mean squared error" if path.score == "R2" else "log loss", yscale="log")
        direction.set(ylabel="of the centred kernel", ylim=(-0.02, 1.02))
        grew.set(ylabel="over that of the start")
        if np.any(path.displacements > 0):
            grew.set(yscale="log")
        if path.steps[0] >= 0 and path.steps[-1] > 100 * path.steps[path.steps > 0][0]:
            loss.set_xscale("symlog", linthresh=path.steps[path.steps > 0][0])  # the axis is shared
        return self


def _lazy(scales):
    """Return a mask of the scales for a power law: those of at least 3, or the largest half (at least three)."""
    lazy = scales >= LAZY_SCALE
    if np.sum(lazy) >= 3:
        return lazy
    return np.arange(len(scales)) >= len(scales) - max(3, -(-len(scales) // 2))


def _rate(scales, values):
    """Return the power law of the lazy scales, or None if there are too few points."""
    some = _lazy(scales) & (values > 0) & np.isfinite(values)
    return fit_rate(scales[some], values[some]) if np.sum(some) >= 3 else None
