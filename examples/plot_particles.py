"""
How many particles does it take?
================================

A hidden layer is a measure on neurons, and gradient descent moves its atoms, the particles. If infinitely many
particles start in all directions, and if gradient descent converges, it converges to the best measure (Chizat and Bach
2018, arXiv:1805.09545). How many particles are enough on a line, if a teacher of three neurons made the target? The
certificate gives the answer.
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import MeanFieldTwoLayerNet, ParticleFlowDisplay


def relu(z):
    return np.maximum(z, 0)


x = np.linspace(-2, 2, 41)
X, y = x[:, None], relu(x + 2) - 2 * relu(x + 1) + 2 * relu(x - 1)

# %%
# Each width is trained from twenty starts. The certified gap is an upper bound on the gain of any other network. A
# network has reached the global optimum if the gap is below 1 % of its objective. The trajectories are drawn for one
# start. A particle has hidden weights a, for the column and the constant, and a read-out b; it is drawn at b a. The
# circle of directions around the trajectories shows the measure after training.

figure, axes = plt.subplots(1, 3, figsize=(12, 5.2), layout="constrained")
for ax, width in zip(axes, [5, 10, 100]):
    net = MeanFieldTwoLayerNet(width=width, alpha=3e-3, init_scale=4, max_iter=5000, tol=1e-6)
    gaps = [net.set_params(random_state=seed).fit(X, y).certificate_.relative_gap for seed in range(20)]
    ParticleFlowDisplay.from_estimator(net.set_params(random_state=2), X, y, ax=ax)
    ax.set_title(
        f"{width} particles: optimum {'reached' if gaps[2] < 0.01 else 'not reached'}\n"
        f"certified gap {100 * gaps[2]:.2g} % of the objective\n"
        f"(below 1 % from {sum(gap < 0.01 for gap in gaps)} of {len(gaps)} starts)"
    )
    handles = ax.get_legend().legend_handles
    ax.get_legend().remove()
figure.legend(handles=handles, loc="outside lower center", ncols=4)
plt.show()

# %%
# Three neurons make the target, and five particles could represent it. From most starts, they end elsewhere, and only
# the certificate reveals it. More particles start in more directions. At the end, superfluous particles share the rays
# of the others, or shrink to zero.
