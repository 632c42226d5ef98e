"""
A proof that no other network is better
=======================================

Usually, training returns a network and does not say whether a better one exists. With a norm of the measure as penalty,
one hidden layer is a convex problem. Its dual gives a lower bound on the objective of any network of any width.
Frank-Wolfe adds neurons until this bound is reached. How far from the bound does gradient descent on a few neurons end?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_ltdl import MeanFieldTwoLayerNet, MeanFieldTwoLayerNetClassifier

rng = np.random.default_rng(0)
x = np.sort(rng.uniform(-2, 2, 60))
y = np.interp(x, [-2, -1, 1, 2], [-1, 1, -1, 1]) + 0.2 * rng.standard_normal(60)

# %%
# The first problem has ReLU neurons and one column. The neuron that correlates most with the residuals is found by
# enumeration, so the gap is certified. This holds for Frank-Wolfe, and for the five neurons that gradient descent
# trained until they settled.

optimum = MeanFieldTwoLayerNet(solver="frank_wolfe", alpha=3e-3, random_state=0).fit(x[:, None], y)
narrow = MeanFieldTwoLayerNet(width=5, alpha=3e-3, tol=1e-6, random_state=1).fit(x[:, None], y)

# %%
# The second problem has quadratic neurons and 64 columns: even digits against odd ones. Here the neuron that correlates
# most is an eigenvector, and the gap is certified in any dimension.

images, digits = load_digits(return_X_y=True)
images, odd = images[:600] / 4, digits[:600] % 2
quadratic = {"activation": "quadratic", "alpha": 4e-3, "random_state": 0}
best = MeanFieldTwoLayerNetClassifier(solver="frank_wolfe", **quadratic).fit(images, odd)
pair = MeanFieldTwoLayerNetClassifier(width=2, tol=1e-6, max_iter=5000, **quadratic).fit(images, odd)

# %%
# The gap bounds the gain of any better network. Here the best network is known, so the gain itself is known, too.


def gap(model):
    return f"certified gap {100 * model.certificate_.relative_gap:.2g} %"


def above(model, best):
    return f"{100 * (model.certificate_.primal / best.certificate_.dual - 1):.0f} % above the bound"


figure = plt.figure(figsize=(12, 5), layout="constrained")
left, right = figure.subfigures(1, 2, wspace=0.04)
ax, line = left.subplots(), np.linspace(-2.1, 2.1, 400)
ax.plot(x, y, ".", color="0.6")
name = f"Frank-Wolfe, {len(optimum.measure_.atoms)} neurons: {gap(optimum)}"
ax.plot(line, optimum.predict(line[:, None]), linewidth=2, label=name)
name = f"gradient descent, 5: {above(narrow, optimum)}, {gap(narrow)}"
ax.plot(line, narrow.predict(line[:, None]), "--", linewidth=2, label=name)
ax.set(xlabel="x", ylabel="y", title="One column, ReLU neurons", ylim=(None, 2.4))
ax.legend(loc="upper center")
atoms, masses = best.measure_
right.suptitle(
    "64 columns, quadratic neurons: odd digits (+) against even ones (-)\n"
    f"Frank-Wolfe, {len(atoms)} neurons, as drawn: {gap(best)}\n"
    f"gradient descent, 2: {above(pair, best)}, {gap(pair)}",
    fontsize="medium",
)
panels = right.subplots(2, -(-len(atoms) // 2)).ravel()
for ax in panels:
    ax.set_axis_off()
for ax, atom, mass in zip(panels, atoms, masses[:, 0]):
    ax.imshow(atom[:64].reshape(8, 8), cmap="RdBu_r", vmin=-0.4, vmax=0.4)
    ax.set_title(f"mass {mass:+.1f}")
plt.show()
