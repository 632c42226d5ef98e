"""What the kernel machine of a network says: rows taken away exactly, either kernel, and a standard deviation."""

import numpy as np
import pytest
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import NTKKernelRegressor, explain_as_kernel

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture
def explained(rng):
    """Return a pipeline, its rows, targets of two columns and new rows."""
    X = 3 * rng.standard_normal((70, 3)) + 1
    Y = np.column_stack([np.sin(X[:, 0]), X[:, 1] * X[:, 2]])
    network = MLPRegressor(hidden_layer_sizes=12, max_iter=50, random_state=0)
    return make_pipeline(StandardScaler(), network).fit(X[:50], Y[:50]), X[:50], Y[:50], X[50:]


@pytest.mark.parametrize("kernel", ["before", "after"])
def test_without_a_row_a_prediction_changes_by_its_influence(kernel, explained):
    model, X, Y, X_new = explained
    explanation = explain_as_kernel(model, X, Y, kernel=kernel)
    influence = explanation.influence(X_new)
    for row in (0, 17, 49):
        change = explanation.predict(X_new) - explanation.without([row]).predict(X_new)
        np.testing.assert_allclose(change, influence[:, row], rtol=0, atol=1e-8 * np.abs(influence).max())


def test_without_many_rows_it_is_the_machine_of_the_others(explained):
    """Ridge whose penalty against the sum of the losses stays; a mask says the same as numbers."""
    model, X, Y, X_new = explained
    explanation = explain_as_kernel(model, X, Y)
    gone = np.zeros(50, dtype=bool)
    gone[[3, 4, 5, 30, 31]] = True
    scaled, new = model[0].transform(X), model[0].transform(X_new)
    alpha = explanation.machine.alpha_ * 50 / 45
    rest = NTKKernelRegressor(kernel=explanation.machine.kernel, alpha=alpha).fit(scaled[~gone], Y[~gone])
    for rows in (gone, np.flatnonzero(gone), [30, 31, 3, 4, 5, 5]):
        np.testing.assert_allclose(explanation.without(rows).predict(X_new), rest.predict(new), rtol=1e-8)


def test_classes_stay_known_without_their_rows(rng):
    X = rng.standard_normal((40, 3))
    y = np.array([*"abcd"] * 10)
    network = MLPClassifier(hidden_layer_sizes=9, max_iter=30, random_state=0).fit(X, y)
    explanation = explain_as_kernel(network, X, y)
    reduced = explanation.without(y == "d")
    assert list(reduced.classes_) == [*"abcd"]
    assert "d" not in reduced.predict(X)
    with pytest.raises(ValueError, match="this network predicts classes"):
        explanation.predict(X, return_std=True)


@pytest.mark.parametrize("kernel", ["before", "after"])
def test_the_kernel_says_which_machine_is_asked(kernel, explained):
    model, X, Y, X_new = explained
    explanation = explain_as_kernel(model, X, Y, kernel=kernel)
    machine = explanation.initial_machine if kernel == "before" else explanation.machine
    new = model[0].transform(X_new)
    np.testing.assert_array_equal(explanation.predict(X_new), machine.predict(new))
    np.testing.assert_array_equal(explanation.influence(X_new), machine.influence(new))
    for found, expected in zip(explanation.predict(X_new, return_std=True), machine.predict(new, return_std=True)):
        np.testing.assert_array_equal(found, expected)


def test_the_standard_deviation_is_that_of_the_gaussian_process(explained):
    """Of one output; with a flat prior on the intercept, it is the limit of a prior of large variance."""
    model, X, Y, X_new = explained
    model.fit(X, Y[:, 0])
    explanation = explain_as_kernel(model, X, Y[:, 0])
    scaled, new, kernel = model[0].transform(X), model[0].transform(X_new), explanation.machine.kernel
    std = explanation.predict(X_new, return_std=True)[1]
    K, noise, flat = (
        kernel(scaled, scaled),
        50 * explanation.machine.alpha_ * np.eye(50),
        1e5 * np.mean(np.diag(kernel(scaled, scaled))),
    )
    inverse = np.linalg.inv(K + noise)
    ones = np.ones(50)
    P = inverse - np.outer(inverse @ ones, ones @ inverse) / (ones @ inverse @ ones)
    scale = Y[:, 0] @ P @ Y[:, 0] / 50
    cross = kernel(new, scaled) + flat
    prior = np.diag(kernel(new, new)) + flat
    expected = prior - np.einsum("ij,jk,ik->i", cross, np.linalg.inv(K + noise + flat), cross)
    np.testing.assert_allclose(std, np.sqrt(scale * expected), rtol=1e-3)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([50], "rows must be indices or a mask for the 50 rows"),
        (np.ones(49, dtype=bool), "rows must be indices or a mask for the 50 rows"),
        (np.ones(50, dtype=bool), "keep at least two"),
        ([0.5], "rows must be indices or a mask"),
    ],
    ids=["beyond", "short mask", "all", "no integers"],
)
def test_rows_that_are_not_there_are_named(rows, message, explained):
    model, X, Y, _ = explained
    with pytest.raises(ValueError, match=message):
        explain_as_kernel(model, X, Y).without(rows)
