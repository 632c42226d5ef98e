"""A forked child of a process in which JAX ran: JAX would hang there, so networks refuse; all else works."""

import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks by default")


def in_a_process(code):
    """Return what a script prints that may fork, within a minute: a hang is a failure."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SETUP = """
import multiprocessing as mp
import numpy as np
from sklearn_ltdl import LazyNetRegressor, MeanFieldTwoLayerNet, NTKKernelRegressor, TangentFeatures

X = np.random.default_rng(0).normal(size=(30, 2))
y = X[:, 0]

def tried(model):
    try:
        model.fit(X, y)
    except RuntimeError as error:
        return str(error)
    return "fitted"
"""


def test_networks_say_what_to_use_instead_of_a_fork():
    out = in_a_process(
        SETUP
        + """
first = MeanFieldTwoLayerNet(width=4, max_iter=5).fit(X, y)
with mp.get_context("fork").Pool(1) as pool:
    for model in (MeanFieldTwoLayerNet(width=4, max_iter=5), LazyNetRegressor(width=4, max_iter=5)):
        print(pool.apply_async(tried, (model,)).get(50))
    print(pool.apply_async(tried, (NTKKernelRegressor(),)).get(50))
    print(np.array_equal(pool.apply_async(first.predict, (X,)).get(50), first.predict(X)))
"""
    ).splitlines()
    for refused in out[:2]:
        for remedy in ("forked", "spawn", "loky", "threads"):
            assert remedy in refused
    assert out[2:] == ["fitted", "True"]


def test_a_fork_is_noticed_where_the_parent_ran_jax_itself():
    out = in_a_process(
        SETUP
        + """
import jax.numpy
jax.numpy.zeros(3)
with mp.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(tried, (MeanFieldTwoLayerNet(width=4, max_iter=5),)).get(50))
"""
    )
    assert "forked after JAX had run" in out


def test_a_fork_before_jax_runs_is_fine():
    out = in_a_process(
        SETUP
        + """
with mp.get_context("fork").Pool(1) as pool:
    print(pool.apply_async(tried, (MeanFieldTwoLayerNet(width=4, max_iter=5),)).get(50))
print(tried(MeanFieldTwoLayerNet(width=4, max_iter=5)))
"""
    )
    assert out.split() == ["fitted", "fitted"]
