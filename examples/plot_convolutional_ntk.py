"""
What does a convolutional NTK know that another does not?
=========================================================

It knows that a digit moved to the side is the same digit. Consider an infinitely wide network that ends in a global
average over positions. Its kernel does not change when an image is shifted (around its edges), so its predictions do
not change either, by construction. A fully connected network has to see the shifted digits to recognise them.

`neural-tangents <https://github.com/google/neural-tangents>`_ describes the kernels of many architectures. `StaxKernel`
turns such a kernel into a kernel between the rows of a table. `load_neural_tangents` explains how to install the
package without TensorFlow.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from sklearn_ltdl import NTKKernelClassifier
from sklearn_ltdl.ntk import StaxKernel, load_neural_tangents

# %%
# Digits of 8 x 8 pixels are read as 8 columns of 8 channels. Convolutions over all pairs of pixels in two dimensions
# would take 64 times as long.

images, y = load_digits(return_X_y=True)
images = images.reshape(-1, 8, 8) / 16
rows = np.random.default_rng(0).permutation(len(y))
train, new = rows[:300], rows[300:600]


def table(images, shift=0):
    """Return one row per image, column by column, after a shift to the right around the edge."""
    return np.roll(images, shift, axis=2).transpose(0, 2, 1).reshape(len(images), -1)


# %%
# The networks differ in the layer after the convolution: a dense layer on all positions, or on their average.

stax = load_neural_tangents().stax


def convolutional(*read_out):
    """Return the kernel of a layer of 5-column filters, a ReLU, and the given read-out."""
    layers = stax.Conv(1, (5,), padding="CIRCULAR", W_std=2**0.5, b_std=0.1), stax.Relu(), *read_out
    return StaxKernel(stax.serial(*layers, stax.Dense(1, W_std=2**0.5, b_std=0.1))[2], input_shape=(8, 8))


kernels = {
    "convolution, averaged": convolutional(stax.GlobalAvgPool()),
    "convolution, flattened": convolutional(stax.Flatten()),
    "fully connected": "ntk",
}

# %%
# Each kernel is fitted to 300 digits in their original position, with its penalty by leave-one-out. It then predicts
# 300 other digits, which are shifted.

shifts = range(-4, 5)
figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name, kernel in kernels.items():
    model = NTKKernelClassifier(kernel=kernel).fit(table(images[train]), y[train])
    accuracy = [100 * model.score(table(images[new], shift), y[new]) for shift in shifts]
    axes.plot(shifts, accuracy, marker="o", label=name)
axes.axhline(10, color="black", linestyle=":", label="chance")
axes.set(xlabel="shift in pixels of the digits to classify", ylabel="accuracy, %", ylim=(0, 100))
axes.set_title("Digits: 300 to fit, none of them moved")
axes.legend(loc="upper right", bbox_to_anchor=(1, 0.92))
plt.show()
