r"""Is a trained network lazy? The evidence of its weights, its tangent kernel and its linearisation.

Training changes the weights from :math:`w_0` to w, and the function from :math:`f_0` to f. The network is lazy if f is
the linear model :math:`f_0 + Df(w_0)(w - w_0)`. It is then a kernel machine with the kernel :math:`K_0 = Df(w_0)
Df(w_0)^\top`, which training has not changed (Chizat, Oyallon, Bach 2019). No single number decides; those of
`_CHANGES` are 0 in this limit.
"""

import textwrap
from dataclasses import dataclass
from numbers import Integral
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from sklearn_ltdl._shown import Shown
from sklearn_ltdl._sklearn import Interval, validate_params
from sklearn_ltdl._targets import most_likely
from sklearn_ltdl._types import Seed
from sklearn_ltdl.diagnostics._trained import FEWEST_ROWS, is_large, trained_network
from sklearn_ltdl.networks._model import displacement
from sklearn_ltdl.ntk import NTKKernelClassifier, NTKKernelRegressor

if TYPE_CHECKING:
    from pandas import DataFrame

MAX_ROWS = 1000
FEW_ROWS_OF_LARGE = 300  # for a module with more than ten million weights
FEW_ROWS = 300  # curvature and input gradients are computed on at most so many rows
GRADIENT_BYTES = 2**28  # memory for the input gradients
LAZY_GAP, RICH_GAP = 0.1, 0.4  # limits of the mean gap, from benchmarks/regimes.py

_CHANGES = {
    "displacement": "relative change of the weights, |w - w0| / |w0|",
    "kernel_angle": "1 - cosine of the tangent kernels before and after",
    "kernel_change": "|K - K0| / |K0|, Frobenius norms",
    "kernel_misalignment": "1 - centred kernel alignment (CKA) of K0 and K",
    "activation_flips": "share of rows and neurons whose activation changed sign",
    "linearization_gap": "distance of f from its linear model at the same weights, divided by |f - f0|",
    "prediction_gap": "distance between ridge with K0 and with K on these rows, divided by the spread of the latter",
    "mean_gap": "geometric mean of the two gaps; the verdict depends on it",
    "kappa": "lower bound on |f0 - y| |D2f| / |Df|^2 at the start; training with small kappa is lazy",
}
_QUALITIES = {
    "score_network": "{score} of the network",
    "score_linear": "{score} of the linear model at the same weights, f0 + Df(w0)(w - w0)",
    "score_kernel_before": "{score} of ridge with K0, leave-one-out",
    "score_kernel_after": "{score} of ridge with K, leave-one-out",
    "trained_linear_gap": "distance of f from leave-one-out ridge with K0, over its spread (classes: share apart)",
    "alignment_before": "centred alignment of K0 with the target",
    "alignment_after": "centred alignment of K with the target",
    "directions_before": "number of input directions that f0 uses (participation ratio of its gradients)",
    "directions_after": "number of input directions that f uses",
}


