import warnings

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import log_loss, mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetClassifier, LazyNetRegressor, MeanFieldTwoLayerNet, scale_path
from sklearn_ltdl.datasets import make_multi_index, make_parity
from sklearn_ltdl.networks import _flow
from sklearn_ltdl.tables._levels import LevelMeans

unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@unconverged
@pytest.mark.parametrize("estimator", [LazyNetRegressor, LazyNetClassifier])
def test_a_point_of_the_path_is_the_network_of_its_scale(estimator):
    """With the penalty of the linear model, and one seed."""
    regression = estimator is LazyNetRegressor
    X, y = make_multi_index(200, 6, random_state=0) if regression else make_parity(200, 6, random_state=0)
    network = estimator(width=16, max_iter=100, random_state=4)
    path = scale_path(X[:120], y[:120], [10.0, 0.1], estimator=network, X_test=X[120:], y_test=y[120:])
    limit = clone(network).set_params(mode="linearized").fit(X[:120], y[:120])
    assert path.alpha == limit.alpha_
    assert path.linearized_score == pytest.approx(limit.score(X[120:], y[120:]), abs=1e-9)
    np.testing.assert_array_equal(path.scales, [0.1, 10.0])
    for k, scale in enumerate(path.scales):
        one = clone(network).set_params(scale=scale, alpha=limit.alpha_).fit(X[:120], y[:120])
        assert path.scores[k] == one.score(X[120:], y[120:])
        assert path.displacements[k] == one.displacement_
        assert path.converged[k] == (one.n_iter_ < 100)
        predict, loss = ("predict", mean_squared_error) if regression else ("predict_proba", log_loss)
        assert path.losses[k] == pytest.approx(loss(y[120:], getattr(one, predict)(X[120:])))
        assert path.train_losses[k] == pytest.approx(loss(y[:120], getattr(one, predict)(X[:120])))
    assert path.kernel_changes[0] > 10 * path.kernel_changes[1]
    frame = path.to_frame()
    np.testing.assert_array_equal(frame["scores"], path.scores)


@unconverged
def test_the_penalty_is_one_also_where_a_network_alone_would_take_a_weaker_one():
    """The kernel explains nothing of a parity in 40 columns, so that a rich network tries a weak penalty by itself."""
    X, y = make_parity(300, 40, random_state=0)
    network = LazyNetClassifier(scale=0.1, width=64, random_state=0)
    path = scale_path(X[:200], y[:200], [0.1], estimator=network, X_test=X[200:], y_test=y[200:])
    one = clone(network).set_params(alpha=path.alpha).fit(X[:200], y[:200])
    assert network.fit(X[:200], y[:200]).alpha_ < 0.5 * path.alpha
    assert path.displacements[0] == one.displacement_


class Doubtful(LazyNetRegressor):
    def fit(self, X, y, sample_weight=None):
        warnings.warn("these rows are odd", UserWarning, stacklevel=2)
        return super().fit(X, y, sample_weight)


@unconverged
def test_a_warning_that_is_not_of_convergence_reaches_the_user():
    X, y = make_multi_index(60, 4, random_state=0)
    with pytest.warns(UserWarning, match="these rows are odd"):
        path = scale_path(X, y, [1.0], estimator=Doubtful(width=8, tol=0.1, random_state=0))
    assert path.converged.all()


@unconverged
def test_a_path_compiles_the_descent_once_for_plain_and_once_for_preconditioned_steps():
    X, y = make_multi_index(77, 7, random_state=0)
    network = LazyNetRegressor(width=11, max_iter=20, random_state=0)
    before = _flow._descend._cache_size()
    scale_path(X, y, [0.01, 0.1, 1.0, 10.0, 100.0], estimator=network)
    assert _flow._descend._cache_size() == before + 2


