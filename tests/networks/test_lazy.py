import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    NTKKernelClassifier,
    NTKKernelRegressor,
    TangentFeatures,
)
from sklearn_ltdl._sklearn import draw_seed
from sklearn_ltdl.networks import _linearized
from sklearn_ltdl.networks._linearized import TangentKernel
from sklearn_ltdl.networks._model import draw_weights
from sklearn_ltdl.ntk import _solvers

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
BOTH = [LazyNetRegressor, LazyNetClassifier]
MODES = ["nonlinear", "linearized", "kernel"]
SMALL = {"width": 16, "alpha": 1e-2, "random_state": 3}


def table(rng, n=60, n_outputs=1):
    """Return rows of three columns, targets far from zero, and weights of which some are 0."""
    X = rng.standard_normal((n, 3))
    Y = np.column_stack([5 + np.sin(2 * X[:, 0]) + X[:, 1], 3 * np.abs(X[:, 1]) - X[:, 2], X[:, 0] * X[:, 2]])
    Y = Y[:, :n_outputs] + 0.1 * rng.standard_normal((n, n_outputs))
    return X, Y[:, 0] if n_outputs == 1 else Y, rng.integers(0, 4, size=n).astype(float)


def classes_of(X, n_classes=2):
    """Return labels that a small network does not separate."""
    return np.digitize(X[:, 0] + np.abs(X[:, 1]) + np.sin(9 * X[:, 2]), [0.5, 1.5][: n_classes - 1])


def target_for(estimator, X, y):
    return y if estimator is LazyNetRegressor else classes_of(X)


def network(weights, X):
    """Return the network of scale 1 with ReLU, as its module states it, in other words than the package's."""
    gain = 2**0.5
    phi = jnp.hstack([X / X.shape[1] ** 0.5, jnp.ones((len(X), 1))])
    *hidden, readout = weights
    entering = gain * jnp.einsum("cmp,np->cnm", hidden[0], phi)
    for layer in hidden[1:]:
        entering = gain * jnp.einsum("cmk,cnk->cnm", layer, jax.nn.relu(entering)) / layer.shape[2] ** 0.5
    factor = gain * (readout.shape[0] * readout.shape[1]) ** -0.5
    return factor * jnp.einsum("cmk,cnm->nk", readout, jax.nn.relu(entering))


compiled_network, compiled_jacobian = jax.jit(network), jax.jit(jax.jacobian(network))


def first_outputs(net, X):
    with jax.enable_x64(True):
        return np.asarray(compiled_network(net.weights_init_, X))


def jacobian(net, X):
    """Return the derivative of `network` at the first weights, of shape (n_samples, n_outputs, n_weights)."""
    with jax.enable_x64(True):
        layers = compiled_jacobian(net.weights_init_, np.resize(X, (80, X.shape[1])))  # of one shape: compiled once
        return np.concatenate([np.asarray(layer).reshape(*layer.shape[:2], -1) for layer in layers], axis=2)[: len(X)]


def ridge_of_features(net, X, y, weight, alpha, centering="subtract"):
    """Return ridge regression with the products of tangent features; a doubled network has those of half its width."""
    width = net.width if centering != "doubled" else net.width // 2
    map = TangentFeatures(width=width, depth=net.depth, random_state=net.random_state).fit(X)
    kernel = NTKKernelRegressor(kernel=lambda A, B: map.transform(A) @ map.transform(B).T, alpha=alpha)
    return kernel.fit(X, y, weight)


def ridge_of_jacobian(net, X, Y, weight, new):
    """Return predictions of the linear model of the Jacobian, from n K equations and K for the intercepts."""
    K, used = Y.shape[1], weight > 0
    rows, others = (jacobian(net, x).reshape(len(x) * K, -1) for x in (X[used], new))
    ones = np.tile(np.eye(K), (len(X[used]), 1))
    kernel = rows @ rows.T + net.alpha * np.diag(np.repeat(weight.sum() / weight[used], K))
    system = np.block([[kernel, ones], [ones.T, np.zeros((K, K))]])
    solution = np.linalg.solve(system, np.append(Y[used], np.zeros(K)))
    return (others @ (rows.T @ solution[:-K])).reshape(-1, K) + solution[-K:]


# --------------------------------------------------------------------------------------------- linearised and kernel


