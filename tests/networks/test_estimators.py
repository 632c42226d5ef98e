import threading

import jax
import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    MeanFieldTwoLayerNetClassifier,
    NTKKernelRegressor,
)
from sklearn_ltdl.networks._linearized import tangent_gram
from sklearn_ltdl.networks._model import feature_map
from sklearn_ltdl.networks._tables import _empirical_measure

REGRESSORS = [MeanFieldTwoLayerNet, LazyNetRegressor]
CLASSIFIERS = [MeanFieldTwoLayerNetClassifier, LazyNetClassifier]
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def teacher(rng, n, d=8):
    """Return a smooth function of two directions of d, with little noise."""
    X = rng.standard_normal((n, d))
    return X, np.sin(2 * X[:, 0]) + np.abs(X[:, 1]) + 0.05 * rng.standard_normal(n)


@unconverged
def test_a_lazy_network_is_ridge_regression_with_its_tangent_kernel(rng):
    X, y = teacher(rng, 80)
    weight = rng.integers(1, 4, size=60).astype(float)
    net = LazyNetRegressor(width=64, scale=1e4, alpha=1e-2, tol=0.0, max_iter=3000, random_state=0)
    net.fit(X[:60], y[:60], weight)

    def tangent(A, B):
        both = tangent_gram(net._start.network, net.weights_init_, feature_map(np.vstack([A, B])))
        return both[: len(A), len(A) :]

    ridge = NTKKernelRegressor(kernel=tangent, alpha=1e-2).fit(X[:60], y[:60], weight)
    np.testing.assert_allclose(net.predict(X[60:]), ridge.predict(X[60:]), atol=1e-4 * y.std())  # O(1/scale)


@unconverged
def test_mean_field_and_lazy_are_two_names_of_one_network(rng):
    """Without penalty r^2/m sum_j b_j relu(a_j) is the network of scale r^2 / (2 sqrt(m)), by homogeneity."""
    X, y = teacher(rng, 60)
    shared = {"alpha": 0.0, "width": 64, "max_iter": 300, "random_state": 0}
    one = MeanFieldTwoLayerNet(init_scale=2.0, **shared).fit(X, y)
    other = LazyNetRegressor(scale=4 / (2 * 8), centering=None, **shared).fit(X, y)
    np.testing.assert_allclose(one.predict(X), other.predict(X), atol=1e-8)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-8)


@unconverged
def test_a_small_scale_learns_the_features_that_a_large_one_cannot(rng):
    """Few relevant directions: the rich network needs less data than its own kernel (Chizat, Oyallon, Bach, fig. 1)."""
    X, y = teacher(rng, 1400, d=20)
    scores, moved = {}, {}
    for scale in (0.1, 10.0):
        model = LazyNetRegressor(scale=scale, random_state=0).fit(X[:400], y[:400])
        scores[scale], moved[scale] = model.score(X[400:], y[400:]), model.displacement_
    assert scores[0.1] > scores[10.0] + 0.1
    assert moved[0.1] > 0.5
    assert moved[10.0] < 0.05


@unconverged
@pytest.mark.parametrize("estimator", REGRESSORS)
def test_batches_reach_what_full_batches_reach(estimator, rng):
    """Beyond 2000 rows, 3600 of 4000 being trained on: at least as good as 2000 rows at once, within 10 %."""
    X, y = teacher(rng, 6000)
    full = estimator(random_state=0).fit(X[:2000], y[:2000])
    batches = estimator(random_state=0).fit(X[:4000], y[:4000])
    assert batches.score(X[4000:], y[4000:]) > 1 - 1.1 * (1 - full.score(X[4000:], y[4000:]))
    residual = y[:4000] - batches.predict(X[:4000])
    assert abs(residual.mean()) < residual.std() / np.sqrt(4000)  # the rows held out would give 3 times that
    again = estimator(random_state=0).fit(X[:4000], y[:4000])
    np.testing.assert_array_equal(again.predict(X), batches.predict(X))


def test_the_empirical_measure_keeps_the_integral_and_sorts(rng):
    X = rng.integers(0, 3, size=(200, 2)).astype(float)
    Y, weight = rng.integers(0, 2, size=(200, 1)).astype(float), rng.integers(0, 3, size=200).astype(float)
    rows, values, mass = _empirical_measure(X, Y, weight)
    joint = np.hstack([rows, values])
    assert len(joint) == len(np.unique(joint, axis=0))
    assert mass.min() > 0
    np.testing.assert_allclose(mass @ np.prod(joint + 1, axis=1), weight @ np.prod(np.hstack([X, Y]) + 1, axis=1))


