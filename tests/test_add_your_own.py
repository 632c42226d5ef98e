"""What users add: the code of docs/guide/add_your_own.md, and what registered parts promise."""

from typing import NamedTuple

import numpy as np
import pytest
from sklearn.datasets import load_diabetes
from sklearn.svm import SVR

from sklearn_ltdl import (
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    NTKKernelRegressor,
    SAGClassifier,
    SAGRegressor,
    TangentFeatures,
    compare,
    duality_gap,
)
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.linear import solver
from sklearn_ltdl.linear._solvers import SOLVERS
from sklearn_ltdl.losses import LOSSES
from sklearn_ltdl.ntk import RBF, Kernel, ntk_kernel
from sklearn_ltdl.study import Contender

X = np.random.default_rng(0).normal(size=(40, 3))
y = X[:, 0] - 0.5 * X[:, 1] ** 2


# begin loss
@LOSSES.register
class LogCosh(NamedTuple):
    """Logarithm of the hyperbolic cosine of the residual."""

    smoothness = 1.0
    coupled = False
    of_labels = False

    def value(self, z, y):
        return np.abs(z - y) + np.log1p(np.exp(-2.0 * np.abs(z - y))) - np.log(2.0)

    def derivative(self, z, y):
        return np.tanh(z - y)

    def second_derivative(self, z, y):
        return 1.0 - np.tanh(z - y) ** 2

    def fenchel_young(self, z, u, y):  # the conjugate is u y + ((1 + u) log(1 + u) + (1 - u) log(1 - u)) / 2
        u = np.clip(u, -1, 1)
        entropy = sum((1 + v) * np.log1p(np.maximum(v, -1 + 1e-300)) for v in (u, -u)) / 2
        return np.maximum(self.value(z, y) + entropy - u * (z - y), 0)


# end loss
# begin activation
@ACTIVATIONS.register
class Swish(NamedTuple):
    """z times the logistic function of z."""

    def value(self, z):
        return z * (0.5 * np.tanh(0.5 * z) + 0.5)

    def derivative(self, z):
        share = 0.5 * np.tanh(0.5 * z) + 0.5
        return share + z * share * (1.0 - share)


# end activation
# begin solver
@solver
def momentum(problem, state, *, step):
    """Minimise by gradient steps with a momentum of 0.5."""
    step = 0.5 / (problem.loss_smoothness + problem.l2) if step is None else step
    coef, intercept = np.zeros((1, problem.X.shape[1])), np.zeros(1)
    speed = 0 * coef
    while True:
        point = problem.at(coef, intercept)
        speed = 0.5 * speed - step * point.gradient
        coef, intercept = point.coef + speed, point.intercept
        yield 1.0, point


# end solver
# begin kernel
class Cauchy(Kernel):
    """One over one plus the squared distance."""

    def _matrix(self, X, Z):
        Z = X if Z is None else Z
        return 1 / (1 + ((X[:, None] - Z) ** 2).sum(axis=2))

    def _diagonal(self, X):
        return np.ones(len(X))


def cauchy_machine(X, y):
    return NTKKernelRegressor(kernel=Cauchy() + 0.5 * RBF()).fit(X, y)


# end kernel
# begin contender
def with_a_support_vector_machine(X, y):
    contender = Contender(SVR(C=100.0), family="kernel")  # without a family it has no part in the verdict
    return compare(X, y, models=["linear"], also={"svr": contender})


# end contender


# Other tests go through the registries when they are collected: only the tests of this file see what is added here.
OWN = [
    (registry, name, registry.pop(name))
    for registry, name in ((LOSSES, "log_cosh"), (ACTIVATIONS, "swish"), (SOLVERS, "momentum"))
]


@pytest.fixture(autouse=True, scope="module")
def registered():
    for registry, name, item in OWN:
        registry[name] = item
    yield
    for registry, name, _ in OWN:
        registry.pop(name)


@pytest.mark.parametrize("solver", ["auto", "saga", "sdca", "newton-cg", "momentum"])
def test_a_registered_loss_is_minimised_by_name(solver):
    model = SAGRegressor(loss="log_cosh", solver=solver, alpha=0.1, max_iter=5000).fit(X, y)
    assert duality_gap(model, X, y) <= 1e-5  # strongly convex and smooth: the gap vanishes at the minimum alone


