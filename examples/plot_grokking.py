"""
Grokking: the network fits its rows as a kernel, and generalises when its kernel turns
======================================================================================

A network may fit its training rows early, and predict new rows only much later. Kumar, Bordelon, Gershman and Pehlevan
(2024, arXiv:2310.06110) explain this "grokking" as a transition from lazy to rich training: the first kernel fits the
rows, but is the wrong one for the target, and features come late if the network is nearly lazy. This example repeats
their experiment of polynomial regression at a smaller size, and follows the kernel with `regime_path`.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import regime_path

rng = np.random.default_rng(0)
direction = rng.standard_normal(40)
direction *= 40**0.5 / np.linalg.norm(direction)
X, X_new = rng.standard_normal((200, 40)) / 40**0.5, rng.standard_normal((300, 40)) / 40**0.5
y, y_new = (((rows @ direction) ** 2 - 1) / 2 for rows in (X, X_new))

# %%
# The target is a square of one direction. The network is a committee of 300 neurons with the activation h + h^2 / 8,
# whose first kernel mostly sees linear functions, which tell nothing of the target. The output is multiplied by a
# scale, and is zero at the start. The larger the scale, the less the weights have to move.

first = rng.standard_normal((300, 40))


def network(weights, X):
    def mean(weights):
        h = X @ weights["hidden"].T
        return jnp.mean(h + h**2 / 8, axis=1)

    return weights["scale"] * (mean(weights) - mean({"hidden": first}))


def trained(scale, steps):
    """Return the weights at each of the steps of gradient descent."""

    def step(_, hidden):
        def loss(hidden):
            return jnp.mean((network({"hidden": hidden, "scale": scale}, X) - y) ** 2) / 2

        return hidden - 600 / scale**2 * jax.grad(loss)(hidden)

    run = jax.jit(lambda hidden, n: jax.lax.fori_loop(0, n, step, hidden))
    checkpoints = [jnp.asarray(first)]
    for n in np.diff(steps, prepend=0)[1:]:
        checkpoints.append(run(checkpoints[-1], n))
    return checkpoints


# %%
# Three scales are trained by the same number of steps, with a rate such that all of them start alike.

figure, axes = plt.subplots(2, 3, figsize=(13, 7), layout="constrained", sharex=True, sharey="row")
halved = {}
for column, scale in zip(axes.T, (1, 4, 40)):
    steps = np.unique(np.r_[0, np.geomspace(1, 20_000, 18).astype(int)])
    checkpoints = trained(scale, steps)

    def scaled(hidden, X, scale=scale):
        return network({"hidden": hidden, "scale": scale}, X)

    path = regime_path(scaled, checkpoints, X_new, y_new, steps=steps)
    fitted = np.array([np.mean((scaled(hidden, X) - y) ** 2) for hidden in checkpoints])
    errors = {"training rows": fitted / np.var(y), "new rows": path.losses / np.var(y_new)}
    for name, error in errors.items():
        column[0].semilogx(steps[1:], error[1:], label=name)
    halved[scale] = [int(steps[np.argmax(error < 0.5)]) for error in errors.values()], errors, path
    column[0].set_title(f"scale {scale}")
    column[1].semilogx(steps[1:], path.alignments[1:], "C2", label="alignment with the target")
    column[1].semilogx(steps[1:], path.kernel_distances[1:], "C3", label="distance from the first kernel")
    column[1].set_xlabel("step")
axes[0, 0].set_ylabel("squared error over the variance")
axes[0, 0].legend(loc="lower left")
axes[1, 0].set_ylabel("tangent kernel on new rows")
axes[1, 0].legend(loc="upper left")
plt.show()

# %%
# The next lines print the first of these steps at which each error is below a half (0 is never), the last errors, and
# the alignment of the first and the last kernel with the target:

for scale, (at, errors, path) in halved.items():
    last = ", ".join(f"{error[-1]:.2f}" for error in errors.values())
    print(f"scale {scale}: steps {at}, last errors {last}, alignment {path.alignments[[0, -1]].round(3).tolist()}")

# %%
# At first all three networks fit the training rows as their first kernel would, and the error on new rows *rises*. At
# scale 40 it stays so: the rows are fitted perfectly, the kernel has not changed, and new rows are predicted hardly
# better than by their mean. At scale 4, half of the error on the training rows is gone after 189 steps, and half of
# that on new rows ten times later, as the kernel turns towards the target: the network is nearly lazy, and features
# come late. At scale 1 the kernel turns while the rows are being fitted, and the delay is shorter. As in the paper,
# this takes neither weight decay nor an adaptive optimiser.