@dataclass(frozen=True, eq=False, repr=False)
class RegimeReport(Shown):
    """Result of `regime_report`; `print` shows the verdict and the table.

    Parameters
    ----------
    verdict : {'lazy', 'features', 'between'}
    sentence : str
        The verdict with its evidence.
    diagnostics : dict of str to float or None
        All diagnostics by name; None if a diagnostic is unknown.
    layers : tuple of dict
        One per layer: name, displacement, activation flips, and the score after resetting the layer to its initial
        weights.
    spectrum_before, spectrum_after : ndarray of shape (n_features,)
        Eigenvalues of the average gradient outer product, largest first, scaled to sum 1.
    score : {'R2', 'accuracy'}
    n_rows : int
        Number of rows that were used.
    notes : tuple of str
        Notes on what was left out or is unknown.
    """

    verdict: str
    sentence: str
    diagnostics: dict[str, float | None]
    layers: tuple[dict[str, Any], ...]
    spectrum_before: np.ndarray
    spectrum_after: np.ndarray
    score: str
    n_rows: int
    notes: tuple[str, ...]

    def to_frame(self) -> "DataFrame":
        """Return the diagnostics as a pandas DataFrame, indexed by name, with columns value and meaning."""
        from pandas import DataFrame

        meanings = {name: text.format(score=self.score) for name, text in (_CHANGES | _QUALITIES).items()}
        rows = [(name, value, meanings[name]) for name, value in self.diagnostics.items()]
        return DataFrame(rows, columns=["diagnostic", "value", "meaning"]).set_index("diagnostic")

    def __str__(self) -> str:
        lines = [textwrap.fill(self.sentence, 100), ""]
        meanings = {name: text.format(score=self.score) for name, text in (_CHANGES | _QUALITIES).items()}
        lines += [f"{name:<20} {_shown(value):>9}  {meanings[name]}" for name, value in self.diagnostics.items()]
        lines += ["", f"{'layer':<20} {'moved':>9} {'flips':>9} {self.score + ' without its training':>30}"]
        for layer in self.layers:
            moved, flips, score = (_shown(layer[key]) for key in ("displacement", "activation_flips", "score_put_back"))
            lines.append(f"{layer['layer']:<20} {moved:>9} {flips:>9} {score:>30}")
        return "\n".join([*lines, *(textwrap.fill(note, 100) for note in self.notes)])

    def _headline(self):
        return self.sentence

    def _tables(self):
        meanings = {name: text.format(score=self.score) for name, text in (_CHANGES | _QUALITIES).items()}
        yield ("diagnostic", "value", "meaning"), [(name, v, meanings[name]) for name, v in self.diagnostics.items()]
        keys = ("layer", "displacement", "activation_flips", "score_put_back")
        header = ("layer", "moved", "flips", f"{self.score} without its training")
        yield header, [tuple(layer[key] for key in keys) for layer in self.layers]

    def _notes(self):
        return self.notes


def _shown(value):
    return "unknown" if value is None else f"{value:.3g}"


