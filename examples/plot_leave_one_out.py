"""
How good is the penalty that leave-one-out takes?
=================================================

`NTKKernelRegressor` computes the leave-one-out error of every penalty in closed form, from one factorisation, and takes
the least. Against the error on rows that it has not seen, which no user has, the choice is close to the best there is.
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
# One fit holds the whole path of left-out errors; the error on new rows takes a fit for each penalty.

model = NTKKernelRegressor(depth=1).fit(X[train], y[train])
unseen = [
    np.mean((NTKKernelRegressor(depth=1, alpha=alpha).fit(X[train], y[train]).predict(X[new]) - y[new]) ** 2)
    for alpha in model.alphas_
]

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.semilogx(model.alphas_, model.loo_error_path_, label="leave-one-out, closed form")
axes.semilogx(model.alphas_, np.array(unseen) / y[train].var(), label="rows not seen")
axes.axvline(model.alpha_, color="black", linestyle=":", label="taken")
axes.set(xlabel="penalty alpha", ylabel="squared error / variance of the target", ylim=(0, 1.1))
axes.set_title("Diabetes: 220 rows to fit, 222 to see")
axes.legend()
plt.show()

# %%
# To the left, where the model all but interpolates, the two differ: leave-one-out sees 219 rows, and which rows are new
# is chance. Where it matters, at the least, they agree.
