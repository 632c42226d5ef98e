"""
How good is the penalty that leave-one-out chooses?
===================================================

`NTKKernelRegressor` computes the leave-one-out error of every penalty in closed form, from one factorisation, and takes
the penalty with the least error. This example compares that error with the error on held-out rows, which a user does
not know. The chosen penalty is close to the best one.
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

# %%
# One fit gives the leave-one-out errors for all penalties. The error on new rows requires a fit for each penalty.

model = NTKKernelRegressor(depth=1).fit(X[train], y[train])
unseen = [
    np.mean((NTKKernelRegressor(depth=1, alpha=alpha).fit(X[train], y[train]).predict(X[new]) - y[new]) ** 2)
    for alpha in model.alphas_
]

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.semilogx(model.alphas_, model.loo_error_path_, label="leave-one-out, closed form")
axes.semilogx(model.alphas_, np.array(unseen) / y[train].var(), label="held-out rows")
axes.axvline(model.alpha_, color="black", linestyle=":", label="chosen")
axes.set(xlabel="penalty alpha", ylabel="squared error / variance of the target", ylim=(0, 1.1))
axes.set_title("Diabetes: 220 training rows, 222 held-out rows")
axes.legend()
plt.show()

# %%
# On the left, where the model almost interpolates, the two curves differ: leave-one-out uses 219 rows, and the choice
# of the held-out rows is random. At the minimum, where it matters, they agree.