@validate_params(
    {
        "max_rows": [Interval(Integral, FEWEST_ROWS, None, closed="left"), None],
        "random_state": ["random_state"],
    },
    prefer_skip_nested_validation=False,
)
def regime_report(
    model: Any,
    X: Any,
    y: Any,
    *,
    before: Any = None,
    after: Any = None,
    classes: ArrayLike | None = None,
    max_rows: int | None = None,
    random_state: Seed = 0,
) -> RegimeReport:
    r"""Report whether a trained network was lazy or has learned features.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, search over one, or callable
        A fitted `LazyNetRegressor`, `MeanFieldTwoLayerNet` or classifier of these; a fitted `MLPRegressor` or
        `MLPClassifier` of scikit-learn; a module of PyTorch, a net of skorch or a ``sklearn_ltdl.torch.TorchNetwork``;
        or a function ``apply_fn(parameters, X)`` of JAX that returns an array of shape (n_samples,) or (n_samples,
        n_outputs): numbers, or class scores (with one output, log-odds of the second class). The function must treat
        each row separately and accept float64.
    X : array-like of shape (n_samples, n_features)
        Rows that the network was *not* trained on; on training rows, the kernel after training has seen the targets.
        For modules of PyTorch, an array of shape (n_samples, ...), a tuple or dict of arrays, or a Dataset (with
        ``y=None``).
    y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Targets of the rows; they must not all be equal.
    before : (coefs, intercepts), state_dict or tree of arrays, default=None
        For a module of PyTorch, its state before training, or how to obtain it: see `TorchNetwork`. For an MLP, the
        weights at the start of its fit; None recovers them if `random_state` is an integer. For a function of JAX, its
        parameters before training.
    after : tree of arrays, default=None
        For a function of JAX, its parameters after training. Leaves that are not real numbers, such as counters, and
        collections of Flax other than `params`, such as `batch_stats`, are not weights; they keep these values. Give
        copies if training works in place.
    classes : array-like of shape (n_classes,), default=None
        For a function of JAX, the classes whose scores it returns, in increasing order. If None, the target is numeric,
        unless `y` holds text or booleans, or the function has several outputs and `y` one column.
    max_rows : int, default=None
        Maximum number of rows, which are drawn at random; the kernels need ``max_rows ** 2`` memory. None means 1000,
        or 300 for a module of PyTorch with more than ten million weights.
    random_state : int, RandomState instance or None, default=0
        Seed for drawing the rows.

    Returns
    -------
    report : RegimeReport
        Report with `verdict`, `sentence`, `diagnostics`, `layers` and `to_frame()`; `print` shows all of them. Ridge
        with the two kernels is fitted on these rows; if they are fewer than the training rows, its scores are low.

    Raises
    ------
    ValueError
        If the initial weights are not known, if the parameters do not match or were not changed by training, if there
        are fewer than ten rows, if all targets are equal, or if the classes cannot be determined.

    See Also
    --------
    explain_as_kernel : Explain the network as a kernel machine.
    RegimeDisplay : Plot of the report.
    scale_path : Train the same network from lazy to rich.

    Notes
    -----
    The verdict depends on `mean_gap`: 'lazy' up to 0.1, 'features' from 0.4. The limits were chosen on 180 networks
    whose linear model was also trained, and tested on 180 others (see the user guide).

    The initial weights of an MLP are recovered from its parameters. If `random_state` was changed after the fit, they
    are wrong.

    References
    ----------
    .. [1] L. Chizat, E. Oyallon, F. Bach. "On lazy training in differentiable programming". NeurIPS 2019,
       arXiv:1812.07956.
    .. [2] C. Zhang, S. Bengio, Y. Singer. "Are all layers created equal?". JMLR 23, 2022 (layers that are reset).
    .. [3] C. Cortes, M. Mohri, A. Rostamizadeh. "Algorithms for learning kernels based on centered alignment". JMLR 13,
       2012.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neural_network import MLPClassifier
    >>> from sklearn_ltdl import regime_report
    >>> X, y = load_digits(return_X_y=True)
    >>> network = MLPClassifier(random_state=0, tol=1e-3).fit(X[:900] / 16, y[:900])
    >>> regime_report(network, X[900:] / 16, y[900:]).verdict
    'features'
    """
    trained, X, y, notes = trained_network(
        model,
        X,
        y,
        before=before,
        after=after,
        classes=classes,
        max_rows=max_rows or (FEW_ROWS_OF_LARGE if is_large(model) else MAX_ROWS),
        random_state=random_state,
    )
    function, weights, first = trained.function, trained.after, trained.before
    prediction = trained.predict(weights, X)
    K0, K = function.kernel(first, X), function.kernel(weights, X)
    flips = _flips(function, first, weights, X)
    few = _few(len(X), trained.n_outputs * X.shape[1])
    spectra = [_spectrum(function.input_gradients(w, X[few])) for w in (first, weights)]
    targets = trained.targets(y)
    C0, C, T = (centred(gram) for gram in (K0, K, targets @ targets.T))
    ridges = [kernel_ridge(trained, gram, X, y) for gram in (K0, K)]
    gaps = linearization_gap(trained, X), prediction_gap(*ridges)
    values = {
        "displacement": moved(first, weights),
        "kernel_angle": 1 - cosine(K0, K),
        "kernel_change": float(np.linalg.norm(K - K0) / np.linalg.norm(K0)),
        "kernel_misalignment": 1 - cosine(C0, C),
        "activation_flips": None if flips is None else float(np.mean(flips)),
        "linearization_gap": gaps[0],
        "prediction_gap": gaps[1],
        "mean_gap": mean_gap(*gaps),
        "kappa": _kappa(trained, targets[few], X[few]),
        "score_network": trained.score(y, prediction),
        "score_linear": trained.score(y, trained.of_scores(trained.linear_scores(X))),
        "score_kernel_before": trained.score(y, ridges[0].predictions),
        "score_kernel_after": trained.score(y, ridges[1].predictions),
        "trained_linear_gap": _distance(trained, prediction, ridges[0].predictions),
        "alignment_before": cosine(C0, T),
        "alignment_after": cosine(C, T),
        "directions_before": _directions(spectra[0]),
        "directions_after": _directions(spectra[1]),
    }
    learned = gaps[1] is None and _predicts(trained, y, prediction)  # although neither kernel predicts it
    notes += _unknown(trained, values, learned)
    verdict = verdict_of(values)
    if verdict == "lazy" and learned:
        verdict = "between"
    score = "R2" if trained.classes is None else "accuracy"
    return RegimeReport(
        verdict,
        _sentence(verdict, values, trained, score, len(X)),
        values,
        tuple(_layers(trained, X, y, flips)),
        *spectra,
        score,
        len(X),
        tuple(notes),
    )