@unconverged
@pytest.mark.parametrize(
    ("estimator", "centering"),
    [(LazyNetRegressor, "subtract"), (LazyNetClassifier, "subtract"), (LazyNetRegressor, "doubled")],
)
def test_all_modes_start_from_the_weights_of_the_tangent_features(estimator, centering, rng):
    X, y, _ = table(rng)
    drawn = TangentFeatures(width=16 if centering == "subtract" else 8, depth=2, random_state=3).fit(X).weights_
    if centering == "doubled":  # those of half the width, twice
        drawn = (*(np.concatenate([A, A]) for A in drawn[:-1]), np.concatenate([drawn[-1], -drawn[-1]]))
    for mode in MODES:
        net = estimator(mode=mode, depth=2, centering=centering, max_iter=1, **SMALL)
        net.fit(X, target_for(estimator, X, y))
        for one, other in zip(net.weights_init_, drawn, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("alpha", [1e-2, "loo"])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("centering", ["subtract", "doubled"])
def test_linearized_and_kernel_are_ridge_with_the_products_of_tangent_features(centering, depth, alpha, rng):
    X, y, weight = table(rng)
    new = rng.standard_normal((20, 3))
    for mode, scale in (("kernel", 10.0), ("linearized", 10.0), ("linearized", 1e-3)):
        net = LazyNetRegressor(
            mode=mode, scale=scale, centering=centering, width=16, depth=depth, alpha=alpha, random_state=3
        ).fit(X, y, weight)
        ridge = ridge_of_features(net, X, y, weight, alpha, centering)
        assert net.alpha_ == pytest.approx(ridge.alpha_, rel=1e-12)
        # the penalty is at least 1e-4 of the kernel: rounding of 1e-16 grows to 1e-12, with weights to 1e-10
        np.testing.assert_allclose(net.predict(new), ridge.predict(new), rtol=1e-9)


def test_linearized_and_kernel_agree_where_a_factor_takes_the_place_of_eigenvectors(rng):
    X, y, weight = table(rng, n=1400)  # 1050 of positive weight, and eigenvectors up to 1000
    one, other = (LazyNetRegressor(mode=mode, **SMALL).fit(X, y, weight) for mode in ("kernel", "linearized"))
    np.testing.assert_allclose(one.predict(X), other.predict(X), rtol=1e-10)


@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("centering", ["subtract", "doubled", None])
def test_linearized_outputs_are_the_ridge_of_the_whole_jacobian(centering, depth, rng):
    """Three outputs share the hidden weights, so that they are solved together, by conjugate gradients."""
    X, Y, weight = table(rng, n_outputs=3)
    new = rng.standard_normal((20, 3))
    net = LazyNetRegressor(
        mode="linearized", centering=centering, scale=2.0, depth=depth, tol=1e-10, normalize_y=False, **SMALL
    ).fit(X, Y, weight)
    raw = 0.0 if centering == "subtract" else 2.0  # 0.0 of a doubled network is its own
    expected = ridge_of_jacobian(net, X, Y - raw * first_outputs(net, X), weight, new) + raw * first_outputs(net, new)
    # the gradient ends at 1e-12 of its first size, and the least curvature is 1e-2
    np.testing.assert_allclose(net.predict(new), expected, atol=1e-9)


@pytest.mark.parametrize("alpha", [1e-2, "loo"])
def test_a_raw_linearized_network_is_ridge_on_what_its_first_output_leaves(alpha, rng):
    X, y, weight = table(rng)
    new = rng.standard_normal((20, 3))
    net = LazyNetRegressor(
        mode="linearized", centering=None, scale=3.0, width=16, alpha=alpha, normalize_y=False, random_state=3
    ).fit(X, y, weight)
    first, first_new = (3.0 * first_outputs(net, x)[:, 0] for x in (X, new))
    expected = ridge_of_features(net, X, y - first, weight, net.alpha_).predict(new) + first_new
    np.testing.assert_allclose(net.predict(new), expected, rtol=1e-10)
    assert np.ptp(first) > np.ptp(y)


@pytest.mark.parametrize("centering", ["subtract", None])
@pytest.mark.parametrize("kept", ["gradient", "nothing", "no block of many"])
def test_conjugate_gradients_reach_the_closed_form(centering, kept, rng, monkeypatch):
    X, y, weight = table(rng)
    net = LazyNetRegressor(mode="linearized", centering=centering, depth=2, scale=1.0, tol=1e-10, **SMALL)
    closed = net.fit(X, y, weight).predict(X)
    assert net.n_iter_ == 1
    monkeypatch.setattr(_linearized, "CLOSED_FORM_ROWS", 0)
    if kept == "nothing":
        monkeypatch.setattr(_linearized, "KEPT_BLOCKS", 0)
    if kept == "no block of many":
        monkeypatch.setattr(_solvers, "BLOCK_ENTRIES", 512)  # 16 rows of 32 neurons
    descended = clone(net).fit(X, y, weight)
    assert descended.n_iter_ > 5
    np.testing.assert_allclose(descended.predict(X), closed, rtol=1e-9)
    np.testing.assert_allclose(descended.loss_curve_, net.loss_curve_, rtol=1e-9)


def test_conjugate_gradients_that_end_early_say_so(rng):
    X, Y, _ = table(rng, n_outputs=2)
    net = LazyNetRegressor(mode="linearized", max_iter=1, **SMALL)
    with pytest.warns(ConvergenceWarning, match="stopped at max_iter=1 before .* Increase max_iter"):
        net.fit(X, Y)
    assert net.n_iter_ == 1
    assert net.loss_curve_[1] < net.loss_curve_[0]


@pytest.mark.parametrize(
    ("estimator", "scale"),
    [(LazyNetRegressor, 1e300), (LazyNetRegressor, 1e12), (LazyNetRegressor, 1e-300), (LazyNetClassifier, 1e12)],
)
def test_the_linearized_network_is_the_same_at_every_scale(estimator, scale, rng):
    X, y, _ = table(rng)
    y = target_for(estimator, X, y)
    net = estimator(mode="linearized", tol=1e-8, **SMALL)
    output = "predict" if estimator is LazyNetRegressor else "decision_function"
    one, other = (getattr(clone(net).set_params(scale=s).fit(X, y), output)(X) for s in (1.0, scale))
    np.testing.assert_allclose(one, other, rtol=1e-8)


@unconverged
def test_the_linearized_network_in_batches_is_the_same_at_every_scale(rng):
    X, _, _ = table(rng, n=2100)
    net = LazyNetClassifier(mode="linearized", max_iter=10, **SMALL)
    one, other = (clone(net).set_params(scale=s).fit(X, classes_of(X)).decision_function(X) for s in (1.0, 1e6))
    np.testing.assert_allclose(one, other, atol=1e-3 * np.ptp(one))


@unconverged
@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("centering", ["subtract", None])
def test_linearized_classification_ends_where_its_gradient_is_zero(centering, n_classes, rng):
    """sum_i s_i J_i'(p_i - y_i) + alpha v = 0 with v = scale (w - w0), and sum_i s_i (p_i - y_i) = 0."""
    X, _, weight = table(rng)
    y = classes_of(X, n_classes)
    net = LazyNetClassifier(mode="linearized", centering=centering, scale=2.0, tol=0.0, max_iter=4000, **SMALL)
    share = weight / weight.sum()
    residual = net.fit(X, y, weight).predict_proba(X) - np.eye(n_classes)[y]
    residual = residual[:, 1:] if n_classes == 2 else residual
    raw = 2.0 * first_outputs(net, X) if centering is None else 0.0
    moved = 2.0 * np.concatenate([(new - old).ravel() for new, old in zip(net.weights_, net.weights_init_)])
    rows = jacobian(net, X)
    scores = raw + rows @ moved + net.intercept_
    np.testing.assert_allclose(net.decision_function(X).reshape(scores.shape), scores, atol=1e-12)
    slope = np.einsum("n,nk,nkp->p", share, residual, rows)
    assert np.linalg.norm(slope) > 1e-3
    # a loss known to 1e-16 leaves a gradient of the root of that
    np.testing.assert_allclose(slope, -1e-2 * moved, atol=1e-7)
    np.testing.assert_allclose(share @ residual, 0, atol=1e-7)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_kernel_classifier_takes_the_mean_of_the_kernels_of_its_outputs(n_classes, rng):
    X, _, weight = table(rng)
    y, new = classes_of(X, n_classes), rng.standard_normal((20, 3))
    net = LazyNetClassifier(mode="kernel", width=16, depth=2, random_state=3).fit(X, y, weight)

    def kernel(A, B):
        one, other = jacobian(net, A), jacobian(net, B)
        return np.einsum("ikp,jkp->ij", one, other) / one.shape[1]

    expected = NTKKernelClassifier(kernel=kernel).fit(X, y, weight)
    np.testing.assert_allclose(net.predict_proba(new), expected.predict_proba(new), atol=1e-10)


# ------------------------------------------------------------------------------------------------------- laziness


@unconverged
@pytest.mark.parametrize("estimator", BOTH)
def test_the_network_tends_to_the_linearized_one_as_one_over_scale(estimator, rng):
    """Chizat, Oyallon and Bach (2019), theorem 2.3, for a smooth activation."""
    X, y, _ = table(rng)
    target = target_for(estimator, X, y)
    net = estimator(activation="tanh", max_iter=4000, tol=1e-14, **SMALL)
    output = "predict" if estimator is LazyNetRegressor else "decision_function"
    limit = getattr(clone(net).set_params(mode="linearized").fit(X, target), output)(X)
    scales, gaps = [10.0, 32.0, 100.0, 316.0, 1000.0], []
    for scale in scales:
        gaps.append(np.abs(getattr(net.set_params(scale=scale).fit(X, target), output)(X) - limit).max())
    assert np.polyfit(np.log(scales), np.log(gaps), 1)[0] == pytest.approx(-1, abs=0.1)  # 1/scale^2 at 10


@unconverged
def test_batches_of_a_lazy_network_are_trained_in_double_precision(rng):
    """Ten times the scale gives the same function up to 1/scale, where float32 has lost it: weights move by 1e-5."""
    X, y, _ = table(rng, n=2100)
    net = LazyNetRegressor(activation="tanh", max_iter=3, early_stopping=False, **SMALL)
    first, second, third = (net.set_params(scale=scale).fit(X, y).predict(X) for scale in (1e3, 1e4, 1e5))
    assert np.ptp(third) > 1
    assert not net.validation_loss_curve_
    assert np.abs(second - third).max() == pytest.approx(0.1 * np.abs(first - second).max(), rel=0.05)


# ------------------------------------------------------------------------------------------------- weights and starts


@unconverged
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("alpha", [1e-2, "loo"])
def test_class_weights_are_sample_weights(mode, alpha, rng):
    """And 'balanced' gives each of K classes the weight S / K."""
    X, _, weight = table(rng)
    y = np.array(["a", "b", "c"])[classes_of(X, 3)]
    net = LazyNetClassifier(mode=mode, width=16, alpha=alpha, max_iter=300, random_state=3)
    given = {"a": 1.0, "b": 0.5, "c": 3.0}
    mass = {name: weight[y == name].sum() for name in "abc"}
    balanced = {name: weight.sum() / (3 * mass[name]) for name in "abc"}
    for class_weight, factors in ((given, given), ("balanced", balanced)):
        one = clone(net).set_params(class_weight=class_weight).fit(X, y, weight)
        other = clone(net).fit(X, y, weight * [factors[name] for name in y])
        np.testing.assert_allclose(one.decision_function(X), other.decision_function(X), rtol=1e-10, atol=1e-12)
        assert one.alpha_ == pytest.approx(other.alpha_, rel=1e-12)
    plain = net.fit(X, y, weight).decision_function(X)
    assert np.abs(one.decision_function(X) - plain).max() > 0.01 * np.ptp(plain)


@unconverged
def test_a_warm_start_goes_on(rng):
    X, y, _ = table(rng)
    net = LazyNetRegressor(width=16, max_iter=100, tol=0.0, warm_start=True, random_state=3).fit(X, y)
    alpha, start, first = net.alpha_, net.weights_init_, net.loss_curve_
    again = clone(net).fit(X, y).fit(X, y)
    assert again.loss_curve_[0] == pytest.approx(first[-1], rel=1e-12)
    assert again.loss_curve_[-1] < first[-1]
    assert again.alpha_ == alpha
    np.testing.assert_array_equal(again.weights_init_[0], start[0])
    # the units of the first target: ten times it is ten units, of which the intercept takes the mean
    left = (10 * y - net.predict(X)) / y.std()
    moved = sum(np.sum((new - old) ** 2) for new, old in zip(net.weights_, start))
    net.set_params(random_state=7).fit(X, 10 * y)
    assert net.loss_curve_[0] == pytest.approx(0.5 * left.var() + 0.5 * alpha * 10.0**2 * moved, rel=1e-10)
    assert net.alpha_ == alpha
    cold = net.set_params(warm_start=False, random_state=3).fit(X, y)
    np.testing.assert_array_equal(cold.loss_curve_, first)


@unconverged
@pytest.mark.parametrize("mode", ["nonlinear", "linearized"])
def test_a_warm_start_of_a_classifier_goes_on_from_the_intercept(mode, rng):
    """One step of the intercept, of 1/smoothness, lowers the first loss a little."""
    X, _, _ = table(rng)
    y = classes_of(X, 3)
    net = LazyNetClassifier(mode=mode, max_iter=100, tol=0.0, warm_start=True, **SMALL).fit(X, y)
    last = net.loss_curve_[-1]
    net.fit(X, y)
    assert last * (1 - 1e-4) <= net.loss_curve_[0] <= last * (1 + 1e-12)
    assert net.loss_curve_[-1] < last


@unconverged
@pytest.mark.parametrize("alpha", [1e-2, "loo"])
def test_a_warm_start_in_batches_is_judged_by_the_rows_held_out_before(alpha, rng):
    """Others have been trained on."""
    X, y, _ = table(rng, n=2100)
    net = LazyNetRegressor(width=16, alpha=alpha, max_iter=10, warm_start=True, random_state=3).fit(X, y)
    before = min(net.validation_loss_curve_)
    after = net.fit(X, y).validation_loss_curve_
    assert after[0] == pytest.approx(before, rel=1e-2)  # with the intercept of the rows trained on
    assert min(after) < after[0]


@unconverged
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scale": 3.0}, "a width, depth, activation, scale"),
        ({"width": 8}, "a width, depth"),
        ({"depth": 2}, "a width, depth"),
        ({"activation": "tanh"}, "a width, depth"),
        ({"centering": "doubled"}, "a width, depth"),
        ({"centering": None, "scale": 1.0}, "a width, depth"),
        ({"mode": "linearized"}, "a width, depth"),
    ],
)
def test_a_warm_start_with_another_network_is_refused_and_the_old_one_kept(parameters, message, rng):
    X, y, _ = table(rng)
    net = LazyNetRegressor(max_iter=10, warm_start=True, **SMALL).fit(X, y)
    before = net.predict(X)
    with pytest.raises(ValueError, match=message):
        net.set_params(**parameters).fit(X, y)
    np.testing.assert_array_equal(net.predict(X), before)


