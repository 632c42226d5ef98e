"""Kernels of functions of JAX from their products with weights, against plain gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sklearn_ltdl.diagnostics._functions import function_of
from sklearn_ltdl.diagnostics._jax_layers import products_of
from sklearn_ltdl.diagnostics._trained import trained_network


def dense(p, X):
    return jax.nn.relu(X @ p["a"] + p["bias"]) @ p["b"]


def one_row(p, x):
    return p["c"] @ jnp.tanh(p["a"].T @ x + p["bias"])


def sequences(p, X):
    X = jnp.stack([X, X**2, jnp.sin(X)], axis=1)  # (n, 3, d)
    return jnp.einsum("ntd,do->no", jnp.tanh(X @ p["a"]), p["b"])


def late(p, X):
    X = jnp.stack([X, X**2], axis=1)
    return jnp.sum(jnp.tanh(X @ p["wide"]) ** 2, axis=(1, 2))[:, None] * X[:, 0, :2]


def tied(p, X):
    return jnp.tanh(X @ p["a"]) @ p["a"].T[:, :2]


def twice(p, X):
    return jnp.tanh(jnp.tanh(X @ p["square"]) @ p["square"]) @ p["out"]


def heads(p, X):
    queries = jnp.einsum("nd,hde->nhe", X, p["heads"])
    return jnp.sum(jax.nn.softmax(queries, axis=2) ** 2, axis=2)


def scanned(p, X):
    hidden = jax.lax.scan(lambda h, w: (jnp.tanh(h @ w), None), X, p["stack"])[0]
    return hidden @ p["out"]


def convolved(p, X):
    return jax.lax.conv(X[:, None], p["filter"], (1,), "SAME").mean(axis=2) @ p["few"]


def remembered(p, X):
    return jax.checkpoint(lambda X: jnp.tanh(X @ p["a"]))(X) @ p["b"]


def choosing(p, X):
    return jnp.where(X[:, :1] > 0, X @ p["out"], X @ p["other"]) + p["out"].sum()


SHAPES = {"a": (4, 5), "b": (5, 2), "bias": (5,), "c": (2, 5), "wide": (4, 60), "square": (4, 4), "out": (4, 2)}
SHAPES |= {"heads": (2, 4, 3), "stack": (3, 4, 4), "filter": (3, 1, 2), "few": (3, 2), "other": (4, 2)}
FUNCTIONS = {  # the function, its weights, and those that are in a product of their own
    "dense": (dense, "a b bias", "a b"),
    "compiled": (jax.jit(dense), "a b bias", "a b"),
    "row by row": (lambda p, X: jax.vmap(one_row, (None, 0))(p, X), "a bias c", "a c"),
    "sequences": (sequences, "a b", "a b"),
    "late": (late, "wide", "wide"),
    "tied": (tied, "a", ""),
    "twice": (twice, "square out", "out"),
    "heads": (heads, "heads", "heads"),
    "scanned": (scanned, "stack out", "out"),
    "convolved": (convolved, "filter few", "few"),
    "rematerialised": (remembered, "a b", "b"),
    "choosing": (choosing, "out other", "other"),
}


@pytest.fixture(params=FUNCTIONS)
def applied(request, rng):
    function, names, expected = FUNCTIONS[request.param]
    before, after = ({name: rng.standard_normal(SHAPES[name]) for name in names.split()} for _ in range(2))
    return function_of(function, before, after), expected


def test_products_are_found_in_the_formula(applied, rng):
    found, expected = applied
    for n in (1, 4, 5, 7):  # sizes of the weights among them
        with jax.enable_x64(True):
            weights = tuple(jnp.asarray(layer) for layer in found.after)
            products = products_of(found.applied, weights, jnp.asarray(rng.standard_normal((n, 4))))[1]
        assert " ".join(sorted(found.names[product.leaf] for product in products)) == expected


def test_the_kernel_by_products_is_that_of_plain_gradients(applied, rng):
    function, weights, X = applied[0].applied, applied[0].after, rng.standard_normal((7, 4))
    plain = function._plain(weights, X)
    np.testing.assert_allclose(function._by_products(weights, X), plain, rtol=0, atol=1e-13 * plain.max())
    cross = function._by_products(weights, X[:3], X[2:])
    np.testing.assert_allclose(cross, plain[:3, 2:], rtol=0, atol=1e-13 * plain.max())


def test_a_kernel_that_products_do_not_give_comes_from_plain_gradients(rng, monkeypatch):
    """As if a product had been found that is none."""
    before, after = ({"a": rng.standard_normal((4, 5)), "b": rng.standard_normal((5, 2))} for _ in range(2))
    X, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 2))
    function = FUNCTIONS["rematerialised"][0]
    trained, rows, _, notes = trained_network(function, X, y, before=before, after=after)
    expected = trained.function.kernel(trained.after, rows)
    assert not notes
    monkeypatch.setattr("sklearn_ltdl.diagnostics._jax.product_gram", lambda read, *_: 1.0)
    trained, rows, _, notes = trained_network(function, X, y, before=before, after=after)
    assert any("plain gradients" in note for note in notes)
    np.testing.assert_allclose(trained.function.kernel(trained.after, rows), expected, rtol=1e-12)


def test_signs_stand_for_many_outputs(rng):
    """With 5 signs over 300 outputs of random directions the kernel is right to a few per cent."""

    def function(p, X):
        return jnp.tanh(X @ p["a"]) @ p["b"]

    before, after = ({"a": rng.standard_normal((4, 30)), "b": rng.standard_normal((30, 300))} for _ in range(2))
    X, y = rng.standard_normal((12, 4)), rng.standard_normal((12, 300))
    trained, rows, _, notes = trained_network(function, X, y, before=before, after=after)
    assert any("random combinations of the 300 outputs" in note for note in notes)
    hidden = np.tanh(X @ trained.after[0])
    slopes = (1 - hidden**2)[:, None] * trained.after[1].T  # (n, outputs, hidden)
    exact = hidden @ hidden.T + np.einsum("ikh,jkh->ij", slopes, slopes) * (X @ X.T) / 300
    found = trained.function.kernel(trained.after, rows)
    assert np.linalg.norm(found - exact) < 0.15 * np.linalg.norm(exact)
