"""
Does this table need feature learning?
======================================

A table whose target depends on few directions among its columns. :func:`~sklearn_ltdl.compare` fits a linear model, a
kernel, one network twice, lazy and rich, and trees on the same folds, and answers from paired differences of their
losses on rows that none has seen. With ``curves=True`` the network is trained at several scales of its output as well:
nothing else changes between the left, where it learns features, and the right, where it is its own tangent kernel.
"""

import matplotlib.pyplot as plt

from sklearn_ltdl import ComparisonDisplay, LazyToRichDisplay, compare
from sklearn_ltdl.datasets import make_multi_index

X, y = make_multi_index(300, n_features=8, random_state=0)
models = ["linear", "ntk", "lazy", "rich", "forest"]
comparison = compare(X, y, models=models, curves=True)
print(comparison)

# %%
# The scores, and the differences on which the verdict rests. Within the margin, shaded, two models count as equal.

ComparisonDisplay(comparison).plot()

# %%
# The network from rich to lazy, with the kernel, the trees and the linear model as lines.

LazyToRichDisplay(comparison).plot()
plt.show()
