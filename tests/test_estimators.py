"""What every estimator promises: scikit-learn's checks, search in a pipeline, copies that predict the same."""

import io
import pickle

import joblib
import numpy as np
import pytest
from sklearn.base import clone, is_classifier
from sklearn.datasets import load_diabetes, load_wine
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import sklearn_ltdl

ESTIMATORS = [
    sklearn_ltdl.NTKKernelRegressor(),
    sklearn_ltdl.NTKKernelClassifier(),
    sklearn_ltdl.RFMRegressor(),
    sklearn_ltdl.RFMClassifier(),
    sklearn_ltdl.SAGRegressor(),
    sklearn_ltdl.SAGClassifier(),
    sklearn_ltdl.MeanFieldTwoLayerNet(),
    sklearn_ltdl.MeanFieldTwoLayerNetClassifier(),
    sklearn_ltdl.LazyNetRegressor(),
    sklearn_ltdl.LazyNetClassifier(),
]
MODES = [
    estimator(mode=mode)
    for estimator in (sklearn_ltdl.LazyNetRegressor, sklearn_ltdl.LazyNetClassifier)
    for mode in ("linearized", "kernel")
]
TRANSFORMERS = [sklearn_ltdl.NTKNystroem(), sklearn_ltdl.TangentFeatures()]
GRIDS = {
    "NTKKernel": {"depth": [1, 2]},
    "RFM": {"depth": [1, 2]},
    "SAG": {"alpha": [1e-3, 1e-1]},
    "MeanField": {"init_scale": [1.0, 2.0]},
    "LazyNet": {"scale": [0.1, 10.0]},
    "NTKNystroem": {"depth": [1, 2]},
    "TangentFeatures": {"width": [16, 64]},
}

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:The columns of X differ in scale"),
]
each = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: type(estimator).__name__)


@parametrize_with_checks(ESTIMATORS + TRANSFORMERS)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.slow
@parametrize_with_checks(MODES)
def test_scikit_learn_checks_in_other_modes(estimator, check):
    check(estimator)


def table(estimator):
    """Return 120 rows of a frame of its own, and the target in units that are not standard ones."""
    X, y = (load_wine if is_classifier(estimator) else load_diabetes)(return_X_y=True, as_frame=True)
    return X.iloc[::2].head(120), y.iloc[::2].head(120)


@each
def test_grid_search_in_a_pipeline_with_two_workers(estimator):
    X, y = table(estimator)
    name = type(estimator).__name__
    step, grid = name.lower(), next(grid for prefix, grid in GRIDS.items() if name.startswith(prefix))
    grid = {f"{step}__{parameter}": values for parameter, values in grid.items()}
    search = GridSearchCV(make_pipeline(StandardScaler(), estimator), grid, n_jobs=2, cv=3, error_score="raise")
    search.set_params(**{f"estimator__{step}__random_state": 0}).fit(X, y)
    alone = clone(search.best_estimator_).fit(X, y)
    np.testing.assert_array_equal(alone.predict(X), search.predict(X))
    assert search.best_score_ > (0.9 if is_classifier(estimator) else 0.25)  # a constant scores .4 and 0


@pytest.mark.parametrize("transformer", TRANSFORMERS, ids=lambda transformer: type(transformer).__name__)
def test_transformers_are_searched_in_a_pipeline_with_two_workers_and_copied(transformer):
    X, y = table(transformer)
    name = type(transformer).__name__
    pipeline = make_pipeline(StandardScaler(), clone(transformer).set_params(random_state=0), Ridge(alpha=30.0))
    grid = {f"{name.lower()}__{parameter}": values for parameter, values in GRIDS[name].items()}
    search = GridSearchCV(pipeline, grid, n_jobs=2, cv=3, error_score="raise").fit(X, y)
    assert search.best_score_ > 0.25  # a constant scores 0
    model = search.best_estimator_[1]
    rows = StandardScaler().set_output(transform="pandas").fit_transform(X)
    model = clone(model).fit(rows)
    assert list(model.feature_names_in_) == list(X.columns)
    for copy in (pickle.loads(pickle.dumps(model)), clone(model).fit(rows)):
        np.testing.assert_array_equal(copy.transform(rows), model.transform(rows))


@each
def test_copies_predict_the_same_bits(estimator):
    X, y = table(estimator)
    X = X.set_axis([f"column {i}" for i in range(X.shape[1])], axis=1)
    model = clone(estimator).set_params(random_state=0).fit(X, y)
    assert list(model.feature_names_in_) == list(X.columns)
    stream = io.BytesIO()
    joblib.dump(model, stream)
    stream.seek(0)
    for copy in (pickle.loads(pickle.dumps(model)), joblib.load(stream), clone(model).fit(X, y)):
        np.testing.assert_array_equal(copy.predict(X), model.predict(X))
        if is_classifier(model):
            np.testing.assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("estimator", [e for e in ESTIMATORS if not is_classifier(e)], ids=lambda e: type(e).__name__)
def test_a_shift_and_a_rescaling_of_the_target_pass_through(estimator):
    X, y = table(estimator)
    X = StandardScaler().fit_transform(X)
    model = clone(estimator).set_params(random_state=0)
    plain, moved = (clone(model).fit(X, target).predict(X) for target in (y, 1e5 + 1e3 * y))
    np.testing.assert_allclose(moved, 1e5 + 1e3 * plain, rtol=1e-6)  # of 1e5: float64 less the digits of the shift


@each
def test_no_nan_comes_out_of_a_table_of_huge_or_constant_columns(estimator):
    X, y = table(estimator)
    X = X.to_numpy() * 1e3
    X[:, 0] = 7.0
    assert np.isfinite(clone(estimator).set_params(random_state=0).fit(X, y).predict(X).astype(float)).all()
