"""Digits that kernels keep: closed forms against the recursion in 60 digits, as the papers print it, and the others."""

from itertools import product

import mpmath as mp
import numpy as np
import pytest

from sklearn_ltdl._hermite import hermite_duals, hermite_lack
from sklearn_ltdl.activations import ACTIVATIONS, LeakyRelu, Monomial, Normals
from sklearn_ltdl.ntk import NNGP, NTK, RBF, GaussianProcessKernel, Laplace, _passes, _recursion

DIGITS = 60
SLOPE = 0.25


def erf(p, q, s):  # Williams 1997, equation 10; the derivative is a Gaussian integral
    size = mp.sqrt((1 + 2 * p) * (1 + 2 * q))
    return 2 / mp.pi * mp.asin(2 * s / size), 4 / (mp.pi * mp.sqrt(size**2 - 4 * s**2))


def sin(p, q, s):  # the characteristic functions of u - v and u + v
    near, far = mp.exp(s - (p + q) / 2) / 2, mp.exp(-s - (p + q) / 2) / 2
    return near - far, near + far


def cos(p, q, s):
    return sin(p, q, s)[::-1]


def square(p, q, s):  # Isserlis 1918
    return p * q + 2 * s**2, 4 * s


def cube(p, q, s):
    return 9 * p * q * s + 6 * s**3, 9 * (p * q + 2 * s**2)


def gelu(p, q, s):
    """Take u f(u, v) to derivatives of f (Stein's lemma); a normal density is a factor that makes a new Gaussian."""
    root = mp.sqrt(2 * mp.pi)
    both = mp.mpf(1) / 4 + mp.asin(s / mp.sqrt((1 + p) * (1 + q))) / (2 * mp.pi)  # E Phi(u) Phi(v)
    of_u, of_v = 1 / (root * mp.sqrt(1 + p)), 1 / (root * mp.sqrt(1 + q))  # E phi(u), E phi(v)
    p_, q_ = p - s**2 / (1 + q), q - s**2 / (1 + p)  # variances of u under phi(v), of v under phi(u)
    v_in_u = of_u * q_ / (root * mp.sqrt(1 + q_))  # E v phi(u) Phi(v)
    v_in_v = of_v * s / (1 + q) / (root * mp.sqrt(1 + p_))  # E v Phi(u) phi(v)
    u_in_u = of_u * s / (1 + p) / (root * mp.sqrt(1 + q_))  # E u phi(u) Phi(v)
    full = (1 + p) * (1 + q) - s**2
    return p * v_in_u + s * both + s * v_in_v, both + u_in_u + v_in_v + s / (2 * mp.pi * full * mp.sqrt(full))


def leaky_relu(slope):  # Cho and Saul 2009, equations 4 and 6, of z = max(z, 0) - slope max(-z, 0)
    def duals(p, q, s):
        size = mp.sqrt(p * q)
        angle = mp.acos(max(min(s / size, 1), -1)) if size else mp.pi / 2
        sine = mp.sqrt(max(size**2 - s**2, 0))
        one, other = (sine + (mp.pi - angle) * s) / (2 * mp.pi), (sine - angle * s) / (2 * mp.pi)
        zero = ((1 + slope**2) * (mp.pi - angle) + 2 * slope * angle) / (2 * mp.pi)
        return (1 + slope**2) * one - 2 * slope * other, zero

    return duals


CASES = {  # by name: the activation, its integrals, and the factor of the weights
    "erf": ("erf", erf, 1.0),
    "erf, chaotic": ("erf", erf, 2.0),
    "gelu": ("gelu", gelu, 2**0.5),
    "sin": ("sin", sin, 1.0),
    "sin, chaotic": ("sin", sin, 1.7),
    "cos": ("cos", cos, 1.0),
    "square": ("quadratic", square, 1.0),
    "cube": (Monomial(3), cube, 1.0),
    "relu": ("relu", leaky_relu(0), 2**0.5),
    "leaky_relu": (LeakyRelu(SLOPE), leaky_relu(SLOPE), 1.0),
    "abs": ("abs", leaky_relu(-1), 1.0),
}
NORMS = (1e-8, 1e-3, 1.0, 30.0, 1e4, 1e8, "mixed")


