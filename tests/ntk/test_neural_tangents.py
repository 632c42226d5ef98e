import importlib.util
import json
import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import GridSearchCV
from sklearn.svm import SVC

import sklearn_ltdl
from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl.ntk import NTK, StaxKernel, load_neural_tangents, nngp_kernel, ntk_kernel

ROOT = Path(sklearn_ltdl.__file__).parents[1]
COMMANDS = ["pip install --no-deps neural-tangents==0.6.5", "pip install frozendict"]
GOLDEN = json.loads(Path(__file__).with_name("golden_cnn.json").read_text())
W_STD, B_STD = GOLDEN["W_std"], GOLDEN["b_std"]
OURS = {"ntk": ntk_kernel, "nngp": nngp_kernel}


@pytest.fixture(scope="module")
def stax():
    if importlib.util.find_spec("neural_tangents") is None:
        pytest.skip("neural-tangents is not installed")
    return load_neural_tangents().stax


@pytest.fixture(scope="module")
def network(stax):
    """Return the kernel_fn of a network from a text such as 'Conv3x3 SAME,Relu,Flatten,Dense'."""
    layers = {
        "Conv3x3 SAME": lambda: stax.Conv(1, (3, 3), padding="SAME", W_std=W_STD, b_std=B_STD),
        "Dense": lambda: stax.Dense(1, W_STD, B_STD),
        "Relu": stax.Relu,
        "AvgPool2x2/2": lambda: stax.AvgPool((2, 2), (2, 2)),
        "GlobalAvgPool": stax.GlobalAvgPool,
        "Flatten": stax.Flatten,
    }

    def build(text):
        return stax.serial(*(layers[name]() for name in text.split(",")))[2]

    return build


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:400] / 16, y[:400]


def run(code, *options, **environment):
    """Return what a fresh interpreter prints."""
    process = subprocess.run(
        [sys.executable, *options, "-c", code], capture_output=True, text=True, env={**os.environ, **environment}
    )
    assert process.returncode == 0, process.stderr
    return process.stdout


# The import


@pytest.mark.usefixtures("stax")
@pytest.mark.parametrize("before", ["", "try:\n    import neural_tangents\nexcept ImportError:\n    pass"])
def test_import_leaves_jax_as_it_was_and_does_without_tensorflow(before):
    code = f"""
import sys
import jax.core, jax.extend.core, jax.interpreters.ad
{before}
places = [jax.core, jax.extend.core, jax.interpreters.ad]
before = [dict(vars(place)) for place in places]
from sklearn_ltdl.ntk import load_neural_tangents
module = load_neural_tangents()
assert [dict(vars(place)) for place in places] == before
assert load_neural_tangents() is module
import neural_tangents
assert neural_tangents is module
unwanted = ("jax.util", "tensorflow", "tf2jax", "neural_tangents.experimental")
print([name for name in unwanted if name in sys.modules], jax.config.jax_enable_x64)
"""
    assert run(code).split() == ["[]", "False"]


def test_threads_load_one_module(stax):
    code = """
from concurrent.futures import ThreadPoolExecutor
from sklearn_ltdl.ntk import load_neural_tangents
with ThreadPoolExecutor(4) as pool:
    modules = set(pool.map(lambda _: load_neural_tangents(), range(8)))
print(len(modules), *(hasattr(module, "stax") for module in modules))
"""
    assert run(code).split() == ["1", "True"]


def test_another_version_is_refused_with_the_commands(tmp_path, monkeypatch):
    information = tmp_path / "neural_tangents-0.6.2.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: neural-tangents\nVersion: 0.6.2\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ImportError, match=r"is 0\.6\.2; version 0\.6\.5 is required") as caught:
        load_neural_tangents()
    assert all(command in str(caught.value) for command in COMMANDS)


@pytest.mark.parametrize(
    ("absent", "message"),
    [("neural_tangents", "is not installed"), ("frozendict", "fails to import (ModuleNotFoundError: No module named")],
)
def test_absence_is_told_with_the_commands(tmp_path, absent, message, request):
    if absent == "frozendict":
        request.getfixturevalue("stax")
    for place in {importlib.util.find_spec(name).origin for name in ("numpy", "jax")}:
        for path in Path(place).parents[1].iterdir():  # an environment like this one, less a package
            if not path.name.startswith(absent) and not (tmp_path / path.name).exists():
                (tmp_path / path.name).symlink_to(path)
    code = """
from sklearn_ltdl.ntk import load_neural_tangents
try:
    load_neural_tangents()
except ImportError as error:
    print(error)
"""
    said = run(code, "-S", PYTHONPATH=f"{ROOT}{os.pathsep}{tmp_path}")
    assert message in said
    assert all(command in said for command in COMMANDS)


# Values


