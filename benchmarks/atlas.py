"""Which tables need feature learning? The verdict of `compare` on every data set, and what predicts it.

    OMP_NUM_THREADS=1 python benchmarks/atlas.py ../shared/data results.jsonl --table atlas.csv --figures docs/images
    OMP_NUM_THREADS=1 python benchmarks/atlas.py ../shared/data results.jsonl --sets sk__diabetes uci__kin40k

Of a larger set, --rows rows are drawn at random. Each set is a line of the file, so that a run that was stopped goes on
where it was, and inside a set each fit is kept in a journal beside it. Prints the verdicts and whether features are
needed, the share of sets with each answer and its 95 % interval of Clopper and Pearson, the rank correlation of
properties of a set with the loss that the rich network saves over the lazy one, and mean ranks of the models on the
sets that were taken whole. Sets of one origin are not independent: a second interval draws origins again.
"""

import argparse
import csv
import json
import time
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from calibration import bounds, load
from scipy.sparse import issparse
from scipy.stats import spearmanr

from sklearn_ltdl import compare
from sklearn_ltdl.study import CriticalDifferenceDisplay, mean_ranks

MOST_COLUMNS = 500
DRAWS = 2000  # of the bootstrap
PROPERTIES = ("log10_rows", "log10_columns", "rows_per_column", "classes", "noise", "linear_share", "binary_columns")


def solve(data, name, n_rows, n_jobs, journal):
    """Return the verdict on a set, its contrasts and its properties."""
    start = time.perf_counter()
    table = load(data, name)
    X, y, meta = table["X"], table["y"], table["meta"]
    n = len(y)
    rows = np.sort(np.random.default_rng(0).permutation(n)[:n_rows])
    X, y = X[rows], y[rows]
    X = X.toarray() if issparse(X) else X
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        comparison = compare(X, y, task=table["task"], n_jobs=n_jobs, journal=journal)
    evidence = comparison.verdict.evidence
    losses = {row["method"]: row["loss"] for row in comparison.methods}
    alive = [loss for loss in losses.values() if loss is not None]
    distinct = np.array([len(np.unique(column)) for column in X.T])
    return {
        "name": name, "group": meta.get("group", name), "task": table["task"], "split": meta.get("split"),
        "code": comparison.verdict.code, "sentence": comparison.verdict.sentence, "best": comparison.best,
        "needs_features": comparison.verdict.needs_features, "recommended": comparison.verdict.recommendation.model,
        "contrasts": {key: value for key, value in evidence.items() if "low" in value},
        "scores": {row["method"]: row["score"] for row in comparison.methods}, "losses": losses, "whole": len(X) == n,
        "properties": {
            "log10_rows": float(np.log10(len(y))),
            "log10_columns": float(np.log10(X.shape[1])),
            "rows_per_column": len(y) / X.shape[1],
            "classes": 0 if table["task"] == "regression" else len(np.unique(y)),
            "noise": min(alive) / losses["dummy"],
            "linear_share": (
                (losses["dummy"] - losses["linear"]) / max(losses["dummy"] - min(alive), 1e-12)
                if losses["linear"] is not None
                else float("nan")
            ),
            "binary_columns": float(np.mean(distinct <= 2)),
        },
        "most_rows": n_rows, "rows": len(y), "columns": X.shape[1], "seconds": time.perf_counter() - start,
    }  # fmt: skip


def report(results):
    """Print the verdicts, their shares, and which properties go with a gain from feature learning."""
    print(f"\n{'set':34}{'rows':>6}{'columns':>8}  {'verdict':9}{'rich over lazy, % of baseline':>32}  best")
    for result in sorted(results, key=lambda result: (result["code"], result["name"])):
        value = result["contrasts"].get("feature_learning")
        shown = f"{100 * value['low']:.1f} to {100 * value['high']:.1f}" if value else "-"
        print(
            f"{result['name'][:33]:34}{result['rows']:6}{result['columns']:8}  {result['code']:9}{shown:>32}  "
            f"{result['best']}"
        )
    groups = sorted({result["group"] for result in results})
    of_group = [[result for result in results if result["group"] == group] for group in groups]
    rng = np.random.default_rng(0)
    drawn = [[r for g in rng.integers(len(groups), size=len(groups)) for r in of_group[g]] for _ in range(DRAWS)]
    print(f"\n{len(results)} sets of {len(groups)} origins")
    print_counts("code", results, drawn)
    print("needs features")
    print_counts("needs_features", results, drawn)
    print("recommended:", dict(Counter(result["recommended"] for result in results).most_common()))
    if sum(result["whole"] for result in results) > 1:
        print(f"\n{ranked(results)}\n{sum(result['seconds'] for result in results if result['whole']):.0f} s for these")
    known = [result for result in results if "feature_learning" in result["contrasts"]]
    if len(known) < 8:
        return
    print("\nrank correlation with the loss that the rich network saves over the lazy one, in units of the dummy's")
    gains = [result["contrasts"]["feature_learning"]["difference"] for result in known]
    for name in PROPERTIES:
        fit = spearmanr([result["properties"][name] for result in known], gains, nan_policy="omit")
        print(f"  {name:16}{fit.statistic:+.2f}  (p = {fit.pvalue:.2g}; {len(PROPERTIES)} were looked at)")


