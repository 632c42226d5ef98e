"""One network at several scales of its output: from kernel to features with nothing else changed."""

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
MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is taken as numbers


@dataclass(frozen=True, eq=False, repr=False)
class ScalePath(Shown):
    """A network at several scales, all else equal.

    Parameters
    ----------
    scales : ndarray of shape (n_scales,)
        Increasing.
    scores : ndarray of shape (n_scales,)
        R2 or accuracy on rows that training has not seen.
    losses, train_losses : ndarray of shape (n_scales,)
        Mean squared error, or log loss, on those rows and on those of training.
    displacements : ndarray of shape (n_scales,)
        ``|w - w0| / |w0|``.
    kernel_changes : ndarray of shape (n_scales,)
        ``|K - K0| / |K0|`` of the tangent kernel, on at most 500 rows of training, drawn at random.
    converged : ndarray of shape (n_scales,) of bool
        Whether training came to an end within `max_iter`; of a factory, whether it was stable.
    linearized_score, linearized_loss : float
        Of the linear model around the same first weights, the limit of large scales, after the same budget.
    alpha : float
        The penalty of all of them; 0 for a factory.
    score : {'R2', 'accuracy'}
    linear_scores : ndarray of shape (n_scales,) or None
        Of a factory, of the linear model around the first weights, at the weights of each scale.
    kernel_scores, kernel_losses : ndarray of shape (n_scales,) or None
        Of a factory, of ridge with the tangent kernel of each network after training, its penalty by leave-one-out:
        each kernel to its end, whatever the budget.
    initial_kernel_score, initial_kernel_loss : float or None
        The same with the kernel of the first weights, which is that of all scales.
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
    r"""Train one network at several scales of its output: same first weights, loss, penalty and budget.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
        For modules of PyTorch, of shape (n_samples, ...), a tuple or dict of them.
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Classes if it holds text, booleans or at most ten whole numbers; else numbers.
    scales : array-like of shape (n_scales,), default=None
        Positive; None takes nine from 0.01 to 100.
    estimator : LazyNetRegressor, LazyNetClassifier, Pipeline that ends with one, or factory, default=None
        What is trained, with its `scale` replaced; it is left as it is. Its output must be centred. None takes the
        defaults, after a `StandardScaler`, and the classifier for classes. A factory makes any network: a callable
        ``factory(seed)`` that returns a module of PyTorch, or a pair ``(init, apply_fn)`` of JAX, where ``init(seed)``
        returns parameters and ``apply_fn(parameters, X)`` outputs; one output a class, or one for two classes.
    X_test, y_test : array-like, default=None
        Rows on which the networks are scored; None holds a quarter of the rows out.
    sample_weight : array-like of shape (n_samples,), default=None
        Of the rows in trainings, scores and losses; None weighs each the same.
    sample_weight_test : array-like, default=None
        Of the rows of `X_test`.
    epochs : int, default=30
        Of a factory: passes over the rows of training.
    batch_size : int, default=64
        Of a factory: rows a step.
    random_state : int, RandomState instance or None, default=0
        Draws the rows that are held out, and a seed for the networks where the estimator's `random_state` is None.

    Returns
    -------
    path : ScalePath
        `scores`, `losses`, `displacements`, `kernel_changes` and more at each of the `scales`; printed, a table.

    See Also
    --------
    ScalePathDisplay : The path in figures.
    regime_report : More on one network.

    Notes
    -----
    With ``alpha='loo'`` the penalty of least leave-one-out error of the linearised network is that of all. A training
    that did not end within `max_iter` is marked in `converged`; no warning is raised.

    Of a factory, ``scale * (f - f0)`` is trained on squares, of classes too, by stochastic gradient with momentum 0.9,
    from the seed `random_state`. One rate serves all scales from 1 on: half the largest stable step of plain descent,
    from the tangent kernel at the start. Below 1 it falls with the scale, so that the first step moves the weights as
    far. Where the loss rises to twice that of the start the training is run again with half of it, three times at most;
    `converged` says where that did not help. Modules are trained in eval mode, without dropout; batch normalisation is
    refused. `scores` are those after the budget. At large scales training is slow, so that a fall of the scores may be
    one of the budget and not of the regime: `kernel_scores` and `initial_kernel_score` say what each kernel gives in
    the end.

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
        raise ValueError("X_test and y_test come together; got one of them. Give both, or none to hold out a quarter.")
    rng = generator_of(random_state)
    y = checked_column(y, "y")
    if len(np.unique(y.astype(str))) < 2:
        raise ValueError(f"y is {y.ravel()[0]!s} in all {len(y)} rows; there is nothing to learn.")
    if X_test is None and sample_weight_test is not None:
        raise ValueError("sample_weight_test: expected None without X_test and y_test; the rows are held out of X.")
    if _is_factory(estimator):
        if sample_weight is not None:
            raise ValueError("sample_weight is not known for a factory. Leave it out.")
        training = {"epochs": epochs, "batch_size": batch_size, "seed": draw_seed(random_state)}
        return _path_of_factory(estimator, X, y, scales, X_test, y_test, rng, training)
    estimator = _default(y) if estimator is None else clone(estimator)
    network = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(network, (LazyNetRegressor, LazyNetClassifier)):
        raise ValueError(
            f"estimator is a {type(network).__name__}; a path of scales is known for LazyNetRegressor, "
            "LazyNetClassifier, a Pipeline that ends with one, and a factory: a callable that takes a seed and returns "
            "a module of PyTorch, or a pair (init, apply_fn) of JAX."
        )
    if network.centering is None:
        raise ValueError(
            "centering=None has no limit at large scales, which a path leads to: what undoes the initial output moves "
            "the weights as far at every scale. Use centering='subtract' or 'doubled'."
        )
    training, held_out = _split(X, y, sample_weight, X_test, y_test, sample_weight_test, rng, is_classifier(network))
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        steps = estimator[:-1].fit(*training[:2])
        training, held_out = ((steps.transform(part[0]), *part[1:]) for part in (training, held_out))
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
    """Return the path of networks that a factory makes."""
    X, layout = rows_of(factory, X)
    X_test = None if X_test is None else rows_of(factory, X_test, "X_test")[0]
    classes = _are_classes(y)
    training, held_out = _split(X, y, None, X_test, y_test, None, rng, classes)
    fields = columns_of(factory, training[:2], held_out[:2], layout, scales, classes=classes, **options)
    return ScalePath(scales, alpha=0.0, score="accuracy" if classes else "R2", **fields)


