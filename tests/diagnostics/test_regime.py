"""The report on a trained network, and its explanation as a kernel machine."""

import gc
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import r2_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import (
    LazyNetClassifier,
    LazyNetRegressor,
    NTKKernelRegressor,
    explain_as_kernel,
    regime_report,
)
from sklearn_ltdl.datasets import make_multi_index
from sklearn_ltdl.diagnostics._trained import trained_network

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def two_layers(parameters, X):
    """Return a network of tanh with two hidden layers, in the parameters of an MLP."""
    *hidden, last = zip(parameters["coefs"], parameters["intercepts"])
    for coef, intercept in hidden:
        X = jnp.tanh(X @ coef + intercept)
    return X @ last[0] + last[1]


def parameters_of(network):
    trained, *_ = trained_network(network, np.zeros((10, network.n_features_in_)), np.resize(network.classes_, 10))
    trees = []
    for weights in (trained.before, trained.after):
        layers = [*(layer[0].T for layer in weights[:-1]), weights[-1][0]]
        trees.append({"coefs": [layer[:-1] for layer in layers], "intercepts": [layer[-1] for layer in layers]})
    return trees


@unconverged
@pytest.mark.parametrize("n_classes", [2, 3])
def test_a_function_of_jax_has_the_report_of_its_mlp(n_classes, rng):
    """By automatic differentiation and by the products of factors; only what a function does not show is unknown."""
    X = rng.standard_normal((150, 4))
    y = np.digitize(X[:, 0] * X[:, 1], [0.0, 0.5][: n_classes - 1])
    network = MLPClassifier(hidden_layer_sizes=(12, 8), activation="tanh", max_iter=100, random_state=0)
    network.fit(X[:100], y[:100])
    before, after = parameters_of(network)
    seen = jax.config.jax_enable_x64
    known = regime_report(network, X[100:], y[100:])
    classes = np.arange(n_classes)
    applied = regime_report(two_layers, X[100:], y[100:], before=before, after=after, classes=classes)
    assert jax.config.jax_enable_x64 == seen
    assert applied.diagnostics["activation_flips"] is None
    assert any("activation" in note for note in applied.notes)
    for name, value in known.diagnostics.items():
        if name == "kappa":  # two lower bounds of one norm, from other random directions
            assert applied.diagnostics[name] == pytest.approx(value, rel=0.2)
        elif name != "activation_flips":
            assert applied.diagnostics[name] == pytest.approx(value, rel=1e-6, abs=1e-9), name
    np.testing.assert_allclose(applied.spectrum_after, known.spectrum_after, atol=1e-10)


def test_kappa_of_a_quadratic_form_is_that_of_its_matrix(rng):
    """f(w) = w'Aw / 2 at every row: |Df| = |Aw|, |D2f| = |A|; and kappa = |f - y| |A| / |Aw|^2."""
    A = np.diag([3.0, -1.0, 0.5])

    def form(w, X):
        return 0.5 * w @ A @ w * jnp.ones(len(X))

    w, X, y = np.array([1.0, 2.0, -1.0]), rng.standard_normal((20, 2)), rng.standard_normal(20)
    distance = np.sqrt(np.mean((0.5 * w @ A @ w - y) ** 2))
    report = regime_report(form, X, y, before=w, after=1.1 * w)
    assert report.diagnostics["kappa"] == pytest.approx(distance * 3 / np.sum((A @ w) ** 2), rel=1e-6)
    of_classes = regime_report(form, X, y > 0, before=w, after=1.1 * w).diagnostics["kappa"]
    slopes = (1 / (1 + np.exp(-0.5 * w @ A @ w)) - (y > 0)) / 0.25  # of the log loss, over its largest curvature
    assert of_classes == pytest.approx(np.sqrt(np.mean(slopes**2)) * 3 / np.sum((A @ w) ** 2), rel=1e-6)
    # f(1.1 w) - f(w) = .21 f(w), of which the linear part is .2
    assert report.diagnostics["linearization_gap"] == pytest.approx(0.01 / 0.21)
    assert report.diagnostics["displacement"] == pytest.approx(0.1)
    assert report.diagnostics["kernel_change"] == pytest.approx(0.21)
    assert report.diagnostics["kernel_angle"] == pytest.approx(0, abs=1e-12)


