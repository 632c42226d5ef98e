"""
What does averaging do for stochastic gradients?
================================================

With a constant step, stochastic gradients never settle: the last iterate keeps the noise of the last rows. For least
squares, the average of the iterates does converge, as 1/n, and needs no decreasing step (Bach and Moulines 2013). Does
the same hold for the logistic loss?
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit

from sklearn_ltdl import SAGRegressor
from sklearn_ltdl.losses import Logistic

d, n_runs, sizes = 5, 10, np.geomspace(100, 100_000, 10).astype(int)
w = np.full(d, 1.0)
step = 1 / (4 * (d + 2))  # E |x|^2 x x' = (d + 2) I for normal rows


def stream(loss, rng):
    X = rng.normal(size=(sizes[-1], d))
    score = X @ w
    return X, score + rng.normal(size=len(X)) if loss == "squared" else 1.0 * (rng.random(len(X)) < expit(score))


figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, loss, factor in zip(axes, ("squared", "logistic"), (1, 4)):
    for solver, label in (("sgd", "last iterate"), ("asgd", "average")):
        errors = np.zeros((n_runs, len(sizes)))
        for run in range(n_runs):
            X, y = stream(loss, np.random.default_rng(run))
            model = SAGRegressor(
                loss="squared" if loss == "squared" else Logistic(),
                solver=solver,
                alpha=0,
                fit_intercept=False,
                step_size=factor * step,
            )
            for k, rows in enumerate(np.split(np.arange(sizes[-1]), sizes[:-1])):
                model.partial_fit(X[rows], y[rows])
                errors[run, k] = np.sum((model.coef_ - w) ** 2)
        ax.loglog(sizes, errors.mean(axis=0), "o-", label=label)
    ax.loglog(sizes, errors.mean(axis=0)[0] * sizes[0] / sizes, ":", color="0.5", label="1 / n")
    ax.set(xlabel="rows seen", title=f"{loss} loss, constant steps")
axes[0].set_ylabel("squared error of the coefficients")
axes[0].legend()
plt.show()

# %%
# For least squares, the average first forgets its start, as 1/n^2, and then averages the noise, as 1/n. The last
# iterate stays at the level of its noise. For the logistic loss, the average stops improving as well, at a bias of the
# order of the step: with constant steps, the iterates follow a distribution whose mean is not the minimum. For this
# loss, ``solver="asgd"`` decreases its steps unless a step is given.