@pytest.mark.parametrize("get", ["ntk", "nngp"])
@pytest.mark.parametrize("name", GOLDEN["networks"])
def test_kernels_of_convolutional_networks_equal_reference_values(network, name, get):
    with np.load(Path(__file__).with_name("golden_cnn.npz")) as arrays:
        images, expected = arrays["images"], arrays[f"{name}__{get}"]
    kernel = StaxKernel(network(GOLDEN["networks"][name]), images.shape[1:], get)
    X = images.reshape(len(images), -1)
    # The tangent kernel of parallel images, the diagonal, is good to the root of the rounding.
    np.testing.assert_allclose(kernel(X), expected, rtol=1e-8)
    np.testing.assert_allclose(kernel(X, X[::-1]), expected[:, ::-1], rtol=1e-8)


@pytest.mark.parametrize("get", ["ntk", "nngp"])
def test_kernel_of_a_fully_connected_network_is_ours(network, rng, get):
    X = rng.standard_normal((30, 5))
    stax_kernel = StaxKernel(network("Dense,Relu,Dense,Relu,Dense"), get=get)
    ours = OURS[get](X, depth=2, w_std=W_STD, b_std=B_STD / W_STD, hidden_b_std=B_STD)
    np.testing.assert_allclose(stax_kernel(X), ours, rtol=1e-8)


def test_blocks_are_the_whole(network, digits):
    X = digits[0][:37]
    kernel = StaxKernel(network("Conv3x3 SAME,Relu,Flatten,Dense"), (8, 8, 1))
    whole, cross, diagonal = kernel(X), kernel(X, X[:11]), kernel.diag(X)
    with config_context(working_memory=0.5):  # eleven rows and columns at a time
        # Off the diagonal no angle is small: only the order of sums differs.
        away = ~np.eye(37, dtype=bool)
        np.testing.assert_allclose(kernel(X)[away], whole[away], rtol=1e-12)
        np.testing.assert_allclose(kernel(X, X[:11])[away[:, :11]], cross[away[:, :11]], rtol=1e-12)
        np.testing.assert_allclose(kernel.diag(X), diagonal, rtol=1e-8)
    np.testing.assert_allclose(diagonal, np.diag(whole), rtol=1e-8)


def test_users_precision_is_left_alone_and_threads_have_their_own(network, digits):
    import jax

    X = digits[0][:20]
    kernel = StaxKernel(network("Conv3x3 SAME,Relu,Flatten,Dense"), (8, 8, 1))
    expected = kernel(X)
    with ThreadPoolExecutor(2) as pool:
        for K in pool.map(kernel, [X, X]):
            np.testing.assert_array_equal(K, expected)
    np.testing.assert_array_equal(kernel(X.astype(np.float32)), expected)  # 16 levels, exact in single precision
    assert not jax.config.jax_enable_x64
    with jax.enable_x64(True):
        np.testing.assert_array_equal(kernel(X), expected)


def test_sums_and_products_are_those_of_the_values(network, digits):
    X = digits[0][:20]
    kernel, other = StaxKernel(network("Conv3x3 SAME,Relu,Flatten,Dense"), (8, 8, 1)), NTK(depth=2)
    expected = kernel(X) + 0.5 * kernel(X) * other(X)
    np.testing.assert_allclose((kernel + 0.5 * kernel * other)(X), expected, rtol=1e-14)
    assert kernel(X[0], X[1]) == pytest.approx(kernel(X)[0, 1], rel=1e-12)


# In estimators


def test_estimators_take_a_kernel_fn_of_flat_inputs(network):
    X, y = load_diabetes(return_X_y=True)
    kernel_fn = network("Dense,Relu,Dense")
    expected = NTKKernelRegressor(
        kernel=lambda X, Z: ntk_kernel(X, Z, w_std=W_STD, b_std=B_STD / W_STD, hidden_b_std=B_STD)
    ).fit(X[:90], y[:90])
    for kernel in (kernel_fn, StaxKernel(kernel_fn)):
        model = NTKKernelRegressor(kernel=kernel).fit(X[:90], y[:90])
        assert model.alpha_ == pytest.approx(expected.alpha_, rel=1e-8)
        # The kernel is good to 1e-8 and divided by alpha / mean diagonal > 1e-4.
        np.testing.assert_allclose(model.predict(X[90:]), expected.predict(X[90:]), rtol=1e-4)


def test_pooled_convolutions_know_a_shifted_digit(stax):
    """The kernel of circular convolutions and a global average is invariant under circular shifts of either input.

    Digits are read column by column, so that a shift along the columns is one to the side.
    """
    images, y = load_digits().images[:500] / 16, load_digits().target[:500]
    X = images.transpose(0, 2, 1).reshape(-1, 64)
    shifted = np.roll(images, 1, axis=2).transpose(0, 2, 1).reshape(-1, 64)
    convolution = stax.Conv(1, (5,), padding="CIRCULAR", W_std=W_STD, b_std=B_STD)
    network = stax.serial(convolution, stax.Relu(), stax.GlobalAvgPool(), stax.Dense(1, W_STD, B_STD))
    kernel = StaxKernel(network[2], input_shape=(8, 8))
    np.testing.assert_allclose(kernel(shifted[:50], X[50:100]), kernel(X[:50], X[50:100]), rtol=1e-12)
    pooled = NTKKernelClassifier(kernel=kernel).fit(X[:300], y[:300])
    np.testing.assert_allclose(pooled.decision_function(shifted[300:]), pooled.decision_function(X[300:]), atol=1e-6)
    assert pooled.score(shifted[300:], y[300:]) >= 0.85  # a tenth by chance
    connected = NTKKernelClassifier().fit(X[:300], y[:300])
    assert connected.score(X[300:], y[300:]) >= 0.85
    assert connected.score(shifted[300:], y[300:]) <= 0.6  # which has seen no digit there