@unconverged
def test_a_warm_start_with_other_targets_is_refused(rng):
    X, Y, _ = table(rng, n_outputs=2)
    net = LazyNetRegressor(max_iter=10, warm_start=True, **SMALL).fit(X, Y[:, 0])
    with pytest.raises(ValueError, match="y has 2 columns, but the last fit had 1"):
        net.fit(X, Y)
    net = LazyNetClassifier(max_iter=10, warm_start=True, **SMALL).fit(X, classes_of(X))
    with pytest.raises(ValueError, match=r"y has classes \[2\], which are not among"):
        net.fit(X, classes_of(X, 3))


@unconverged
def test_the_kernel_starts_afresh_and_leaves_nothing_to_go_on_from(rng):
    X, y, _ = table(rng)
    net = LazyNetRegressor(max_iter=20, warm_start=True, **SMALL).fit(X, y)
    first = net.predict(X)
    assert net.set_params(mode="kernel").fit(X, 2 * y).weights_ is None
    fresh = clone(net).fit(X, 2 * y)
    np.testing.assert_array_equal(net.predict(X), fresh.predict(X))
    np.testing.assert_array_equal(net.set_params(mode="nonlinear").fit(X, y).predict(X), first)


# --------------------------------------------------------------------------------------------- early stopping


