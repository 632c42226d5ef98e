"""
How does the tangent kernel compare with a forest and a trained network?
========================================================================

This example uses one real table, and the defaults of all models. The five models use the same folds, and each row is
scored as a held-out row. Nothing is chosen on the held-out rows: the kernel and the networks choose their penalty by
leave-one-out within their training rows.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy import stats
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_ltdl import LazyNetClassifier, NTKKernelClassifier, SAGClassifier

X, y = load_breast_cancer(return_X_y=True)
models = {
    "linear": SAGClassifier(random_state=0),
    "tangent kernel": NTKKernelClassifier(kernel="ntk"),
    "network": LazyNetClassifier(scale=0.1, random_state=0),
    "random forest": RandomForestClassifier(random_state=0),
    "boosted trees": HistGradientBoostingClassifier(random_state=0),
}

# %%
# The loss is minus the logarithm of the probability of the true class. The comparison is paired: for each row, it takes
# the loss of another model minus the loss of the kernel.

folds = StratifiedKFold(5, shuffle=True, random_state=0)
losses = {}
for name, model in models.items():
    given = cross_val_predict(make_pipeline(StandardScaler(), model), X, y, cv=folds, method="predict_proba")
    losses[name] = -np.log(np.maximum(given[np.arange(len(y)), y], 1 / len(y)))  # a forest may predict 0
others = [name for name in models if name != "tangent kernel"]
excess = {name: losses[name] - losses["tangent kernel"] for name in others}
means = np.array([excess[name].mean() for name in others])
half_widths = [stats.t.ppf(0.975, len(y) - 1) * stats.sem(excess[name]) for name in others]

figure, axes = plt.subplots(figsize=(6, 3.5), layout="constrained")
axes.errorbar(means, others, xerr=half_widths, fmt="o", capsize=4)
axes.axvline(0, color="black", linestyle=":")
axes.set(xlabel="log loss minus that of the tangent kernel, mean and 95 % interval", ylim=(len(others) - 0.5, -0.5))
axes.set_title(f"Breast cancer: {len(y)} rows, mean log loss of the kernel {losses['tangent kernel'].mean():.3f}")
plt.show()

# %%
# On these rows, the network and the linear model tie with the kernel; the network takes several times as long to fit.
# The forest is worse, and the boosted trees probably are, too. One table proves nothing about others. `compare` makes
# the same comparison on your table, with intervals that also account for how the folds were drawn.
