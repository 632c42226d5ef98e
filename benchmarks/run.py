"""Run a small case of each part and, with --quick, every script of this folder in its small size; keep the times.

    python benchmarks/run.py --quick --json benchmarks/results/VERSION.json   # some minutes
    python benchmarks/run.py --compare OLD.json NEW.json                      # lists what became slower

A script is skipped, with the reason, if a package that it needs is not installed, or if it needs tables and --data is
not given. A script that fails is reported, and the exit status is then 1.

Each result has the wall clock and the processor time, in seconds. The comparison uses the processor time, which depends
less on other load; both files should be from the same machine. The exit status is 1 if a case takes more than --ratio
times as long and at least --seconds longer, or if it no longer runs.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).resolve().parent
NEEDS = {  # packages that a script cannot do without
    "architectures": ("torch",),
    "networks": ("jax", "torch"),
    "regimes": ("jax",),
    "tangent_gram": ("jax", "neural_tangents"),
    "torch_kernels": ("torch",),
    "torch_resnet": ("torch",),
}
TABLES = "DATA"  # in place of the folder of tables
CLOCKS = ("wall", "processor")
RESULTS = "RESULTS"  # in place of a temporary path for results
ARGUMENTS = {  # of a script; several runs are named after the script and its first argument
    "architectures": [(RESULTS,)],
    "atlas": [(TABLES, RESULTS, "--n-jobs", "1")],
    "calibration": [(RESULTS, "--data", TABLES, "--n-jobs", "1")],
    "large_table_story": [("--folder", RESULTS)],
    "large_tables": [("--folder", RESULTS)],
    "ntk_regression": [("penalty",), ("large",)],
    "regimes": [(TABLES,)],
    "tabular_suite": [(TABLES, "--results", RESULTS)],
}


def cases(n):
    """Return functions of no argument by name, each on about n rows."""
    import numpy as np

    from sklearn_ltdl import (
        LazyNetRegressor,
        MeanFieldTwoLayerNet,
        NTKKernelRegressor,
        RFMRegressor,
        SAGClassifier,
        compare,
    )
    from sklearn_ltdl.ntk import NTK

    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, 10))
    y = np.sin(X[:, 0]) + X[:, 1] * X[:, 2]
    few = slice(n // 4)
    return {
        "sag": lambda: SAGClassifier(solver="sag", random_state=0).fit(X, y > 0).dual_gap_,
        "newton": lambda: SAGClassifier(solver="auto", random_state=0).fit(X, y > 0).dual_gap_,
        "ntk_gram": lambda: float(NTK(depth=3)(X).mean()),
        "ntk_regression": lambda: NTKKernelRegressor(kernel="ntk").fit(X, y).score(X, y),
        "rfm": lambda: RFMRegressor(max_rounds=2, random_state=0).fit(X[few], y[few]).score(X, y),
        "lazy": lambda: LazyNetRegressor(width=64, tol=1e-2, random_state=0).fit(X[few], y[few]).score(X, y),
        "mean_field": lambda: MeanFieldTwoLayerNet(width=64, tol=1e-2, random_state=0).fit(X[few], y[few]).score(X, y),
        "compare": lambda: compare(X[few], y[few], models=["linear", "ntk", "forest"], random_state=0).verdict.code,
    }


def time_case(case, least=0.5):
    """Return the outcome of a case and its median times, of at least 3 calls and `least` seconds after a first one."""
    outcome, runs = case(), []
    while len(runs) < 3 or sum(wall for wall, _ in runs) < least:
        start = time.perf_counter(), time.process_time()
        case()
        runs.append((time.perf_counter() - start[0], time.process_time() - start[1]))
    wall, processor = map(statistics.median, zip(*runs))
    kept = outcome if isinstance(outcome, str) else float(outcome)
    return {"wall": round(wall, 4), "processor": round(processor, 4), "outcome": kept}


def scripts():
    """Return the runs of the scripts: by name, the script and its arguments."""
    runs = {}
    for path in sorted(HERE.glob("*.py")):
        if path.samefile(__file__):
            continue
        several = ARGUMENTS.get(path.stem, [()])
        for arguments in several:
            name = f"{path.name} {arguments[0]}" if len(several) > 1 else path.name
            runs[name] = path, arguments
    return runs


def reason_to_skip(path, arguments, data):
    """Return why a script cannot run here, or None."""
    missing = [package for package in NEEDS.get(path.stem, ()) if find_spec(package) is None]
    if missing:
        return f"needs {', '.join(missing)}"
    if TABLES in arguments and data is None:
        return "needs --data"
    return None


def clocks():
    """Return the wall clock and the processor time of the processes that this one started and that have ended."""
    times = os.times()
    return time.perf_counter(), times.children_user + times.children_system


def run_script(path, arguments, data, limit):
    """Return the times of a script in its small size, or why it was skipped or failed."""
    reason = reason_to_skip(path, arguments, data)
    if reason is not None:
        return {"skipped": reason}
    with TemporaryDirectory() as folder:
        places = {TABLES: str(data), RESULTS: str(Path(folder) / "results")}
        command = [sys.executable, str(path), "--quick", *(places.get(argument, argument) for argument in arguments)]
        start = clocks()
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                timeout=limit,
                check=False,
                env={"OMP_NUM_THREADS": "1", **os.environ},
            )
        except subprocess.TimeoutExpired:
            return {"failed": f"more than {limit:g} s"}
        ended = clocks()
    if done.returncode:
        return {"failed": (done.stderr or done.stdout).strip().rpartition("\n")[2]}
    wall, processor = (round(now - then, 2) for now, then in zip(ended, start))
    return {"wall": wall, "processor": processor, "outcome": "ran"}


def machine():
    """Return what the times depend on."""
    from joblib import cpu_count

    import sklearn_ltdl

    return {
        "version": sklearn_ltdl.__version__,
        "python": platform.python_version(),
        "cores": cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def slowdowns(old, new, ratio, seconds):
    """Return a line for each case of the old results that is slower, or does not run, in the new ones."""
    lines = []
    for name, before in old["results"].items():
        if "processor" not in before:
            continue
        after = new["results"].get(name, {"failed": "no such case"})
        if "skipped" in after:
            continue
        if "processor" not in after:
            lines.append(f"{name}: ran before, now fails: {after['failed']}")
            continue
        was, now = before["processor"], after["processor"]
        if now > ratio * was and now - was >= seconds:
            lines.append(f"{name}: {was:.2f} s before, now {now:.2f} s, {now / max(was, 1e-3):.1f} times as long")
    return lines


def measure(quick, data, limit):
    """Run everything, print each result, and return all of them by name."""
    results = {}

    def show(name, result):
        results[name] = result
        times = "".join(f"{result[clock]:>11.3f}" if clock in result else f"{'-':>11}" for clock in CLOCKS)
        said = "; ".join(f"{key}: {value}" for key, value in result.items() if key not in CLOCKS)
        print(f"{name:<28}{times}   {said}", flush=True)

    print(f"{'seconds':<28}" + "".join(f"{clock:>11}" for clock in CLOCKS))
    for name, case in cases(400 if quick else 2000).items():
        show(name, time_case(case))
    if quick:
        for name, (path, arguments) in scripts().items():
            show(name, run_script(path, arguments, data, limit))
    return results


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="400 rows in place of 2000, and all scripts in small")
    parser.add_argument("--json", type=Path, help="file for the results")
    parser.add_argument("--data", type=Path, help="folder of tables, with load.py and index.json")
    parser.add_argument("--limit", type=float, default=300.0, help="seconds after which a script counts as failed")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("OLD", "NEW"), help="compare two files of results")
    parser.add_argument("--ratio", type=float, default=1.5, help="of the times, up to which a case is no slower")
    parser.add_argument("--seconds", type=float, default=0.02, help="difference below which a case is no slower")
    options = parser.parse_args(arguments)
    if options.compare:
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in options.compare)
        lines = slowdowns(old, new, options.ratio, options.seconds)
        print("\n".join(lines) or "nothing became slower")
        return int(bool(lines))
    results = measure(options.quick, options.data, options.limit)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        kept = {"machine": machine(), "quick": options.quick, "results": results}
        options.json.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    return int(any("failed" in result for result in results.values()))


if __name__ == "__main__":
    sys.exit(main())
