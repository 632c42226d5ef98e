"""
What does training both layers find that training the read-out does not?
========================================================================

Both find a network with a large margin, but in different norms. Training of both layers maximises the margin in the F1
norm. In this norm, a function of two directions is cheap, however many other columns there are. Training of the
read-out alone keeps the random hidden neurons, and maximises the margin in the F2 norm. This is the norm of a kernel,
which treats all directions alike (Chizat and Bach 2020, arXiv:2002.04486). In this example, the classes are a disc and
the ring around it, in the first two of d columns. How much do the other columns cost?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.svm import SVC

from sklearn_ltdl import MeanFieldTwoLayerNetClassifier
from sklearn_ltdl.ntk import NNGP


def disc_and_ring(n, d, rng):
    y = np.arange(n) % 2
    radius = np.where(y, rng.uniform(0.9, 1.5, n), rng.uniform(0, 0.6, n))
    angle = rng.uniform(0, 2 * np.pi, n)
    others = rng.uniform(-1, 1, (n, d - 2))
    return np.sqrt(3) * np.column_stack([radius * np.cos(angle), radius * np.sin(angle), others]), y


# %%
# A small penalty replaces training until the margin is largest. A read-out of infinitely many random neurons is linear
# in the features of their kernel, `NNGP`. A support vector machine with hard margins finds its largest margin.

both_layers = MeanFieldTwoLayerNetClassifier(activation="relu", width=200, alpha=1e-4, random_state=0)
readout = SVC(kernel=NNGP(depth=1), C=1e6)
models = {"both layers (F1)": both_layers, "read-out only (F2)": readout}
dimensions, errors = [2, 10, 20, 30, 40], {name: [] for name in models}
for d in dimensions:
    rngs = [np.random.default_rng(seed) for seed in range(3)]
    tables = [(disc_and_ring(256, d, rng), disc_and_ring(1000, d, rng)) for rng in rngs]
    for name, model in models.items():
        errors[name].append([1 - clone(model).fit(*train).score(*new) for train, new in tables])

figure, axes = plt.subplots(1, 3, figsize=(13, 4.3), layout="constrained", width_ratios=[1.2, 1, 1])
for (name, values), style in zip(errors.items(), ["o-", "s--"]):
    (curve,) = axes[0].plot(dimensions, np.mean(values, axis=1), style, label=name)
    axes[0].plot(dimensions, values, style[0], color=curve.get_color(), alpha=0.3)
axes[0].set(xlabel="columns, two of which matter", ylabel="error on new rows")
axes[0].set_title("256 rows, three tables, and their mean")
axes[0].legend()
(X, y), _ = tables[0]
grid = np.linspace(-2.8, 2.8, 100)
plane = np.zeros((100 * 100, X.shape[1]))
plane[:, :2] = np.stack(np.meshgrid(grid, grid), axis=-1).reshape(-1, 2)
for ax, (name, model) in zip(axes[1:], models.items()):
    decision = clone(model).fit(X, y).decision_function(plane).reshape(100, 100)
    ax.contourf(grid, grid, decision, levels=[-np.inf, 0, np.inf], colors=["tab:blue", "tab:orange"], alpha=0.25)
    for label, marker in enumerate("os"):
        ax.scatter(*X[y == label, :2].T, s=10, marker=marker, color=["tab:blue", "tab:orange"][label])
    ax.set(aspect="equal", xlabel="x0", ylabel="x1", title=f"{name}, {X.shape[1]} columns")
plt.show()

# %%
# The panels on the right show the decisions of both models where the other 38 columns are 0. Neither model makes an
# error on its training rows. With both layers trained, the boundary is close to the gap between disc and ring. With the
# read-out trained, it is far from this gap: the function with the larger F2 margin depends on all columns, and
# separates the rows by columns that the picture does not show.