@unconverged
@pytest.mark.parametrize("classes", [False, True])
def test_weights_are_rows_given_several_times(classes):
    rng = np.random.default_rng(0)
    X, counts = rng.standard_normal((60, 3)), rng.integers(0, 4, 60)
    y = X[:, 0] * X[:, 1]
    y = (y > 0).astype(int) if classes else y
    network = (LazyNetClassifier if classes else LazyNetRegressor)(alpha=0.1, random_state=0)
    split = slice(40), slice(40, None)
    weighted = scale_path(
        *(part[split[0]] for part in (X, y)), [1.0], estimator=network, X_test=X[split[1]], y_test=y[split[1]],
        sample_weight=counts[split[0]], sample_weight_test=counts[split[1]],
    )  # fmt: skip
    train, test = (np.repeat(np.arange(60)[part], counts[part]) for part in split)
    repeated = scale_path(X[train], y[train], [1.0], estimator=network, X_test=X[test], y_test=y[test])
    for name in ("scores", "losses", "displacements", "linearized_loss", "linearized_score"):
        assert getattr(weighted, name) == pytest.approx(getattr(repeated, name), rel=1e-4), name  # to max_iter and tol
    with pytest.raises(ValueError, match="sample_weight_test needs X_test"):
        scale_path(X, y, [1.0], sample_weight_test=np.ones(60))


def test_large_scales_tend_to_the_linear_model():
    X, y = make_multi_index(200, 6, random_state=0)
    network = LazyNetRegressor(width=64, activation="tanh", tol=1e-8, max_iter=5000, random_state=0)
    path = scale_path(X, y, [100.0, 1000.0], estimator=make_pipeline(StandardScaler(), network))
    assert abs(path.losses[1] - path.linearized_loss) < 0.2 * abs(path.losses[0] - path.linearized_loss)
    assert path.displacements[0] / path.displacements[1] == pytest.approx(10, rel=0.05)


@unconverged
def test_an_encoding_by_the_target_is_cross_fitted_on_training_rows(rng):
    level, y = rng.integers(0, 40, (200, 1)), rng.standard_normal(200)  # nothing to learn
    network = make_pipeline(LevelMeans(), StandardScaler(), LazyNetRegressor(alpha=1e-2, max_iter=20, random_state=0))
    path = scale_path(level, y, [10.0], estimator=network, X_test=level, y_test=-y)
    Z = network[:-1].fit_transform(level, y)
    limit = clone(network[-1]).set_params(mode="linearized", scale=1.0).fit(Z, y)
    assert path.linearized_score == pytest.approx(limit.score(network[:-1].transform(level), -y))


def test_the_default_is_a_classifier_for_classes_and_the_users_estimator_is_left_alone():
    X, y = make_parity(120, 4, random_state=0)
    assert scale_path(X, y, [1.0]).score == "accuracy"
    assert scale_path(X, 1.0 * y, [1.0]).score == "R2"
    assert scale_path(X, np.arange(120), [1.0]).score == "R2"
    network = LazyNetClassifier(width=8, max_iter=10)
    parameters = network.get_params()
    one, other = (scale_path(X, y, [1.0], estimator=network, random_state=s) for s in (0, 0))
    assert one.losses == other.losses
    assert network.get_params() == parameters
    assert not hasattr(network, "weights_")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"scales": [0.0, 1.0]}, "scales must be positive"),
        ({"scales": []}, "scales must be positive"),
        ({"scales": [np.nan]}, "scales must be positive"),
        ({"scales": "a"}, "scales must be positive"),
        ({"estimator": LazyNetRegressor(centering=None)}, "no lazy limit at large scales"),
        ({"estimator": MeanFieldTwoLayerNet()}, "MeanFieldTwoLayerNet"),
        ({"X_test": np.ones((2, 3))}, "be given together"),
        ({"y": np.ones(20)}, "y is 1.0 in all 20 rows"),
        ({"y": None}, "y is None"),
        ({"X_test": np.ones((1, 3)), "y_test": np.ones(1)}, "1 row is held out"),
        ({"y": [*"ab"] * 10, "X_test": np.ones((2, 3)), "y_test": [*"ac"]}, r"classes \['c'\] that are not in y"),
    ],
)
def test_a_bad_parameter_is_named(parameters, message, rng):
    with pytest.raises(ValueError, match=message):
        scale_path(**{"X": rng.standard_normal((20, 3)), "y": rng.standard_normal(20)} | parameters)