def held_out(net, X, y):
    """Return the distinct rows, sorted, that the seed holds out after the weights have been drawn."""
    rng = np.random.default_rng(draw_seed(net.random_state))
    n_outputs = net.weights_init_[-1].shape[2]
    drawn = draw_weights(X.shape[1] + 1, n_outputs, width=net.width, depth=net.depth, doubled=False, rng=rng)
    np.testing.assert_array_equal(drawn[0], net.weights_init_[0])
    rows = np.unique(np.column_stack([X, y]), axis=0)
    out = rows[rng.permutation(len(rows))[: int(net.validation_fraction * len(rows))]]
    return out[:, :-1], out[:, -1]


@unconverged
@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("mode", ["nonlinear", "linearized"])
def test_early_stopping_keeps_the_weights_of_least_held_out_loss(estimator, mode, rng):
    X = rng.standard_normal((200, 3))
    y = X[:, 0] + rng.standard_normal(200)  # half of it noise, which is fitted in the end
    y = y if estimator is LazyNetRegressor else (y > 0).astype(float)
    net = estimator(
        mode=mode, alpha=0.0, width=64, learning_rate=0.02, early_stopping=True, validation_fraction=0.3, random_state=3
    ).fit(X, y)
    curve = net.validation_loss_curve_
    assert 0 < np.argmin(curve) < len(curve) - 10
    unseen, target = held_out(net, X, y)
    if estimator is LazyNetRegressor:
        loss = 0.5 * np.mean(((net.predict(unseen) - target) / y.std()) ** 2)
    else:
        loss = -np.mean(np.log(net.predict_proba(unseen)[np.arange(len(target)), target.astype(int)]))
    assert loss == pytest.approx(min(curve), rel=1e-10)
    assert not clone(net).set_params(early_stopping="auto", max_iter=10).fit(X, y).validation_loss_curve_


