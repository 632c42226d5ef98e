"""
How fast do methods for finite sums reach the minimum?
======================================================

Stochastic gradients are fast at first and then stall; gradients of the whole sum are slow and never stall. SAG
remembers the last gradient of each row and has the best of both. Here is the figure of the talk, on a ridge regression,
with what theory promises as dotted lines, and the level below which optimisation no longer shows on new rows.
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
# After a few passes SGD and SAGA are far ahead of the gradient of the whole sum. SGD then stalls near the statistical
# error; SAG, SAGA, SDCA and its acceleration go on, faster than the rates that theory proves. Newton's method by
# conjugate gradients counts a pass for each product with the Hessian, and still wins on a problem of this size, in
# passes and more so in seconds, since it reads rows in order.
