"""Linear models as convex finite sums: SAG, SAGA and direct solvers, with a certificate of every solution."""

from sklearn_ltdl.linear._estimators import SAGClassifier, SAGRegressor

__all__ = ["SAGClassifier", "SAGRegressor"]
