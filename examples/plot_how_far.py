"""
How far should one optimise?
============================

The minimum on n rows has a statistical error itself, because of the noise in these rows. For half the squared loss, it
is about d_eff sigma^2 / 2n. If the optimiser stops when its own error is below this level, does the loss on new rows
suffer?
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import SAGRegressor, compare_solvers

rng = np.random.default_rng(0)
n, p = 500, 50
w = rng.normal(size=p)
X, X_new = (rng.normal(size=(size, p)) * np.arange(1, p + 1) ** -0.5 for size in (n, 20_000))
y = X @ w + 2 * rng.normal(size=n)
model = SAGRegressor(solver="saga", alpha=1e-3, tol=0, fit_intercept=False, random_state=0)

frame, display = compare_solvers(X, y, estimator=model, solvers=["saga"], max_iter=60, random_state=0)
epochs = np.unique(np.geomspace(1, 60, 20).astype(int))
excess = []
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # stopping early is intended
    for number in epochs:
        fitted = model.set_params(max_iter=int(number)).fit(X, y)
        excess.append(np.mean((X_new @ (fitted.coef_ - w)) ** 2) / 2)

figure, ax = plt.subplots(layout="constrained")
ax.semilogy(frame["passes"][1:], frame["suboptimality"][1:], label="optimisation error, training rows")
ax.semilogy(frame["passes"][1:], frame["gap"][1:], ":", color="C0", label="its certified bound")
ax.semilogy(epochs, excess, "o-", color="C1", label="excess loss on new rows")
ax.axhline(display.statistical_error, color="0.5", linestyle="--", label="statistical error")
ax.set(xlabel="passes over the data", ylabel="loss", xlim=(0, 30), ylim=(1e-5, 10))
ax.legend()
plt.show()

# %%
# The loss on new rows stops changing once the optimisation error is a fraction of the statistical error, here after a
# few passes. Further passes help only if you need the minimum itself: for coefficients that do not depend on the
# solver, for weights that act exactly as repetitions of rows, and for tests.
