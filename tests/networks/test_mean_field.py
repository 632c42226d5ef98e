import warnings
from typing import NamedTuple

import jax
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_wine
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier, certify
from sklearn_ltdl.activations import LeakyRelu
from sklearn_ltdl.datasets import make_parity
from sklearn_ltdl.losses import Huber
from sklearn_ltdl.networks import _flow, _objective
from sklearn_ltdl.networks._linearized import leave_one_out_alpha
from sklearn_ltdl.networks._model import Data, feature_map

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BOTH = [MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier]


@pytest.fixture(scope="module")
def diabetes():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), y


def line(rng, n=80):
    X = rng.uniform(-1, 1, (n, 1))
    return X, np.abs(X[:, 0]) + 0.3 * X[:, 0]


def function_of(network, X):
    """Return the network's function from its measure, its intercept and the units of the target alone."""
    phi = np.hstack([X / np.sqrt(X.shape[1]), np.ones((len(X), 1))])
    activation = {"relu": lambda z: np.maximum(z, 0), "quadratic": np.square, "tanh": np.tanh}[network.activation]
    scores = activation(phi @ network.measure_.atoms.T) @ network.measure_.masses + network.intercept_
    return network._units.undo(scores)


@unconverged
@pytest.mark.parametrize(
    ("activation", "solver"),
    [("relu", "gd"), ("quadratic", "gd"), ("tanh", "gd"), ("relu", "frank_wolfe"), ("quadratic", "frank_wolfe")],
)
def test_the_measure_is_the_function(activation, solver, rng):
    X, y = line(rng)
    network = MeanFieldTwoLayerNet(
        width=64, activation=activation, solver=solver, alpha=1e-2, max_iter=300, random_state=0
    ).fit(X, y)
    # atoms within 1e-3 became one at their mean, an error of second order
    np.testing.assert_allclose(function_of(network, X), network.predict(X), atol=1e-4 * np.ptp(y))
    if activation != "tanh":
        np.testing.assert_allclose(np.linalg.norm(network.measure_.atoms, axis=1), 1)
        assert network.tv_norm_ == pytest.approx(np.abs(network.measure_.masses).sum())


@unconverged
def test_weight_decay_is_the_total_variation_at_balance(rng):
    """The particles end balanced, and the objective is risk plus alpha times the total variation."""
    X, y = line(rng)
    network = MeanFieldTwoLayerNet(alpha=1e-2, tol=1e-10, max_iter=3000, random_state=0).fit(X, y)
    assert network.balancedness_ > 1 - 1e-4
    scores = (network.predict(X) - y.mean()) / y.std()
    risk = 0.5 * np.mean((scores - (y - y.mean()) / y.std()) ** 2)
    assert network.loss_curve_[-1] == pytest.approx(risk + network.alpha_ * network.tv_norm_, rel=1e-4)


@unconverged
@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("solver", ["gd", "sgd", "adam"])
def test_early_stopping_keeps_the_weights_of_least_held_out_loss(estimator, solver, diabetes):
    X, y = diabetes
    y = y if estimator is MeanFieldTwoLayerNet else y > 140
    network = estimator(
        activation="relu", solver=solver, alpha=0.0, early_stopping=True, max_iter=400, random_state=0
    ).fit(X, y)
    assert network.solver_ == solver
    losses = network.validation_loss_curve_
    assert len(losses) > 5
    assert np.argmin(losses) < len(losses) - 1  # without a penalty the held-out loss rises in the end
    free = clone(network).set_params(early_stopping=False).fit(X, y)
    assert not free.validation_loss_curve_
    assert free.displacement_ != network.displacement_


