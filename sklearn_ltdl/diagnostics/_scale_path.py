"""One network at several scales of its output: from kernel to features with nothing else changed."""

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import type_of_target

from sklearn_ltdl._shown import Shown, columns
from sklearn_ltdl._sklearn import draw_seed, warn
from sklearn_ltdl._targets import checked_weights
from sklearn_ltdl.diagnostics._trained import checked_column
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import feature_map

if TYPE_CHECKING:
    from pandas import DataFrame

MOST_CLASSES_OF_INTEGERS = 10  # an integer target with more distinct values is taken as numbers
KERNEL_ROWS = 500  # at most so many say how the tangent kernel changed


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
        Whether training came to an end within `max_iter`.
    linearized_score, linearized_loss : float
        Of the linear model around the same first weights, the limit of large scales.
    alpha : float
        The penalty of all of them.
    score : {'R2', 'accuracy'}
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

    def to_frame(self) -> "DataFrame":
        """Return the path as a pandas DataFrame, indexed by scale."""
        from pandas import DataFrame

        columns = ("scales", "scores", "losses", "train_losses", "displacements", "kernel_changes", "converged")
        return DataFrame({name: getattr(self, name) for name in columns}).set_index("scales")

    def __str__(self) -> str:
        lines = [f"{'scale':>8} {self.score:>9} {'loss':>10} {'train loss':>10} {'moved':>9} {'kernel':>9}"]
        rows = zip(self.scales, self.scores, self.losses, self.train_losses, self.displacements, self.kernel_changes)
        for row, converged in zip(rows, self.converged):
            scale, score, loss, train_loss, moved, kernel = row
            note = "" if converged else "  not converged"
            lines.append(
                f"{scale:>8.3g} {score:>9.3f} {loss:>10.3g} {train_loss:>10.3g} {moved:>9.2g} {kernel:>9.2g}{note}"
            )
        lines.append(f"{'limit':>8} {self.linearized_score:>9.3f} {self.linearized_loss:>10.3g}")
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
        )
        limit = ("limit", self.linearized_score, self.linearized_loss, None, None, None, None)
        yield (header[0], self.score, *header[2:]), [*rows, limit]


def scale_path(
    X,
    y,
    scales=None,
    *,
    estimator=None,
    X_test=None,
    y_test=None,
    sample_weight=None,
    sample_weight_test=None,
    random_state=0,
) -> ScalePath:
    r"""Train one network at several scales of its output: same first weights, loss, penalty and budget.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_features)
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
    scales : array-like of shape (n_scales,), default=None
        Positive; None takes nine from 0.01 to 100.
    estimator : LazyNetRegressor, LazyNetClassifier or Pipeline that ends with one, default=None
        What is trained, with its `scale` replaced; it is left as it is. Its output must be centred. None takes the
        defaults, after a `StandardScaler`, and the classifier where `y` holds text, booleans or at most ten whole
        numbers.
    X_test, y_test : array-like, default=None
        Rows on which the networks are scored; None holds a quarter of the rows out.
    sample_weight : array-like of shape (n_samples,), default=None
        Of the rows in trainings, scores and losses; None weighs each the same.
    sample_weight_test : array-like, default=None
        Of the rows of `X_test`.
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
    estimator = _default(y) if estimator is None else clone(estimator)
    network = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    if not isinstance(network, (LazyNetRegressor, LazyNetClassifier)):
        raise ValueError(
            f"estimator is a {type(network).__name__}; a path of scales is known for LazyNetRegressor, "
            "LazyNetClassifier, or a Pipeline that ends with one."
        )
    if network.centering is None:
        raise ValueError(
            "centering=None has no limit at large scales, which a path leads to: what undoes the initial output moves "
            "the weights as far at every scale. Use centering='subtract' or 'doubled'."
        )
    if (X_test is None) != (y_test is None):
        raise ValueError("X_test and y_test come together; got one of them. Give both, or none to hold out a quarter.")
    rng = check_random_state(random_state)
    y = checked_column(y, "y")
    if len(np.unique(y.astype(str))) < 2:
        raise ValueError(f"y is {y.ravel()[0]!s} in all {len(y)} rows; there is nothing to learn.")
    if X_test is None and sample_weight_test is not None:
        raise ValueError("sample_weight_test: expected None without X_test and y_test; the rows are held out of X.")
    weight = checked_weights(sample_weight, len(y))
    if X_test is None:
        stratify = y if is_classifier(network) else None
        X, X_test, y, y_test, weight, weight_test = train_test_split(X, y, weight, random_state=rng, stratify=stratify)
    else:
        weight_test = checked_weights(sample_weight_test, len(X_test), "sample_weight_test")
    y_test = checked_column(y_test, "y_test")
    if len(y_test) < 2:
        raise ValueError(
            f"{len(y_test)} row is held out; a score needs two at least. Give more rows, or X_test, y_test."
        )
    unknown = sorted(set(y_test.tolist()) - set(y.tolist()), key=str) if is_classifier(network) else []
    if unknown:
        raise ValueError(f"y_test has classes {unknown} that y has not. Leave their rows out, or train on some.")
    if isinstance(estimator, Pipeline) and len(estimator) > 1:
        steps = estimator[:-1].fit(X, y)
        X, X_test = steps.transform(X), steps.transform(X_test)
    if network.random_state is None:
        network.set_params(random_state=draw_seed(rng))

    limit = clone(network).set_params(mode="linearized", scale=1.0)
    _fitted(limit, X, y, weight)
    network.set_params(mode="nonlinear", alpha=limit.alpha_, warm_start=False)
    rows = np.sort(rng.permutation(len(y))[:KERNEL_ROWS])
    training, held_out = (X, y, weight), (X_test, y_test, weight_test)
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
    if len(numbers) == 0 or not np.all((numbers > 0) & (numbers < np.inf)):
        raise ValueError(f"scales must be positive numbers, such as np.logspace(-2, 2, 9); got {scales!r}.")
    return numbers


def _default(y):
    y = np.asarray(y)
    classes = type_of_target(y) in ("binary", "multiclass") and y.dtype.kind != "f"
    classes &= y.dtype.kind not in "iu" or len(np.unique(y)) <= MOST_CLASSES_OF_INTEGERS
    return make_pipeline(StandardScaler(), LazyNetClassifier() if classes else LazyNetRegressor())
