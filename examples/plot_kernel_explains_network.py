"""
When does its kernel explain a network?
=======================================

Near given weights, a network is linear in its weights, and this linear model has a kernel, the tangent kernel. A lazy
network *is* ridge regression with the tangent kernel of its initial weights. A network that has learned features is
not. Is it ridge regression with the tangent kernel of its final weights?
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import LazyNetRegressor, explain_as_kernel
from sklearn_ltdl.datasets import make_multi_index

# %%
# Networks are trained at nine scales, for three draws of rows and weights. Both kernel machines learn from the training
# rows of the network. They are compared with the network on a thousand other rows: the agreement is the share of the
# variance of the network's predictions that the predictions of the machine explain.

scales, rows = np.logspace(-2, 2, 9), []
for seed in range(3):
    X, y = make_multi_index(1500, n_features=20, random_state=seed)
    X, y, X_new, y_new = X[:500], y[:500], X[500:], y[500:]
    for scale in scales:
        network = LazyNetRegressor(scale=scale, max_iter=3000, random_state=seed).fit(X, y)
        explained = explain_as_kernel(network, X, y, X_test=X_new, y_test=y_new)
        agreements = explained.agreement_before, explained.agreement_after
        rows.append((*agreements, explained.score_network, explained.score_before, explained.score_after))
before, after, *scores = np.reshape(rows, (3, len(scales), 5)).transpose(2, 0, 1)

# %%
# Lines are medians of the three draws, and bands show their range.


def draw(ax, values, colour, marker, label):
    ax.semilogx(scales, np.median(values, axis=0), f"{marker}-", color=colour, label=label)
    ax.fill_between(scales, values.min(axis=0), values.max(axis=0), color=colour, alpha=0.2, linewidth=0)


figure, (left, right) = plt.subplots(1, 2, sharex=True, figsize=(10, 4), layout="constrained")
draw(left, before, "tab:blue", "s", "ridge, kernel before training")
draw(left, after, "tab:orange", "o", "ridge, kernel after training")
left.set(xlabel="scale (large is lazy)", ylabel="agreement with the network", ylim=(0.5, 1.02))
left.legend(loc="lower right")
draw(right, scores[0], "black", "^", "network")
draw(right, scores[1], "tab:blue", "s", "ridge, kernel before training")
draw(right, scores[2], "tab:orange", "o", "ridge, kernel after training")
right.set(xlabel="scale (large is lazy)", ylabel="R2 on new rows", ylim=(0.48, 1.0))
right.legend()
plt.show()

# %%
# The kernel before training explains the network at large scales only. The kernel after training explains it at both
# ends. At scale 100, where the two kernels are the same, the agreement is 99.5 %. At scale 0.01, it is 98.7 %, and the
# kernel after training is as accurate as the network, with an R2 of 0.96, while the kernel before training has 0.54.
# There the network has learned a kernel, and acts as its kernel machine. In between, the agreement falls to 94 %, from
# scale 1 to 3. A network that changed its kernel during training is not explained by the kernel at a single time. The
# kernel after training is then more accurate than the network, in each of the draws at scale 1, with a median R2 of
# 0.80 against 0.77.
