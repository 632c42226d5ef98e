"""Convert a trained model of any kind to one view, with its weights before and after training."""

import copy
import sys
from collections.abc import Mapping

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.utils import check_array, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from sklearn_ltdl._sklearn import checked_rows as validated_rows
from sklearn_ltdl._sklearn import generator_of, refuse_masked
from sklearn_ltdl._targets import checked_target
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.diagnostics._functions import Function, function_of, module_of, notes_on_scores
from sklearn_ltdl.diagnostics._perceptron import Perceptron, initial_weights, stacked
from sklearn_ltdl.diagnostics._views import Dense, TrainedNetwork, dense
from sklearn_ltdl.networks import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet
from sklearn_ltdl.networks import MeanFieldTwoLayerNetClassifier as MeanFieldClassifier
from sklearn_ltdl.networks._model import Network
from sklearn_ltdl.ntk._solvers import require_memory

FEWEST_ROWS = 10
WRONG_START = (
    "The weights before training are probably not those of this network: they are no closer to the trained weights "
    "than other random weights. Was random_state or a seed changed?"
)
_MLP_ACTIVATIONS = {"identity": "identity", "logistic": "sigmoid", "tanh": "tanh", "relu": "relu"}
_OURS = (LazyNetRegressor, LazyNetClassifier, MeanFieldTwoLayerNet, MeanFieldClassifier)


def trained_network(model, X, y, *, before=None, after=None, classes=None, max_rows=None, random_state=0):
    """Return the network of a model, its input rows, their targets, and notes.

    Parameters
    ----------
    model : estimator, Pipeline that ends with one, search, or callable
    X, y : array-like
    before, after, classes : parameters, default=None
    max_rows : int or None, default=None
        Maximum number of rows, drawn at random.
    random_state : int, RandomState instance or None, default=0

    Returns
    -------
    trained : TrainedNetwork
    X : ndarray of shape (n_samples, n_features)
    y : ndarray
    notes : list of str
    """
    steps, network = unwrapped(model)
    if _is_of_torch(network):
        from sklearn_ltdl.diagnostics import _torch_rows

        if y is None and _torch_rows.is_dataset(X):
            X, y = _torch_rows.of_dataset(X)
        layout = _torch_rows.packed(X if steps is None else steps.transform(X))[1]
    X, y = checked_rows(steps, network, X), checked_column(y, "y")
    check_consistent_length(X, y)
    if isinstance(network, BaseEstimator):
        _refuse(network, after=after, classes=classes)
    elif _is_of_torch(network):
        _refuse(network, after=after)
        network = module_of(network, before, X, layout)
        classes = network.classes_of(X, y, classes)
    else:
        network = function_of(network, before, after)
        classes = network.classes_of(X[:1], y, classes)
    rows, notes = some_rows(X.shape[0], max_rows, random_state, "rows")
    X, y = dense(X[rows]), y[rows]
    if isinstance(network, Function):
        trained = network.trained(X, classes)
        notes = notes + network.notes(X)
    elif isinstance(network, _OURS):
        _refuse(network, before=before)
        trained = _own(network)
    else:
        trained = _perceptron(network, before)
    y = trained.checked_target(y)
    _check_that_rows_differ(y)
    if not any(layer.any() for layer in trained.move):
        raise ValueError(
            "The weights before and after training are equal, so there is nothing to report. If training works in "
            "place, give a copy as `before` (copy.deepcopy)."
        )
    _check_values(trained, X)
    if isinstance(network, Function):
        notes = notes + notes_on_scores(trained, X, y)
    if not isinstance(trained.function, Dense) or isinstance(trained.function.network, Perceptron):
        notes = [*notes, WRONG_START] if _is_wrong_start(trained.before, trained.after) else notes
    return trained, X, y, notes


def network_along(model, checkpoints, X, y, *, classes, max_rows, random_state):
    """Return the result of `trained_network` for the first and last checkpoint, and the weights at each checkpoint.

    Parameters
    ----------
    model : module of PyTorch, function of JAX, MLP of scikit-learn, or Pipeline
    checkpoints : sequence
    X, y : array-like
    classes, max_rows, random_state : parameters

    Returns
    -------
    trained : TrainedNetwork
    each : iterator of tuple of ndarray
    X : ndarray of shape (n_samples, n_features)
    y : ndarray
    notes : list of str
    """
    if isinstance(checkpoints, (str, Mapping)) or not hasattr(checkpoints, "__len__") or len(checkpoints) < 2:
        raise ValueError(
            "checkpoints must be a list of the weights at two or more times in training, the first at the start; "
            f"got a {type(checkpoints).__name__}."
        )
    steps, network = unwrapped(model)
    X, first, last = X if steps is None else steps.transform(X), checkpoints[0], checkpoints[-1]
    given = {"max_rows": max_rows, "random_state": random_state, "classes": classes}
    if _is_of_torch(network):
        from sklearn_ltdl.diagnostics import _torch

        network = _torch.along(network, first, last)
        trained, X, y, notes = trained_network(network, X, y, **given)

        def read(state):
            return trained.function.weights_of(_torch.checked_state(state, network.module))

    elif isinstance(network, (MLPRegressor, MLPClassifier)):
        ended = copy.copy(network)
        ended.coefs_, ended.intercepts_ = _checked_before(last, network)
        trained, X, y, notes = trained_network(ended, X, y, before=first, **given)

        def read(pair):
            return stacked(*_checked_before(pair, network))

    elif isinstance(network, BaseEstimator):
        raise ValueError(
            f"model is a {type(network).__name__}, which only keeps its first and last weights. regime_path supports "
            "modules of PyTorch, functions of JAX, and MLPs of scikit-learn."
        )
    else:
        trained, X, y, notes = trained_network(network, X, y, before=first, after=last, **given)

        def read(parameters):
            return function_of(network, first, parameters).after

    return trained, _named(checkpoints, read), X, y, notes


