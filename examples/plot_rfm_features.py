"""
RFM finds the features
======================

Four of twelve columns make the target of this table, three of them as a product. A kernel treats all columns alike. A
recursive feature machine measures how the prediction of the fitted kernel machine changes along each column, stretches
the table accordingly, and fits again. It repeats this for as many rounds as lower the error on held-out rows. Does it
find the four columns?
"""

import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import AGOPDisplay, RFMRegressor

rng = np.random.default_rng(0)
X = rng.standard_normal((2600, 12))
y = X[:, 0] * X[:, 1] * X[:, 2] + 0.85 * X[:, 3] + 0.1 * rng.standard_normal(2600)
train, new = slice(600), slice(600, None)

plain = RFMRegressor(depth=1, max_rounds=0).fit(X[train], y[train])  # the kernel machine alone
model = RFMRegressor(depth=1, random_state=0).fit(X[train], y[train])

# %%
# The held-out rows of each fold choose the number of rounds. Their targets are not used in the stretching that they
# judge. Three metrics compete: the whole average gradient outer product, its diagonal, and a diagonal that starts from
# the squared residuals. The title of the left panel gives the R2 on new rows that no fold contains, for the kernel
# machine and for the rounds. The right panel shows the average gradient outer product. Its diagonal is large for the
# columns that matter.

figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", width_ratios=[1, 1.2])
for metric, errors in model.cv_errors_.items():
    left.plot(errors, marker="o", label=metric)
chosen = model.cv_errors_[model.metric_][model.n_rounds_]
left.scatter(model.n_rounds_, chosen, s=150, facecolors="none", edgecolors="black", label="chosen")
left.set(xlabel="rounds", ylabel="held-out squared error, over the target's variance", ylim=(0, None))
left.set_title(
    f"New rows: R2 {plain.score(X[new], y[new]):.2f} without rounds, {model.score(X[new], y[new]):.2f} as chosen"
)
left.legend()
AGOPDisplay.from_estimator(model, ax=right)
right.set_title("Target made of x0 x1 x2 and x3")
plt.show()
