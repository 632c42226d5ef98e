import hashlib
import os
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

import sklearn_ltdl

# What is drawn is the same on every run; `--hypothesis-profile=long` draws anew, and much more.
settings.register_profile("short", max_examples=2500, deadline=None, derandomize=True, database=None)
settings.register_profile("long", max_examples=20_000, deadline=None)
settings.load_profile("short")

# numba's disk cache looks at a kernel's own file only, so that an edit elsewhere would serve the old formula:
# the folder is named by the sources.
_sources = sorted(Path(sklearn_ltdl.__file__).parent.rglob("*.py"))
_digest = hashlib.sha256(b"".join(path.read_bytes() for path in _sources)).hexdigest()[:16]
os.environ["NUMBA_CACHE_DIR"] = str(Path(tempfile.gettempdir()) / f"sklearn_ltdl-{_digest}")
os.environ["SKLEARN_LTDL_CACHE"] = os.environ["NUMBA_CACHE_DIR"]

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def dev_sets():
    """Return the loader of the development data sets, which are not shipped for their licences."""
    if not (SHARED / "data" / "load.py").exists():
        pytest.skip("the development data sets are not beside the checkout")
    import importlib.util

    spec = importlib.util.spec_from_file_location("dev_sets", SHARED / "data" / "load.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def load(name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # the loader leaves its index open
            return module.load(name)

    return load


@pytest.fixture
def rng():
    return np.random.default_rng(0)
