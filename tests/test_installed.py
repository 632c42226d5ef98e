"""The package where it may not write: installed read-only, without a home, on a full disk."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import sklearn_ltdl

FITS = """
import numpy as np
import sklearn_ltdl
from sklearn_ltdl import NTKKernelRegressor, SAGClassifier
from sklearn_ltdl.ntk import NTK

X = np.random.default_rng(0).normal(size=(1100, 3))
y = X[:, 0]
assert sklearn_ltdl.__file__.startswith({folder!r}), sklearn_ltdl.__file__
for depth in (1, 3):  # more than 2**20 entries are computed in compiled tiles
    K = NTK(depth=depth)(X)
    assert np.allclose(K[:5, :5], NTK(depth=depth)(X[:5]), rtol=1e-12)
for solver in ("saga", "sdca"):
    assert SAGClassifier(solver=solver).fit(X, y > 0).score(X, y > 0) > 0.95
"""


def without_a_cache(**environment):
    """Return an environment in which numba is not told where to keep its code."""
    return {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")} | environment


def run(code, env, folder):
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], capture_output=True, text=True, env=env, cwd=folder, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_compiled_code_works_where_no_folder_can_be_written(tmp_path):
    package = tmp_path / "sklearn_ltdl"
    shutil.copytree(Path(sklearn_ltdl.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    for folder in [package, *(path for path in package.rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")  # no folder can be made here, not even by root
    run(FITS.format(folder=str(package)), without_a_cache(PYTHONPATH=str(tmp_path), HOME="/proc/nohome"), tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="limits of processes are POSIX's")
def test_compiled_code_works_on_a_full_disk(tmp_path):
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    here = str(Path(sklearn_ltdl.__file__).parents[1])
    run(full + FITS.format(folder=here), without_a_cache(NUMBA_CACHE_DIR=str(tmp_path), PYTHONPATH=here), tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and path.stat().st_size]