def test_held_out_rows_do_not_train(rng):
    """With one row held out, half of all, the other is fitted and this one is not."""
    X, y = np.array([[-1.0], [1.0]]), np.array([0.0, 1.0])
    network = MeanFieldTwoLayerNet(
        alpha=0.0, early_stopping=True, validation_fraction=0.5, max_iter=50, normalize_y=False, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert np.abs(network.fit(X, y).predict(X) - y).max() > 0.3


@unconverged
@pytest.mark.parametrize("solver", ["gd", "sgd", "adam"])
def test_warm_start_goes_on_in_the_units_of_the_first_fit(solver, diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(
        solver=solver, max_iter=20, early_stopping=False, warm_start=True, random_state=0
    ).fit(X, y)
    first, start, alpha = network.predict(X), network.particles_init_, network.alpha_
    curve = network.loss_curve_
    network.fit(X, y + 1000)  # the next fit is judged in the same units: its first loss is far up
    assert network.alpha_ == alpha
    np.testing.assert_array_equal(network.particles_init_, start)
    network.set_params(max_iter=1).fit(X, y)
    again = clone(network).set_params(max_iter=20).fit(X, y)
    np.testing.assert_array_equal(again.predict(X), first)
    again.fit(X, y)
    assert again.loss_curve_[-1] < curve[-1]
    with pytest.raises(ValueError, match="width=16"):
        again.set_params(width=16).fit(X, y)
    with pytest.raises(ValueError, match="activation='gelu'"):
        clone(again).set_params(width=256).fit(X, y).set_params(activation="gelu").fit(X, y)
    with pytest.raises(ValueError, match="y has 2 columns"):
        again.set_params(width=256).fit(X, np.column_stack([y, y]))


@unconverged
def test_warm_start_goes_on_from_the_intercept(rng):
    """Huber's intercept moves by at most delta a step, so that from 0 it is far from a target around 100."""
    X, y = line(rng)
    network = MeanFieldTwoLayerNet(loss="huber", normalize_y=False, alpha=1e-2, warm_start=True, random_state=0)
    last = network.fit(X, y + 100).loss_curve_[-1]
    assert network.fit(X, y + 100).loss_curve_[0] <= last * (1 + 1e-6)


@pytest.mark.parametrize("activation", ["relu", "quadratic"])
def test_several_classes_come_with_a_certificate(activation):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    best = MeanFieldTwoLayerNetClassifier(activation=activation, solver="frank_wolfe", alpha=0.01, random_state=0)
    best = best.fit(X, np.array(["a", "b", "c"])[y]).certificate_
    assert best.relative_gap <= 1e-5
    assert best.rigorous == (activation == "quadratic")
    descent = MeanFieldTwoLayerNetClassifier(activation=activation, alpha=0.01, random_state=0).fit(X, y)
    assert best.dual <= descent.certificate_.primal <= best.primal + descent.certificate_.gap
    assert certify(descent, X, y).gap == pytest.approx(descent.certificate_.gap)


def test_partial_fit_takes_back_a_step_that_diverges(diabetes):
    X, y = diabetes[0][:100], diabetes[1][:100]  # one batch: its loss is known after the step only
    network = MeanFieldTwoLayerNet(solver="sgd", learning_rate=30.0, alpha=1e-3, random_state=0)
    for _ in range(15):
        network.partial_fit(X, y)
    assert network.score(X, y) > 0.4
    assert max(network.loss_curve_) < 1.5


def test_partial_fit_has_a_memory_and_takes_a_new_learning_rate(diabetes):
    X, y = diabetes[0][:64], diabetes[1][:64]
    network = MeanFieldTwoLayerNet(solver="sgd", alpha=0.01, random_state=0).partial_fit(X, y)
    first = network.particles_
    second = network.partial_fit(X, y).particles_
    # heavy ball: the second step adds .9 of the first
    assert np.linalg.norm(second - first) > 1.4 * np.linalg.norm(first - network.particles_init_)
    moved = network.set_params(learning_rate=1e-9).partial_fit(X, y).particles_ - second
    assert np.abs(moved).max() < 1e-6


@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_partial_fit_learns_from_rows_that_arrive(solver, rng):
    X = rng.standard_normal((6000, 4))
    y = 5 + 2 * np.abs(X[:, 0]) + X[:, 1]

    def learned(n_passes):
        network = MeanFieldTwoLayerNet(solver=solver, alpha=1e-4, batch_size=16, random_state=0)
        for k in range(20 * n_passes):
            rows = slice(250 * (k % 20), 250 * (k % 20 + 1))
            network.partial_fit(X[rows], y[rows])
        return network

    network = learned(4)
    assert network.n_iter_ == len(network.loss_curve_) == 80
    assert network.score(X[5000:], y[5000:]) > max(0.95, learned(1).score(X[5000:], y[5000:]))
    np.testing.assert_array_equal(learned(4).particles_, network.particles_)


def test_partial_fit_compiles_once_for_similar_numbers_of_rows(rng):
    from sklearn_ltdl._backends.jax import COMPILATIONS

    X, y = rng.standard_normal((320, 3)), rng.standard_normal(320)
    network = MeanFieldTwoLayerNet(width=7, alpha=1e-3, random_state=0).partial_fit(X, y)
    compiled = len(COMPILATIONS)
    for n in range(257, 320, 9):
        network.partial_fit(X[:n], y[:n])
    assert len(COMPILATIONS) == compiled


def test_partial_fit_takes_classes_that_come_later(rng):
    X, y = load_wine(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    network = MeanFieldTwoLayerNetClassifier(alpha=1e-3, random_state=0)
    network.partial_fit(X[:100], y[:100], classes=[0, 1, 2])  # sorted by class: none of the third yet
    assert network.predict_proba(X).shape == (178, 3)
    order = rng.permutation(178)
    for _ in range(60):
        network.partial_fit(X[order], y[order])
    assert network.score(X, y) > 0.95
    with pytest.raises(ValueError, match=r"y has classes \[7\]"):
        network.partial_fit(X[:2], [7, 0])
    with pytest.raises(ValueError, match="class_weight='balanced'"):
        network.set_params(class_weight="balanced").partial_fit(X, y)


@pytest.mark.parametrize("parameters", [{"solver": "gd"}, {"solver": "frank_wolfe"}, {"temperature": 0.1}])
def test_partial_fit_goes_by_batches_only(parameters, diabetes):
    network = MeanFieldTwoLayerNet(activation="tanh" if "temperature" in parameters else "relu", **parameters)
    with pytest.raises(ValueError, match="partial_fit trains in batches"):
        network.partial_fit(*diabetes)


def test_class_weights_are_sample_weights(diabetes):
    X, y = diabetes[0], (diabetes[1] > 140).astype(int)
    weighted = MeanFieldTwoLayerNetClassifier(class_weight={0: 1, 1: 3}, alpha=1e-2, random_state=0).fit(X, y)
    plain = MeanFieldTwoLayerNetClassifier(alpha=1e-2, random_state=0).fit(X, y, np.where(y == 1, 3.0, 1.0))
    np.testing.assert_array_equal(weighted.predict_proba(X), plain.predict_proba(X))
    balanced = MeanFieldTwoLayerNetClassifier(class_weight="balanced", alpha=1e-2, random_state=0).fit(X, y)
    share = np.average(
        balanced.predict_proba(X)[:, 1], weights=np.where(y == 1, 1 / np.sum(y == 1), 1 / np.sum(y == 0))
    )
    assert share == pytest.approx(0.5, abs=1e-3)  # the intercept makes the mean probability that of the weights


def test_huber_loss_is_robust(rng):
    X = rng.standard_normal((200, 3))
    signal = X[:, 0] + np.abs(X[:, 1])
    y = signal + 0.1 * rng.standard_normal(200)
    y[:10] += 30
    squared, huber, narrow = (
        MeanFieldTwoLayerNet(loss=loss, alpha=1e-2, random_state=0).fit(X, y)
        for loss in ("squared", "huber", Huber(0.1))
    )
    errors = [np.mean((model.predict(X) - signal) ** 2) for model in (squared, huber, narrow)]
    assert errors[2] < errors[1] < errors[0]
    assert errors[2] < 0.1 * errors[0]


@unconverged
@pytest.mark.parametrize("activation", ["relu", "quadratic"])
def test_outputs_are_trained_together(activation, diabetes):
    X, y = diabetes
    Y = np.column_stack([y, X[:, 2]])
    network = MeanFieldTwoLayerNet(activation=activation, alpha=1e-2, random_state=0).fit(X, Y)
    assert network.particles_.shape == (256, 13)
    assert network.score(X, Y) > 0.6
    assert network.certificate_.relative_gap < 0.05
    if activation == "quadratic":  # each neuron is of one output, so that the outputs part but for the shared weights
        single = MeanFieldTwoLayerNet(activation=activation, alpha=1e-2, tol=1e-8, random_state=0).fit(X, y)
        both = MeanFieldTwoLayerNet(activation=activation, alpha=1e-2, tol=1e-8, random_state=0).fit(X, Y)
        np.testing.assert_allclose(both.predict(X)[:, 0], single.predict(X), atol=1e-2 * y.std())
        assert both.certificate_.rigorous


def test_features_that_the_kernel_lacks_are_given_a_chance():
    """From 200 rows the kernel finds nothing in the parity of two of 40 columns; its penalty would forbid all."""
    X, y = make_parity(2200, 40, random_state=0)
    network = MeanFieldTwoLayerNetClassifier(random_state=0).fit(X[:200], y[:200])
    assert network.score(X[200:], y[200:]) > 0.99
    kernels = leave_one_out_alpha(network._start.network, network._start.weights, _data(X[:200], y[:200]))
    assert kernels.explained < 0.1
    assert kernels.alpha > 10 * network.alpha_
    forbidden = MeanFieldTwoLayerNetClassifier(alpha=kernels.alpha, random_state=0).fit(X[:200], y[:200])
    assert forbidden.score(X[200:], y[200:]) < 0.6


def _data(X, y):
    return Data(feature_map(X), y[:, None].astype(float), np.zeros((len(y), 1)), np.full(len(y), 1 / len(y)))


def test_a_grid_of_settings_is_compiled_once(rng):
    X, y = rng.standard_normal((90, 7)), rng.standard_normal(90)
    network = MeanFieldTwoLayerNet(width=33, max_iter=60, tol=1.0)

    def fit(rate, alpha, seed):
        clone(network).set_params(learning_rate=rate, alpha=alpha, random_state=seed).fit(X, y)

    fit(1.0, 0.1, 0)
    compiled = _flow._descend._cache_size(), _objective.top_eigenvalue._cache_size()
    for rate in (0.25, 0.5, 1.0, 2.0):
        for alpha in (1e-3, 1e-2):
            for seed in (1, 2):
                fit(rate, alpha, seed)
    assert (_flow._descend._cache_size(), _objective.top_eigenvalue._cache_size()) == compiled


def test_callbacks_are_told_of_each_block_and_can_stop(diabetes):
    pytest.importorskip("sklearn.callback")

    class Watch:
        def __init__(self, stop_at):
            self.stop_at, self.scores = stop_at, []

        def setup(self, estimator, context):
            self.blocks = 0

        def teardown(self, estimator, context):
            self.torn_down = True

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            self.blocks += 1
            self.scores.append(fitted_estimator.score(X, y))
            return self.blocks >= self.stop_at

    X, y = diabetes
    for parameters in ({}, {"solver": "adam"}, {"solver": "frank_wolfe", "alpha": 0.03}):
        watch = Watch(stop_at=3)
        network = MeanFieldTwoLayerNet(tol=1e-12, random_state=0, **parameters).set_callbacks(watch)
        network.fit(X, y)  # stopped by its user, it does not warn
        assert watch.torn_down
        assert watch.blocks == 4  # three blocks and the whole
        assert watch.scores[-1] >= watch.scores[0]
        assert network.n_iter_ < 150
    silent = MeanFieldTwoLayerNet(alpha=0.03, random_state=0).fit(X, y)
    watched = MeanFieldTwoLayerNet(alpha=0.03, random_state=0).set_callbacks(Watch(10**6)).fit(X, y)
    np.testing.assert_array_equal(watched.predict(X), silent.predict(X))


@unconverged
def test_noise_spreads_the_particles_and_is_the_same_for_the_same_seed(diabetes):
    X, y = diabetes
    cold, warm = (
        MeanFieldTwoLayerNet(activation="tanh", alpha=0.03, temperature=T, max_iter=500, random_state=0).fit(X, y)
        for T in (1e-3, 1e-1)
    )
    # at high temperature the law is the prior's, N(0, T / alpha), nearly
    assert warm.particles_.var() == pytest.approx(0.1 / 0.03, rel=0.15)
    assert cold.particles_.var() < 0.1 * warm.particles_.var()
    assert warm.solver_ == "langevin"
    assert str(warm.certificate_).startswith("estimated_gap=")
    again = clone(cold).fit(X, y)
    np.testing.assert_array_equal(again.particles_, cold.particles_)


def test_training_with_noise_closes_its_gap_as_particles_grow_many(diabetes):
    """The proximal Gibbs measure of few or untrained particles is not the optimum, that of many trained ones is."""
    X, y = diabetes[0][:150, [2, 8]], diabetes[1][:150]
    gaps = [
        MeanFieldTwoLayerNet(
            activation="tanh", alpha=0.05, temperature=0.02, width=width, max_iter=steps, random_state=0
        ).fit(X, y).certificate_.relative_gap
        for width, steps in ((100, 1), (100, 500), (10_000, 500))
    ]  # fmt: skip
    assert gaps[0] > gaps[1] > 4 * gaps[2]
    assert gaps[2] < 2e-3


# ------------------------------------------------------------------------------------------------- what goes wrong


def test_noise_without_a_bound_is_warned_of(diabetes):
    with pytest.warns(UserWarning, match="guaranteed only for bounded activations"):
        MeanFieldTwoLayerNet(temperature=1e-3, max_iter=5, random_state=0).fit(*diabetes)
    with pytest.warns(UserWarning, match="positive alpha"):
        MeanFieldTwoLayerNet(activation="tanh", alpha=0.0, temperature=1e-3, max_iter=5, random_state=0).fit(*diabetes)


@pytest.mark.parametrize("estimator", BOTH)
def test_zero_initialisation_is_refused(estimator):
    with pytest.raises(ValueError, match="'init_scale'"):
        estimator(init_scale=0.0).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"temperature": -1.0}, "'temperature'"),
        ({"solver": "lbfgs"}, "'solver'"),
        ({"batch_size": 0}, "'batch_size'"),
        ({"validation_fraction": 1.0}, "'validation_fraction'"),
        ({"early_stopping": "yes"}, "'early_stopping'"),
        ({"temperature": 0.1, "solver": "adam"}, "needs all rows at each step"),
        ({"temperature": 0.1, "early_stopping": True}, "early_stopping=True needs a validation set"),
        ({"solver": "frank_wolfe", "early_stopping": True}, "early_stopping=True needs a validation set"),
        ({"solver": "frank_wolfe", "activation": "softplus"}, "weight decay is then a norm of the measure"),
        ({"solver": "frank_wolfe", "activation": "relu", "alpha": 0.0}, "needs a positive alpha"),
        ({"activation": "quadratic", "width": 1}, "width=1 is too small"),
    ],
)
@pytest.mark.parametrize("estimator", BOTH)
def test_what_cannot_be_done_is_named(estimator, parameters, message):
    with pytest.raises(ValueError, match=message):
        estimator(**parameters).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


