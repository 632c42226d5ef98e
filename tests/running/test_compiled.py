"""Compiled networks are shared by workers and runs, in a folder in which no other user can write."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sklearn_ltdl._backends import jax as backend
from sklearn_ltdl.running import _compiled
from sklearn_ltdl.running._compiled import VARIABLE, cache_settings
from sklearn_ltdl.running._pool import run_each
from sklearn_ltdl.running._progress import Progress
from sklearn_ltdl.study._jobs import compile_seconds

POSIX = pytest.mark.skipif(sys.platform == "win32", reason="folders of Windows have no mode")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """The folder that the user names for the cache."""
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    return tmp_path / "cache"


def values_and_hits(x):
    """Return a function of JAX at x, and how often JAX found compiled code in its cache."""
    import jax

    found = []
    jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
    values = np.asarray(jax.jit(lambda x: jax.numpy.sin(x) @ x + 0.25)(x))
    return values, sum(name.endswith("/cache_hits") for name in found)


def test_a_later_run_loads_what_an_earlier_one_compiled(cache):
    before = dict(os.environ), jax.config.jax_compilation_cache_dir
    x = np.linspace(0, 1, 7)
    runs = [dict(run_each(values_and_hits, [(x,)], time_limit=500))[0] for _ in range(2)]
    assert [hits > 0 for _, hits in runs] == [False, True]
    assert runs[0][0] == runs[1][0]
    assert (dict(os.environ), jax.config.jax_compilation_cache_dir) == before
    assert list(cache.glob("jax-*/*-cache"))


def test_the_cache_of_the_user_and_none_are_respected(cache, monkeypatch):
    assert cache_settings(1)["JAX_COMPILATION_CACHE_DIR"].startswith(str(cache.resolve()))
    assert cache_settings(1) != cache_settings(2)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    assert cache_settings(1) == {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    monkeypatch.setenv(VARIABLE, "")
    assert cache_settings(1) == {}


def test_a_folder_that_cannot_be_made_is_done_without(cache):
    cache.write_text("a file")
    assert cache_settings(1) == {}


@POSIX
@pytest.mark.parametrize(("mode", "of_parent", "used"), [
    (0o700, 0o755, True),
    (0o755, 0o755, True),
    (0o770, 0o755, False),
    (0o707, 0o755, False),
    (0o700, 0o777, False),  # others could put another folder in its place
    (0o700, 0o1777, True),  # others could not, as in /tmp
])  # fmt: skip
def test_a_folder_that_others_can_write_to_is_not_used(mode, of_parent, used, cache):
    inner = cache / f"jax-{_compiled._machine(1)}"
    inner.mkdir(parents=True)
    inner.chmod(mode)
    cache.chmod(of_parent)
    assert (cache_settings(1) != {}) is used


@POSIX
@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only the administrator can give files away"
)
def test_a_folder_of_another_user_is_not_used(cache):
    inner = cache / f"jax-{_compiled._machine(1)}"
    inner.mkdir(parents=True, mode=0o700)
    os.chown(inner, 12345, 12345)
    assert cache_settings(1) == {}


def test_the_size_is_bounded_and_only_our_files_are_removed(cache, monkeypatch):
    monkeypatch.setattr(_compiled, "MOST_BYTES", 250)
    inner = cache / "jax-0123456789abcdef"
    inner.mkdir(parents=True)
    for age, name in enumerate(("a-cache", "b-cache", "c-cache", "mine.txt", "empty-cache")):
        (inner / name).write_bytes(b"x" * (0 if name == "empty-cache" else 100))
        os.utime(inner / name, (1e9 + age, 1e9 + age))
    (cache / "old-cache").write_bytes(b"x" * 1000)
    cache_settings(1)
    assert sorted(path.name for path in inner.iterdir()) == ["b-cache", "c-cache", "mine.txt"]
    assert (cache / "old-cache").exists()


def test_the_time_of_compilation_is_measured():
    before, function = compile_seconds(), jax.jit(lambda x: jnp.tanh(x) - 0.125)
    function(jnp.ones(3))
    first = compile_seconds()
    function(jnp.ones(3))
    assert before < first == compile_seconds() == sum(backend.COMPILATIONS)


def test_a_comparison_imports_jax_in_its_workers_alone():
    code = "import sys, sklearn_ltdl.cli, sklearn_ltdl.study; sklearn_ltdl.study.compare; print('jax' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False"]


def test_compilation_is_no_part_of_the_pace():
    progress = Progress(["lazy"] * 4, 0)
    progress.tell("lazy", "fold 1", 100.0, None, 99.0)
    assert progress.seconds_left() == pytest.approx(3.0, rel=1e-3)
    progress.tell("lazy", "fold 1", 1.0, None)
    assert progress.seconds_left() == pytest.approx(2.0, rel=0.02)  # of 101 s, 100 went by here
