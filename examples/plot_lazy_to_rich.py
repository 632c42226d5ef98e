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

scales = np.logspace(-2, 2, 9)
scores, moved = [], []
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)  # the same budget for all is the point
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