def _split(X, y, sample_weight, X_test, y_test, sample_weight_test, rng, classes):
    """Return rows, targets and weights of training, and those that are held out."""
    weight = checked_weights(sample_weight, len(y))
    if X_test is None:
        stratify = y if classes else None
        X, X_test, y, y_test, weight, weight_test = train_test_split(X, y, weight, random_state=rng, stratify=stratify)
    else:
        weight_test = checked_weights(sample_weight_test, len(X_test), "sample_weight_test")
    y_test = checked_column(y_test, "y_test")
    if len(y_test) < 2:
        raise ValueError(
            f"{len(y_test)} row is held out; a score needs two at least. Give more rows, or X_test, y_test."
        )
    unknown = sorted(set(y_test.tolist()) - set(y.tolist()), key=str) if classes else []
    if unknown:
        raise ValueError(f"y_test has classes {unknown} that y has not. Leave their rows out, or train on some.")
    return (X, y, weight), (X_test, y_test, weight_test)


def _point(network, training, held_out, rows):
    """Return the columns of a path at the scale of a network; some rows say how its kernel changed."""
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
    """Return whether an estimator is a callable that makes a module, or a pair of functions of JAX."""
    if isinstance(estimator, tuple):
        return len(estimator) == 2 and all(map(callable, estimator))
    return callable(estimator) and not isinstance(estimator, (BaseEstimator, type))


def _default(y):
    return make_pipeline(StandardScaler(), LazyNetClassifier() if _are_classes(y) else LazyNetRegressor())