def test_the_gaps_of_an_exponential_are_those_of_its_tangent_at_the_start(rng):
    """From 0 to 1, exp changes by e - 1, of which its tangent at 0 has 1."""
    X = rng.standard_normal((40, 2))
    y = X[:, 0] + 0.5 * rng.standard_normal(40)

    def growth(w, X):
        return jnp.exp(w[0] * X[:, 0]) + w[1] * X[:, 1]

    before, after = np.array([0.0, 1.0]), np.array([1.0, 0.5])
    values = regime_report(growth, X, y, before=before, after=after).diagnostics
    change = np.exp(X[:, 0]) - 1 - 0.5 * X[:, 1]
    beyond = np.exp(X[:, 0]) - 1 - X[:, 0]
    assert values["linearization_gap"] == pytest.approx(np.linalg.norm(beyond) / np.linalg.norm(change))
    features = (np.column_stack([np.exp(a * X[:, 0]) * X[:, 0], X[:, 1]]) for a in (0.0, 1.0))
    first, last = (NTKKernelRegressor(kernel="precomputed").fit(F @ F.T, y).loo_predictions_ for F in features)
    gap = np.linalg.norm(first - last) / np.linalg.norm(last - last.mean())
    assert values["prediction_gap"] == pytest.approx(gap)
    assert values["mean_gap"] == pytest.approx(np.sqrt(gap * values["linearization_gap"]))
    f = np.exp(X[:, 0]) + 0.5 * X[:, 1]
    assert values["trained_linear_gap"] == pytest.approx(np.linalg.norm(f - first) / np.linalg.norm(f - f.mean()))


@unconverged
def test_what_was_hardly_trained_changed_hardly_anything(rng):
    X = rng.standard_normal((60, 4))
    y = X[:, 0] + X[:, 1]
    network = MLPRegressor(solver="sgd", learning_rate_init=1e-9, max_iter=1, random_state=0).fit(X, y)
    report = regime_report(network, X, y)
    unchanged = ("displacement", "kernel_angle", "kernel_change", "kernel_misalignment", "activation_flips")
    for name in (*unchanged, "linearization_gap", "prediction_gap", "mean_gap"):
        assert report.diagnostics[name] == pytest.approx(0, abs=1e-6)
    assert report.diagnostics["score_kernel_before"] == pytest.approx(report.diagnostics["score_kernel_after"])
    assert report.verdict == "lazy"
    for layer in report.layers:
        assert layer["score_put_back"] == pytest.approx(report.diagnostics["score_network"])


@unconverged
def test_layers_put_back_and_directions_read_tell_what_was_learned(rng):
    """A target of one column: the hidden layer turns to it; without its training the score falls."""
    X = rng.standard_normal((900, 10))
    y = np.abs(X[:, 0])
    network = LazyNetRegressor(scale=0.03, random_state=0).fit(X[:600], y[:600])
    report = regime_report(network, X[600:], y[600:])
    assert report.verdict == "features"
    assert report.diagnostics["directions_after"] < 1.2 < 1.6 < report.diagnostics["directions_before"]
    assert report.spectrum_after.sum() == pytest.approx(1)
    assert report.diagnostics["score_network"] > 0.95
    assert report.layers[0]["score_put_back"] < 0.5
    frame = report.to_frame()
    assert frame.loc["displacement", "value"] == report.diagnostics["displacement"]
    assert network.displacement_ == pytest.approx(report.diagnostics["displacement"])


@unconverged
def test_many_rows_are_a_subset_and_it_is_said(rng):
    X, y = make_multi_index(300, n_features=5, random_state=0)
    network = LazyNetRegressor(width=16, random_state=0).fit(X, y)
    report = regime_report(network, X, y, max_rows=50, random_state=1)
    assert report.n_rows == 50
    assert "50 of 300 rows" in str(report)
    explanation = explain_as_kernel(network, X, y, max_rows=50)
    assert "50 of 300 rows" in str(explanation)
    assert explanation.machine.X_fit_.shape == (50, 5)