def _unknown(trained, values, learned):
    """Yield notes on the diagnostics that are unknown."""
    if values["prediction_gap"] is None:
        yield "Neither kernel predicts this target, so prediction_gap is unknown, and mean_gap is the other gap."
        if learned:
            yield "But the network does predict it, so the verdict is not 'lazy'. Is X standardised?"
    if values["activation_flips"] is None:
        yield f"activation_flips is unknown, because a {trained.kind} does not give access to its activations."
    if values["kappa"] is None:
        yield "kappa is unknown, because second derivatives are not computed for this network."
    if values["directions_after"] is None:
        yield "The directions are unknown, because not all inputs are real numbers."


def verdict_of(diagnostics):
    """Return 'lazy', 'features' or 'between'."""
    gap = diagnostics["mean_gap"]
    return "lazy" if gap <= LAZY_GAP else "features" if gap >= RICH_GAP else "between"


def _sentence(verdict, values, trained, score, n_rows):
    opening = {
        "lazy": "is lazy: it is a linear model in its weights, with its initial tangent kernel",
        "features": "has learned features: its linear model differs from it, and its tangent kernel has changed",
        "between": "is between the regimes: its tangent kernel has changed, but its linear model is still close to it",
    }[verdict]
    return (
        f"This {trained.kind} {opening}. Its weights changed by {_percent(values['displacement'])}, its kernel "
        f"by {_percent(values['kernel_change'])}, and the linear model at the same weights misses "
        f"{_percent(values['linearization_gap'])} of the change of the function. On {n_rows} rows, its {score} is "
        f"{values['score_network']:.3f}. The leave-one-out {score} of ridge on the same rows is "
        f"{values['score_kernel_before']:.3f} with the kernel before training and "
        f"{values['score_kernel_after']:.3f} with the kernel after training."
    )


def _percent(value):
    if value is None:
        return "an unknown share"
    return f"{100 * value:,.0f} %" if value >= 0.1 else f"{100 * value:.2g} %"


class Ridge(NamedTuple):
    """Predictions of a kernel machine at some rows, its scores, and whether it is better than the mean.

    Parameters
    ----------
    predictions : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    scores : ndarray of shape (n_samples,) or (n_samples, n_outputs)
    idle : bool
        Whether predicting the mean is as good.
    """

    predictions: np.ndarray
    scores: np.ndarray
    idle: bool

    @classmethod
    def left_out(cls, machine):
        """Return the leave-one-out predictions of the machine's own rows."""
        if isinstance(machine, NTKKernelRegressor):
            scores = predictions = machine.loo_predictions_
        else:
            scores = machine.loo_decision_function_
            predictions = most_likely(machine.classes_, scores)
        return cls(predictions, scores, machine._machine.is_idle)

    @classmethod
    def at(cls, machine, X):
        """Return the predictions of new rows."""
        regressor = isinstance(machine, NTKKernelRegressor)
        scores = machine.predict(X) if regressor else machine.decision_function(X)
        return cls(scores if regressor else most_likely(machine.classes_, scores), scores, machine._machine.is_idle)


def kernel_ridge(trained, gram, X, y):
    """Fit ridge regression with a Gram matrix of the rows of `X`, with the penalty chosen by leave-one-out."""
    first, point = np.unique(X, axis=0, return_index=True, return_inverse=True)[1:]

    def values(some, others):
        some, others = (first[numbers[:, 0].astype(int)] for numbers in (some, others))
        return gram[np.ix_(some, others)]

    machine = NTKKernelRegressor if trained.classes is None else NTKKernelClassifier
    return Ridge.left_out(machine(kernel=values, random_state=0).fit(point.reshape(-1, 1).astype(float), y))


def prediction_gap(before, after):
    """Return the distance between two Ridges divided by the spread of the second; None if both predict the mean."""
    if before.idle and after.idle:
        return None
    return _ratio(before.scores - after.scores, after.scores - after.scores.mean(axis=0))


