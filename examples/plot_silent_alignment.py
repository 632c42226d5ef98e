"""
Silent alignment: the kernel turns before the loss falls
========================================================

A network that starts from small weights learns its kernel first. Its tangent kernel turns towards the target before the
loss has fallen noticeably, and afterwards it only grows (Atanasov, Bordelon and Pehlevan 2022, arXiv:2111.00034, figure
1). In this example, a network that starts from larger weights is lazy: its kernel hardly turns, and does not grow.
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
# As in the paper, the network has two layers without an activation. The function is therefore linear in the rows
# throughout, and only the kernel can change. Gradient descent uses all rows. Checkpoints need not be copied, because
# JAX arrays are immutable.


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
    row[0].set_title(f"initial weights of size {size}")
plt.show()

# %%
# The next lines print the loss of the small start at the step at which its kernel has turned nine tenths of the way to
# the target:

path = paths[0.01]
gained = (path.alignments - path.alignments[0]) / (path.alignments[-1] - path.alignments[0])
turned = np.argmax(gained >= 0.9)
print(f"step {path.steps[turned]}: loss {path.losses[turned] / path.losses[0]:.2f} of that at the start")
print(f"alignment {path.alignments[0]:.2f} -> {path.alignments[turned]:.2f}, at the end {path.alignments[-1]:.2f}")
print(f"norm of the kernel {path.kernel_norms[turned] / path.kernel_norms[-1]:.2f} of that at the end")
path = paths[1.0]
print(f"large start: alignment {path.alignments[0]:.2f} -> {path.alignments[-1]:.2f}")

# %%
# From small weights, the kernel has turned when the loss is still 0.98 of its initial value, and when the norm of the
# kernel is a hundredth of its final value. The kernel turns first, and grows afterwards. From large weights, it does
# neither.
