"""Ten million rows on the disk of one machine: how long do fits take, and how much memory?

Writes a Parquet file of `--rows` rows of 20 columns in single precision, whose target depends on six directions, fits
each model to it in a process of its own, and predicts a million new rows by `ltdl predict`. Printed are the processor
time of each fit, reading included, the peak of its process's memory, and R2 or accuracy on new rows. ``--workers 2``
adds the times with that many worker processes of Dask, and a digest of the coefficients, which should be the same.

    python benchmarks/large_tables.py --folder /tmp/large --rows 1e7
"""

import argparse
import hashlib
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from sklearn_ltdl import NTKKernelClassifier, NTKKernelRegressor, SAGClassifier, SAGRegressor, scan
from sklearn_ltdl.study._saved import save

NAMES = [f"x{j}" for j in range(20)]
GROUP = 2**16
MODELS = {
    "squares": (SAGRegressor(), "y"),
    "logistic": (SAGClassifier(tol=1e-8), "label"),
    "ntk 512": (NTKKernelRegressor(depth=1, n_components=512, random_state=0), "y"),
    "ntk 512, classes": (NTKKernelClassifier(depth=1, n_components=512, random_state=0), "label"),
}


def table(rng, n):
    """Return rows of a teacher of six directions plus noise."""
    X = rng.standard_normal((n, 20), dtype=np.float32)
    Z = X @ (np.random.default_rng(1).standard_normal((20, 6)) / np.sqrt(20))
    f = np.tanh(2 * Z[:, 0]) + np.abs(Z[:, 1]) * Z[:, 2] + np.sin(2 * Z[:, 3]) + Z[:, 4] * Z[:, 5]
    y = (f + 0.5 * rng.standard_normal(n)).astype(np.float32)
    return pa.table({**dict(zip(NAMES, X.T)), "y": y, "label": f + 0.5 * rng.logistic(size=n) > 0})


def write(path, n):
    rng, done = np.random.default_rng(0), 0
    with pq.ParquetWriter(path, table(rng, 1).schema, compression="zstd") as writer:
        while done < n:
            writer.write_table(table(rng, min(GROUP, n - done)), row_group_size=GROUP)
            done += GROUP


def peak():
    """Return the peak of this process's memory in MB, where the system says it."""
    status = Path("/proc/self/status")
    return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024 if status.exists() else np.nan


def fit(path, name, workers):
    """Fit one model in this process, and print a line."""
    model, target = MODELS[name]
    rows = scan(path, target=target, columns=NAMES)
    client = nullcontext()
    if workers:
        from distributed import Client

        client = Client(n_workers=workers, threads_per_worker=1, dashboard_address=":0")
    with client:
        wall, processor = time.perf_counter(), time.process_time()
        model.fit(rows)
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
    new = table(np.random.default_rng(2), 20_000).to_pandas()
    coef = model.dual_coef_ if hasattr(model, "dual_coef_") else model.coef_
    digest = hashlib.sha256(np.ascontiguousarray(coef)).hexdigest()
    print(
        f"{name:18} {processor:8.1f} s of processor, {1e6 * processor / len(rows):6.2f} us a row, {wall:6.0f} s, "
        f"{peak():5.0f} MB, score {model.score(new[NAMES], new[target]):.4f}, coefficients {digest[:8]}"
        + (f", {workers} workers" if workers else ""),
        flush=True,
    )
    if not workers:
        save(model, path.with_name(f"{name}.skops"))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=float, default=1e7)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="a hundred thousand rows")
    arguments = parser.parse_args()
    arguments.rows = 1e5 if arguments.quick else arguments.rows
    path = arguments.folder / f"{arguments.rows:g}.parquet"
    if arguments.model is not None:
        fit(path, arguments.model, arguments.workers)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        write(path, int(arguments.rows))
    words = [sys.executable, __file__, "--folder", str(arguments.folder), "--rows", str(arguments.rows)]
    for name in MODELS:
        for workers in {0, arguments.workers}:
            subprocess.run([*words, "--model", name, "--workers", str(workers)], check=True)
    model, new = arguments.folder / "ntk 512.skops", arguments.folder / "new.parquet"
    write(new, min(10**6, int(arguments.rows)))
    start = time.perf_counter()
    command = "import sys; from sklearn_ltdl.cli import main; sys.exit(main(sys.argv[1:]))"
    output = ["-o", arguments.folder / "predicted.parquet"]
    subprocess.run([sys.executable, "-c", command, "predict", model, new, *output, "--quiet"], check=True)
    print(f"ltdl predict, {min(1e6, arguments.rows):g} rows: {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