def mean_gap(linearization, prediction):
    """Return the geometric mean of two gaps, or the first if the second is unknown."""
    return linearization if prediction is None else float(np.sqrt(linearization * prediction))


def linearization_gap(trained, X):
    """Return the distance of the function from its linear model, relative to the change in training."""
    function, first = trained.function, trained.before
    change = function.outputs(trained.after, X) - function.outputs(first, X)
    return _ratio(change - function.tangent(first, trained.move, X), change)


def _distance(trained, prediction, other):
    """Return the distance of two predictions over the spread of the first, or the share of rows with other classes."""
    if trained.classes is not None:
        return float(np.mean(prediction != other))
    return _ratio(prediction - other, prediction - prediction.mean(axis=0))


def moved(before, after):
    """Return |w - w0| / |w0|, or None if w0 is 0."""
    return displacement(after, before) if any(np.any(layer) for layer in before) else None


def centred(gram):
    gram = gram - gram.mean(axis=0)
    return gram - gram.mean(axis=1, keepdims=True)


def cosine(A, B):
    return float(np.sum(A * B) / max(np.linalg.norm(A) * np.linalg.norm(B), np.finfo(float).tiny))


def _ratio(part, whole):
    """Return |part| / |whole|, which is 0 if both are 0."""
    part, whole = np.linalg.norm(part), np.linalg.norm(whole)
    return float(part / whole) if whole > 0 else np.inf if part > 0 else 0.0


def _flips(function, before, after, X):
    """Return the share of rows and neurons of each hidden layer whose activation changed sign; None if unknown."""
    old = function.neurons(before, X)
    if old is None:
        return None
    return [float(np.mean((z0 > 0) != (z > 0))) for z0, z in zip(old, function.neurons(after, X))]


def _spectrum(gradients):
    """Return the eigenvalues of the average gradient outer product, scaled to sum 1; empty without gradients."""
    if gradients is None:
        return np.zeros(0)
    rows = gradients.reshape(-1, gradients.shape[2])
    values = np.zeros(rows.shape[1])
    found = np.linalg.eigvalsh(rows.T @ rows if len(rows) > rows.shape[1] else rows @ rows.T)[::-1]
    values[: len(found)] = np.maximum(found, 0.0)
    return values / max(values.sum(), np.finfo(float).tiny)


def _directions(spectrum):
    """Return the participation ratio of eigenvalues of sum 1; 0 if all are 0, None if there are none."""
    if not len(spectrum):
        return None
    squares = np.sum(spectrum**2)
    return float(1 / squares) if squares > 0 else 0.0


def _few(n, n_slopes):
    """Return an evenly spaced subset of n rows whose gradients fit in memory."""
    most = max(FEWEST_ROWS, min(FEW_ROWS, GRADIENT_BYTES // (8 * n_slopes)))
    return slice(None, None, -(-n // most))


def _predicts(trained, y, prediction):
    """Return whether predictions are better than the mean or the most frequent class."""
    if trained.classes is None:
        return trained.score(y, prediction) > 0
    return trained.score(y, prediction) > np.unique(y, return_counts=True)[1].max() / len(y)


def _kappa(trained, targets, X):
    """Return kappa of Chizat, Oyallon and Bach (2019, section 2.3), where |f0 - y| is the loss's slope over L."""
    loss = trained.loss
    norms = trained.function.slope_and_bend(trained.before, X)
    if norms is None:
        return None
    slope, bend = norms
    start = trained.function.outputs(trained.before, X)
    scores = 0 * start if trained.subtracted else start
    distance = np.sqrt(np.mean(np.sum((loss.derivative(scores, targets) / loss.smoothness) ** 2, axis=1)))
    return float(distance * bend / slope) if slope > 0 else np.inf


def _layers(trained, X, y, flips):
    """Yield the table row of each layer."""
    for k, (name, old, new) in enumerate(zip(trained.layers, trained.before, trained.after)):
        put_back = (*trained.after[:k], old, *trained.after[k + 1 :])
        yield {
            "layer": name,
            "displacement": moved((old,), (new,)),
            "activation_flips": flips[k] if flips is not None and k < len(flips) else None,
            "score_put_back": trained.score(y, trained.predict(put_back, X)),
        }
