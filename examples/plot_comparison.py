"""
Does this table need feature learning?
======================================

The target of this table depends on a few directions of its columns. :func:`~sklearn_ltdl.compare` fits a linear model,
a kernel, a lazy and a rich version of one network, and trees on the same folds. It answers from paired differences of
their losses on held-out rows. With ``curves=True``, the network is also trained at several scales of its output. Only
this scale changes from the left of the figure, where the network learns features, to the right, where it acts as its
own tangent kernel.
"""

import matplotlib.pyplot as plt

from sklearn_ltdl import ComparisonDisplay, LazyToRichDisplay, compare
from sklearn_ltdl.datasets import make_multi_index

X, y = make_multi_index(300, n_features=8, random_state=0)
models = ["linear", "ntk", "lazy", "rich", "forest"]
comparison = compare(X, y, models=models, curves=True)
print(comparison)

# %%
# The first figure shows the scores, and the differences on which the verdict rests. Two models whose difference lies
# within the shaded margin count as a tie.

ComparisonDisplay(comparison).plot()

# %%
# The second figure shows the network from rich to lazy, with the kernel, the trees and the linear model as lines.

LazyToRichDisplay(comparison).plot()
plt.show()
