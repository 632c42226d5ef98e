"""Measures of the code: size, functions, files, functions that write to an estimator, and known types."""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
LONG_FILE = 500
_ESTIMATOR = {"estimator", "model", "self", "net"}


def functions_of(tree):
    """Yield all functions of a module, with the class of each or None."""

    def visit(node, owner):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                yield child, owner
            yield from visit(child, child if isinstance(child, ast.ClassDef) else owner)

    return visit(tree, None)


def length(function):
    """Return the lines of code of a function, without its docstring."""
    first = function.body[0]
    lines = function.end_lineno - function.lineno + 1
    return lines - (first.end_lineno - first.lineno + 1 if ast.get_docstring(function) is not None else 0)


def writes_to_its_first(function):
    """Return whether a function assigns attributes of its first parameter, which is an estimator by its name."""
    arguments = function.args.posonlyargs + function.args.args
    if not arguments or arguments[0].arg not in _ESTIMATOR:
        return False
    first = arguments[0].arg
    for node in ast.walk(function):
        written = isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del)
        if written and isinstance(node.value, ast.Name) and node.value.id == first:
            return True
        called = isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "setattr"
        if called and isinstance(node.args[0], ast.Name) and node.args[0].id == first:
            return True
    return False


def measures():
    """Return the measures of the package by name."""
    files = {path: path.read_text(encoding="utf-8") for path in sorted((ROOT / "sklearn_ltdl").rglob("*.py"))}
    sizes = {str(path.relative_to(ROOT)): len(text.splitlines()) for path, text in files.items()}
    lengths, writers = {}, []
    for path, text in files.items():
        for function, owner in functions_of(ast.parse(text)):
            name = f"{path.relative_to(ROOT)}:{function.name}"
            lengths[f"{name}:{function.lineno}"] = length(function)
            if owner is None and writes_to_its_first(function):
                writers.append(name)
    sample = np.array(list(lengths.values()))
    return {
        "package lines": sum(sizes.values()),
        "functions": len(sample),
        "median lines of a function": float(np.median(sample)),
        "95th percentile": float(np.percentile(sample, 95)),
        "longest": max(lengths.items(), key=lambda pair: pair[1]),
        f"files over {LONG_FILE} lines": {name: size for name, size in sizes.items() if size > LONG_FILE},
        "functions outside classes that write to an estimator": writers,
    }


def _write_stubs(folder, package):
    """Write stubs of what is imported from a package that states no types: known classes; all else is Any."""
    names = {}
    for path in (ROOT / "sklearn_ltdl").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == package:
                names.setdefault(node.module, set()).update(alias.name for alias in node.names)
    for module in {package} | set(names):
        path = Path(folder, f"{package}-stubs", *module.split(".")[1:], "__init__.pyi")
        path.parent.mkdir(parents=True, exist_ok=True)
        classes = sorted(name for name in names.get(module, ()) if name[0].isupper())
        lines = [f"class {name}:\n    def __getattr__(self, name: str) -> Any: ..." for name in classes]
        path.write_text("\n".join(["from typing import Any", *lines, "def __getattr__(name: str) -> Any: ...", ""]))


def completeness(strict=False):
    """Return the share of exported symbols with known types, by pyright, on a copy: an editable install has none.

    scikit-learn states no types, and `--verifytypes` infers none, so that every subclass of its classes would be
    unknown. Its classes therefore count as known, as does PyTorch's `nn.Module`; strict counts them as unknown.
    """
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable]
    command += ["--verifytypes", "sklearn_ltdl", "--ignoreexternal", "--outputjson"]
    with TemporaryDirectory() as folder:
        shutil.copytree(ROOT / "sklearn_ltdl", Path(folder) / "sklearn_ltdl")
        if not strict:
            for package in ("sklearn", "torch"):
                _write_stubs(folder, package)
        environment = {**os.environ, "PYTHONPATH": folder}
        answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)
    return json.loads(answer.stdout)["typeCompleteness"]


class Way(NamedTuple):
    """The way through the files of the package that a reader takes who follows the calls of a command in order.

    Each function is read when it is called for the first time. A stay is a sequence of functions of one file; a return
    is a stay in a file that was read before and left. Imports, lambdas and comprehensions are left out, and so are the
    estimators (`linear`, `ntk` and `networks`), which the command calls as those of any library.
    """

    stays: list
    files: int
    functions: int
    returns: int


_TRACED = """
import contextlib, importlib, io, json, pkgutil, sys, tomllib, warnings
warnings.simplefilter("ignore")
import sklearn_ltdl
for module in pkgutil.walk_packages(sklearn_ltdl.__path__, "sklearn_ltdl."):
    with contextlib.suppress(Exception):
        importlib.import_module(module.name)
root, calls, seen = sklearn_ltdl.__path__[0], [], set()

def follow(frame, event, _):
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(root) and code not in seen:
        seen.add(code)
        calls.append((code.co_filename[len(root) + 1 :], code.co_name))

with open(root + "/../pyproject.toml", "rb") as file:
    module, _, name = tomllib.load(file)["project"]["scripts"]["ltdl"].partition(":")
main = getattr(importlib.import_module(module), name)
sys.setprofile(follow)
with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
    code = main(sys.argv[1:])
sys.setprofile(None)
print(json.dumps([code, calls]))
"""


def way_of_compare(root=ROOT):
    """Return the `Way` of a small `ltdl compare` from a CSV file to an HTML report, in the main process."""
    with TemporaryDirectory() as folder:
        table, report = Path(folder, "table.csv"), Path(folder, "report.html")
        X = np.random.default_rng(0).normal(size=(60, 3)).round(3)
        lines = [f"{a},{b},{c},{a - b + c:.3f}" for a, b, c in X]
        table.write_text("\n".join(["a,b,c,y", *lines, ""]), encoding="utf-8")
        options = ["--models", "linear", "forest", "--cv", "2", "--random-state", "0", "--html", str(report)]
        command = [sys.executable, "-c", _TRACED, "compare", str(table), *options]
        environment = {**os.environ, "PYTHONPATH": str(root)}
        answer = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=True)
        assert report.exists(), answer.stderr
    calls = [
        file
        for file, name in json.loads(answer.stdout)[1]
        if not name.startswith("<") and Path(file).parts[0] not in ("linear", "ntk", "networks")
    ]
    stays = [file for file, before in zip(calls, [None, *calls]) if file != before]
    return Way(stays, len(set(stays)), len(calls), len(stays) - len(set(stays)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--types", action="store_true", help="also run pyright")
    parser.add_argument("--way", action="store_true", help="also follow the calls of a small `ltdl compare`")
    options = parser.parse_args()
    found = measures()
    if options.way:
        way = way_of_compare()
        found["stays of `ltdl compare`"] = " > ".join(way.stays)
        found["files, functions, returns to an earlier file"] = way.files, way.functions, way.returns
    if options.types:
        for name, strict in (("", False), (" where scikit-learn's classes count as unknown", True)):
            known = completeness(strict)
            share = f"{100 * known['completenessScore']:.1f} %"
            found[f"symbols with known types{name}"] = share, known["exportedSymbolCounts"]
    for name, value in found.items():
        print(f"{name}: {value}")
