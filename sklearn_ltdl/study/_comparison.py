"""The result of a comparison, a value that shows itself."""

import json
import os
import textwrap
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from sklearn_ltdl._shown import Shown
from sklearn_ltdl.running._written import write_whole
from sklearn_ltdl.study._verdict import LEVEL, SCORE_LEVEL, Verdict

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, repr=False)
class Comparison(Shown):
    """Result of `compare`; printing it shows the table of models and the verdict.

    Parameters
    ----------
    verdict : Verdict
        With `code`, `sentence` and `evidence`.
    methods : tuple of dict
        One per method: score with 95 % interval, the area under the ROC curve for two classes (`auc`), mean loss, mean
        seconds per fold, failure and notes.
    results : tuple of dict
        One per method and fold: score, loss, seconds, failure and notes.
    evidence : dict
        Analyses that are shown with the verdict but did not decide it. A part is None if it was not requested, and has
        only the key 'failure' if it failed.

        differences : dict of lists, with ``curves=True``
            Learning curves of the contrasts, over the number of training rows: columns contrast, n_train, candidate,
            reference, difference, low and high, as in the evidence of the verdict.
        scale_path : dict, with ``curves=True``
            The network at several scales, on at most 1000 rows of the first fold: lists scale, scores, losses,
            displacements, kernel_changes and converged; linearized_score, linearized_loss, n_train, rich_scale, and the
            name of the score.
        regime : dict
            The `regime_report` of the rich network of the first fold on the held-out rows: verdict, sentence, scale,
            n_rows, score, diagnostics (a dict), spectrum_before and spectrum_after (lists).
        agop : dict
            The average gradient outer product of the RFM of the first fold: n_rounds, eigenvalues (largest first, with
            sum 1), and the columns after preprocessing with their importances, largest first.
        predicted : list of dict
            Of the recommended model and of the linear one, with each row's first prediction by a model that has not
            seen it: method, n_rows, and of numbers lists observed and predicted, of at most 500 rows; of classes
            labels, confusion (counts of rows, observed down and predicted across; classes beyond the 12th share the
            last line) and calibration (class, and bin by bin probabilities, shares, low, high and n_rows).
        importance : dict
            What shuffling a column adds to the loss of the recommended model on rows held out, in units of the
            baseline's loss: method, n_rows, n_permutations, and lists columns, importances, low and high (95 %
            intervals), largest first. None for the baseline and with more than 200 columns.
        suspects : dict
            Rows that are out of line with all others, by the NTK of the first fold, where it was compared: n_rows,
            limit, the numbers found beyond it and expected by chance, and, strongest first, at most 20 rows with
            observed, predicted and strength. A row is named by the index of a DataFrame, or its number from 0. Of
            classes, the limit is a probability of the row's own class, and the strength how much more probable the
            predicted one is; of numbers, both are in robust standard deviations of the leave-one-out residuals.
    settings : dict
        Task, sizes, folds, margin, seed and versions; `warnings`, a list of `Note` with a `code`, on what in the table
        may lead to wrong conclusions: 'leak', 'sorted time', 'repeated identifiers', 'few events', 'look alike' and
        'heavy tails'.
    """

    verdict: Verdict
    methods: tuple[dict[str, Any], ...]
    results: tuple[dict[str, Any], ...]
    evidence: dict[str, Any]
    settings: dict[str, Any]

    def to_frame(self) -> "DataFrame":
        """Return the table of methods as a pandas DataFrame, indexed by method."""
        from pandas import DataFrame

        return DataFrame(self.methods).set_index("method")

    def to_json(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return everything as JSON text; with a path, also write it to this file, completely or not at all."""
        text = json.dumps(asdict(self), indent=1, allow_nan=False)
        if path is not None:
            write_whole(path, text + "\n")
        return text

    def to_html(self, path: str | os.PathLike[str] | None = None) -> str:
        """Return a self-contained HTML report; with a path, also write it to this file, completely or not at all.

        This needs jinja2 and matplotlib, which the extra ``report`` installs.
        """
        from sklearn_ltdl.study._report import to_html

        page = to_html(self)
        if path is not None:
            write_whole(path, page)
        return page

    @property
    def summary(self) -> str:
        """The answer in a few lines: the verdict, and the model to use with a bound on what this choice can cost."""
        advice = self.verdict.recommendation
        text = f"Verdict: {self.verdict.line}"
        return text if advice is None else f"{text}\n{textwrap.fill(advice.sentence, 100)}"

    @property
    def failed(self) -> list[str]:
        """Names of the methods that have no score."""
        return [row["method"] for row in self.methods if row["failure"]]

    @property
    def best(self) -> str:
        """Name of the method with the least loss; it may be the baseline, 'dummy'."""
        return min((row for row in self.methods if not row["failure"]), key=lambda row: row["loss"])["method"]

    def __str__(self) -> str:
        loss = "loss" if self.settings["task"] == "regression" else "log loss"
        width = max(9, *(len(row["method"]) for row in self.methods))
        score = self.settings["scoring"]
        level = f"{100 * SCORE_LEVEL:.0f} % interval"
        lines = [textwrap.fill(f"Warning: {note}", 100, subsequent_indent="  ") for note in self._warnings]
        lines += [""] * bool(lines)
        two = any(row["auc"] is not None for row in self.methods)
        area = f" {'AUC':>6}" * two
        lines += [f"{'model':<{width}} {score:>9}  {level:<17}{area} {loss:>10} {'fit s':>8} {'predict s':>10}"]
        for row in self.methods:
            if row["failure"]:
                lines.append(f"{row['method']:<{width}} failed: {row['failure']}")
                continue
            by_definition = row["family"] == "dummy" and score == "R2"  # it predicts the mean
            ends = "" if by_definition else f"{row['score_low']:.3f} to {row['score_high']:.3f}"
            area = "" if row["auc"] is None else f" {row['auc']:>6.3f}"
            lines.append(
                f"{row['method']:<{width}} {row['score']:>{max(9, len(score))}.3f}  {ends:<17}{area} "
                f"{row['loss']:>10.4g} {row['fit_seconds']:>8.2f} {row['predict_seconds']:>10.2f}"
            )
        lines += [f"  {row['method']}: {note}" for row in self.methods for note in row["notes"]]
        told = ("too wide", "unfinished")
        lines += [f"  {note}" for note in self.settings["notes"] if getattr(note, "code", "") in told]
        lines += ["", *self._questions(), ""]
        return "\n".join([*lines, self.summary, "", textwrap.fill(f"Why: {self.verdict.sentence}", 100)])

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the first part of the page; all text is escaped."""
        from sklearn_ltdl.study._report import first_part

        return first_part(self)

    @property
    def _warnings(self):
        return self.settings.get("warnings", [])

    def _headline(self):
        return f"{self.verdict.code}: {self.verdict.sentence}"

    def _questions(self):
        """Return the contrasts as lines of a table."""
        margin = f"below {100 * self.settings['margin']:g} % is treated as no difference"
        yield f"Loss reduction of the first model over the second (% of baseline loss, {100 * LEVEL:.0f} % interval;"
        yield f"{margin}):"
        shown = set()
        for contrast in self.verdict.evidence.values():
            models = interval = "(models failed)"
            if "low" in contrast:
                models = f"{contrast['candidate']}, {contrast['reference']}"
                interval = f"{100 * contrast['low']:z.1f} to {100 * contrast['high']:z.1f}"
                if models in shown:
                    interval = "as above"
                shown.add(models)
            yield f"{contrast['question']:<50} {models:<18} {interval:>16}  {contrast['answer']}"


class Interrupted(KeyboardInterrupt):
    """An interruption of `compare`, with the result so far.

    Attributes
    ----------
    comparison : Comparison or None
        Result of the fits that were done; None if not even the baseline was done.
    """

    def __init__(self, message, comparison) -> None:
        super().__init__(message)
        self.comparison = comparison