@unconverged
def test_batches_keep_the_weights_of_least_held_out_loss(rng):
    X = rng.standard_normal((2100, 3))
    y = X[:, 0] + 5 * rng.standard_normal(2100)
    net = LazyNetRegressor(alpha=0.0, width=16, max_iter=30, random_state=3).fit(X, y)
    curve = net.validation_loss_curve_
    assert 0 < np.argmin(curve) < len(curve) - 10
    unseen, target = held_out(net, X, y)
    residual = (net.predict(unseen) - target) / y.std()
    # judged with the intercept of the rows held out, to the digits of float32
    assert 0.5 * residual.var() == pytest.approx(min(curve), rel=1e-5)


# --------------------------------------------------------------------------------------------- what is left of a fit


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("mode", MODES)
def test_callbacks_see_a_copy_that_predicts(estimator, mode, rng):
    pytest.importorskip("sklearn.callback")

    class Watch:
        def __init__(self, stop_at=np.inf):
            self.stop_at = stop_at

        def setup(self, estimator, context):
            self.predictions, self.blocks = [], 0

        def teardown(self, estimator, context):
            pass

        def on_fit_task_begin(self, estimator, context):
            pass

        def on_fit_task_end(self, estimator, context, *, X, y, fitted_estimator):
            self.blocks += 1
            self.predictions.append(fitted_estimator.predict(X))
            return self.blocks >= self.stop_at

    X, y, weight = table(rng)
    y, watch = target_for(estimator, X, y), Watch()
    net = estimator(mode=mode, max_iter=1000, tol=1e-6, **SMALL)
    silent = net.fit(X, y, weight).predict(X)
    watched = clone(net).set_callbacks(watch).fit(X, y, weight)
    np.testing.assert_array_equal(watched.predict(X), silent)
    np.testing.assert_array_equal(watch.predictions[-1], silent)
    descends = mode == "nonlinear" or (mode == "linearized" and estimator is LazyNetClassifier)
    assert watch.blocks == (-(-(net.n_iter_ + 1) // 50) if descends else 1) + 1  # blocks of steps, and the whole
    if descends:
        watch = Watch(stop_at=2)
        stopped = clone(net).set_params(tol=1e-14).set_callbacks(watch).fit(X, y, weight)  # it does not warn
        assert stopped.n_iter_ == 99
        np.testing.assert_array_equal(stopped.predict(X), watch.predictions[1])
        assert stopped.loss_curve_[-1] < stopped.loss_curve_[0]


def test_the_kernel_machine_is_in_the_rows_and_units_of_the_target(rng):
    """Each leave-one-out prediction is that of a fit without the row, the ridge n alpha being kept."""
    X, y, _ = table(rng, n=30)
    net = LazyNetRegressor(mode="kernel", **SMALL).fit(X, y)
    for i in (0, 11, 29):
        rest = np.delete(np.arange(30), i)
        without = clone(net).set_params(mode="linearized", alpha=1e-2 * 30 / 29).fit(X[rest], y[rest])
        assert net.kernel_machine_.loo_predictions_[i] == pytest.approx(without.predict(X[[i]])[0], rel=1e-9)
        gone = net.kernel_machine_.influence(X[:5])[:, i]
        np.testing.assert_allclose(net.predict(X[:5]) - without.predict(X[:5]), gone, atol=1e-9)


@unconverged
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_likeliest_class_is_the_predicted_one(mode, n_classes, rng):
    X, _, _ = table(rng)
    y = np.array(["a", "b", "c"])[classes_of(X, n_classes)]
    net = LazyNetClassifier(mode=mode, max_iter=100, **SMALL).fit(X, y)
    new = rng.standard_normal((500, 3))
    scores, shares = net.decision_function(new), net.predict_proba(new)
    best = (scores > 0).astype(int) if n_classes == 2 else scores.argmax(axis=1)
    np.testing.assert_array_equal(net.predict(new), net.classes_[best])
    np.testing.assert_array_equal(shares.argmax(axis=1), best)
    odds = np.column_stack([np.zeros(500), scores]) if n_classes == 2 else scores
    np.testing.assert_allclose(shares, np.exp(odds) / np.exp(odds).sum(axis=1, keepdims=True), rtol=1e-12)
    assert len(np.unique(best)) == n_classes


# ------------------------------------------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"mode": "lazy"}, "'mode'"),
        ({"early_stopping": "yes"}, "'early_stopping'"),
        ({"validation_fraction": 0.0}, "'validation_fraction'"),
        ({"validation_fraction": 1.0}, "'validation_fraction'"),
        ({"warm_start": 2}, "'warm_start'"),
        ({"tol": -1.0}, "'tol'"),
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
        ({"class_weight": "uniform"}, "'class_weight'"),
        ({"class_weight": {5: 1.0, 0: 1.0}}, r"\[1\], are not in class_weight"),
    ],
)
def test_a_bad_parameter_of_the_classifier_is_named(parameters, message):
    with pytest.raises(ValueError, match=message):
        LazyNetClassifier(**parameters).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("scale", [1e300, 1e-300, 1e11, 1e-11])
