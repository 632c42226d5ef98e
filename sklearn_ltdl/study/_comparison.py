"""What a comparison found, as a value that shows itself."""

import json
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from sklearn_ltdl._shown import Shown
from sklearn_ltdl.running._written import write_whole
from sklearn_ltdl.study._verdict import LEVEL, SCORE_LEVEL, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """What `compare` found; printing it shows the table and the verdict.

    Parameters
    ----------
    verdict : Verdict
        With `code`, `sentence` and `evidence`.
    methods : tuple of dict
        One a method: score with 95 % interval, the area under the ROC curve of two classes (`auc`), mean loss, mean
        seconds of a fold, failure and notes.
    results : tuple of dict
        One a method and fold: score, loss, seconds, failure and notes.
    evidence : dict
        What is shown beside the verdict and did not decide it; a part is None where it was not asked for, or has only
        the key 'failure'.

        differences : dict of lists, with ``curves=True``
            How each contrast moves with the number of training rows: columns contrast, n_train, candidate, reference,
            difference, low and high, as in the evidence of the verdict.
        scale_path : dict, with ``curves=True``
            The network at several scales, on at most 1000 rows of the first fold: lists scale, scores, losses,
            displacements, kernel_changes and converged; linearized_score, linearized_loss, n_train, rich_scale, and the
            name of the score.
        regime : dict
            Of the rich network of the first fold, by `regime_report` on the rows held out: verdict, sentence, scale,
            n_rows, score, diagnostics (a dict), spectrum_before and spectrum_after (lists).
        agop : dict
            Of the RFM of the first fold: n_rounds, eigenvalues (largest first, of sum 1), and the columns after
            preprocessing with their importances, largest first.
    settings : dict
        Task, sizes, folds, margin, seed and versions; `warnings`, a list of `Note` with a `code`, on what in the table
        may lead to wrong conclusions: 'leak', 'sorted time', 'repeated identifiers', 'few events', 'look alike' and
        'heavy tails'.
    """

    verdict: Verdict
    methods: tuple
    results: tuple
    evidence: dict
    settings: dict

    def to_frame(self) -> "DataFrame":
        """Return the table of methods as a pandas DataFrame, indexed by method."""
        from pandas import DataFrame

        return DataFrame(self.methods).set_index("method")

    def to_json(self, path=None) -> str:
        """Return everything as JSON text; with a path, write it there at once or not at all."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        if path is not None:
            write_whole(path, text + "\n")
        return text

    def to_html(self, path=None) -> str:
        """Return a report as one HTML page that needs nothing else; with a path, write it there at once or not at all.

        It takes jinja2 and matplotlib, the extra ``report``.
        """
        from sklearn_ltdl.study._report import to_html

        page = to_html(self)
        if path is not None:
            write_whole(path, page)
        return page

    @property
    def failed(self) -> list[str]:
        """Names of the methods that have no score."""
        return [row["method"] for row in self.methods if row["failure"]]

    @property
    def best(self) -> str:
        """Name of the method of least loss; it may be the dummy."""
        return min((row for row in self.methods if not row["failure"]), key=lambda row: row["loss"])["method"]

    def __str__(self) -> str:
        loss = "loss" if self.settings["task"] == "regression" else "log loss"
        width = max(9, *(len(row["method"]) for row in self.methods))
        score = self.settings["scoring"]
        level = f"{100 * SCORE_LEVEL:.0f}% interval"
        lines = [textwrap.fill(f"Warning: {note}", 100, subsequent_indent="  ") for note in self._warnings]
        lines += [""] * bool(lines)
        two = any(row["auc"] is not None for row in self.methods)
        area = f" {'AUC':>6}" * two
        lines += [f"{'model':<{width}} {score:>9}  {level:<17}{area} {loss:>10} {'fit s':>8} {'predict s':>10}"]
        for row in self.methods:
            if row["failure"]:
                lines.append(f"{row['method']:<{width}} failed: {row['failure']}")
                continue
            ends = f"{row['score_low']:.3f} to {row['score_high']:.3f}"
            area = "" if row["auc"] is None else f" {row['auc']:>6.3f}"
            lines.append(
                f"{row['method']:<{width}} {row['score']:>{max(9, len(score))}.3f}  {ends:<17}{area} "
                f"{row['loss']:>10.4g} {row['fit_seconds']:>8.2f} {row['predict_seconds']:>10.2f}"
            )
        lines += [f"  {row['method']}: {note}" for row in self.methods for note in row["notes"]]
        lines += [f"  {note}" for note in self.settings["notes"] if getattr(note, "code", "") == "too wide"]
        lines += ["", *self._questions(), ""]
        return "\n".join([*lines, textwrap.fill(f"Verdict ({self.verdict.code}): {self.verdict.sentence}", 100)])

    @property
    def _warnings(self):
        return self.settings.get("warnings", [])

    def _headline(self):
        return f"{self.verdict.code}: {self.verdict.sentence}"

    def _tables(self):
        loss = "squared error" if self.settings["task"] == "regression" else "log loss"
        keys = ("method", "score", "score_low", "score_high", "auc", "loss", "fit_seconds")
        header = ("model", self.settings["scoring"], "95 % from", "to", "AUC", loss, "fit s")
        if all(row["auc"] is None for row in self.methods):
            keys, header = ([part for part in parts if part not in ("auc", "AUC")] for parts in (keys, header))
        yield header, [tuple(row[key] for key in keys) for row in self.methods]
        header = ("question", "first", "second", "saves %", "from", "to", "answer")
        rows = [
            (
                *(part.get(key) for key in ("question", "candidate", "reference")),
                *(100 * part[key] if key in part else None for key in ("difference", "low", "high")),
                part["answer"],
            )
            for part in self.verdict.evidence.values()
        ]
        yield header, rows

    def _notes(self):
        notes = [f"{row['method']}: {note}" for row in self.methods for note in row["notes"]]
        failures = [f"{row['method']} failed: {row['failure']}" for row in self.methods if row["failure"]]
        return [f"Warning: {note}" for note in self._warnings] + notes + failures

    def _questions(self):
        """Return the contrasts as lines of a table."""
        margin = f"{100 * self.settings['margin']:g}%"
        level = f"{100 * LEVEL:.0f}% interval"
        yield f"Loss that the first model saves, in % of the dummy's, {level} ({margin} counts as nothing):"
        for contrast in self.verdict.evidence.values():
            models = interval = "(models failed)"
            if "low" in contrast:
                models = f"{contrast['candidate']}, {contrast['reference']}"
                interval = f"{100 * contrast['low']:z.1f} to {100 * contrast['high']:z.1f}"
            yield f"{contrast['question']:<50} {models:<18} {interval:>16}  {contrast['answer']}"


class Interrupted(KeyboardInterrupt):
    """An interruption of `compare`, with what was done.

    Attributes
    ----------
    comparison : Comparison or None
        Of the fits that were done; None if not even the dummy was.
    """

    def __init__(self, message, comparison) -> None:
        super().__init__(message)
        self.comparison = comparison
