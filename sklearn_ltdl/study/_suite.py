"""The comparison on many tables: one row per table, and mean ranks over all tables."""

import json
import time
from dataclasses import asdict, replace
from io import BytesIO

import numpy as np

from sklearn_ltdl.running._clock import TotalTime
from sklearn_ltdl.running._written import write_whole
from sklearn_ltdl.study._ranks import mean_ranks
from sklearn_ltdl.study._study import compare


class Suite:
    """Comparisons table by table.

    Attributes
    ----------
    rows : list of dict
        One per table: name, sizes, task, verdict, the method with the least loss and its score, seconds and failure.
    comparisons : dict of str to Comparison
        The comparisons that did not fail, by the name of the table.
    """

    header = (
        f"{'table':<28} {'rows':>7} {'columns':>7}  {'task':<14} {'verdict':<9} {'best':<10} {'score':>6} {'time':>7}"
    )

    def __init__(self):
        self.rows, self.comparisons, self._written = [], {}, set()

    def run(self, name, load, **protocol):
        """Compare on one table, and return its row; if the table cannot be used, the reason is its failure.

        Parameters
        ----------
        name : str
        load : callable () -> X, y
        **protocol : arguments of `compare`
            The total time is that of each table, and counts from now.
        """
        start, clock = time.monotonic(), TotalTime.of(protocol.get("total_time")).again()
        row = dict.fromkeys(("table", "n_rows", "n_columns", "task", "verdict", "best", "score", "seconds", "failure"))
        row["table"] = name
        try:
            with clock.preparation():
                comparison = compare(*load(), **protocol | {"total_time": clock})
        except Exception as error:  # the other tables are still compared
            told = isinstance(error, ValueError | TypeError | OSError | RuntimeError)
            row["failure"] = " ".join(f"{'' if told else f'{type(error).__name__}: '}{error}".split())
        else:
            self.comparisons[name] = comparison
            settings, best = comparison.settings, comparison.best
            row |= {key: settings[key] for key in ("n_rows", "n_columns", "task")}
            row |= {"verdict": comparison.verdict.code, "best": best}
            row["score"] = next(method["score"] for method in comparison.methods if method["method"] == best)
            if comparison.failed:
                row["failure"] = f"models that failed: {', '.join(comparison.failed)}"
        row["seconds"] = round(time.monotonic() - start, 2)
        self.rows.append(row)
        return row

    @staticmethod
    def line(row):
        """Return a row as text."""
        name = row["table"] if len(row["table"]) <= 28 else f"{row['table'][:25]}..."
        if row["verdict"] is None:
            return f"{name:<28} failed: {row['failure']}"
        failed = f"  {row['failure']}" if row["failure"] else ""
        return (
            f"{name:<28} {row['n_rows']:>7} {row['n_columns']:>7}  {row['task']:<14} {row['verdict']:<9} "
            f"{row['best']:<10} {row['score']:>6.3f} {row['seconds']:>5.0f} s{failed}"
        )

    def losses(self):
        """Return the names of the models, without the baseline, and their losses of shape (n_tables, n_methods)."""
        tables = [
            {row["method"]: row["loss"] for row in comparison.methods}  # None if the method failed
            for comparison in self.comparisons.values()
        ]
        names = [name for name in tables[0] if name != "dummy"] if tables else []
        return names, np.array([[losses[name] for name in names] for losses in tables], dtype=float)

    def ranks(self):
        """Return the MeanRanks of the models, or None for fewer than two tables or models."""
        names, losses = self.losses()
        return mean_ranks(losses, names=names) if len(losses) > 1 and len(names) > 1 else None

    def summary(self):
        """Return the number of tables by verdict, and the mean ranks, as text."""
        verdicts = [comparison.verdict.code for comparison in self.comparisons.values()]
        counts = ", ".join(f"{verdicts.count(code)} {code}" for code in dict.fromkeys(sorted(verdicts)))
        failed = sum(row["verdict"] is None for row in self.rows)
        lines = [f"Verdicts of {len(verdicts)} tables: {counts or 'none'}" + f"; {failed} failed." * (failed > 0)]
        ranks = self.ranks()
        return "\n".join([*lines, "", str(ranks) if ranks else "Mean ranks need at least two tables and two models."])

    def to_json(self, path):
        """Write the rows, the ranks and every comparison, completely or not at all."""
        ranks = self.ranks()
        found = None if ranks is None else {
            "methods": [
                {"method": name, "mean_rank": rank, "low": low, "high": high}
                for name, (rank, low, high) in zip(ranks.names, ranks.to_frame().to_numpy().tolist())
            ],
            "critical_difference": ranks.critical_difference, "alpha": ranks.alpha, "p_value": ranks.p_value,
            "n_tables": ranks.n_tables, "groups": ranks.groups,
        }  # fmt: skip
        comparisons = {name: asdict(comparison) for name, comparison in self.comparisons.items()}
        text = json.dumps({"tables": self.rows, "ranks": found, "comparisons": comparisons}, indent=1, allow_nan=False)
        write_whole(path, text + "\n")

    def to_html(self, path, origin, commands):
        """Write a page about all tables, and next to it one page per table, with links to them.

        Parameters
        ----------
        path : Path
            The page of ``tables.html`` is beside ``tables.houses.csv.html``.
        origin : str
            Where the tables are from.
        commands : dict of str
            What compares on each table, by its name.
        """
        from sklearn_ltdl.study._report import suite_to_html

        links = {}
        for name, comparison in self.comparisons.items():
            links[name] = f"{path.stem}.{name}.html"
            if name not in self._written:
                target = comparison.settings["target"]
                told = {"data": f"{name}, predicting {target!r}", "command": commands[name]}
                page = replace(comparison, settings={**comparison.settings, **told})
                page.to_html(path.with_name(links[name]))
                self._written.add(name)
        write_whole(path, suite_to_html(self, origin, links))

    def draw(self, path):
        """Write the critical-difference diagram."""
        from matplotlib.figure import Figure

        from sklearn_ltdl.study._display import CriticalDifferenceDisplay

        display = CriticalDifferenceDisplay(self.ranks())
        figure = Figure(figsize=display.size, layout="constrained")
        display.plot(ax=figure.subplots())
        drawn = BytesIO()
        figure.savefig(drawn, dpi=150, format=path.suffix[1:])
        write_whole(path, drawn.getvalue())