def test_a_scale_beyond_rounding_is_refused_with_a_remedy(estimator, scale):
    with pytest.raises(ValueError, match=r"scale=1e[+-]\d+ is outside of .* Use mode='linearized'"):
        estimator(scale=scale).fit([[0.0], [1.0], [2.0]], [0, 1, 1])


@pytest.mark.parametrize("estimator", BOTH)
def test_a_raw_network_of_large_scale_is_warned_of(estimator, rng):
    X, y, _ = table(rng)
    y = target_for(estimator, X, y)
    net = estimator(centering=None, scale=100.0, tol=1.0, **SMALL)
    with pytest.warns(UserWarning, match="not lazy.* scale=100 .*centering='subtract'"):
        net.fit(X, y)
    for quiet in ({"scale": 1.0}, {"mode": "linearized"}, {"mode": "kernel"}, {"centering": "subtract"}):
        clone(net).set_params(**quiet).fit(X, y)  # a warning would be an error


def test_too_large_a_step_is_halved_or_named(rng):
    X, y, _ = table(rng, n=2100)
    net = LazyNetRegressor(learning_rate=1e8, **SMALL).fit(X[:60], y[:60])
    assert net.loss_curve_[-1] < 0.2 * net.loss_curve_[0]
    with pytest.raises(ValueError, match=r"learning_rate=1e\+08 is too large.* Use at most"):
        net.fit(X, y)


