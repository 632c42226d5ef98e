"""
From lazy to rich: does the network need to learn features?
===========================================================

One network, one initialisation, one budget: only the scale of the output changes. At a large scale the network moves
like its tangent kernel and its neurons stay where they were drawn; at a small scale they turn towards the few
directions that matter, and the network leaves every kernel behind (Chizat, Oyallon and Bach 2019, arXiv:1812.07956).
"""

import matplotlib.pyplot as plt
from sklearn.metrics import mean_squared_error

from sklearn_ltdl import LazyNetRegressor, NTKKernelRegressor, ScalePathDisplay
from sklearn_ltdl.datasets import make_multi_index

X, y = make_multi_index(1500, n_features=20, random_state=0)
X, y, X_new, y_new = X[:500], y[:500], X[500:], y[500:]

# %%
# The path of scales trains nine networks, with one penalty, and their linear limit. The kernel of infinitely many
# neurons stands beside them.

network = LazyNetRegressor(random_state=0)
display = ScalePathDisplay.from_estimator(network, X, y, X_test=X_new, y_test=y_new)
kernel = mean_squared_error(y_new, NTKKernelRegressor().fit(X, y).predict(X_new))
losses = display.axes_[0]
losses.axhline(kernel, color="tab:purple", linestyle=":", label="kernel of infinite width")
losses.legend(loc="lower left", ncols=2, fontsize="small")
display.figure_.suptitle("500 rows, 20 columns, 3 directions that matter")
plt.show()

# %%
print(display.path)

# %%
# From scale 10 on, the error on new rows is that of the linear model, 0.45: the network is ridge regression with the
# tangent kernel of its first weights, those of 256 neurons; infinitely many would do better, with 0.25. At scale 0.1
# the error is 0.05, which no kernel of random weights comes near, and the weights have moved by 86 %. All fit the rows
# of training closely; they differ in what they make of others. The displacement falls as one over the scale, as the
# theory says. The change of a ReLU network's kernel has no clean power law, since its neurons switch on and off one by
# one.
