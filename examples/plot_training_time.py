"""
Is stopping early as good as a penalty?
=======================================

An infinitely wide network that is trained by gradient flow has a closed form at every time, computed by
`staged_predict`. Consider the component of the target along an eigenvector of the kernel with eigenvalue w. The network
learns it up to the factor :math:`1 - e^{-wt/n}`, and ridge regression learns it up to the factor :math:`w / (w +
n\\alpha)`. Both suppress components with small eigenvalues. The two are comparable at :math:`t = 1/\\alpha`.
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
# The model is fitted once, with the penalty chosen by leave-one-out. The same object gives the network at every
# training time.

model = NTKKernelRegressor(depth=1).fit(X[train], y[train])
times = np.logspace(-2, 5, 29)
stopped = [error(prediction) for prediction in model.staged_predict(X[new], times)]
penalised = [error(NTKKernelRegressor(depth=1, alpha=1 / t).fit(X[train], y[train]).predict(X[new])) for t in times]

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.semilogx(times, stopped, label="network, trained until t")
axes.semilogx(times, penalised, label="ridge regression, alpha = 1/t")
axes.plot(1 / model.alpha_, error(model.predict(X[new])), "ko", label="alpha by leave-one-out")
axes.set(xlabel="training time t", ylabel="squared error / variance of the target", ylim=(0, 1.1))
axes.set_title("Diabetes: 220 training rows, 222 held-out rows")
axes.legend()
plt.show()

# %%
# The two curves have the same least error, at about the same place. If trained further, the network fits the noise.
# Choosing the time to stop would require a validation set. Choosing the penalty does not, because its leave-one-out
# error has a closed form. A stopped network has no such closed form.
