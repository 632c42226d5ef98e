"""
Do intervals have their nominal coverage?
=========================================

`predict_interval` computes intervals from leave-one-out predictions and residuals (the jackknife+), and needs only the
existing fit. `predict(return_std=True)` computes a standard deviation from a Gaussian process. It describes the
regression *function*. To describe new targets, one must add noise, which is assumed to be Gaussian and the same
everywhere. In this example it is neither: the noise is small on most rows, and large on some.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats

from sklearn_ltdl import NTKKernelRegressor

rng = np.random.default_rng(0)


def draw(n):
    X = rng.normal(size=(n, 3))
    return X, X[:, 0] * X[:, 1] + np.exp(X[:, 2]) * rng.normal(size=n)


# %%
# The figure shows the share of new targets inside the intervals, for each nominal coverage, over ten draws of 200 rows.

coverages = np.array([0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.98])
names = ("jackknife+", "posterior and noise", "posterior of the function")
inside = np.zeros((10, len(names), len(coverages)))
for shares in inside:
    X, y = draw(200)
    X_new, y_new = draw(1000)
    model = NTKKernelRegressor(kernel="ntk").fit(X, y)
    prediction, std = model.predict(X_new, return_std=True)
    noise = np.mean((y - y.mean()) * (y - model.predict(X)))  # its maximum-likelihood variance at this alpha
    for k, coverage in enumerate(coverages):
        lower, upper = model.predict_interval(X_new, coverage)
        miss, quantile = np.abs(y_new - prediction), stats.norm.ppf((1 + coverage) / 2)
        shares[0, k] = np.mean((lower <= y_new) & (y_new <= upper))
        shares[1, k] = np.mean(miss <= quantile * np.sqrt(std**2 + noise))
        shares[2, k] = np.mean(miss <= quantile * std)

figure, axes = plt.subplots(figsize=(5.5, 5), layout="constrained")
axes.plot([0.5, 1], [0.5, 1], color="black", linestyle=":", label="nominal coverage")
for name, marker, values in zip(names, "osv", inside.mean(axis=0)):
    axes.plot(coverages, values, marker=marker, label=name)
axes.set(xlabel="nominal coverage", ylabel="share of new targets inside", title="200 rows with uneven noise")
axes.legend()
plt.show()

# %%
# The jackknife+ has its nominal coverage at every level, for any distribution of the noise. This holds on average over
# rows: the intervals do not adapt to the rows on which the noise is large. The posterior with Gaussian noise is too
# wide at low coverages and too narrow at high ones. Without the noise, the posterior is not an interval for targets at
# all.
