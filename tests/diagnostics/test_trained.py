"""Networks of whoever trained them: scikit-learn's first weights, and gradients against automatic ones."""

import warnings

import jax
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_regression
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MaxAbsScaler, StandardScaler

from sklearn_ltdl import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet, explain_as_kernel, regime_report
from sklearn_ltdl._backends.jax import Traced
from sklearn_ltdl.diagnostics._perceptron import initial_weights
from sklearn_ltdl.diagnostics._trained import trained_network

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def remembering(kind):
    """Return a class of MLP that keeps the weights with which its fit started."""

    class Remembering(kind):
        def _initialize(self, y, layer_units, dtype):
            super()._initialize(y, layer_units, dtype)
            self.first_ = [part.copy() for part in (*self.coefs_, *self.intercepts_)]

    Remembering.__init__ = kind.__init__  # whose signature names the parameters
    return Remembering


@unconverged
@pytest.mark.parametrize("classes", [0, 2, 3], ids=["numbers", "two classes", "three classes"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "adam"},
        {"solver": "sgd", "momentum": 0.9, "learning_rate": "adaptive"},
        {"solver": "lbfgs"},
        {"early_stopping": True, "batch_size": 7},
        {"hidden_layer_sizes": (9, 5), "activation": "tanh"},
        {"activation": "logistic", "alpha": 1.0},
    ],
    ids=str,
)
def test_the_first_weights_of_an_mlp_are_recovered(classes, parameters, rng):
    X = rng.standard_normal((60, 4))
    y = 1e6 * X[:, 0] if not classes else np.arange(60) % classes
    network = remembering(MLPClassifier if classes else MLPRegressor)(max_iter=5, random_state=3, **parameters)
    network.fit(X, y)
    coefs, intercepts = initial_weights(network)
    for found, true in zip((*coefs, *intercepts), network.first_, strict=True):
        np.testing.assert_allclose(found, true, rtol=0, atol=1e-10)
    assert max(np.abs(now - old).max() for now, old in zip(network.coefs_, coefs)) > 1e-4


@unconverged
def test_the_first_weights_survive_float32_and_partial_fits(rng):
    X, y = rng.standard_normal((60, 4)).astype(np.float32), np.arange(60) % 3
    network = remembering(MLPClassifier)(random_state=3)
    for _ in range(3):
        network.partial_fit(X, y, classes=[0, 1, 2])
    coefs, intercepts = initial_weights(network)
    for found, true in zip((*coefs, *intercepts), network.first_, strict=True):
        np.testing.assert_array_equal(found, true)


@unconverged
@pytest.mark.parametrize("random_state", [None, np.random.RandomState(0)], ids=["none", "instance"])
def test_first_weights_that_nothing_tells_are_asked_for(random_state, rng):
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(60)
    network = remembering(MLPRegressor)(max_iter=50, random_state=random_state).fit(X, y)
    with pytest.raises(ValueError, match=r"cannot be recovered: random_state=.*before=\(coefs, intercepts\)"):
        regime_report(network, X, y)
    known = network.first_[:2], network.first_[2:]
    assert regime_report(network, X, y, before=known).diagnostics["displacement"] > 0
    for other in ((network.first_[:1], network.first_[2:]), 3, ("a", "b"), known[0]):
        with pytest.raises(ValueError, match="arrays of shapes"):
            regime_report(network, X, y, before=other)