def test_the_fenchel_young_loss_of_log_cosh_vanishes_at_its_slope():
    z, targets = np.linspace(-3, 3, 7), np.zeros(7)
    loss = LogCosh()
    np.testing.assert_allclose(loss.fenchel_young(z, loss.derivative(z, targets), targets), 0, atol=1e-12)


def test_a_loss_of_numbers_is_refused_for_labels_by_name():
    with pytest.raises(ValueError, match="'loss' parameter of SAGClassifier"):
        SAGClassifier(loss="log_cosh").fit(X, y > 0)


def test_a_registered_loss_trains_a_network():
    net = MeanFieldTwoLayerNet(loss="log_cosh", width=16, tol=1e-2, max_iter=5000, alpha=1e-3, random_state=0).fit(X, y)
    assert net.score(X, y) > 0.3  # of a constant it is 0


@pytest.mark.parametrize("activation", ["swish", Swish()])
def test_networks_and_kernels_give_an_activation_without_gain_the_same_one(activation):
    NTKKernelRegressor(kernel="ntk", activation=activation).fit(X, y)
    net = LazyNetRegressor(activation=activation, width=512, mode="kernel", alpha=1e-2, random_state=0).fit(X, y)
    assert net.score(X, y) > 0.3
    features = TangentFeatures(width=4096, depth=1, activation=activation, random_state=0).fit(X).transform(X)
    exact = ntk_kernel(X, depth=1, activation=activation)
    assert np.linalg.norm(features @ features.T - exact) <= 0.1 * np.linalg.norm(exact)  # O(width^-1/2)


class Bare(NamedTuple):
    """A loss without smoothness."""

    def value(self, z, y):
        return 0.5 * (z - y) ** 2

    def derivative(self, z, y):
        return z - y


@pytest.mark.parametrize("estimator", [MeanFieldTwoLayerNet(loss=Bare()), SAGRegressor(loss=Bare())])
def test_a_missing_member_is_named(estimator):
    with pytest.raises(ValueError, match=r"'loss' parameter.* no .*smoothness.*estimator needs"):
        estimator.fit(X, y)


class Plain:
    """The members of a loss, in a class that numba and JAX cannot read."""

    smoothness, coupled, of_labels = 1.0, False, False
    value, derivative, second_derivative = LogCosh.value, LogCosh.derivative, LogCosh.second_derivative
    fenchel_young = LogCosh.fenchel_young


@pytest.mark.parametrize("estimator", [MeanFieldTwoLayerNet(loss=Plain()), SAGRegressor(loss=Plain())])
def test_a_loss_that_is_not_a_named_tuple_is_refused(estimator):
    with pytest.raises(ValueError, match=r"'loss' parameter.* not a NamedTuple.*class Plain\(NamedTuple\)"):
        estimator.fit(X, y)
    with pytest.raises(TypeError, match="Plain must be a NamedTuple"):
        LOSSES.register(Plain)


@pytest.mark.parametrize(
    "function", [lambda problem, state: None, lambda problem: (yield), lambda problem, state, rate: (yield)]
)
def test_a_solver_with_another_interface_is_refused(function):
    with pytest.raises(TypeError, match="must be a generator function of problem, state and optionally tol, step"):
        solver(function)
    assert "<lambda>" not in SOLVERS


def test_a_kernel_of_ones_own_is_added_to_others():
    assert cauchy_machine(X, y).score(X, y) > 0.9


def test_a_contender_with_a_family_has_a_part_in_the_verdict():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, 1))
    comparison = with_a_support_vector_machine(X, np.sin(2 * X[:, 0]))
    assert comparison.verdict.evidence["beyond_linear"]["candidate"] == "svr"
    shown = compare(X, np.sin(2 * X[:, 0]), models=["linear"], also={"svr": SVR()})
    assert "beyond_linear" not in shown.verdict.evidence


@pytest.mark.parametrize("contender", [Contender(SVR(), family="kernels"), Contender(SVR(), n_seeds=0)])
def test_a_contender_with_a_bad_setting_is_refused(contender):
    with pytest.raises(ValueError, match=r"also: .* of 'svr' must be"):
        compare(*load_diabetes(return_X_y=True), also={"svr": contender})
