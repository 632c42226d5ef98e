"""scikit-learn's own checks of an estimator."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from sklearn_ltdl import SAGClassifier, SAGRegressor


@parametrize_with_checks([SAGRegressor(), SAGClassifier()])
def test_sklearn_checks(estimator, check):
    check(estimator)
