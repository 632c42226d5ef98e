"""What the architecture promises: imports go down and stay cheap, every public object is documented."""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpydoc.validate import validate

import sklearn_ltdl
from sklearn_ltdl.activations import ACTIVATIONS
from sklearn_ltdl.losses import LOSSES

PACKAGE = Path(sklearn_ltdl.__file__).parent
ROOT = Path(__file__).parents[1]
SLICES = ("rows", "linear", "networks", "ntk", "diagnostics", "tables", "running", "study")
MAY_USE = {
    "rows": set(),
    "linear": {"rows"},
    "ntk": {"rows"},
    "networks": {"rows", "ntk"},
    "diagnostics": {"networks", "ntk"},
    "tables": set(),
    "running": set(),
    "study": {"rows", "linear", "networks", "ntk", "diagnostics", "tables", "running"},
    "_arguments.py": {"tables", "running", "study"},
    "cli.py": {"diagnostics", "tables", "running", "study"},
    "torch.py": {"diagnostics"},
}
HEAVY = {
    "numba": {"linear/_columns.py", "linear/_epochs.py", "linear/_passes.py", "ntk/_tiles.py", "_backends/numba.py"},
    "torch": {f"diagnostics/_torch{part}.py" for part in ("", "_function", "_layers", "_rows", "_start")},
    "jax": {
        "networks/_flow.py",
        "networks/_objective.py",
        "diagnostics/_jax.py",
        "diagnostics/_jax_layers.py",
        "_backends/jax.py",
    },
    "matplotlib": set(),
    "pandas": set(),
}
FILES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))


def imports(file, *, at_top):
    """Return the modules that a file imports, by their full names: at its top only, or anywhere."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    nodes = tree.body if at_top else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("file", FILES)
def test_imports_go_down_only(file):
    home = file.split("/")[0]
    ours = {name.split(".")[1] for name in imports(file, at_top=False) if name.startswith("sklearn_ltdl.")}
    used = ours & set(SLICES)
    if file == "__init__.py":
        return  # it imports for type checkers only, as tests/test_door.py says
    assert used <= MAY_USE[home] | {home} if home in MAY_USE else not used


@pytest.mark.parametrize("file", FILES)
def test_no_import_hides_behind_a_name(file):
    """The names of the package are imported, so that a reader and the test above see what depends on what."""
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    looked_up = (
        ast.unparse(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "getattr" and node.args
    )
    assert "sklearn_ltdl" not in looked_up
    if file != "__init__.py":
        assert not {f"sklearn_ltdl.{name}" for name in sklearn_ltdl._MODULE_OF} & imports(file, at_top=False)


@pytest.mark.parametrize("file", FILES)
def test_what_is_slow_to_import_is_imported_where_it_is_used(file):
    roots = {name.split(".")[0] for name in imports(file, at_top=True)}
    assert all(file in allowed for module, allowed in HEAVY.items() if module in roots)


@pytest.mark.parametrize("file", FILES)
def test_private_names_of_scikit_learn_are_in_one_file(file):
    private = {
        name
        for name in imports(file, at_top=False)
        if name.startswith("sklearn.") and any(part.startswith("_") for part in name.split("."))
    }
    assert file == "_sklearn.py" or not private


def run(code):
    """Return what a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()


def test_the_package_imports_neither_jax_nor_numba_nor_pandas():
    code = "import sys, sklearn_ltdl; print(*(m for m in ('jax', 'numba', 'pandas', 'matplotlib') if m in sys.modules))"
    assert run(code) == []


def test_a_direct_linear_fit_and_a_kernel_fit_do_without_jax():
    code = (
        "import sys, numpy as np, sklearn_ltdl as s; X = np.arange(12.0).reshape(6, 2) ** 2; y = X[:, 0]; "
        "s.SAGRegressor().fit(X, y); s.SAGRegressor(solver='sag', alpha=1.0).fit(X / 100, y); "
        "s.NTKKernelRegressor().fit(X, y); print('jax' in sys.modules)"
    )
    assert run(code) == ["False"]