def test_an_mlp_whose_parameters_were_changed_is_refused(rng):
    X, y = rng.standard_normal((60, 4)), rng.standard_normal(60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = MLPRegressor(max_iter=5, random_state=0).fit(X, y)
    network.set_params(hidden_layer_sizes=(7,))
    with pytest.raises(ValueError, match="parameters were changed"):
        regime_report(network, X, y)


@unconverged
@pytest.mark.parametrize(
    "network",
    [
        MLPRegressor(max_iter=20, random_state=0),
        MLPClassifier(hidden_layer_sizes=(6, 5), activation="tanh", max_iter=20, random_state=0),
        LazyNetRegressor(width=8, depth=2, max_iter=20, random_state=0),
        LazyNetClassifier(width=8, centering="doubled", max_iter=20, random_state=0),
        MeanFieldTwoLayerNet(width=8, activation="quadratic", max_iter=20, random_state=0),
    ],
    ids=["mlp", "deep mlp", "deep lazy", "doubled", "signs"],
)
def test_kernel_tangent_and_input_gradients_are_the_automatic_ones(network, rng):
    X = rng.standard_normal((40, 3))
    y = np.arange(40) % 3 if "Classifier" in type(network).__name__ else X[:, 0] + X[:, 1] ** 2
    trained, X, _, _ = trained_network(network.fit(X, y), X, y)
    function, dense = trained.function, trained.function.network

    def outputs(weights, X):
        ones = jax.numpy.ones((len(X), 1))
        lifted = X if "MLP" in trained.kind else X / np.sqrt(3)
        return dense.outputs(weights, jax.numpy.hstack([lifted, ones]), Traced(dense.activation))

    with jax.enable_x64(True):
        rows = jax.jacobian(outputs)(trained.after, X)
        rows = np.concatenate([np.asarray(layer).reshape(*layer.shape[:2], -1) for layer in rows], axis=2)
        in_rows = np.stack([jax.jacobian(lambda x: outputs(trained.after, x[None])[0])(x) for x in X])
    gram = np.einsum("ikp,jkp->ij", rows, rows) / rows.shape[1]
    np.testing.assert_allclose(function.kernel(trained.after, X), gram, atol=1e-12 * gram.max())
    np.testing.assert_allclose(function.kernel(trained.after, X[:3], X[2:]), gram[:3, 2:], atol=1e-12 * gram.max())
    flat = np.concatenate([layer.ravel() for layer in trained.move])
    np.testing.assert_allclose(function.tangent(trained.after, trained.move, X), rows @ flat, atol=1e-12)
    np.testing.assert_allclose(function.input_gradients(trained.after, X), in_rows, atol=1e-12)


@unconverged
def test_scores_are_those_of_the_models_own_predictions(rng):
    X, y = load_digits(return_X_y=True)
    y = np.array([*"abcdefghij"])[y]
    mlp = MLPClassifier(max_iter=10, random_state=0).fit(X[:300] / 16, y[:300])
    trained, rows, _, _ = trained_network(mlp, X[300:400] / 16, y[300:400])
    np.testing.assert_array_equal(trained.predict(trained.after, rows), mlp.predict(rows))
    logits = trained.scores(trained.after, rows)
    proba = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(proba / proba.sum(axis=1, keepdims=True), mlp.predict_proba(rows), atol=1e-10)
    X, Y = make_regression(120, 4, n_targets=2, random_state=0)
    for network in (MLPRegressor(max_iter=20, random_state=0), LazyNetRegressor(max_iter=20, random_state=0)):
        trained, rows, _, _ = trained_network(network.fit(X, Y), X, Y)
        np.testing.assert_allclose(trained.predict(trained.after, rows), network.predict(X), rtol=1e-9)


@unconverged
def test_a_pipeline_and_a_search_report_on_their_network(rng):
    X = 5 + 3 * rng.standard_normal((80, 3))
    y = X[:, 0] ** 2
    search = GridSearchCV(
        make_pipeline(StandardScaler(), MLPRegressor(max_iter=30, random_state=0)),
        {"mlpregressor__alpha": [1e-4, 1e-2]},
    ).fit(X, y)
    best = search.best_estimator_
    report = regime_report(search, X, y)
    alone = regime_report(best[-1], best[0].transform(X), y)
    assert report.diagnostics == alone.diagnostics


@unconverged
def test_the_table_is_that_of_the_models_own_predict(rng):
    """Columns in their order, through any steps, sparse or not; and the weights come without a word."""
    X = pd.DataFrame(rng.standard_normal((80, 3)), columns=[*"abc"])
    y = X["a"] ** 2
    network = MLPRegressor(max_iter=30, random_state=0).fit(X, y)
    assert regime_report(network, X, y).diagnostics == regime_report(clone(network).fit(X, y), X, y).diagnostics
    with pytest.raises(ValueError, match="feature names"):
        regime_report(network, X[[*"cba"]], y)
    with pytest.raises(ValueError, match="feature names"):
        explain_as_kernel(network, X, y, X_test=X[[*"cba"]])
    inner = make_pipeline(StandardScaler(), MLPRegressor(max_iter=30, random_state=0))
    explanation = explain_as_kernel(network, X, y)
    np.testing.assert_array_equal(explanation.predict(X), explanation.machine.predict(X.to_numpy()))
    with pytest.raises(ValueError, match="feature names"):
        explanation.predict(X[[*"cba"]])
    nested = make_pipeline(FunctionTransformer(sparse.csr_array), MaxAbsScaler(), inner.set_params(standardscaler=None))
    nested.fit(X.to_numpy(), y)
    flat = make_pipeline(MaxAbsScaler(), MLPRegressor(max_iter=30, random_state=0)).fit(X.to_numpy(), y)
    left, right = (regime_report(model, X.to_numpy(), y).diagnostics for model in (nested, flat))
    assert left == pytest.approx(right, rel=1e-6)


def test_first_weights_come_without_a_word(capsys, rng):
    X, y = rng.standard_normal((30, 3)), rng.standard_normal(30)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network = MLPRegressor(max_iter=3, random_state=0, verbose=True).fit(X, y)
    capsys.readouterr()
    initial_weights(network)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (MLPRegressor(), "not fitted"),
        (make_pipeline(StandardScaler(), MLPRegressor()), "not fitted"),
        (GridSearchCV(MLPRegressor(), {}), "no best_estimator_"),
    ],
    ids=["network", "pipeline", "search"],
)
def test_what_was_not_fitted_is_refused(model, message, rng):
    X = rng.standard_normal((30, 3))
    with pytest.raises(ValueError, match=message):
        regime_report(model, X, X[:, 0])


