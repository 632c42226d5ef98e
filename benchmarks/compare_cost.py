"""How long does `compare` take with its defaults, and how much memory do its processes take together?

    OMP_NUM_THREADS=1 python benchmarks/compare_cost.py --rows 5000 --columns 30

Memory is the sum over the processes of their proportional set sizes, which counts shared pages once, three times a
second; the peak is printed with its parts. Needs Linux.
"""

import argparse
import os
import threading
import time
from pathlib import Path

import numpy as np

from sklearn_ltdl import compare

GIB = 2**20  # of the KiB of /proc


def processes(root):
    """Return a process and those that descend from it."""
    found = [root]
    for pid in found:
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            found += map(int, children.read_text().split())
    return found


def proportional_set_size(pid):
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / GIB


def watch(stop, peak):
    """Keep in `peak` the sizes of all processes, in GiB, when their sum was largest."""
    while not stop.wait(0.3):
        try:
            sizes = [proportional_set_size(pid) for pid in processes(os.getpid())]
        except (OSError, StopIteration):  # a process has ended meanwhile
            continue
        if sum(sizes) > sum(peak):
            peak[:] = sizes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=5000)
    parser.add_argument("--columns", type=int, default=30)
    parser.add_argument("--n-jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="100 rows and 5 columns")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.columns = 100, 5
    rng = np.random.default_rng(0)
    X = rng.standard_normal((options.rows, options.columns))
    y = np.abs(X[:, :3]).sum(axis=1) + X[:, 3] + 0.3 * rng.standard_normal(options.rows)
    stop, peak = threading.Event(), [0.0]
    watcher = threading.Thread(target=watch, args=(stop, peak))
    watcher.start()
    start = time.perf_counter()
    try:
        comparison = compare(X, y, n_jobs=options.n_jobs)
    finally:
        seconds = time.perf_counter() - start
        stop.set()
        watcher.join()
    print(comparison)
    parts = ", ".join(f"{size:.2f}" for size in sorted(peak, reverse=True))
    print(f"\n{seconds:.0f} s; at most {sum(peak):.2f} GiB ({parts}); load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