def reference(duals, X, *, depths, w_std, b_std, hidden_b_std):
    """Return {depth: (NNGP, NTK)}, symmetric matrices of numbers of 60 digits."""
    w2, b2, h2 = (mp.mpf(float(a)) ** 2 for a in (w_std, b_std, hidden_b_std))
    rows = [[mp.mpf(float(a)) for a in row] for row in X]
    n, q = len(rows), []
    result = {depth: np.empty((2, n, n), dtype=object) for depth in depths}
    for i in range(n):
        q.append([])
        for j in [i, *range(i)]:
            S = T = w2 * (mp.fdot(rows[i], rows[j]) / len(rows[i]) + b2)
            for layer in range(max(depths) + 1):
                if layer:
                    one, zero = duals(q[i][layer - 1], q[j][layer - 1], S)
                    S = w2 * one + h2
                    T = S + w2 * zero * T
                if i == j:
                    q[i].append(S)
                if layer in result:
                    result[layer][:, i, j] = result[layer][:, j, i] = S, T
    return result


def hard_rows(norm, rng):
    """Return rows that are parallel to 1e-12 and 1e-6, equal, opposite, opposite to 1e-9, zero, multiples, generic."""
    x, y, z = rng.standard_normal((3, 3))
    x /= np.linalg.norm(x)
    X = np.array([x, x + 1e-12 * y, x + 1e-6 * y, x, -x, 1e-9 * z - x, 0 * x, 3 * x, y, z])
    return X * (10.0 ** np.array([-8, -8, 8, 8, 0, 0, 0, -3, -8, 8])[:, None] if norm == "mixed" else norm)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", CASES)
def test_kernels_of_closed_form_keep_their_digits(name, norm, rng):
    activation, duals, w_std = CASES[name]
    depths = (1, 2, 5, 30)
    if name in ("square", "cube"):  # the range of numbers: a power of a power of a power
        depths = (1, 2) if norm in (1e-8, 1e4, 1e8, "mixed") else (1, 2, 3)
    X = hard_rows(norm, rng)
    b_std, hidden_b_std = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.3))[(NORMS.index(norm) + list(CASES).index(name)) % 3]
    options = dict(w_std=w_std, b_std=b_std, hidden_b_std=hidden_b_std)
    with mp.workdps(DIGITS):
        exact = reference(duals, X, depths=depths, **options)
    for depth, matrices in exact.items():
        for get, truth in zip((NNGP, NTK), matrices):
            kernel = get(depth, activation=activation, **options)
            check(kernel, X, truth, 3e-16 * (4 + depth) * amplification(name, depth))


def amplification(name, depth):
    """Return how much a layer's rounding may grow to the last: powers by their degree, angles of a chaotic network."""
    if name in ("square", "cube"):
        return 4.0**depth
    return 1e2 if "chaotic" in name else 3.0


def check(kernel, X, truth, tolerance):
    K, diagonal = kernel(X), kernel.diag(X)
    np.testing.assert_array_equal(K, K.T)
    np.testing.assert_array_equal(diagonal, np.diag(K))
    size = np.sqrt(np.diag(truth).astype(float))
    assert np.all((diagonal == 0) == (size == 0))
    size[size == 0] = 1.0
    by_rows = np.vstack([kernel(x[None], X) for x in X])
    for matrix in (K, by_rows):
        with mp.workdps(DIGITS):
            lacks = (truth - np.vectorize(mp.mpf, otypes=[object])(matrix)).astype(float)
        assert np.all(np.abs(lacks) <= tolerance * np.outer(size, size))
    assert np.linalg.eigvalsh(K / size[:, None] / size)[0] >= -len(X) * tolerance


@pytest.mark.parametrize(
    ("activation", "norm"),
    [
        *product(["erf", "gelu", "sin", "cos"], [1e-8, 1.0, 10.0, 30.0, 1e3, 1e6, 1e17]),
        ("tanh", 1e-8),
        ("tanh", 1.0),
    ],
)
def test_tables_of_rows_of_one_length_have_the_digits_of_the_recursion(activation, norm, rng, monkeypatch):
    X = rng.standard_normal((30, 2))
    X[1], X[2], X[3], X[4] = X[0], -X[0], X[0] + 1e-7 * X[5], X[0] + 1e-2 * X[5]
    X *= norm / np.linalg.norm(X, axis=1)[:, None]
    for get in (NTK, NNGP):
        for depth in (1, 3):
            kernel = get(depth, activation=activation)
            K, size = kernel(X), np.sqrt(kernel.diag(X))
            with monkeypatch.context() as patch:
                patch.setattr(_passes, "SMALL", 0)
                lacks = kernel(X) - K
            # 42 powers of t, of coefficients that are larger than the sum, lose two digits
            assert np.all(np.abs(lacks) <= 1e-13 * (depth + 1) * np.outer(size, size))


