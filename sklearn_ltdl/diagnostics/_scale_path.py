"""One network at several scales of its output, from the kernel regime to feature learning."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.multiclass import type_of_target

from sklearn_ltdl._shown import Shown, columns
from sklearn_ltdl._sklearn import draw_seed, generator_of, warn
from sklearn_ltdl._targets import checked_weights
from sklearn_ltdl._types import Seed
from sklearn_ltdl.diagnostics._scale_factory import KERNEL_ROWS, columns_of, rows_of
from sklearn_ltdl.diagnostics._trained import checked_column
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import feature_map

if TYPE_CHECKING:
    from pandas import DataFrame

_OF_FACTORIES = ("linear_scores", "kernel_scores", "kernel_losses")
MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is numeric


@dataclass(frozen=True, eq=False, repr=False)
class ScalePath(Shown):
    """Result of `scale_path`: one network at several scales, all else equal.

    Parameters
    ----------
    scales : ndarray of shape (n_scales,)
        Increasing.
    scores : ndarray of shape (n_scales,)
        R2 or accuracy on held-out rows.
    losses, train_losses : ndarray of shape (n_scales,)
        Mean squared error, or log loss, on held-out rows and on training rows.
    displacements : ndarray of shape (n_scales,)
        ``|w - w0| / |w0|``.
    kernel_changes : ndarray of shape (n_scales,)
        ``|K - K0| / |K0|`` of the tangent kernel, on at most 500 random training rows.
    converged : ndarray of shape (n_scales,) of bool
        Whether training converged within `max_iter`; for a factory, whether it was stable.
    linearized_score, linearized_loss : float
        Score and loss of the linear model around the same initial weights, which is the limit of large scales, after
        the same budget.
    alpha : float
        Penalty, which is the same at all scales; 0 for a factory.
    score : {'R2', 'accuracy'}
    linear_scores : ndarray of shape (n_scales,) or None
        For a factory, the score of the linear model around the initial weights, evaluated at the weights of each scale.
    kernel_scores, kernel_losses : ndarray of shape (n_scales,) or None
        For a factory, score and loss of ridge with the tangent kernel of each network after training, with the penalty
        chosen by leave-one-out. They show what each kernel can reach without a limited budget.
    initial_kernel_score, initial_kernel_loss : float or None
        The same with the kernel at the initial weights, which is common to all scales.
    """

    scales: np.ndarray
    scores: np.ndarray
    losses: np.ndarray
    train_losses: np.ndarray
    displacements: np.ndarray
    kernel_changes: np.ndarray
    converged: np.ndarray
    linearized_score: float
    linearized_loss: float
    alpha: float
    score: str
    linear_scores: np.ndarray | None = None
    kernel_scores: np.ndarray | None = None
    kernel_losses: np.ndarray | None = None
    initial_kernel_score: float | None = None
    initial_kernel_loss: float | None = None

    def to_frame(self) -> "DataFrame":
        """Return the path as a pandas DataFrame, indexed by scale."""
        from pandas import DataFrame

        columns = ["scales", "scores", "losses", "train_losses", "displacements", "kernel_changes", "converged"]
        columns += [name for name in _OF_FACTORIES if getattr(self, name) is not None]
        return DataFrame({name: getattr(self, name) for name in columns}).set_index("scales")

    def __str__(self) -> str:
        lines = [f"{'scale':>8} {self.score:>9} {'loss':>10} {'train loss':>10} {'moved':>9} {'kernel':>9}"]
        if self.kernel_scores is not None:
            lines[0] += f" {'its ridge':>9}"
        rows = zip(self.scales, self.scores, self.losses, self.train_losses, self.displacements, self.kernel_changes)
        for row, converged in zip(rows, self.converged):
            scale, score, loss, train_loss, moved, kernel = row
            note = "" if converged else "  not converged"
            ridge = "" if self.kernel_scores is None else f" {self.kernel_scores[len(lines) - 1]:>9.3f}"
            lines.append(
                f"{scale:>8.3g} {score:>9.3f} {loss:>10.3g} {train_loss:>10.3g} {moved:>9.2g} {kernel:>9.2g}"
                f"{ridge}{note}"
            )
        lines.append(f"{'limit':>8} {self.linearized_score:>9.3f} {self.linearized_loss:>10.3g}")
        if self.initial_kernel_score is not None:
            lines.append(f"{'ridge':>8} {self.initial_kernel_score:>9.3f} {self.initial_kernel_loss:>10.3g}")
        return "\n".join(lines)

    def _headline(self):
        best = int(np.argmin(self.losses))
        return (
            f"best of {len(self.scales)} scales {self.scales[best]:.3g}: {self.score} {self.scores[best]:.3f}, "
            f"linearized {self.linearized_score:.3f}"
        )

    def _tables(self):
        header, rows = columns(
            scale=self.scales,
            score=self.scores,
            loss=self.losses,
            train_loss=self.train_losses,
            moved=self.displacements,
            kernel_change=self.kernel_changes,
            converged=self.converged,
            **{name: getattr(self, name) for name in _OF_FACTORIES if getattr(self, name) is not None},
        )
        blank = (None,) * (len(header) - 3)
        rows.append(("limit", self.linearized_score, self.linearized_loss, *blank))
        if self.initial_kernel_score is not None:
            rows.append(("ridge", self.initial_kernel_score, self.initial_kernel_loss, *blank))
        yield (header[0], self.score, *header[2:]), rows


def scale_path(
    X: ArrayLike,
    y: ArrayLike,
    scales: ArrayLike | None = None,
    *,
    estimator: Any = None,
    X_test: ArrayLike | None = None,
    y_test: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    sample_weight_test: ArrayLike | None = None,
    epochs: int = 30,
    batch_size: int = 64,
    random_state: Seed = 0,
) -> ScalePath:
    r"""Train one network at several scales of its output, with the same initial weights, loss, penalty and budget.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        For modules of PyTorch, an array of shape (n_samples, ...), or a tuple or dict of arrays.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets. They are classes if they are text, booleans or at most ten distinct whole numbers; otherwise numbers.
    scales : array-like of shape (n_scales,), default=None
        Positive scales; None means nine scales from 0.01 to 100.
    estimator : LazyNetRegressor, LazyNetClassifier, Pipeline that ends with one, or factory, default=None
        Estimator to clone and train at each `scale`; its output must be centred. None means the default network after a
        `StandardScaler`, a classifier if the targets are classes. A factory makes any other network. It is either a
        callable ``factory(seed)`` that returns a module of PyTorch, or a pair ``(init, apply_fn)`` of JAX, where
        ``init(seed)`` returns parameters and ``apply_fn(parameters, X)`` returns outputs (one per class, or one for two
        classes).
    X_test, y_test : array-like, default=None
        Held-out rows on which the networks are scored; None holds out a quarter of the rows.
    sample_weight : array-like of shape (n_samples,), default=None
        Weights of the rows in training, scores and losses; None means equal weights.
    sample_weight_test : array-like, default=None
        Weights of the rows of `X_test`.
    epochs : int, default=30
        For a factory, the number of passes over the training rows.
    batch_size : int, default=64
        For a factory, the number of rows per step.
    random_state : int, RandomState instance or None, default=0
        Seed for the held-out rows, and for the networks if the estimator's `random_state` is None.

    Returns
    -------
    path : ScalePath
        Path with `scores`, `losses`, `displacements`, `kernel_changes` and more at each of the `scales`; `print` shows
        a table.

    See Also
    --------
    ScalePathDisplay : Plot of the path.
    regime_report : Report on one network in more detail.

    Notes
    -----
    With ``alpha='loo'``, all scales use the penalty with the smallest leave-one-out error of the linearised network. If
    training did not converge within `max_iter`, `converged` is False, and no warning is raised.

    For a factory, ``scale * (f - f0)`` is trained with the squared loss, for classes too, by stochastic gradient
    descent with momentum 0.9 and the seed `random_state`. All scales of at least 1 use the same learning rate: half the
    largest stable step of plain descent, from the tangent kernel at the start. Below 1 the rate decreases with the
    scale, so that the first step moves the weights equally far. If the loss rises to twice its initial value, training
    is repeated with half the rate, up to three times; if this does not help, `converged` is False. Modules are trained
    in eval mode, without dropout; batch normalisation is not supported. `scores` are measured at the end of the budget.
    Training is slow at large scales, so lower scores there may be due to the budget and not to the regime;
    `kernel_scores` and `initial_kernel_score` show what each kernel can reach.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019,
       arXiv:1812.07956, figure 1.

    Examples
    --------
    >>> from sklearn_ltdl import scale_path
    >>> from sklearn_ltdl.datasets import make_multi_index
    >>> X, y = make_multi_index(400, n_features=10, random_state=0)
    >>> path = scale_path(X, y, [0.1, 10.0])
    >>> bool(path.scores[0] > path.scores[1] + 0.05)  # features help here
    True
    """
    scales = _checked_scales(scales)
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test must be given together. Give both, or neither to hold out a quarter.")
    rng = generator_of(random_state)
    y = checked_column(y, "y")
    if len(np.unique(y.astype(str))) < 2:
        raise ValueError(f"y is {y.ravel()[0]!s} in all {len(y)} rows; at least two values are required.")
    if X_test is None and sample_weight_test is not None:
        raise ValueError("sample_weight_test needs X_test and y_test; without them, rows of X are held out.")
    if _is_factory(estimator):
        if sample_weight is not None:
            raise ValueError("sample_weight is not supported for a factory. Leave it out.")
        training = {"epochs": epochs, "batch_size": batch_size, "seed": draw_seed(random_state)}
        return _path_of_factory(estimator, X, y, scales, X_test, y_test, rng, training)
    estimator = _default(y) if estimator is None else clone(estimator)
    network = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(network, (LazyNetRegressor, LazyNetClassifier)):
        raise ValueError(
            f"estimator is a {type(network).__name__}; expected a LazyNetRegressor, a LazyNetClassifier, a Pipeline "
            "that ends with one, or a factory: a callable that takes a seed and returns a module of PyTorch, or a "
            "pair (init, apply_fn) of JAX."
        )
    if network.centering is None:
        raise ValueError(
            "centering=None has no lazy limit at large scales, because undoing the initial output moves the weights "
            "equally far at every scale. Use centering='subtract' or 'doubled'."
        )
    training, held_out = _split(X, y, sample_weight, X_test, y_test, sample_weight_test, rng, is_classifier(network))
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        steps = estimator[:-1]
        X, (X_test, *rest) = steps.fit_transform(*training[:2]), held_out  # encodings by the target are cross-fitted
        training, held_out = (X, *training[1:]), (steps.transform(X_test), *rest)
    if network.random_state is None:
        network.set_params(random_state=draw_seed(rng))

    limit = clone(network).set_params(mode="linearized", scale=1.0)
    _fitted(limit, *training)
    network.set_params(mode="nonlinear", alpha=limit.alpha_, warm_start=False)
    rows = np.sort(rng.permutation(len(training[1]))[:KERNEL_ROWS])
    points = [_point(clone(network).set_params(scale=scale), training, held_out, rows) for scale in scales.tolist()]
    score = "accuracy" if is_classifier(network) else "R2"
    return ScalePath(
        scales,
        *(np.array(column) for column in zip(*points)),
        limit.score(*held_out),
        _loss(limit, *held_out),
        limit.alpha_,
        score,
    )


def _path_of_factory(factory, X, y, scales, X_test, y_test, rng, options):
    """Return the path for the networks of a factory."""
    X, layout = rows_of(factory, X)
    X_test = None if X_test is None else rows_of(factory, X_test, "X_test")[0]
    classes = _are_classes(y)
    training, held_out = _split(X, y, None, X_test, y_test, None, rng, classes)
    fields = columns_of(factory, training[:2], held_out[:2], layout, scales, classes=classes, **options)
    return ScalePath(scales, alpha=0.0, score="accuracy" if classes else "R2", **fields)


def _split(X, y, sample_weight, X_test, y_test, sample_weight_test, rng, classes):
    """Return rows, targets and weights of the training set, and those of the held-out set."""
    weight = checked_weights(sample_weight, len(y))
    if X_test is None:
        stratify = y if classes else None
        X, X_test, y, y_test, weight, weight_test = train_test_split(X, y, weight, random_state=rng, stratify=stratify)
    else:
        weight_test = checked_weights(sample_weight_test, len(X_test), "sample_weight_test")
    y_test = checked_column(y_test, "y_test")
    if len(y_test) < 2:
        raise ValueError(
            f"{len(y_test)} row is held out, but a score needs at least two. Give more rows, or X_test and y_test."
        )
    unknown = sorted(set(y_test.tolist()) - set(y.tolist()), key=str) if classes else []
    if unknown:
        raise ValueError(f"y_test has classes {unknown} that are not in y. Leave their rows out, or train on some.")
    return (X, y, weight), (X_test, y_test, weight_test)


def _point(network, training, held_out, rows):
    """Return the columns of a path at the scale of a network; the change of its kernel is measured on `rows`."""
    converged = _fitted(network, *training)
    phi = feature_map(np.asarray(training[0], dtype=float)[rows])
    trained = network._as_trained()
    before, after = (tangent_gram(trained.start.network, w, phi) for w in (trained.start.weights, trained.weights))
    return (
        network.score(*held_out),
        _loss(network, *held_out),
        _loss(network, *training),
        network.displacement_,
        np.linalg.norm(after - before) / np.linalg.norm(before),
        converged,
    )


def _fitted(network, X, y, weight):
    """Fit a network, and return whether it converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        network.fit(X, y, weight)
    unconverged = [warning for warning in caught if issubclass(warning.category, ConvergenceWarning)]
    for warning in caught:
        if warning not in unconverged:
            warn(warning.message, warning.category)
    return not unconverged