@unconverged
@pytest.mark.parametrize(
    ("network", "message"),
    [
        (LazyNetRegressor(mode="kernel"), "mode='kernel'"),
        (LazyNetRegressor(mode="linearized"), "mode='linearized'"),
        (MeanFieldTwoLayerNet(solver="frank_wolfe", alpha=0.1), "frank_wolfe"),
        (MLPRegressor(hidden_layer_sizes=(), random_state=0, max_iter=5), "without hidden layers"),
        (MLPRegressor(loss="poisson", random_state=0, max_iter=5), "poisson"),
        (StandardScaler(), "StandardScaler"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_was_not_trained_from_weights_is_refused(network, message, rng):
    X = rng.standard_normal((30, 3))
    with pytest.raises(ValueError, match=message):
        regime_report(network.fit(X, np.abs(X[:, 0])), X, np.abs(X[:, 0]))


@unconverged
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_an_edited_random_state_is_noted(solver):
    X, y = load_digits(return_X_y=True)
    network = MLPClassifier(solver=solver, max_iter=30, random_state=0).fit(X[:600] / 16, y[:600])
    for seed, noted in ((0, False), (1, True), (2, True)):
        network.set_params(random_state=seed)
        notes = trained_network(network, X[600:700] / 16, y[600:700])[3]
        assert any("are probably not those of" in note for note in notes) == noted


def test_collections_of_flax_other_than_params_are_no_weights(rng):
    X, y = rng.standard_normal((20, 3)), rng.standard_normal(20)

    def apply_fn(variables, rows):
        return jax.numpy.tanh(rows - variables["batch_stats"]["mean"]) @ variables["params"]["w"]

    before = {"params": {"w": rng.standard_normal(3)}, "batch_stats": {"mean": np.zeros(3)}}
    after = {"params": {"w": rng.standard_normal(3)}, "batch_stats": {"mean": X.mean(axis=0)}}
    trained, rows, _, _ = trained_network(apply_fn, X, y, before=before, after=after)
    assert trained.layers == ("params.w",)
    read = np.tanh(X - X.mean(axis=0))  # the gradient in w
    np.testing.assert_allclose(trained.function.kernel(trained.before, rows), read @ read.T, rtol=1e-12)
