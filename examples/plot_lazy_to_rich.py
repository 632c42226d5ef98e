"""
From lazy to rich: does the network need to learn features?
===========================================================

This example trains one network from one initialisation with one budget, and changes only the scale of the output. At a
large scale, the network moves like its tangent kernel, and its neurons stay where they were drawn. At a small scale,
the neurons turn towards the few directions that matter, and the network is better than every fixed kernel (Chizat,
Oyallon and Bach 2019, arXiv:1812.07956).
"""

import matplotlib.pyplot as plt
from sklearn.metrics import mean_squared_error

from sklearn_ltdl import LazyNetRegressor, NTKKernelRegressor, ScalePathDisplay
from sklearn_ltdl.datasets import make_multi_index

X, y = make_multi_index(1500, n_features=20, random_state=0)
X, y, X_new, y_new = X[:500], y[:500], X[500:], y[500:]

# %%
# The path of scales trains nine networks with the same penalty, and their linear limit. The figure also shows the
# kernel of infinitely many neurons.

network = LazyNetRegressor(random_state=0)
display = ScalePathDisplay.from_estimator(network, X, y, X_test=X_new, y_test=y_new)
kernel = mean_squared_error(y_new, NTKKernelRegressor(kernel="ntk").fit(X, y).predict(X_new))
losses = display.axes_[0]
losses.axhline(kernel, color="tab:purple", linestyle=":", label="kernel of infinite width")
losses.legend(loc="lower left", ncols=2, fontsize="small")
display.figure_.suptitle("500 rows, 20 columns, 3 directions that matter")
plt.show()

# %%
print(display.path)

# %%
# From scale 10 on, the error on new rows equals the error of the linear model, 0.45. The network is then ridge
# regression with the tangent kernel of its initial weights, with 256 neurons. Infinitely many neurons would do better,
# with an error of 0.25. At scale 0.1, the error is 0.05, far below the error of any kernel of random weights, and the
# weights have moved by 86 %. All networks fit the training rows closely; they differ in their predictions for other
# rows. The displacement falls as one over the scale, as the theory says. The change of a ReLU network's kernel has no
# clean power law, because its neurons switch on and off one by one.
