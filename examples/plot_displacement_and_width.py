"""
Is a wide network lazy?
=======================

This depends on how the output is scaled with the width. If it is divided by the root of the width, as for the neural
tangent kernel, each neuron has to move less when there are more neurons. If it is divided by the width, as in the
mean-field limit, each neuron moves equally far at any width (Chizat, Oyallon and Bach 2019, arXiv:1812.07956). How far
do the weights move, and how well do the networks predict?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from sklearn_ltdl import LazyNetRegressor, MeanFieldTwoLayerNet
from sklearn_ltdl.datasets import make_multi_index
from sklearn_ltdl.diagnostics import fit_rate

X, y = make_multi_index(1300, n_features=20, random_state=0)
X, y, X_new, y_new = X[:300], y[:300], X[300:], y[300:]

# %%
# Both networks are trained until they settle, from three starts at each width.

widths, starts = np.array([64, 128, 256, 512, 1024, 2048]), range(3)
networks = {
    "the root of the width": (LazyNetRegressor(scale=1.0, alpha=1e-3, max_iter=3000), "tab:blue", "o"),
    "the width": (MeanFieldTwoLayerNet(alpha=1e-3, max_iter=3000), "tab:orange", "s"),
}
figure, (left, right) = plt.subplots(1, 2, sharex=True, figsize=(10, 4), layout="constrained")
for name, (network, colour, marker) in networks.items():
    fitted = [[clone(network).set_params(width=m, random_state=seed).fit(X, y) for seed in starts] for m in widths]
    moved = np.array([[model.displacement_ for model in row] for row in fitted])
    scores = np.array([[model.score(X_new, y_new) for model in row] for row in fitted])
    rate = fit_rate(np.repeat(widths, len(starts)), moved.ravel())
    left.loglog(np.repeat(widths, len(starts)), moved.ravel(), marker, color=colour, alpha=0.6)
    left.loglog(widths, rate(widths), ":", color=colour, label=f"{name}, exponent {rate}")
    right.semilogx(widths, scores.mean(axis=1), f"{marker}-", color=colour, label=name)
left.set(xlabel="width", ylabel="displacement of the weights, |w - w0| / |w0|", ylim=(None, 9))
left.legend(title="output divided by", loc="upper right")
right.set(xlabel="width", ylabel="R2 on new rows", ylim=(0, 1))
right.legend(title="output divided by", loc="lower left")
for ax in (left, right):
    ax.set_xticks(widths, widths)
    ax.minorticks_off()
plt.show()

# %%
# If the output is divided by the root of the width, the displacement falls with an exponent of about -1/2. A wide
# network is then lazy. The target depends on three directions out of twenty, and the lazy network predicts it worse:
# its R2 falls from 0.59 to 0.47. If the output is divided by the width, the exponent is 0: the weights move by 160 % at
# any width, and the R2 is about 0.96. Width alone does not make a network lazy.
