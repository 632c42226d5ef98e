"""Linear models as convex finite sums, with stochastic and direct solvers and a certificate for every solution."""

from sklearn_ltdl.linear._compare import ConvergenceDisplay, compare_solvers
from sklearn_ltdl.linear._equivalents import alpha_from_c, alpha_from_ridge
from sklearn_ltdl.linear._estimators import SAGClassifier, SAGRegressor, duality_gap
from sklearn_ltdl.linear._solvers import solver

__all__ = [
    "ConvergenceDisplay",
    "SAGClassifier",
    "SAGRegressor",
    "alpha_from_c",
    "alpha_from_ridge",
    "compare_solvers",
    "duality_gap",
    "solver",
]
