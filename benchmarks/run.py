"""A small size of each part in one command: ``python benchmarks/run.py --quick --json FILE`` keeps the seconds."""

import argparse
import json
import platform
import time
from pathlib import Path

import numpy as np
from joblib import cpu_count

import sklearn_ltdl
from sklearn_ltdl import (
    LazyNetRegressor,
    MeanFieldTwoLayerNet,
    NTKKernelRegressor,
    RFMRegressor,
    SAGClassifier,
    compare,
)
from sklearn_ltdl.ntk import NTK


def cases(n):
    """Return functions of no argument by name, each on about n rows."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    few = slice(n // 4)
    return {
        "sag": lambda: SAGClassifier(solver="sag", random_state=0).fit(X, y > 0).dual_gap_,
        "newton": lambda: SAGClassifier(solver="auto", random_state=0).fit(X, y > 0).dual_gap_,
        "ntk_gram": lambda: float(NTK(depth=3)(X).mean()),
        "ntk_regression": lambda: NTKKernelRegressor().fit(X, y).score(X, y),
        "rfm": lambda: RFMRegressor(max_rounds=2, random_state=0).fit(X[few], y[few]).score(X, y),
        "lazy": lambda: LazyNetRegressor(width=64, tol=1e-2, random_state=0).fit(X[few], y[few]).score(X, y),
        "mean_field": lambda: MeanFieldTwoLayerNet(width=64, tol=1e-2, random_state=0).fit(X[few], y[few]).score(X, y),
        "compare": lambda: compare(X[few], y[few], models=["linear", "ntk", "forest"], random_state=0).verdict.code,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="400 rows in place of 2000")
    parser.add_argument("--json", type=Path, help="file for the results")
    options = parser.parse_args()
    results = {}
    for name, case in cases(400 if options.quick else 2000).items():
        case()  # compiles
        start = time.perf_counter()
        outcome = case()
        seconds = time.perf_counter() - start
        results[name] = {"seconds": seconds, "outcome": outcome if isinstance(outcome, str) else float(outcome)}
        print(f"{name:<15} {seconds:>9.3f} s   {results[name]['outcome']}", flush=True)
    if options.json:
        machine = {"version": sklearn_ltdl.__version__, "python": platform.python_version(), "cores": cpu_count()}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps({"machine": machine, "quick": options.quick, "results": results}, indent=1))