@unconverged
@pytest.mark.parametrize("estimator", REGRESSORS)
def test_leave_one_out_stops_at_noise(estimator, rng):
    """No signal: the penalty that leave-one-out takes leaves next to no function."""
    X, y = rng.standard_normal((100, 10)), rng.standard_normal(100)
    model = estimator(random_state=0).fit(X, y)
    assert np.std(model.predict(rng.standard_normal((500, 10)))) < 0.35 * y.std()
    free = estimator(alpha=0.0, random_state=0).fit(X, y)
    assert np.std(free.predict(rng.standard_normal((500, 10)))) > 0.35 * y.std()


@unconverged
def test_several_outputs_share_the_hidden_layer_and_come_back_in_their_units(rng):
    X, y = teacher(rng, 200)
    model = LazyNetRegressor(scale=0.1, random_state=0).fit(X, np.column_stack([y, 1000 - 100 * y]))
    prediction = model.predict(X)
    assert np.corrcoef(prediction[:, 0], y)[0, 1] > 0.95
    # two read-outs are drawn apart, so that they agree only up to the error of each
    np.testing.assert_allclose(1000 - 100 * prediction[:, 0], prediction[:, 1], atol=60)


@pytest.mark.parametrize("estimator", [*REGRESSORS, *CLASSIFIERS])
def test_the_users_precision_is_left_alone(estimator, rng):
    X, y = rng.standard_normal((30, 3)), np.arange(30) % 2
    seen = []

    def work():
        estimator(alpha=1e-2, width=16, random_state=0, tol=1.0).fit(X, y).predict(X)
        seen.append((jax.config.jax_enable_x64, jax.numpy.ones(1).dtype))

    work()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, np.float32)] * 2


@unconverged
@pytest.mark.parametrize("n", [50, 2100])  # all rows at a time, and batches
def test_the_users_precision_changes_nothing(n, rng):
    X, y = teacher(rng, n)
    network = LazyNetRegressor(width=16, max_iter=5, random_state=0)
    usual = network.fit(X, y).predict(X)
    with jax.enable_x64(True):
        np.testing.assert_array_equal(network.fit(X, y).predict(X), usual)


@pytest.mark.parametrize("estimator", [*REGRESSORS, *CLASSIFIERS])
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"width": 0}, "'width'"),
        ({"width": -3}, "'width'"),
        ({"activation": "swish"}, "'activation'"),
        ({"alpha": -1.0}, "'alpha'"),
        ({"alpha": "aic"}, "'alpha'"),
        ({"learning_rate": 0.0}, "'learning_rate'"),
        ({"max_iter": 0}, "'max_iter'"),
    ],
)
def test_a_bad_parameter_is_named(estimator, parameters, message):
    with pytest.raises(ValueError, match=message):
        estimator(**parameters).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depth": 0}, "'depth'"),
        ({"scale": 0.0}, "'scale'"),
        ({"centering": "mean"}, "'centering'"),
        ({"centering": "doubled", "width": 5}, "width must be even"),
    ],
)
def test_a_bad_parameter_of_lazy_networks_is_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        LazyNetRegressor(**parameters).fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 1.0])


@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_one_class_is_an_error_that_names_it(estimator):
    with pytest.raises(ValueError, match="one class, 'spam'"):
        estimator().fit([[0.0], [1.0]], ["spam", "spam"])


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_a_constant_target_is_predicted(estimator, rng):
    X = rng.standard_normal((20, 3))
    np.testing.assert_allclose(estimator(random_state=0).fit(X, np.full(20, 7.3)).predict(X), 7.3, rtol=1e-12)


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_one_row_is_predicted_by_itself(estimator):
    assert estimator(random_state=0).fit([[2.0]], [5.0]).predict([[-1.0]]) == pytest.approx(5.0)


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_huge_entries_are_refused_with_a_remedy(estimator):
    with pytest.raises(ValueError, match="StandardScaler"):
        estimator().fit([[1e200], [0.0]], [0.0, 1.0])


def test_stopping_early_is_said_with_a_remedy(rng):
    X, y = teacher(rng, 50)
    with pytest.warns(ConvergenceWarning, match="Increase max_iter"):
        LazyNetRegressor(max_iter=60, alpha=0.0, random_state=0).fit(X, y)


@unconverged
@pytest.mark.parametrize(
    ("name", "least"),  # R2 or accuracy with half of the rows, a little below what was measured
    [("uci__autompg", 0.83), ("fd__wine", 0.94), ("keel__bupa", 0.65), ("fd__statlog-vehicle", 0.72)],
)
def test_defaults_are_good_on_real_tables(name, least, dev_sets):
    data = dev_sets(name)
    X, y, rows = data["X"], data["y"], np.random.default_rng(0).permutation(len(data["y"]))
    train, test = rows[: len(y) // 2], rows[len(y) // 2 :]
    X = StandardScaler().fit(X[train]).transform(X)
    for estimator in CLASSIFIERS if data["task"] == "classification" else REGRESSORS:
        assert estimator(random_state=0).fit(X[train], y[train]).score(X[test], y[test]) > least