def test_a_step_that_needs_more_halvings_than_a_block_has_steps_is_no_end(rng):
    X, y, _ = table(rng)
    net = LazyNetRegressor(learning_rate=1e20, **SMALL).fit(X, y)
    assert net.loss_curve_[-1] < 0.2 * net.loss_curve_[0]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"max_iter": 60, "tol": 1e-9}, "still falling"),
        ({"centering": None, "scale": 100.0, "tol": 1.0}, "not lazy"),
        ({"mode": "linearized", "max_iter": 1}, "gradients"),
    ],
)
def test_a_warning_shows_the_line_of_the_user(parameters, message, rng):
    pytest.importorskip("sklearn.callback")  # whose decorator is a level of the stack
    X, Y, _ = table(rng, n_outputs=2)
    with pytest.warns(UserWarning, match=message) as record:
        LazyNetRegressor(**parameters, **SMALL).fit(X, Y)
    assert [warning.filename for warning in record] == [__file__]


def test_one_row_cannot_be_held_out():
    with pytest.raises(ValueError, match=r"validation_fraction=0\.1 of 1 distinct rows.*early_stopping=False"):
        LazyNetRegressor(early_stopping=True).fit([[1.0], [1.0]], [2.0, 2.0])


@pytest.mark.parametrize("estimator", BOTH)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("centering", ["subtract", "doubled"])
def test_a_network_without_gradient_predicts_a_constant(estimator, mode, centering, rng):
    """The mean, or the share of the class: its one neuron is below its kink at all rows."""
    X = 0.3 * rng.standard_normal((9, 3))
    y = np.arange(9.0) if estimator is LazyNetRegressor else np.arange(9) % 3 == 0
    width = 1 if centering == "subtract" else 2  # the same weights, twice
    seeds = (seed for seed in range(100) if TangentFeatures(width=1, random_state=seed).fit_transform(X).max() == 0)
    for alpha in ("loo", 0.1, 0.0):
        net = estimator(mode=mode, centering=centering, width=width, alpha=alpha, random_state=next(seeds)).fit(X, y)
        prediction = net.predict(X) if estimator is LazyNetRegressor else net.predict_proba(X)[:, 1]
        if net.mode == "kernel" and estimator is LazyNetClassifier:  # its scores left out are no better than chance
            assert prediction.max() == prediction.min() < 0.5
        else:
            np.testing.assert_allclose(prediction, y.mean(), rtol=1e-6)


