"""Plot of the particles during training."""

import warnings
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline

from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl.networks._mean_field import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier

_STYLES = ((1, "positive", "tab:orange", "o"), (-1, "negative", "tab:blue", "s"))  # by the sign of the read-out
_AREA = 500.0  # area of the heaviest atom, in square points
_WIDTH = 3.0  # width of its ray, in points


class ParticleFlowDisplay:
    r"""Plot of the trajectories of the particles of a mean-field network, and of the final measure.

    A particle (a, b) is a neuron with hidden weights a and read-out b. It is drawn at :math:`b\,a`, in two of the
    coordinates of a. (With one feature there are only two: the slope and the constant.) A circle around the particles
    represents the sphere of directions. Each atom of the measure is a marker on the circle, with an area proportional
    to its mass, and a ray leads to it. If the measure is not on the sphere, as for 'tanh', the atoms are the final
    particles.

    Parameters
    ----------
    particles : ndarray of shape (n_times, width, n_features + 1 + n_outputs)
        `particles_` of the network at several times, from the start to the end of training.
    n_iters : ndarray of shape (n_times,)
        Number of passes over the data at these times; the first is 0.
    measure : Measure
        `measure_` of the trained network.
    features : tuple of two int, default=(0, 1)
        The coordinates of a to draw; n_features is the index of the constant.
    feature_names : array-like of str, default=None
        Names of the features; None means 'x0', 'x1', ...

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure
    lines_ : list of two matplotlib LineCollection
        Trajectories of the particles with positive and with negative final read-out.
    starts_, ends_, atoms_ : lists of two matplotlib PathCollection
        Markers for positive and for negative read-outs.

    See Also
    --------
    MeanFieldTwoLayerNet : The network for regression.
    certify : Bound the distance of the measure from the best.

    Notes
    -----
    Training is deterministic for a given seed, so clones that stop earlier end at points of the trajectory. They are
    fitted one by one, at the cost of about `n_snapshots` / log(`n_iter_`) trainings and `n_snapshots` certificates.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn_ltdl import MeanFieldTwoLayerNet, ParticleFlowDisplay
    >>> x = np.linspace(-2, 2, 20)
    >>> net = MeanFieldTwoLayerNet(width=10, alpha=0.01, max_iter=100, random_state=0)
    >>> display = ParticleFlowDisplay.from_estimator(net, x[:, None], np.abs(x), n_snapshots=5)
    >>> display.n_iters.tolist(), display.particles.shape
    ([0, 1, 3, 10, 32, 100], (6, 10, 3))
    """

    def __init__(
        self,
        *,
        particles: np.ndarray,
        n_iters: Sequence[int],
        measure: Any,
        features: Any = (0, 1),
        feature_names: Sequence[str] | None = None,
    ) -> None:
        self.particles = particles
        self.n_iters = n_iters
        self.measure = measure
        self.features = features
        self.feature_names = feature_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        features: Any = (0, 1),
        n_snapshots: int = 30,
        ax: Any = None,
    ) -> Self:
        """Train clones of a network for longer and longer, and draw the trajectories of the particles.

        Parameters
        ----------
        estimator : MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, or Pipeline that ends with one
            Fitted or not; it is not changed. If its `random_state` is None, a seed is drawn, so the trajectories are
            not those of an earlier fit.
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None
            Weights for the network; earlier steps of a pipeline do not use them.
        features : tuple of two int, default=(0, 1)
            The coordinates of the hidden weights to draw; n_features is the index of the constant.
        n_snapshots : int, default=30
            Maximum number of times after the start, in geometric progression; at least 2.
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : ParticleFlowDisplay
        """
        net = estimator[-1] if isinstance(estimator, Pipeline) else estimator
        _check(net, n_snapshots)
        names = None
        if isinstance(estimator, Pipeline) and len(estimator) > 1:
            before = clone(estimator[:-1])
            X = before.fit_transform(X, y)
            if hasattr(before, "feature_names_in_"):
                names = before.get_feature_names_out()
        net = clone(net)
        if net.random_state is None:
            net.set_params(random_state=draw_seed(None))
        trained = _fitted(net, X, y, sample_weight)
        names = getattr(trained, "feature_names_in_", names)
        n_iters = np.unique(np.geomspace(1, trained.n_iter_, n_snapshots).round().astype(int))
        _check_features(features, trained.measure_.atoms.shape[1])

        if hasattr(net, "set_callbacks"):
            net.set_callbacks()  # callbacks have already seen the whole training
        shorter = [clone(net).set_params(max_iter=int(k)) for k in n_iters[:-1]]
        particles = [_fitted(one, X, y, sample_weight, category=Warning).particles_ for one in shorter]
        display = cls(
            particles=np.stack([trained.particles_init_, *particles, trained.particles_]),
            n_iters=np.append(0, n_iters),
            measure=trained.measure_,
            features=features,
            feature_names=names,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> Self:
        """Draw the trajectories and the measure.

        Parameters
        ----------
        ax : matplotlib Axes, default=None
            Axes to draw on; None makes a new figure.

        Returns
        -------
        display : ParticleFlowDisplay
        """
        import matplotlib.pyplot as plt
        from matplotlib.collections import LineCollection
        from matplotlib.lines import Line2D

        d = self.measure.atoms.shape[1] - 1
        _check_features(self.features, d + 1)
        names = [f"x{i}" for i in range(d)] if self.feature_names is None else list(self.feature_names)
        names = [*names, "the constant"]
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        self.ax_: Any = ax
        self.figure_: Any = ax.figure
        chosen = list(self.features)
        readout = self.particles[:, :, d + 1]
        vectors = readout[:, :, None] * self.particles[:, :, : d + 1]
        ways = vectors[:, :, chosen].swapaxes(0, 1)  # (width, n_times, 2)
        radius = 1.1 * np.linalg.norm(vectors[-1], axis=1).max()
        masses, atoms = self.measure.masses[:, :1], self.measure.atoms
        on_sphere = np.allclose(np.linalg.norm(atoms, axis=1), 1)
        places = (radius * np.sign(masses) if on_sphere else len(ways) * masses) * atoms[:, chosen]
        masses = masses[:, 0]
        share = np.abs(masses) / np.abs(masses).max(initial=np.finfo(float).tiny)

        if on_sphere:
            ax.add_patch(plt.Circle((0, 0), radius, fill=False, color="0.8", zorder=0))
            colours = np.where(masses > 0, *(style[2] for style in _STYLES))
            rays = np.stack([0 * places, places], axis=1)
            ax.add_collection(LineCollection(rays, colors=colours, linewidths=_WIDTH * share, alpha=0.3, zorder=1))
        self.lines_: list[Any] = []
        self.starts_: list[Any] = []
        self.ends_: list[Any] = []
        self.atoms_: list[Any] = []
        for sign, word, colour, marker in _STYLES:
            some, of = np.sign(readout[-1]) == sign, np.sign(masses) == sign
            ways_of = LineCollection(ways[some], colors=colour, linewidths=0.9, alpha=0.6, zorder=2)
            self.lines_.append(ax.add_collection(ways_of))
            look = {"marker": marker, "edgecolors": colour}
            self.atoms_.append(
                ax.scatter(*places[of].T, s=_AREA * share[of], facecolors=colour, alpha=0.3, zorder=1, **look)
            )
            self.starts_.append(ax.scatter(*ways[some, 0].T, s=12, facecolors="white", zorder=3, **look))
            ends = ax.scatter(*ways[some, -1].T, s=20, facecolors=colour, zorder=4, label=f"{word} read-out", **look)
            self.ends_.append(ends)
        reach = 1.15 * max(radius if on_sphere else 0.0, np.abs(ways).max())
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
        ax.set(xlabel=f"read-out times the weight of {names[chosen[0]]}", ylabel=f"… of {names[chosen[1]]}")
        grey = {"linestyle": "", "marker": "o", "color": "grey"}
        start = Line2D([], [], markersize=3.5, markerfacecolor="white", label="start", **grey)
        atom = Line2D([], [], markersize=11, alpha=0.3, label="mass", **grey)
        ax.legend(handles=[*self.ends_, start, atom])
        return self


def _check(net, n_snapshots):
    """Raise an error if the network has no trajectory."""
    if not isinstance(net, (MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier)):
        raise ValueError(
            f"estimator is a {type(net).__name__}; trajectories need a MeanFieldTwoLayerNet, a "
            "MeanFieldTwoLayerNetClassifier, or a Pipeline that ends with one."
        )
    if net.solver == "frank_wolfe":
        raise ValueError(
            "solver='frank_wolfe' adds neurons in their final places, so they have no trajectory; use a solver that "
            "moves them, such as 'auto' or 'gd'."
        )
    if not isinstance(n_snapshots, Integral) or n_snapshots < 2:
        raise ValueError(f"n_snapshots must be an integer, at least 2; got {n_snapshots!r}.")


def _check_features(features, p):
    """Raise an error unless `features` are two of the coordinates 0, ..., p - 1."""
    pair = np.asarray(features)
    if pair.shape != (2,) or pair.dtype.kind not in "iu" or pair.min() < 0 or pair.max() >= p or pair[0] == pair[1]:
        raise ValueError(
            f"features must be two different integers from 0 to {p - 1}, the last for the constant; got {features!r}."
        )


def _fitted(net, X, y, sample_weight, category=ConvergenceWarning):
    """Train the network, ignoring warnings of a category."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category)
        return net.fit(X, y, sample_weight=sample_weight)