def test_support_vectors_take_the_kernel(network, digits):
    X, y = digits
    kernel = StaxKernel(network("Conv3x3 SAME,Relu,Flatten,Dense"), (8, 8, 1))
    called = SVC(kernel=kernel).fit(X[:100], y[:100]).predict(X[100:200])
    given = SVC(kernel="precomputed").fit(kernel(X[:100]), y[:100]).predict(kernel(X[100:200], X[:100]))
    np.testing.assert_array_equal(called, given)


def test_a_fitted_model_is_read_by_another_process(network, digits, tmp_path):
    X, y = digits
    model = NTKKernelClassifier(kernel=StaxKernel(network("Conv3x3 SAME,Relu,Flatten,Dense"), (8, 8, 1)))
    assert clone(model).kernel is model.kernel
    model.fit(X[:60], y[:60])
    (tmp_path / "model.pickle").write_bytes(pickle.dumps(model))
    np.save(tmp_path / "X.npy", X[60:90])
    code = """
import pickle, sys, numpy as np
model = pickle.load(open("model.pickle", "rb"))
np.save("scores.npy", model.decision_function(np.load("X.npy")))
"""
    folder = f"import os; os.chdir({str(tmp_path)!r})\n"
    run(folder + code, PYTHONPATH=str(ROOT))
    np.testing.assert_allclose(np.load(tmp_path / "scores.npy"), model.decision_function(X[60:90]), atol=1e-12)


def test_grid_search_with_two_workers(network, digits):
    X, y = digits
    kernels = [StaxKernel(network(text)) for text in ("Dense", "Dense,Relu,Dense")]
    search = GridSearchCV(NTKKernelClassifier(), {"kernel": kernels}, n_jobs=2, cv=2, error_score="raise")
    search.fit(X[:80], y[:80])
    alone = clone(search).set_params(n_jobs=1).fit(X[:80], y[:80])
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    np.testing.assert_array_equal(search.predict(X[80:]), alone.predict(X[80:]))


# Bad input


def test_what_is_no_kernel_fn_is_refused(stax):
    layer = stax.Dense(1)
    for wrong in (layer, ntk_kernel, "ntk", max):
        with pytest.raises(TypeError, match=r"the third element of stax\.serial"):
            StaxKernel(wrong)
    with pytest.raises(ValueError, match="get must be 'ntk' or 'nngp'; got 'cov'"):
        StaxKernel(layer[2], get="cov")
    with pytest.raises(ValueError, match=r"input_shape must be a tuple of positive integers; got \(8, -1\)"):
        StaxKernel(layer[2], (8, -1))
    assert StaxKernel(layer[2], 64).input_shape == StaxKernel(layer[2], [np.int64(64)]).input_shape == (64,)


def test_inputs_of_another_shape_are_refused(network, digits):
    X, y = digits
    kernel_fn = network("Conv3x3 SAME,Relu,Flatten,Dense")
    with pytest.raises(ValueError, match=r"X has 64 columns, but input_shape=\(8, 8, 3\) needs 192"):
        StaxKernel(kernel_fn, (8, 8, 3))(X)
    with pytest.raises(ValueError, match=r"does not take inputs of shape \(64,\) .*Give StaxKernel\("):
        NTKKernelClassifier(kernel=kernel_fn).fit(X[:20], y[:20])
    with pytest.raises(ValueError, match=r"returns shape \(1, 1, .* End the network with Flatten"):
        StaxKernel(network("Conv3x3 SAME,Relu"), (8, 8, 1))(X)


def test_a_pair_beyond_the_memory_is_refused_before_it_is_computed(network):
    kernel = StaxKernel(network("Conv3x3 SAME,Relu,GlobalAvgPool,Dense"), (512, 512, 1))
    # All pairs of 512^2 pixels, in double precision, are 512 GiB, which intermediate results multiply.
    with pytest.raises(MemoryError, match=r"one pair of inputs of shape \(512, 512, 1\) needs 4194304 MiB"):
        kernel(np.zeros((1, 512 * 512)))


def test_values_that_overflow_are_refused(network):
    X = np.full((4, 3), 1e200)
    with pytest.raises(ValueError, match="overflows double precision; scale the columns"):
        NTKKernelRegressor(kernel=network("Dense,Relu,Dense")).fit(X * np.arange(4)[:, None], np.arange(4.0))
