"""
Silent alignment: the kernel turns before the loss falls
========================================================

A network that starts from small weights learns its kernel first: the tangent kernel turns to the target while the loss
has hardly moved, and then only grows (Atanasov, Bordelon and Pehlevan 2022, arXiv:2111.00034, figure 1). A network that
starts from larger weights is lazy here: its kernel hardly turns, and does not grow.
"""

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

from sklearn_ltdl import RegimePathDisplay

rng = np.random.default_rng(0)
X, X_new = rng.standard_normal((2, 300, 10))
direction = rng.standard_normal(10) / 10**0.5
y, y_new = X @ direction, X_new @ direction


def network(weights, X):
    return X @ weights["hidden"] @ weights["readout"]


@jax.jit
def step(weights):
    slopes = jax.grad(lambda w: jnp.mean((network(w, X) - y) ** 2) / 2)(weights)
    return jax.tree.map(lambda w, slope: w - 0.02 * slope, weights, slopes)


# %%
# Two layers without an activation, as in the paper, so that the function is linear in the rows from the start to the
# end, and only the kernel can change. Gradient descent on all rows; checkpoints are copies by themselves, since arrays
# of JAX do not change.


def trained(size, n_steps):
    weights = {
        "hidden": size * rng.standard_normal((10, 50)) / 10**0.5,
        "readout": size * rng.standard_normal(50) / 50**0.5,
    }
    checkpoints = [weights]
    for _ in range(n_steps):
        checkpoints.append(step(checkpoints[-1]))
    return checkpoints


figure, axes = plt.subplots(2, 3, figsize=(14, 7), layout="constrained", sharex="row")
paths = {}
for row, (size, n_steps, every) in zip(axes, ((0.01, 500, 20), (1.0, 60, 3))):
    checkpoints = trained(size, n_steps)[::every]
    display = RegimePathDisplay.from_estimator(
        network, checkpoints, X_new, y_new, steps=every * np.arange(len(checkpoints)), axes=row
    )
    paths[size] = display.path
    row[0].set_title(f"first weights of size {size}")
plt.show()

# %%
# How high the loss of the small start still is when its kernel has turned nine tenths of its way to the target:

path = paths[0.01]
gained = (path.alignments - path.alignments[0]) / (path.alignments[-1] - path.alignments[0])
turned = np.argmax(gained >= 0.9)
print(f"step {path.steps[turned]}: loss {path.losses[turned] / path.losses[0]:.2f} of that at the start")
print(f"alignment {path.alignments[0]:.2f} -> {path.alignments[turned]:.2f}, at the end {path.alignments[-1]:.2f}")
print(f"norm of the kernel {path.kernel_norms[turned] / path.kernel_norms[-1]:.2f} of that at the end")
path = paths[1.0]
print(f"large start: alignment {path.alignments[0]:.2f} -> {path.alignments[-1]:.2f}")

# %%
# From small weights the kernel has turned while the loss is 0.98 of what it was, and while its norm is a hundredth of
# the last one: it turns first, and grows then. From large weights it does neither.
