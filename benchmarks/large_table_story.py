"""From ten million rows on disk to predictions, on one machine: made, compared, fitted and predicted, as one script.

Each step prints its seconds of the clock and of the processor. The table has twenty columns, and its target depends on
six directions of them, so that the comparison should ask for a model that learns features.

    python benchmarks/large_table_story.py --folder /tmp/story --rows 1e7
"""

import argparse
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from large_tables import NAMES, table, write

from sklearn_ltdl import MeanFieldTwoLayerNet, NTKKernelRegressor, SAGRegressor, compare, scan

MODELS = {
    "linear": SAGRegressor(),
    "ntk": NTKKernelRegressor(depth=1, n_components=512, random_state=0),
    "network": MeanFieldTwoLayerNet(random_state=0),
}


@contextmanager
def step(name):
    """Print the seconds of a step."""
    wall, processor = time.perf_counter(), time.process_time()
    yield
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    print(f"{name:22} {wall:6.0f} s, {processor:6.1f} s of processor", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=float, default=1e6)
    parser.add_argument("--passes", type=int, default=10, help="of the network, at most")
    parser.add_argument("--quick", action="store_true", help="ten thousand rows")
    arguments = parser.parse_args()
    n = 10_000 if arguments.quick else int(arguments.rows)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    path, predicted = arguments.folder / "rows.parquet", arguments.folder / "predicted.parquet"
    with step(f"make {n} rows"):
        write(path, n)
    rows = scan(path, target="y", columns=NAMES)
    with step("compare"):
        comparison = compare(rows, sample=500 if arguments.quick else 2000, models=["linear", "ntk", "rich"], cv=3)
    print(comparison.verdict.line)
    new = table(np.random.default_rng(2), 20_000).to_pandas()
    MODELS["network"].set_params(max_iter=2 if arguments.quick else arguments.passes)
    for name, model in MODELS.items():
        with step(f"fit {name}"):
            model.fit(rows)
        print(f"{'':22} R2 {model.score(new[NAMES], new['y']):.4f}")
    with step("predict all rows"), pq.ParquetWriter(predicted, pa.schema([("predicted", pa.float64())])) as writer:
        for X, _, _ in rows:
            writer.write_table(pa.table({"predicted": MODELS["network"].predict(X)}))


if __name__ == "__main__":
    main()
