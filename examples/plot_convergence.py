"""
How fast do methods for finite sums reach the minimum?
======================================================

Stochastic gradients are fast at first and then stall. Gradients of the whole sum are slow and never stall. SAG
remembers the last gradient of each row and combines the advantages of both. The figure compares the methods on a ridge
regression. Dotted lines are the rates of the theory. The horizontal level is the statistical error: optimisation below
it makes no visible difference on new rows.
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import ConvergenceDisplay, SAGRegressor

rng = np.random.default_rng(0)
n, p = 2000, 100
X = rng.normal(size=(n, p)) * np.arange(1, p + 1) ** -0.5
y = X @ rng.normal(size=p) + rng.normal(size=n)

ConvergenceDisplay.from_data(
    X,
    y,
    estimator=SAGRegressor(alpha=1e-3),
    solvers=["sgd", "gd", "agd", "sag", "saga", "sdca", "catalyst", "newton-cg"],
    max_iter=50,
    random_state=0,
)
plt.show()

# %%
# After a few passes, SGD and SAGA are far ahead of the gradient of the whole sum. SGD then stalls near the statistical
# error. SAG, SAGA, SDCA and accelerated SDCA (Catalyst) continue, faster than the rates that theory proves. For
# Newton's method by conjugate gradients, each product with the Hessian counts as a pass. On a problem of this size, it
# still wins in passes, and by more in seconds, because it reads rows in order.
