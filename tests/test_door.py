"""The door: types of public names without imports, and how results are shown."""

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sklearn.utils._testing import assert_docstring_consistency

import sklearn_ltdl
import sklearn_ltdl.study
import sklearn_ltdl.tables
from sklearn_ltdl import LazyNetClassifier, LazyNetRegressor, NTKKernelClassifier, NTKKernelRegressor
from sklearn_ltdl._shown import MOST_ROWS
from sklearn_ltdl.results import Certificate, RegularizationPath, Trace
from sklearn_ltdl.study._comparison import Comparison
from sklearn_ltdl.study._verdict import Verdict


@pytest.mark.parametrize("package", [sklearn_ltdl, sklearn_ltdl.study, sklearn_ltdl.tables])
def test_type_checkers_read_the_names_that_are_loaded(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    typed = {
        alias.name: node.module.removeprefix(f"{package.__name__}.") for node in block.body for alias in node.names
    }
    assert typed == package._MODULE_OF
    assert {*package.__all__} - {"__version__"} == {*typed}


def test_the_door_loads_neither_jax_nor_numba():
    packages = "sys, sklearn_ltdl, sklearn_ltdl.study, sklearn_ltdl.tables"
    code = f"import {packages}; print({{'jax', 'numba', 'sklearn', 'pandas'}} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"


def certificate():
    return Certificate(1.0, 0.5, 0.5, 0.1, None, "<script>", True)


def comparison():
    verdict = Verdict("linear", "Class <b>x</b> & y", {"signal": {"question": "any <i>", "answer": "yes"}})
    row = {"method": "<img>", "score": 0.5, "score_low": 0.4, "score_high": 0.6, "loss": 1.0, "fit_seconds": 0.1}
    methods = [{**row, "family": family, "notes": ["<u>"], "failure": None} for family in ("dummy", "linear")]
    settings = {"task": "regression", "scoring": "<a>", "margin": 0.01, "warnings": ["<u>"]}
    return Comparison(verdict, tuple(methods), (), {}, settings)


@pytest.mark.parametrize("result", [certificate(), comparison(), comparison().verdict])
def test_html_escapes_all_text(result):
    page = result._repr_html_()
    assert not any(tag in page for tag in ("<script", "<img", "<a>", "<i>", "<u>", "<b>x"))
    assert "&lt;" in page


def test_a_long_table_is_cut_in_the_middle():
    column = np.arange(100.0)
    page = Trace(column, column, column, column, column)._repr_html_()
    assert page.count("<tr>") == MOST_ROWS + 2  # its header, and a row of dots
    assert ">99<" in page
    assert ">50<" not in page


def test_the_repr_of_a_result_is_one_line():
    ones = np.ones(3)
    path = RegularizationPath(ones, np.ones((3, 2)), ones, ones, ones, ("sag",) * 3)
    for result in (certificate(), comparison(), path):
        assert len(repr(result).splitlines()) == 1
        assert len(repr(result)) < 500


@pytest.mark.parametrize(
    ("pair", "shared"),
    [
        ((LazyNetRegressor, LazyNetClassifier), ["width", "depth", "scale", "init_scale"]),
        ((NTKKernelRegressor, NTKKernelClassifier), ["kernel", "depth", "activation"]),
    ],
)
def test_pairs_describe_their_shared_parameters_alike(pair, shared):
    assert_docstring_consistency(list(pair), include_params=shared)