def test_prediction_of_a_network_does_without_jax(tmp_path):
    import joblib

    X = np.arange(12.0).reshape(6, 2)
    net = sklearn_ltdl.LazyNetRegressor(width=4, alpha=1e-2, tol=1.0, random_state=0).fit(X / 6, X[:, 0])
    joblib.dump(net, tmp_path / "net.joblib")
    code = (
        f"import sys, joblib; net = joblib.load({str(tmp_path / 'net.joblib')!r}); "
        "net.predict([[0.5, 1.0]]); print('jax' in sys.modules)"
    )
    assert run(code) == ["False"]


def test_the_package_lists_what_it_offers():
    assert {*sklearn_ltdl.__all__} <= {*dir(sklearn_ltdl)}
    for name in sklearn_ltdl.__all__:
        assert getattr(sklearn_ltdl, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'SAGRegresor'"):
        sklearn_ltdl.SAGRegresor  # noqa: B018


def public_objects():
    """Return the full names of the public objects and their public methods."""
    for name in sorted({*sklearn_ltdl.__all__} - {"__version__"}):
        item = getattr(sklearn_ltdl, name)
        home = f"{item.__module__}.{item.__qualname__}"
        yield home
        if isinstance(item, type):
            yield from (
                f"{home}.{method}" for method, value in vars(item).items() if method[0] != "_" and callable(value)
            )
    for module in ("datasets",):
        yield from (
            f"sklearn_ltdl.{module}.{name}"
            for name in vars(importlib.import_module(f"sklearn_ltdl.{module}"))
            if name.startswith("make_")
        )


@pytest.mark.parametrize("name", list(public_objects()))
def test_public_objects_have_whole_numpydoc_docstrings(name):
    """Summary, every parameter with a type, and what is returned; the rest is left to the writer."""
    wanted = {"GL08", "SS01", "SS03", "PR01", "PR02", "PR03", "PR04", "PR10", "RT01"}
    errors = [f"{code}: {text}" for code, text in validate(name)["errors"] if code in wanted]
    assert not errors


def test_the_documentation_lists_every_public_name():
    listed = (ROOT / "docs" / "api.rst").read_text(encoding="utf-8").split()
    modules = [importlib.import_module(f"sklearn_ltdl.{name}") for name in SLICES if name != "running"]
    public = {name for module in (sklearn_ltdl, *modules) for name in module.__all__} - {"__version__"}
    assert public <= set(listed)


def test_tests_that_the_documentation_names_exist():
    page = (ROOT / "docs" / "theory.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page)
    assert len(named) > 20
    assert not [test for file, test in named if f"def {test}(" not in (ROOT / file).read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_of_losses_are_those_of_their_values(name, rng):
    loss, step = LOSSES[name], 1e-5
    z, y = rng.standard_normal((40, 3)), np.eye(3)[rng.integers(3, size=40)]
    for k in range(3):
        e = step * np.eye(3)[k]
        difference = loss.value(z + e, y) - loss.value(z - e, y)
        numeric = (difference if loss.coupled else difference[:, k]) / (2 * step)
        np.testing.assert_allclose(loss.derivative(z, y)[:, k], numeric, atol=1e-9)  # O(step^2)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_derivatives_of_activations_are_those_of_their_values(name, rng):
    activation, step, z = ACTIVATIONS[name], 1e-5, rng.standard_normal(100)
    numeric = (activation.value(z + step) - activation.value(z - step)) / (2 * step)
    np.testing.assert_allclose(activation.derivative(z), numeric, atol=1e-9)  # O(step^2); no z is within it of 0


@pytest.mark.parametrize("name", LOSSES)
def test_fenchel_young_losses_are_bregman_divergences(name, rng):
    """With u the derivative at z0, l*(u) = u z0 - l(z0), so that it is l(z) - l(z0) - u (z - z0)."""
    loss = LOSSES[name]
    z, z0, y = *rng.normal(0, 3, (2, 200, 3)), np.eye(3)[rng.integers(3, size=200)]
    u = loss.derivative(z0, y)
    inner = u * (z - z0)
    expected = loss.value(z, y) - loss.value(z0, y) - (inner.sum(axis=1) if loss.coupled else inner)
    np.testing.assert_allclose(loss.fenchel_young(z, u, y), expected, atol=1e-12)
    assert np.min(loss.fenchel_young(z, u, y)) >= 0