def _named(checkpoints, read):
    for k, checkpoint in enumerate(checkpoints):
        try:
            yield read(checkpoint)
        except (TypeError, ValueError) as error:
            raise ValueError(f"checkpoints[{k}] does not fit: {error}") from error


def _is_wrong_start(before, after, least=3.0):
    """Return whether weights before and after training agree no more than by chance.

    In a layer, the cosine of independent random weights has the standard deviation size ** -0.5. Layers that start at a
    constant, such as normalisation layers, are ignored. For networks so small that a cosine of one half would not reach
    `least`, the answer is False.
    """
    pairs = [(np.ravel(old), np.ravel(new)) for old, new in zip(before, after)]
    pairs = [(old, new) for old, new in pairs if new.any() and len(np.unique(old)) > 2]
    if not pairs:
        return False
    root = np.sqrt(len(pairs))
    if sum(np.sqrt(len(old)) for old, _ in pairs) / root < 2 * least:
        return False
    z = [np.sqrt(len(old)) * (old @ new) / (np.linalg.norm(old) * np.linalg.norm(new)) for old, new in pairs]
    return sum(z) / root < least


def _check_that_rows_differ(y):
    if y.dtype.kind == "f":
        constant = np.ptp(y, axis=0).max() <= 10 * np.finfo(float).eps * np.abs(y).max()
    else:
        constant = np.all(y == y[0])
    if constant:
        raise ValueError(
            f"y is {y[0]!s} in all {len(y)} rows, up to rounding; predictions can only be compared on targets that "
            "differ. Give more rows."
        )


def some_rows(n, max_rows, random_state, what):
    """Return at most `max_rows` of n rows, drawn at random, and notes."""
    if max_rows is None:
        return slice(None), []
    require_memory(min(n, max_rows), 8, "Use a smaller max_rows.")
    if n <= max_rows:
        return slice(None), []
    rows = np.sort(generator_of(random_state).permutation(n)[:max_rows])
    return rows, [f"{max_rows} of {n} {what}, drawn at random, take part (max_rows={max_rows})."]


def _check_values(trained, X):
    """Raise an error if outputs or tangent kernel at the rows are not finite, or if the kernel is 0."""
    rng = np.random.default_rng(0)
    direction = tuple(rng.standard_normal(layer.shape) for layer in trained.after)
    for weights, when in ((trained.before, "before"), (trained.after, "after")):
        slopes = trained.function.tangent(weights, direction, X)
        with np.errstate(over="ignore"):
            size = np.square(trained.function.outputs(weights, X)).sum() + np.square(slopes).sum()
        if not np.isfinite(size):
            raise ValueError(
                f"The outputs of the network {when} training, or their squares, are not finite at these rows. Check "
                "the weights, and standardise X."
            )
        if not slopes.any():
            raise ValueError(
                f"The outputs of the network {when} training do not depend on its weights at these rows, so it has "
                "no tangent kernel. Check whether the weights start at zero, or are detached from the outputs."
            )


def unwrapped(model):
    """Return the steps before a network as one transformer (None if there are none), and the network."""
    steps = []
    while isinstance(model, (Pipeline, GridSearchCV, RandomizedSearchCV)) or hasattr(model, "best_estimator_"):
        if isinstance(model, Pipeline):
            check_is_fitted(model)
            steps += [(f"steps{len(steps)}", model[:-1])] if len(model) > 1 else []
            model = model[-1]
        else:
            if not hasattr(model, "best_estimator_"):
                raise ValueError(f"This {type(model).__name__} has no best_estimator_. Fit it with refit=True.")
            model = model.best_estimator_
    if any(kind.__module__.partition(".")[0] == "skorch" for kind in type(model).__mro__):
        if not getattr(model, "initialized_", False):
            raise ValueError(f"This {type(model).__name__} of skorch is not fitted. Call fit first.")
        model = model.module_
    if _is_of_torch(model):
        return _joined(steps), model
    known = (*_OURS, MLPRegressor, MLPClassifier)
    if isinstance(model, known):
        check_is_fitted(model)
    elif isinstance(model, (type, BaseEstimator)) or not callable(model):
        what = f"the class {model.__name__}, not an object" if isinstance(model, type) else f"a {type(model).__name__}"
        raise ValueError(
            f"model is {what}; supported are fitted networks of sklearn_ltdl, MLPRegressor and MLPClassifier, modules "
            "of PyTorch, nets of skorch, pipelines that end with one of these, and functions apply_fn(parameters, X) "
            "of JAX with `before` and `after`."
        )
    return _joined(steps), model


