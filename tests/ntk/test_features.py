import numpy as np
import pytest
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import NTKKernelRegressor, NTKNystroem
from sklearn_ltdl.ntk import NTK, RBF, _solvers, ntk_kernel


@pytest.mark.parametrize("kernel", ["ntk", NTK(3), RBF(2.0)])
def test_inner_products_with_a_centre_are_the_kernel(rng, kernel):
    X, new = rng.standard_normal((200, 3)), rng.standard_normal((10, 3))
    map = NTKNystroem(kernel=kernel, n_components=20, random_state=0).fit(X)
    exact = ntk_kernel if kernel == "ntk" else kernel
    centres = map.transform(map.components_)
    expected = exact(map.components_)
    np.testing.assert_allclose(centres @ centres.T, expected, atol=1e-10 * expected.max())
    np.testing.assert_allclose(map.transform(new) @ centres.T, exact(new, map.components_), atol=1e-8 * expected.max())
    np.testing.assert_array_equal(X[map.component_indices_], map.components_)


def test_more_centres_approximate_the_kernel_better_and_all_rows_exactly(rng):
    X = rng.standard_normal((200, 3))
    exact, errors = ntk_kernel(X), []
    for m in (20, 60, 200, 1000):
        features = NTKNystroem(n_components=m, random_state=0).fit_transform(X)
        errors.append(np.linalg.norm(features @ features.T - exact) / np.linalg.norm(exact))
    assert errors[1] < errors[0] / 2
    assert max(errors[2:]) < 1e-12


def test_features_span_those_of_scikit_learn(rng):
    X, new = rng.standard_normal((100, 3)), rng.standard_normal((10, 3))
    mine = NTKNystroem(kernel=RBF(length_scale=1.0), n_components=100, random_state=0).fit(X).transform(new)
    theirs = Nystroem(kernel="rbf", gamma=0.5, n_components=100, random_state=0).fit(X).transform(new)
    np.testing.assert_allclose(mine @ mine.T, theirs @ theirs.T, atol=1e-6)  # theirs cuts eigenvalues below 1e-12


def test_ridge_on_the_features_is_the_kernel_regressor_with_the_same_centres(rng):
    X, new = rng.standard_normal((300, 4)), rng.standard_normal((20, 4))
    y = np.sin(X[:, 0] * X[:, 1]) + 7.0
    options = {"n_components": 40, "random_state": 3}
    ours = make_pipeline(StandardScaler(), NTKKernelRegressor(depth=1, solver="nystroem", alpha=1e-3, **options)).fit(
        X, y
    )
    features = make_pipeline(StandardScaler(), NTKNystroem(**options), Ridge(alpha=300 * 1e-3)).fit(X, y)
    np.testing.assert_array_equal(ours[-1].X_fit_, features[1].components_)
    np.testing.assert_allclose(ours.predict(new), features.predict(new), rtol=1e-8)


def test_features_are_named_and_come_as_a_frame(rng):
    X = rng.standard_normal((30, 2))
    map = NTKNystroem(n_components=2, random_state=0).set_output(transform="pandas").fit(X)
    assert list(map.transform(X).columns) == list(map.get_feature_names_out()) == ["ntknystroem0", "ntknystroem1"]


def test_copies_of_a_row_are_one_centre_and_degenerate_rows_have_finite_features(rng):
    X = np.repeat(rng.standard_normal((5, 3)), 4, axis=0)
    assert NTKNystroem(n_components=10, random_state=0).fit(X).components_.shape == (5, 3)
    for rows in (np.zeros((3, 2)), X[:1], np.vstack([X, X * (1 + 1e-12)]), 1e150 * X):
        assert np.isfinite(NTKNystroem(random_state=0).fit_transform(rows)).all()
    with pytest.raises(ValueError, match="overflows double precision; scale the columns"):
        NTKNystroem().fit(1e200 * X)


def test_features_beyond_memory_are_refused_before_they_are_made(rng, monkeypatch):
    X = rng.standard_normal((100, 2))
    map = NTKNystroem(n_components=50, random_state=0).fit(X)
    monkeypatch.setattr(_solvers, "_memory_limit", lambda: 50_000)
    with pytest.raises(MemoryError, match=r"100 x 50 .* fewer n_components"):
        map.transform(X)
    with pytest.raises(MemoryError, match=r"50 x 50 .* fewer n_components"):
        map.fit(X)