def print_counts(key, results, drawn):
    """Print how many results have each value of a key, and the share in draws of the results."""
    for value, count in Counter(result[key] for result in results).most_common():
        low, high = bounds(count, len(results))
        ends = np.percentile([np.mean([result[key] == value for result in draw]) for draw in drawn], [2.5, 97.5])
        print(
            f"  {value:9}{count:4}{100 * count / len(results):7.1f}%  {100 * low:.1f} to {100 * high:.1f}% "
            f"(origins drawn again: {100 * ends[0]:.1f} to {100 * ends[1]:.1f}%)"
        )


def ranked(results):
    """Return the mean ranks of the models on the sets that were taken whole."""
    whole = [result["losses"] for result in results if result["whole"]]
    names = [name for name in whole[0] if name != "dummy"]
    return mean_ranks(np.array([[losses[name] for name in names] for losses in whole], dtype=float), names=names)


COLOURS = {
    "nothing": "tab:gray", "linear": "tab:blue", "kernel": "tab:cyan", "features": "tab:orange", "trees": "tab:green",
    "unclear": "white",
}  # fmt: skip


def draw(results, folder):
    """Write the critical-difference diagram, and what the rich network saves over the lazy one, set by set."""
    from matplotlib.figure import Figure

    display = CriticalDifferenceDisplay(ranked(results))
    figure = Figure(figsize=display.size, layout="constrained")
    display.plot(ax=figure.subplots())
    figure.savefig(folder / "atlas_ranks.png", dpi=150)

    known = [result for result in results if "feature_learning" in result["contrasts"]]
    known.sort(key=lambda result: result["contrasts"]["feature_learning"]["difference"])
    ends = [result["contrasts"]["feature_learning"] for result in known]
    centre, low, high = (100 * np.array([end[name] for end in ends]) for name in ("difference", "low", "high"))
    figure = Figure(figsize=(7, 0.17 * len(known) + 1), layout="constrained")
    ax = figure.subplots()
    ax.axvspan(-1, 1, color="0.9")
    ax.hlines(range(len(known)), low, high, color="0.5", linewidth=1)
    for code, colour in COLOURS.items():
        mine = [k for k, result in enumerate(known) if result["code"] == code]
        label = f"{code} ({len(mine)})"
        ax.plot(centre[mine], mine, "o", color=colour, markeredgecolor="black", markersize=5, label=label)
    ax.set_yticks(range(len(known)), [f"{r['name'].partition('__')[2]} ({r['rows']})" for r in known], fontsize=6)
    ax.set(xlabel="loss that the rich network saves over the lazy one, % of the baseline's", ylim=(-1, len(known)))
    ax.set_xscale("symlog", linthresh=5)
    ax.set_xticks([-100, -20, -5, 0, 5, 20, 100], ["-100", "-20", "-5", "0", "5", "20", "100"])
    ax.legend(title="verdict", loc="lower right")
    figure.savefig(folder / "atlas.png", dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--sets", nargs="+", metavar="NAME")
    parser.add_argument("--rows", type=int, default=20_000, help="at most so many of a set")
    parser.add_argument("--table", type=Path, metavar="FILE", help="write a CSV file")
    parser.add_argument("--figures", type=Path, metavar="FOLDER", help="write two figures")
    parser.add_argument("--n-jobs", type=int, default=-1)
    parser.add_argument("--quick", action="store_true", help="at most 150 rows of one set")
    options = parser.parse_args()
    if options.quick:
        options.rows, options.sets = 150, options.sets or ["sk__iris"]
    index = json.loads((options.data / "index.json").read_text(encoding="utf-8"))["datasets"]
    names = [entry["name"] for entry in index if entry["n"] >= 50 and entry["d"] <= MOST_COLUMNS]
    lines = options.results.read_text(encoding="utf-8").splitlines() if options.results.exists() else []
    results = {}
    for line in lines:
        try:
            result = json.loads(line)
        except json.JSONDecodeError:  # torn by a kill
            continue
        if result["most_rows"] == options.rows:
            results[result["name"]] = result
    if options.results.exists() and not options.results.read_text(encoding="utf-8").endswith("\n"):
        with options.results.open("a", encoding="utf-8") as file:
            file.write("\n")
    for name in options.sets or names:
        if name in results:
            continue
        journal = options.results.with_name(f"{options.results.name}.{name}.journal")
        results[name] = solve(options.data, name, options.rows, options.n_jobs, journal)
        with options.results.open("a", encoding="utf-8") as file:
            file.write(json.dumps(results[name]) + "\n")
        journal.unlink()
        print(f"{name}: {results[name]['code']}, {results[name]['seconds']:.0f} s", flush=True)
    report(list(results.values()))
    if options.figures is not None:
        draw(list(results.values()), options.figures)
    if options.table is not None:
        with options.table.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["name", "task", "rows", "columns", "verdict", "features", "best", *PROPERTIES, "sentence"])
            for r in results.values():
                values = [r[key] for key in ("name", "task", "rows", "columns", "code", "needs_features", "best")]
                writer.writerow([*values, *(r["properties"][name] for name in PROPERTIES), r["sentence"]])


if __name__ == "__main__":
    main()
