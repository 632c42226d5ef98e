"""
From lazy to rich: does the network need to learn features?
===========================================================

One network, one initialisation, one budget: only the scale of the output changes. At a large scale the network moves
like its tangent kernel and its neurons stay where they were drawn; at a small scale they turn towards the few
directions that matter, and the network leaves every kernel behind.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.ensemble import RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning

from sklearn_ltdl import LazyNetRegressor, NTKKernelRegressor
from sklearn_ltdl.datasets import make_multi_index

X, y = make_multi_index(1500, n_features=20, random_state=0)
X, y, X_new, y_new = X[:500], y[:500], X[500:], y[500:]

# %%
# The same budget for all is the point, so that a network which would need more of it says nothing.

scales = np.logspace(-2, 2, 9)
scores, moved = [], []
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    for scale in scales:
        network = LazyNetRegressor(scale=scale, random_state=0).fit(X, y)
        scores.append(network.score(X_new, y_new))
        moved.append(network.displacement_)

kernel = NTKKernelRegressor().fit(X, y).score(X_new, y_new)
forest = RandomForestRegressor(random_state=0).fit(X, y).score(X_new, y_new)

figure, (top, bottom) = plt.subplots(2, sharex=True, figsize=(6, 5.5), layout="constrained")
top.semilogx(scales, scores, "o-", label="network")
top.axhline(kernel, color="tab:orange", linestyle="--", label="neural tangent kernel")
top.axhline(forest, color="tab:green", linestyle=":", label="random forest")
top.set(ylabel="R2 on new rows", title="500 rows, 20 columns, 3 directions that matter")
top.legend()
bottom.loglog(scales, moved, "o-")
bottom.set(xlabel="scale of the output (large is lazy)", ylabel="displacement of the weights")
plt.show()

# %%
# At the right the network hardly moves, and is the ridge regression of its own tangent kernel, that of 256 neurons; at
# the left it has found the three directions, which neither the kernel of infinitely many neurons nor the forest can.