def expectations(activation, a, c):
    """Return E[value value] and E[derivative derivative] of deviations a and correlation c by the trapezoid rule."""
    step = min(0.05, 0.4 / a)  # exp(-2 pi (pi / 2 a) / step) is below rounding for tanh, whose pole is the nearest
    z = np.arange(-9.0, 9.0, step)
    weight = np.exp(-z * z / 2) / np.exp(-z * z / 2).sum()
    functions = activation.value, activation.derivative
    if c == 1:
        return np.array([weight @ f(a * z) ** 2 for f in functions])
    v = a * (c * z[:, None] + np.sqrt(1 - c * c) * z)
    return np.array([(weight * f(a * z)) @ (f(v) @ weight) for f in functions])


@pytest.mark.parametrize(
    ("name", "exact", "fine", "rough"), [("tanh", 1, 4, 9), ("sigmoid", 4, 16, 40), ("softplus", 4, 20, 150)]
)
def test_hermite_polynomials_are_as_good_as_the_docstring_says(name, exact, fine, rough):
    activation = ACTIVATIONS.resolve(name)
    for variance in (1e-16, 0.25, exact, fine, rough, 3.0 * rough):
        a = np.array([variance**0.5])
        size, errors = expectations(activation, a[0], 1.0), []
        for c in (-0.999, 0.0, 0.9, 0.999, 1.0):
            duals = hermite_duals(activation, Normals(a, a, np.array([c]), np.array([(1 - abs(c)) / 2]), 0 * a))
            errors.append(np.abs(np.ravel(duals) - expectations(activation, a[0], c)) / size)
        warns = hermite_lack(activation, a) > _recursion.ROUGH
        assert np.max(errors) <= (1e-13 if variance <= exact else 1e-6 if variance <= fine else 1e-3) or warns
        assert warns == (variance > rough)


@pytest.mark.parametrize("norm", [1e-150, 1e-8, 1.0, 1e8, 1e150])
def test_all_kernels_are_finite_symmetric_positive_and_sure_of_their_diagonal(norm, rng):
    X = np.vstack([hard_rows(norm, rng), hard_rows(norm, rng)])
    local = Laplace(norm), RBF(2 * norm), Laplace(1.0), RBF(1e-200), Laplace(1e200)
    relu = NTK(2, hidden_b_std=0.1), NNGP(3, b_std=0.0), NTK(2, b_std=0.5, normalization="scikit-ntk")
    mixed = 0.5 * relu[0] + local[0], relu[1] * local[1], 2.0 * local[0] * local[1] + local[2]
    for kernel in (*local, *relu, *mixed):
        K, diagonal = kernel(X), kernel.diag(X)
        assert np.all(np.isfinite(K))
        np.testing.assert_array_equal(K, K.T)
        np.testing.assert_array_equal(diagonal, np.diag(K))
        np.testing.assert_allclose(GaussianProcessKernel(kernel).diag(X), diagonal)
        size = np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
        assert np.linalg.eigvalsh(K / size[:, None] / size)[0] >= -1e-14 * len(X)
        np.testing.assert_allclose(
            np.vstack([kernel(x[None], X) for x in X]) / size / size[:, None], K / size / size[:, None], atol=1e-13
        )


def test_distances_count_in_length_scales():  # whatever the powers of ten
    for unit in (1e-200, 1e-150, 1.0, 1e150, 1e200):
        X = unit * np.array([[0.0, 0.0], [3.0, 4.0]])
        np.testing.assert_allclose(Laplace(5 * unit)(X)[0, 1], np.exp(-1.0), rtol=1e-15)
        np.testing.assert_allclose(RBF(5 * unit)(X)[0, 1], np.exp(-0.5), rtol=1e-15)
