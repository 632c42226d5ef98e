"""
Which columns made this class? A kernel cannot ask
==================================================

The class is the product of two signs out of forty. No single column and no straight line says anything about it. A
kernel treats all pairs of columns alike and needs rows for each pair. A network that moves its neurons can turn them
towards the two columns. How many rows does each of them need?
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone

from sklearn_ltdl import MeanFieldTwoLayerNetClassifier, NTKKernelClassifier
from sklearn_ltdl.datasets import make_parity

X_new, y_new = make_parity(1000, 40, random_state=100)
sizes, draws = [50, 100, 150, 200, 300], range(3)

# %%
# The penalty is given, because leave-one-out would choose the penalty of the tangent kernel, which does not help at
# these sizes. The share of a column in the measure is the mean square of this column's entry of the atoms, weighted by
# mass.

network = MeanFieldTwoLayerNetClassifier(activation="relu", width=100, alpha=1e-3, max_iter=4000, random_state=0)
scores = {"mean-field network": [], "neural tangent kernel": []}
shares = []
for n in sizes:
    tables = [make_parity(n, 40, random_state=draw) for draw in draws]
    nets = [clone(network).fit(*table) for table in tables]
    kernels = [NTKKernelClassifier(kernel="ntk").fit(*table) for table in tables]
    for name, models in zip(scores, (nets, kernels)):
        scores[name].append([model.score(X_new, y_new) for model in models])
    atoms, masses = nets[0].measure_
    shares.append(np.abs(masses[:, 0]) @ atoms**2 / np.abs(masses).sum())

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.4), layout="constrained")
for (name, values), style in zip(scores.items(), ["o-", "s--"]):
    (curve,) = left.plot(sizes, np.mean(values, axis=1), style, label=name)
    left.plot(sizes, values, style[0], color=curve.get_color(), alpha=0.3)
left.axhline(0.5, color="black", linestyle=":", linewidth=1)
left.set(xlabel="rows", ylabel="accuracy on new rows", title="Three tables of each size, and their mean")
left.legend(loc="upper right", bbox_to_anchor=(1, 0.9))
image = right.imshow(np.sqrt(shares), aspect="auto", cmap="Blues", vmin=0)
right.set_yticks(range(len(sizes)), sizes)
right.set(xlabel="column (the last is the constant)", ylabel="rows", title="Mass of the network on each column")
figure.colorbar(image, ax=right, label="root of its share")
plt.show()

# %%
# The network predicts the class of new rows as soon as there are enough rows for its mass to be on the two columns. The
# kernel has the same features at every size.