def is_large(model):
    """Return whether a model is a module of PyTorch with so many weights that fewer rows are used by default."""
    network = unwrapped(model)[1]
    if not _is_of_torch(network):
        return False
    from sklearn_ltdl.diagnostics import _torch

    return _torch.is_large(network)


def _joined(steps):
    return None if not steps else steps[0][1] if len(steps) == 1 else Pipeline(steps)


def _is_of_torch(model):
    """Return whether a model is a module of PyTorch, without importing it."""
    torch = sys.modules.get("torch")
    if torch is None:
        return False
    door = sys.modules.get("sklearn_ltdl.diagnostics._torch")
    return isinstance(model, torch.nn.Module) or (door is not None and isinstance(model, door.TorchNetwork))


def checked_rows(steps, network, X, name="X", fewest=FEWEST_ROWS):
    """Return the input rows of a network; they are sparse if the steps before it return sparse rows."""
    X = X if steps is None else steps.transform(X)
    if _is_of_torch(network):
        from sklearn_ltdl.diagnostics import _torch_rows

        X = _torch_rows.packed(X, name)[0]
    elif isinstance(network, BaseEstimator):
        X = validated_rows(network, X, accept_sparse="csr")
    else:
        refuse_masked(X, name)
        X = check_array(X, input_name=name, dtype=np.float64, accept_sparse="csr")
    if X.shape[0] < fewest:
        raise ValueError(f"{name} has {X.shape[0]} rows; at least {fewest} are required to compare predictions.")
    return X


def checked_column(y, name):
    """Return a target as an array."""
    if y is None:
        raise ValueError(f"{name} is None; expected the target of each row.")
    return checked_target(y, name)


def _refuse(model, **parameters):
    for name, value in parameters.items():
        if value is not None:
            raise ValueError(f"{name} is for functions of JAX, not for a {type(model).__name__}. Leave it out.")


def _own(model):
    trained = model._as_trained()
    start = trained.start
    if not isinstance(start.network, Network) or getattr(model, "kernel_machine_", None) is not None:
        raise ValueError(
            f"This {type(model).__name__} has mode={model.mode!r}: it is a kernel machine by construction, not a "
            "trained network. Use mode='nonlinear'."
        )
    if getattr(model, "solver_", None) == "frank_wolfe":
        raise ValueError(
            "solver='frank_wolfe' adds neurons in their final places, so there are no initial weights to compare with. "
            "Use a solver that moves neurons, such as 'auto' or 'gd'."
        )
    layers, readout = start.network.split(start.weights)
    hidden = [f"hidden {k + 1}" for k in range(len(layers))]
    classes = getattr(model, "classes_", None)
    return TrainedNetwork(
        Dense(start.network),
        start.weights,
        trained.weights,
        tuple(hidden if start.network.readout is not None else [*hidden, "read-out"]),
        readout.shape[2],
        type(model).__name__,
        classes,
        start.subtracted,
        trained.intercept,
        trained.units,
    )


def _perceptron(model, before):
    if len(model.coefs_) == 1:
        raise ValueError(
            "hidden_layer_sizes=() is a linear model without hidden layers; use a network with at least one."
        )
    if model.out_activation_ == "exp" or (model.out_activation_ == "logistic" and model.n_outputs_ > 1):
        what = "loss='poisson'" if model.out_activation_ == "exp" else "a target with several labels per row"
        raise ValueError(f"{what} is not supported; expected numbers with the squared loss, or classes.")
    network = Perceptron(ACTIVATIONS[_MLP_ACTIVATIONS[model.activation]])
    first = initial_weights(model) if before is None else _checked_before(before, model)
    names = [f"hidden {k + 1}" for k in range(len(model.coefs_) - 1)]
    return TrainedNetwork(
        Dense(network),
        stacked(*first),
        stacked(model.coefs_, model.intercepts_),
        (*names, "read-out"),
        model.n_outputs_,
        type(model).__name__,
        getattr(model, "classes_", None),
    )


def _checked_before(before, model):
    wanted = [part.shape for part in (*model.coefs_, *model.intercepts_)]
    try:
        coefs, intercepts = ([np.asarray(part, dtype=float) for part in parts] for parts in before)
        found = [part.shape for part in (*coefs, *intercepts)]
    except (TypeError, ValueError):
        found = type(before).__name__
    if found != wanted:
        raise ValueError(f"before must be (coefs, intercepts) with arrays of shapes {wanted}; got {found}.")
    return coefs, intercepts