def test_a_step_that_diverges_says_by_how_much_and_keeps_the_old_weights(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(
        activation="identity", alpha=1e-2, temperature=1e-3, max_iter=200, warm_start=True, random_state=0
    )
    with pytest.warns(UserWarning, match="bounded"):
        before = network.fit(X, y).particles_.copy()
    network.set_params(learning_rate=1e3)
    with (
        pytest.warns(UserWarning, match="bounded"),
        pytest.raises(ValueError, match=r"learning_rate=1000 is too large: the loss went from .* Use at most"),
    ):
        network.fit(X, y)
    np.testing.assert_array_equal(network.particles_, before)
    assert np.isfinite(network.predict(X)).all()


@unconverged
@pytest.mark.parametrize("solver", ["sgd", "adam"])
def test_batches_shrink_a_step_that_diverges(solver, diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(
        solver=solver, learning_rate=50.0, alpha=1e-2, early_stopping=False, random_state=0
    ).fit(X, y)
    assert network.score(X, y) > 0.5
    with pytest.raises(ValueError, match=r"learning_rate=1e\+09 is too large"):
        network.set_params(learning_rate=1e9).fit(X, y)


def test_one_neuron_is_trained(rng):
    X, y = line(rng)
    network = MeanFieldTwoLayerNet(width=1, alpha=1e-3, random_state=0).fit(X, y)
    assert network.particles_.shape == (1, 3)
    assert len(network.measure_.atoms) <= 1
    assert network.certificate_.gap > 0.01 * network.certificate_.primal  # one line with one kink is not optimal


def test_a_constant_feature_changes_nothing_but_the_units(diabetes):
    """A column of zeros after standardisation: with the others over sqrt(d), the same function of another penalty."""
    X, y = diabetes
    network = MeanFieldTwoLayerNet(solver="frank_wolfe", activation="quadratic", alpha=0.1, random_state=0)
    padded = network.fit(np.hstack([X, np.zeros((len(X), 1))]), y)
    assert padded.certificate_.relative_gap < 1e-5
    assert np.abs(padded.measure_.atoms[:, -2]).max() < 1e-6  # no mass looks at it
    assert np.isfinite(padded.predict(np.hstack([X, np.full((len(X), 1), 3.0)]))).all()


@pytest.mark.parametrize("estimator", BOTH)
def test_weights_that_are_all_zero_are_refused(estimator, diabetes):
    X, y = diabetes[0], diabetes[1] > 140
    with pytest.raises(ValueError, match=r"non-zero|zero for every row"):
        estimator().fit(X, y, np.zeros(len(y)))


def test_a_class_without_weight_is_no_class(diabetes):
    X, y = diabetes[0], diabetes[1] > 140
    with pytest.raises(ValueError, match="y has one class, True, among the rows of positive weight"):
        MeanFieldTwoLayerNetClassifier().fit(X, y, y.astype(float))


def test_a_penalty_that_forbids_every_neuron_leaves_the_mean(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(solver="frank_wolfe", alpha=10.0, random_state=0).fit(X, y)
    np.testing.assert_allclose(network.predict(X), y.mean())
    assert len(network.measure_.atoms) == 0
    assert network.certificate_.gap <= 1e-12


def test_frank_wolfe_that_ends_early_says_how_far_it_is(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(solver="frank_wolfe", alpha=0.01, max_iter=1, random_state=0)
    with pytest.warns(
        ConvergenceWarning, match="frank_wolfe stopped after 1 steps with estimated_gap=.*Increase max_iter"
    ):
        network.fit(X[:, :6], y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0.0}, "alpha is 0"),
        ({"activation": "softplus", "alpha": 0.1}, "weight decay is a norm of the measure only for"),
        ({"activation": "gelu", "alpha": 0.1, "temperature": 0.01}, "is not bounded"),
    ],
)
@pytest.mark.filterwarnings("ignore:Langevin")
@unconverged
def test_certify_says_why_there_is_no_certificate(parameters, message, diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(max_iter=10, random_state=0, **parameters).fit(X, y)
    assert network.certificate_ is None
    with pytest.raises(ValueError, match=message):
        certify(network, X, y)


class LogCosh(NamedTuple):
    """A loss of which no conjugate is known to the package."""

    smoothness, coupled = 1.0, False

    def value(self, z, y):
        return np.logaddexp(z - y, y - z)

    def derivative(self, z, y):
        return np.tanh(z - y)


def test_a_loss_without_conjugate_is_trained_and_not_certified(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(loss=LogCosh(), alpha=0.01, random_state=0).fit(X, y)
    assert network.score(X, y) > 0.5
    assert network.certificate_ is None
    with pytest.raises(ValueError, match=r"loss=LogCosh\(\) needs fenchel_young"):
        certify(network, X, y)
    with pytest.raises(ValueError, match="needs fenchel_young"):
        network.set_params(solver="frank_wolfe").fit(X, y)


def test_certify_refuses_other_estimators(diabetes):
    with pytest.raises(ValueError, match="estimator is a StandardScaler"):
        certify(StandardScaler().fit(diabetes[0]), *diabetes)


def test_certify_takes_a_pipeline_weights_and_other_rows(diabetes):
    X, y = diabetes
    weight = np.arange(len(y)) % 3.0
    network = MeanFieldTwoLayerNet(alpha=0.05, random_state=0)
    pipeline = make_pipeline(StandardScaler(), network).fit(3 * X + 1, y, meanfieldtwolayernet__sample_weight=weight)
    certificate = certify(pipeline, 3 * X + 1, y, weight)
    assert certificate.gap == pytest.approx(pipeline[-1].certificate_.gap)
    repeated = np.repeat(np.arange(len(y)), weight.astype(int))
    assert certify(pipeline, 3 * X[repeated] + 1, y[repeated]).gap == pytest.approx(certificate.gap, rel=1e-6)
    # of rows on which it was not trained it is less optimal
    assert certify(pipeline, 3 * X + 1, y).gap > certificate.gap


def test_certify_takes_a_pipeline_of_one_step(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(alpha=0.05, random_state=0).fit(X, y)
    assert certify(make_pipeline(network), X, y).gap == certify(network, X, y).gap


def test_any_activation_object_is_taken(diabetes):
    X, y = diabetes
    network = MeanFieldTwoLayerNet(activation=LeakyRelu(0.3), alpha=0.05, random_state=0).fit(X[:, [2]], y)
    assert network.certificate_.rigorous
    assert network.certificate_.relative_gap < 0.01


@pytest.mark.parametrize("estimator", BOTH)
def test_what_is_kept_needs_no_jax(estimator, diabetes):
    import pickle

    X, y = diabetes
    network = estimator(solver="adam", alpha=0.1, random_state=0).partial_fit(X, y > 140)
    for value in vars(network).values():
        assert not isinstance(value, jax.Array)
    copy = pickle.loads(pickle.dumps(network))
    np.testing.assert_array_equal(copy.partial_fit(X, y > 140).particles_, network.partial_fit(X, y > 140).particles_)