@unconverged
@pytest.mark.parametrize("seed", [1, 5])
def test_targets_that_no_kernel_predicts_do_not_make_a_network_lazy(seed):
    """Both machines predict the mean, so that they do not differ; whether the network moved far is another matter."""
    rng = np.random.default_rng(seed)
    X, y = rng.standard_normal((400, 5)), rng.standard_normal(400)
    network = MLPRegressor(max_iter=2000, random_state=0).fit(X[:100], y[:100])
    report = regime_report(network, X[100:], y[100:])
    assert report.diagnostics["prediction_gap"] is None
    assert report.diagnostics["mean_gap"] == report.diagnostics["linearization_gap"] > 0.1
    assert report.verdict != "lazy"
    assert any("prediction_gap is unknown" in note for note in report.notes)


@unconverged
@pytest.mark.parametrize("unit", [1e-7, 1e5])
def test_the_unit_of_the_input_does_not_merge_rows(unit, rng):
    """A column that the network does not read shifts and stretches the rows; the verdict stays."""
    X = rng.standard_normal((300, 3))
    y = X[:, 0] * X[:, 1]

    def network(w, X):
        return jnp.tanh(X / unit @ w[0]) @ w[1]

    first = rng.standard_normal((3, 50)) / 2, rng.standard_normal(50) / 50
    last = first[0] * np.array([[3.0], [3.0], [0.1]]), first[1] + np.sin(np.arange(50.0))
    scaled = regime_report(network, unit * X, y, before=first, after=last).diagnostics
    unit = 1.0
    plain = regime_report(network, X, y, before=first, after=last).diagnostics
    assert plain["prediction_gap"] > 0.1
    for name in ("prediction_gap", "mean_gap", "score_kernel_before"):
        assert scaled[name] == pytest.approx(plain[name], rel=1e-6)


def test_copies_of_a_row_are_left_out_together(rng):
    """Else each would be predicted from the other; noise would be."""
    X, y = rng.standard_normal((60, 2)), rng.standard_normal(60)
    before, after = [3 * S[0], S[1][:, 0]], [6 * S[0], S[1][:, 0]]
    once = regime_report(softmax, X, y, before=before, after=after)
    twice = regime_report(softmax, np.tile(X, (2, 1)), np.tile(y, 2), before=before, after=after)
    for name in ("score_kernel_before", "score_kernel_after"):
        assert twice.diagnostics[name] == pytest.approx(once.diagnostics[name], abs=1e-6)


def test_rows_that_differ_where_the_network_does_not_look_are_rows(rng):
    """Their kernel rows are equal, which says nothing of the rows: one may be predicted from the others."""
    X = np.column_stack([np.arange(100) % 10, rng.standard_normal(100)])
    y = rng.standard_normal(10)[np.arange(100) % 10]

    def network(w, X):
        return jnp.cos(X[:, :1] * w[0]) @ w[1]

    before = np.arange(12.0) / 4, rng.standard_normal(12)
    report = regime_report(network, X, y, before=before, after=(before[0], 2 * before[1]))
    assert report.diagnostics["score_kernel_before"] > 0.9


def test_numpys_generator_is_left_alone(rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)
    _, keys, position, *_ = np.random.get_state()  # noqa: NPY002
    regime_report(softmax, X, y > 0, before=S, after=[2 * s for s in S], classes=[False, True])
    explain_as_kernel(softmax, X, y > 0, before=S, after=[2 * s for s in S])
    _, now, position_now, *_ = np.random.get_state()  # noqa: NPY002
    np.testing.assert_array_equal(now, keys)
    assert position_now == position


def softmax(w, X):
    return jnp.tanh(X @ w[0]) @ w[1]


S = [np.array([[1.0, -1.0, 0.5], [0.5, 1.0, 1.0]]), np.array([[1.0, -1.0], [0.5, 0.2], [-0.3, 0.8]])]


def test_a_softmax_of_two_classes_has_the_multinomial_loss(rng):
    """|f0 - y| of kappa is the slope over the largest curvature: (p - e_y) / (1/2)."""
    X, y = rng.standard_normal((40, 2)), np.arange(40) % 2
    after = [2 * s for s in S]
    kappa = regime_report(softmax, X, y, before=S, after=after).diagnostics["kappa"]
    trained, *_ = trained_network(softmax, X, y, before=S, after=after)
    slope, bend = trained.function.slope_and_bend(trained.before, X)
    scores = np.tanh(X @ S[0]) @ S[1]
    slopes = 2 * (np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True) - np.eye(2)[y])
    assert kappa == pytest.approx(np.sqrt(np.mean(np.sum(slopes**2, axis=1))) * bend / slope)