@unconverged
def test_a_linearized_network_moves_as_the_network_of_its_scale(rng):
    X, y, _ = table(rng)
    kinds = (LazyNetRegressor(mode=mode, scale=1e3, tol=1e-8, **SMALL).fit(X, y) for mode in MODES[:2])
    network, linear = kinds
    assert linear.displacement_ == pytest.approx(network.displacement_, rel=0.01)  # O(1/scale)
    moved = np.sqrt(sum(np.sum((new - old) ** 2) for new, old in zip(linear.weights_, linear.weights_init_)))
    size = np.sqrt(sum(np.sum(old**2) for old in linear.weights_init_))
    assert linear.displacement_ == pytest.approx(moved / size, rel=1e-6)


def test_a_warm_start_of_conjugate_gradients_begins_at_their_solution(rng):
    X, Y, _ = table(rng, n_outputs=2)
    net = LazyNetRegressor(mode="linearized", centering=None, scale=3.0, warm_start=True, tol=1e-6, **SMALL).fit(X, Y)
    n_iter, prediction = net.n_iter_, net.predict(X)
    assert n_iter > 5
    assert net.fit(X, Y).n_iter_ <= 1
    np.testing.assert_allclose(net.predict(X), prediction, rtol=1e-6)


def test_the_penalty_of_a_raw_start_is_that_of_what_is_left_to_learn(rng):
    """f0 + Df(w0)(w - w0) is fitted to y, so the kernel's ridge to y - f0."""
    X, y, _ = table(rng)
    raw = {"centering": None, "mode": "linearized", "scale": 2.0, "normalize_y": False, "width": 16, "random_state": 0}
    net = LazyNetRegressor(**raw).fit(X, y)
    first = LazyNetRegressor(**raw, alpha=1e9).fit(X, 0 * y).predict(X)  # and an intercept
    kernel = net._start.network.network, net.weights_init_
    left, whole = (NTKKernelRegressor(kernel=TangentKernel(*kernel)).fit(X, target).alpha_ for target in (y - first, y))
    assert net.alpha_ == pytest.approx(left)
    assert net.alpha_ != pytest.approx(whole)
