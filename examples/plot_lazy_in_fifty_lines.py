"""
Lazy and mean-field training in fifty lines of NumPy
====================================================

The two dynamics of a layer of neurons, written out. Both are gradient descent on the same network; they differ by the
factor of the output and by what the penalty pulls towards. With the factor ``scale / sqrt(m)`` and a large scale the
weights hardly move: training is lazy (Chizat, Oyallon and Bach 2019). With the factor ``1 / m`` each neuron is a
particle that moves by itself (Chizat and Bach 2018).
"""

import matplotlib.pyplot as plt
import numpy as np


def tangent_eigenvalue(phi, y, A, B, n_iter=30):
    """Return the largest eigenvalue of the centred tangent kernel, by power iterations."""
    n, m = len(phi), len(A)
    act = np.tanh(phi @ A.T)
    slope = (1 - act**2) * B[:, 0]
    K = (act @ act.T + (slope @ slope.T) * (phi @ phi.T)) / (n * m)
    v = y[:, 0] + np.cos(np.arange(n))
    for _ in range(n_iter):
        v -= v.mean()
        v = K @ (v / np.linalg.norm(v))
    return np.linalg.norm(v - v.mean())


def train(X, y, A, B, factor, alpha, *, lazy, n_steps):
    """Return the weights and the objectives of accelerated descent on half the squared error and a penalty.

    The network is ``factor * tanh(phi A') B``; if `lazy`, less its output at the start, where the penalty pulls to.
    """
    n, m = len(X), len(A)
    phi = np.column_stack([X / np.sqrt(X.shape[1]), np.ones(n)])
    start, unit = np.hstack([A, B]), 1 / (factor**2 * m)  # unit: the step that moves f at the rate of its kernel
    centre = start if lazy else 0 * start
    offset = factor * np.tanh(phi @ A.T) @ B if lazy else 0.0

    def objective(w):
        act = np.tanh(phi @ w[:, :-1].T)
        residual = factor * act @ w[:, -1:] - offset - y
        residual -= residual.mean()  # the intercept is fitted exactly
        slope = residual @ w[:, -1:].T * (1 - act**2)
        gradient = factor / n * np.hstack([slope.T @ phi, act.T @ residual])
        value = 0.5 * np.mean(residual**2) + 0.5 * alpha / unit * np.sum((w - centre) ** 2)
        return value, unit * gradient + alpha * (w - centre)

    eta = 1 / (tangent_eigenvalue(phi, y, A, B) + alpha)
    w = last = start
    (value, gradient), age, losses = objective(w), 0, []
    for _ in range(n_steps):
        losses.append(value)
        ahead = w - eta * gradient
        point = ahead + age / (age + 3) * (ahead - last)
        new_value, new_gradient = objective(point)
        if new_value <= value:
            w, last, value, gradient, age = point, ahead, new_value, new_gradient, age + 1
        else:  # the momentum went too far: start again from here, with half the step if there was none
            age, eta = 0, eta if age > 0 else eta / 2
    return w, [*losses, value]


# %%
# A target of one direction, and 300 neurons. Lazy training with two scales, and mean-field training.

rng = np.random.default_rng(0)
X = rng.standard_normal((200, 5))
y = np.abs(X[:, :1])
y = (y - y.mean()) / y.std()
m = 300
A, B = rng.standard_normal((m, 6)), rng.standard_normal((m, 1))
runs = {
    "lazy, scale 10": train(X, y, A, B, 10 / np.sqrt(m), 1e-3, lazy=True, n_steps=300),
    "lazy, scale 0.1": train(X, y, A, B, 0.1 / np.sqrt(m), 1e-3, lazy=True, n_steps=300),
    "mean-field": train(X, y, A, B, 1 / m, 1e-3, lazy=False, n_steps=300),
}
fig, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for name, (w, losses) in runs.items():
    left.semilogy(losses, label=name)
    moved = np.linalg.norm(w - np.hstack([A, B]), axis=1) / np.linalg.norm(np.hstack([A, B]), axis=1)
    right.plot(np.sort(moved), np.linspace(0, 1, m), label=name)
left.set(xlabel="step", ylabel="objective", title="All three learn")
right.set(xscale="log", xlabel="distance that a neuron moved, in units of its size", title="but only some move")
right.set_ylabel("share of the neurons")
left.legend()
plt.show()

# %%
# At scale 10 the neurons move by about one per cent of their size; at scale 0.1 and in the mean-field scaling they move
# by as much as they are long. The classes :class:`~sklearn_ltdl.LazyNetRegressor` and
# :class:`~sklearn_ltdl.MeanFieldTwoLayerNet` do the same steps, to ten digits, as a test says.