def test_classes_are_those_given_or_those_that_can_be_told(rng):
    """Rows of the report need not have all of them; whole numbers and floats are told apart."""
    X, after = rng.standard_normal((40, 2)), [2 * s for s in S]
    names = np.array(["no", "yes"])[np.arange(40) % 2]

    def first(w, X):
        return softmax(w, X)[:, 0]

    def classes_of(model, y, classes=None):
        return trained_network(model, X, y, before=S, after=after, classes=classes)[0].classes

    assert classes_of(softmax, names).tolist() == ["no", "yes"]
    assert classes_of(softmax, np.arange(40) % 2).tolist() == [0, 1]
    assert classes_of(first, names).tolist() == ["no", "yes"]
    assert classes_of(first, np.arange(40) % 2 > 0).tolist() == [False, True]
    assert classes_of(first, np.arange(40) % 2, [0, 1]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="whether the network predicts numbers or classes"):
        classes_of(first, np.arange(40) % 2)
    assert classes_of(first, np.where(X[:, 0] > 0, 1.0, 0.5).astype(object)) is None
    assert classes_of(first, 1.0 * (np.arange(40) % 2)) is None
    assert classes_of(first, np.arange(40) % 5) is None
    assert classes_of(first, 1.0 * (np.arange(40) % 2), [0.0, 1.0]).tolist() == [0, 1]
    with pytest.raises(ValueError, match="it has 2 outputs per row, and y has 3 distinct values"):
        classes_of(softmax, np.array(["a", "b", "c"])[np.arange(40) % 3])
    with pytest.raises(ValueError, match="y has 1 distinct values"):
        classes_of(softmax, np.ones(40, dtype=int))  # of the classes 1 and 2, or of 0 and 1
    with pytest.raises(ValueError, match="classes must be the 2 classes"):
        classes_of(softmax, names, ["yes", "no"])
    with pytest.raises(ValueError, match=r"classes \['maybe'\]"):
        classes_of(softmax, np.array(["no", "maybe"])[np.arange(40) % 2], ["no", "yes"])


@unconverged
def test_names_of_classes_that_look_like_numbers_are_names(rng):
    """As a column of text is in pandas: an array of objects, of which '01' is not the number 1."""
    X = rng.standard_normal((80, 3))
    names = np.array(["01", "02"])[(X[:, 0] > 0).astype(int)]
    network = MLPClassifier((20,), random_state=0, max_iter=20).fit(X, names)
    assert str(regime_report(network, X, names.astype(object))) == str(regime_report(network, X, names))


def test_classes_are_those_of_all_rows_not_of_those_drawn(rng):
    """With the labels 1 to 3, of which the last is rare, some rows alone would be taken for 0 to 2."""
    X = rng.standard_normal((200, 2))
    y = np.where(np.arange(200) < 3, 3, 1 + np.arange(200) % 2)
    before = [S[0], np.array([[1.0, -1.0, 0.0], [0.5, 0.2, 1.0], [-0.3, 0.8, 0.5]])]
    after = [2 * s for s in before]
    some = regime_report(softmax, X, y, before=before, after=after, max_rows=20)
    given = regime_report(softmax, X, y, before=before, after=after, max_rows=20, classes=[1, 2, 3])
    assert some.diagnostics == given.diagnostics


def test_weights_are_what_is_real_in_either_tree(rng):
    """Numbers that were rounded are weights, complex ones are refused, and shapes and switches may be used as such."""
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)

    def network(w, X):
        return (jnp.tanh(X @ w["w"]) if w["on"] else X[:, 0]).reshape(w["shape"])

    trees = [{"w": w, "on": True, "shape": [-1]} for w in (np.array([0.9, 2.2]), np.array([1, 2]))]
    report = regime_report(network, X, y, before=trees[0], after=trees[1])
    assert report.diagnostics["displacement"] == pytest.approx(np.hypot(0.1, 0.2) / np.hypot(0.9, 2.2))
    squeezed = regime_report(lambda w, X: network(w, X).squeeze(), X, y, before=trees[0], after=trees[1])
    assert squeezed.diagnostics == report.diagnostics
    trees = [{"w": 1j * np.ones(2), "v": np.ones(2)}, {"w": 2j * np.ones(2), "v": 2 * np.ones(2)}]
    with pytest.raises(ValueError, match="w is complex"):
        regime_report(lambda w, X: jnp.abs(X @ w["w"]) * w["v"][0], X, y, before=trees[0], after=trees[1])


