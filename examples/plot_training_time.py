"""
Is stopping early as good as a penalty?
=======================================

An infinitely wide network that is trained by gradient flow has, at every time, a closed form: `staged_predict`. The
component of the target along an eigenvector of the kernel, of eigenvalue w, is learned up to the factor
:math:`1 - e^{-wt/n}`; ridge regression learns it up to :math:`w / (w + n\\alpha)`. Both leave out what has small
eigenvalues, and :math:`t = 1/\\alpha` is where the two compare.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_diabetes
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import NTKKernelRegressor

X, y = load_diabetes(return_X_y=True)
rows = np.random.default_rng(0).permutation(len(y))
train, new = rows[:220], rows[220:]
X = StandardScaler().fit(X[train]).transform(X)


def error(prediction):
    return np.mean((prediction - y[new]) ** 2) / y[train].var()


# %%
# One fit, with the penalty that leave-one-out takes; the same object follows the network through training.

model = NTKKernelRegressor(depth=1).fit(X[train], y[train])
times = np.logspace(-2, 5, 29)
stopped = [error(prediction) for prediction in model.staged_predict(X[new], times)]
penalised = [error(NTKKernelRegressor(depth=1, alpha=1 / t).fit(X[train], y[train]).predict(X[new])) for t in times]

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.semilogx(times, stopped, label="network, trained until t")
axes.semilogx(times, penalised, label="ridge regression, alpha = 1/t")
axes.plot(1 / model.alpha_, error(model.predict(X[new])), "ko", label="alpha by leave-one-out")
axes.set(xlabel="training time t", ylabel="squared error / variance of the target", ylim=(0, 1.1))
axes.set_title("Diabetes: 220 rows to fit, 222 to see")
axes.legend()
plt.show()

# %%
# The two curves have the same least error, at about the same place; trained further, the network fits the noise. When
# to stop would take a validation set. The penalty needs none: its leave-one-out error has a closed form, that of a
# stopped network has not.