def _loss(network, X, y, weight):
    if is_classifier(network):
        return log_loss(y, network.predict_proba(X), labels=network.classes_, sample_weight=weight)
    return mean_squared_error(y, network.predict(X), sample_weight=weight)


def _checked_scales(scales):
    if scales is None:
        return np.logspace(-2, 2, 9)
    try:
        numbers = np.unique(np.asarray(scales, dtype=float))
    except (TypeError, ValueError):
        numbers = np.empty(0)
    if len(numbers) == 0 or not np.all((numbers >= 1e-300) & (numbers <= 1e300)):  # those of the networks
        raise ValueError(
            f"scales must be positive numbers from 1e-300 to 1e300, such as np.logspace(-2, 2, 9); got {scales!r}."
        )
    return numbers


def _are_classes(y):
    """Return whether a target holds classes: text, booleans, or at most ten whole numbers."""
    y = np.asarray(y)
    classes = type_of_target(y) in ("binary", "multiclass") and y.dtype.kind != "f"
    return bool(classes and (y.dtype.kind not in "iu" or len(np.unique(y)) <= MOST_CLASSES_OF_INTEGERS))


def _is_factory(estimator):
    """Return whether an estimator is a callable that returns a module, or a pair of functions of JAX."""
    if isinstance(estimator, tuple):
        return len(estimator) == 2 and all(map(callable, estimator))
    return callable(estimator) and not isinstance(estimator, (BaseEstimator, type))


def _default(y):
    return make_pipeline(StandardScaler(), LazyNetClassifier() if _are_classes(y) else LazyNetRegressor())