def test_a_report_keeps_nothing_of_the_users_function(rng):
    X, y = rng.standard_normal((20, 2)), rng.standard_normal(20)
    held = np.ones(3)

    def network(w, X):
        return jnp.tanh(X @ w) * held[0]

    regime_report(network, X, y, before=np.ones(2), after=2 * np.ones(2))
    seen = weakref.ref(network)
    del network
    gc.collect()
    assert seen() is None


def test_a_network_that_predicts_where_no_kernel_does_is_not_called_lazy(rng):
    """A large constant hides the rows from both kernels, not from the network."""
    X = rng.standard_normal((200, 2))
    y = X[:, 0] + 0.1 * X[:, 1]

    def network(w, X):
        return 1e9 * (w[2] - 1) + X[:, 0] * w[0] + X[:, 1] * w[1]

    report = regime_report(network, X, y, before=np.array([0.1, 0.1, 1.0]), after=np.array([1.0, 0.1, 1.0]))
    assert report.diagnostics["score_network"] > 0.99
    assert report.diagnostics["prediction_gap"] is None
    assert report.diagnostics["linearization_gap"] < 1e-6
    assert report.verdict == "between"
    assert any("standardised" in note for note in report.notes)


def test_a_counter_is_no_weight(rng):
    X, y = rng.standard_normal((40, 2)), rng.standard_normal(40)

    def network(state, X):
        return jnp.tanh(X @ state["w"]) * state["step"]

    w = np.array([1.0, 2.0])
    states = ({"w": w, "step": np.array(0)}, {"w": 1.1 * w, "step": np.array(9000)})
    report = regime_report(network, X, y, before=states[0], after=states[1])
    assert report.diagnostics["score_network"] == pytest.approx(r2_score(y, 9000 * np.tanh(X @ (1.1 * w))))
    assert [layer["layer"] for layer in report.layers] == ["w"]
    assert report.diagnostics["displacement"] == pytest.approx(0.1)


def test_the_tangent_kernel_of_a_function_is_the_same_in_any_blocks(monkeypatch, rng):
    from sklearn_ltdl.diagnostics import _jax

    """And that of the gradients in the weights, the mean over outputs."""
    X, y = rng.standard_normal((23, 2)), rng.standard_normal((23, 2))
    trained, *_ = trained_network(softmax, X, y, before=S, after=[2 * s for s in S])
    with jax.enable_x64(True):
        layers = jax.jacobian(softmax)(list(trained.after), X)
    flat = np.concatenate([np.asarray(layer).reshape(23, 2, -1) for layer in layers], axis=2)
    expected = np.einsum("ikp,jkp->ij", flat, flat) / 2
    np.testing.assert_allclose(trained.function.kernel(trained.after, X), expected, rtol=1e-10)
    one = [trained.function.kernel(trained.after, X), trained.function.kernel(trained.after, X, X[:5])]
    monkeypatch.setattr(_jax, "_BLOCK_BYTES", 8 * 12 * 7)  # seven rows of twelve weights
    blocks = [trained.function.kernel(trained.after, X), trained.function.kernel(trained.after, X, X[:5])]
    for gram, other in zip(one, blocks):
        np.testing.assert_allclose(gram, other, rtol=1e-12)
    np.testing.assert_array_equal(one[0], one[0].T)


def broken(w, X):
    return X @ w["a"]


