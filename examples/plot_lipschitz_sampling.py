"""
Should all rows be drawn equally often?
=======================================

The row whose loss has the largest curvature limits the step of a stochastic method. This is the longest row, or the row
with the largest weight. `sampling="lipschitz"` draws such rows more often and corrects for this, so the mean curvature
limits the step instead. How much does this save if a few rows are long?
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import SAGRegressor

rng = np.random.default_rng(0)
n, p, factors = 1000, 20, [1, 3, 10, 30]
names = ["sag", "saga"]
X = rng.normal(size=(n, p))
y = X @ rng.normal(size=p) + rng.normal(size=n)
alpha = 0.2

epochs, ratios = {(name, sampling): [] for name in names for sampling in ("uniform", "lipschitz")}, []
for factor in factors:
    long = X.copy()
    long[:10] *= factor
    target = y.copy()
    target[:10] *= factor
    for name, sampling in epochs:
        model = SAGRegressor(solver=name, sampling=sampling, alpha=alpha, max_iter=5000, tol=1e-6, random_state=0)
        epochs[name, sampling].append(model.fit(long, target).n_iter_)
    ratios.append(model.smoothness_[0] / model.smoothness_[1])

figure, ax = plt.subplots(layout="constrained")
for (name, sampling), number in epochs.items():
    style = "o-" if sampling == "lipschitz" else "s--"
    colour = f"C{names.index(name)}"
    ax.loglog(ratios, number, style, color=colour, label=f"{name}, {sampling}")
ax.set(xlabel="largest over mean smoothness of a row", ylabel="epochs to a certified gap of 1e-6")
ax.legend()
plt.show()

# %%
# With uniform draws, the number of epochs depends on the largest smoothness, and grows in proportion once it dominates.
# With Lipschitz draws, it depends on the mean, and long rows have no effect on either method. The default,
# ``sampling="auto"``, uses Lipschitz draws if the ratio is above 2.