W = {"a": np.ones((3, 1)), "b": np.ones(2)}
V = {"a": 2 * np.ones((3, 1)), "b": 2 * np.ones(2)}


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        (broken, {}, "needs its parameters before and after"),
        (broken, {"before": W}, "needs its parameters before and after"),
        (broken, {"before": W, "after": {"a": W["a"]}}, "the same structure"),
        (broken, {"before": W, "after": {"a": np.ones((4, 1)), "b": W["b"]}}, r"a has shape \(3, 1\) before"),
        (
            broken,
            {"before": {"a": np.ones((5, 1))}, "after": {"a": np.ones((5, 1))}},
            r"apply_fn\(parameters, X\) failed",
        ),
        (lambda w, X: X @ w["a"] / 0.0 * jnp.nan, {"before": V, "after": W}, "not finite"),
        (lambda w, X: (X @ w["a"]).sum(), {"before": V, "after": W}, "its result has shape"),
        (broken, {"before": {}, "after": {}}, "no floating-point parameters"),
        (broken, {"before": W, "after": {**W, "b": np.full(2, np.nan)}}, "b is not finite"),
        (lambda w, X: (X - X.mean(axis=0)) @ w["a"], {"before": V, "after": W}, "each row separately"),
        (lambda w, X: X @ w["a"] * (1 + (len(X) == 1)), {"before": V, "after": W}, "each row separately"),
        (lambda w, X: X @ w["a"] + (w["b"][0] - 1) * X.mean(), {"before": V, "after": W}, "parameters before training"),
        (lambda w, X: np.tanh(np.asarray(X @ w["a"])), {"before": V, "after": W}, "use jax.numpy"),
        (lambda w, X: jax.lax.stop_gradient(X @ w["a"]), {"before": V, "after": W}, "no tangent kernel"),
        (lambda w, X: 1e200 * X @ w["a"], {"before": V, "after": W}, "not finite at these rows"),
        (3, {}, "model is a int"),
        (MLPRegressor, {}, "the class MLPRegressor"),
    ],
)
def test_parameters_that_do_not_match_are_refused(model, parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        regime_report(model, rng.standard_normal((20, 3)), rng.standard_normal(20), **parameters)


@unconverged
def test_rows_that_the_network_cannot_take_are_refused(rng):
    X = rng.standard_normal((40, 3))
    classifier = LazyNetClassifier(width=8, random_state=0).fit(X, np.arange(40) % 2)
    regressor = LazyNetRegressor(width=8, random_state=0).fit(X, X[:, 0])
    one_column = LazyNetRegressor(width=8, random_state=0).fit(X[:, :1], X[:, 0])
    with pytest.raises(ValueError, match=r"classes \[7\]"):
        regime_report(classifier, X, np.full(40, 7))
    with pytest.raises(ValueError, match="X has 2 features"):
        regime_report(regressor, X[:, :2], X[:, 0])
    with pytest.raises(ValueError, match=r"y has shape \(40, 2\); the network has 1 outputs per row"):
        regime_report(regressor, X, X[:, :2])
    with pytest.raises(ValueError, match="5 rows; at least 10"):
        regime_report(regressor, X[:5], X[:5, 0])
    with pytest.raises(ValueError, match="'max_rows'"):
        regime_report(regressor, X, X[:, 0], max_rows=3)
    with pytest.raises(ValueError, match="weights before and after training are equal"):
        regime_report(softmax, X[:, :2], X[:, :2], before=S, after=S)
    with pytest.raises(MemoryError, match="smaller max_rows"):
        regime_report(one_column, np.zeros((10**7, 1)), np.zeros(10**7), max_rows=10**7)
    with pytest.raises(ValueError, match="before is for functions of JAX"):
        regime_report(regressor, X, X[:, 0], before=W)
    with pytest.raises(ValueError, match="classes is for functions of JAX"):
        regime_report(regressor, X, X[:, 0], classes=[0, 1])


@unconverged
@pytest.mark.parametrize("report", [regime_report, explain_as_kernel])
def test_targets_that_tell_nothing_or_are_of_another_kind_are_refused(report, rng):
    X = rng.standard_normal((40, 3))
    classifier = MLPClassifier(max_iter=5, random_state=0).fit(X, np.array(["a", "b"])[np.arange(40) % 2])
    regressor = LazyNetRegressor(width=8, random_state=0).fit(X, X[:, 0])
    for network, y, message in (
        (regressor, np.full(40, 2.0), "y is 2.0 in all 40 rows"),
        (regressor, 1 + 4e-16 * X[:, 0], "y is 1.0 in all 40 rows"),
        (regressor, np.arange(40).astype("datetime64[D]"), "y holds dates or durations"),
        (regressor, None, "y is None"),
        (classifier, np.full(40, "a"), "y is a in all 40 rows"),
        (classifier, np.eye(2)[np.arange(40) % 2], r"shape \(40, 2\); expected the class of each row"),
        (classifier, np.array(["a", None], dtype=object)[np.arange(40) % 2], "y"),
        (regressor, np.array(["a", "b"])[np.arange(40) % 2], "y must be finite numbers"),
        (regressor, np.where(np.arange(40) > 3, np.nan, 1.0), "y"),
    ):
        with pytest.raises(ValueError, match=message):
            report(network, X, y)


@unconverged
def test_the_rows_that_are_predicted_are_checked_too(rng):
    X = rng.standard_normal((40, 3))
    network = LazyNetRegressor(width=8, random_state=0).fit(X, X[:, 0])
    for parameters, message in (
        ({"X_test": X[:1]}, "X_test has 1 rows"),
        ({"X_test": X, "y_test": np.full(40, "a")}, "y_test must be finite numbers"),
        ({"X_test": X[:, :2]}, "X has 2 features"),
        ({"X_test": X, "y_test": X[:10, 0]}, "inconsistent"),
        ({"y_test": X[:, 0]}, "y_test is given without X_test"),
    ):
        with pytest.raises(ValueError, match=message):
            explain_as_kernel(network, X, X[:, 0], **parameters)


@unconverged
def test_the_kernel_that_explains_is_the_one_that_the_network_is(rng):
    """Lazy: the one it began with; rich: only the one it ended with."""
    X, y = make_multi_index(1600, random_state=0)
    data = {"X": X[:600], "y": y[:600], "X_test": X[600:], "y_test": y[600:]}
    lazy = explain_as_kernel(LazyNetRegressor(scale=100.0, random_state=0).fit(X[:600], y[:600]), **data)
    rich = explain_as_kernel(LazyNetRegressor(scale=0.1, random_state=0).fit(X[:600], y[:600]), **data)
    assert lazy.verdict == "lazy"
    assert "lazy" in lazy.sentence
    assert lazy.agreement_before > 0.98
    assert rich.verdict == "learned kernel"
    assert rich.agreement_before < 0.8
    assert rich.agreement_after > 0.95
    assert rich.score_after > rich.score_before + 0.1
    assert rich.machine.score(X[600:], y[600:]) == pytest.approx(rich.score_after)
    assert rich.initial_machine.score(X[600:], y[600:]) == pytest.approx(rich.score_before)


@unconverged
def test_without_fresh_rows_nothing_is_held_against_a_kernel(rng):
    """A lazy network that interpolates noise: a machine that leaves a row out cannot tell its noise."""
    X, y = rng.standard_normal((100, 5)), rng.standard_normal(100)
    network = LazyNetRegressor(scale=1e4, alpha=1e-6, activation="tanh", max_iter=3000, random_state=0).fit(X, y)
    explanation = explain_as_kernel(network, X, y)
    assert explanation.agreement_before < 0.5
    assert explanation.verdict == "lazy"
    assert "predicts differently" in explanation.sentence
    rich = LazyNetRegressor(scale=0.01, alpha=1e-9, max_iter=3000, random_state=0).fit(X, y)
    assert explain_as_kernel(rich, X, y).verdict == "unknown"


@unconverged
def test_a_kernel_that_is_enough_is_not_called_lazy(rng):
    X = rng.standard_normal((1000, 3))
    y = (X[:, 0] > 0).astype(int)
    network = MLPClassifier(max_iter=500, random_state=0).fit(X[:500], y[:500])
    explanation = explain_as_kernel(network, X[:500], y[:500], X_test=X[500:])
    assert explanation.agreement_before > 0.95
    assert explanation.verdict == "kernel enough"
    assert explanation.score_network is None


@unconverged
def test_influence_is_the_change_of_a_refit_without_the_row(rng):
    """Through the steps of the pipeline, in the units of the target."""
    X, y = make_multi_index(60, n_features=4, random_state=0)
    X = 7 + 5 * X
    model = make_pipeline(StandardScaler(), LazyNetRegressor(width=32, random_state=0)).fit(X, y)
    explanation = explain_as_kernel(model, X, y)
    new, scaled = X[:3] + 0.5, model[0].transform(X)
    np.testing.assert_allclose(explanation.predict(new), explanation.machine.predict(model[0].transform(new)))
    influence = explanation.influence(new)
    machine = explanation.machine
    for row in (0, 31):
        others = np.arange(60) != row
        # the ridge n alpha is kept, as leave-one-out does
        refit = type(machine)(kernel=machine.kernel, alpha=machine.alpha_ * 60 / 59, normalize_y=False)
        refit.fit(scaled[others], y[others])
        expected = explanation.predict(new) - refit.predict(model[0].transform(new))
        np.testing.assert_allclose(influence[:, row], expected, atol=1e-9)
