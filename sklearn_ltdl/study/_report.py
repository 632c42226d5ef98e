"""The report of a comparison: one HTML page that needs nothing but itself."""

import hashlib
import io
import re
import shlex
import warnings
from contextlib import contextmanager
from html import escape
from pathlib import Path
from urllib.parse import quote

from sklearn_ltdl.running._terminal import clean, cleaned
from sklearn_ltdl.study._display import (
    ContrastCurveDisplay,
    CriticalDifferenceDisplay,
    LazyToRichDisplay,
    draw_contrasts,
    draw_scores,
    pairs_of,
    scored,
    style_of,
)
from sklearn_ltdl.study._drawings import (
    MOST_COLUMNS,
    draw_calibration,
    draw_importance,
    draw_predicted,
    draw_time,
    shortened,
)
from sklearn_ltdl.study._evidence import DIAGNOSTICS
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._verdict import SCORE_LEVEL

MOST_NAMES = 12  # of columns of one kind, and of classes
_KINDS = {
    "number": ("number", "numbers"),
    "date": ("date", "dates"),
    "category": ("category", "categories"),
    "left out": ("left out", "left out"),
}

_CLAIMS = {
    "nothing": "The columns do not predict the target.",
    "linear": "A linear model is enough.",
    "kernel": "A kernel is enough.",
    "features": "Learning features pays on this table.",
    "trees": "Tree ensembles do best on this table.",
    "unclear": "These rows do not decide which kind of model is best.",
}
_ADVICE = {
    "nothing": "No model saves more than the margin over a constant prediction. Look for other columns or more rows.",
    "linear": "No kernel, network or tree saves more than the margin over a linear model. Prefer the linear model.",
    "kernel": (
        "A kernel machine is better than a linear model, and no other model saves more than the margin over the best "
        "kernel. Kernel ridge regression has one optimum and no training to tune."
    ),
    "features": (
        "A model that changes its features in training is better than the same model held to those that it began with, "
        "and better than every kernel. A neural network, or a recursive feature machine, is worth its training."
    ),
    "trees": (
        "Trees are better than linear models, kernels and networks: the target probably jumps, or depends on few "
        "columns at a time. Prefer them to a neural network on this table."
    ),
    "unclear": (
        "A question on which the verdict depends is open, or several kinds of model beat the linear one; the sentence "
        "above says which. If two models tie, prefer the simpler one."
    ),
}


def to_html(comparison):
    """Return the page of a comparison as text.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    page : str
    """
    notes = [clean(note) for note in comparison.settings["notes"] if note.code != "column"]  # those are a table
    comparison = cleaned(comparison)
    settings, verdict = comparison.settings, comparison.verdict
    with _styled():
        figures = _figures(comparison)
    return rendered(
        "report.html",
        title=f"{_CLAIMS[verdict.code]} {_origin(settings)}",
        advice=_ADVICE[verdict.code],
        origin=_origin(settings),
        box=box(comparison),
        settings=settings,
        verdict=verdict,
        methods=sorted(comparison.methods, key=lambda row: (row["loss"] is None, row["loss"])),
        ranked=[*scored(comparison), *(row for row in comparison.methods if row["failure"])],
        plain=_plain,
        two=any(row["auc"] is not None for row in comparison.methods),
        best=comparison.best,
        recommended=recommended(comparison),
        loss="squared error" if settings["task"] == "regression" else "log loss",
        margin=f"{100 * settings['margin']:g}",
        level=f"{100 * settings['level']:.0f}",
        score_level=f"{100 * SCORE_LEVEL:.0f}",
        pairs=_pairs(verdict),
        figures=figures,
        baseline=_baseline(comparison),
        confusions=[part for part in comparison.evidence["predicted"] if "confusion" in part],
        importance=_known(comparison, "importance"),
        suspects=_known(comparison, "suspects"),
        stages=comparison.evidence["stages"],
        regime=_known(comparison, "regime"),
        target=_target(settings),
        columns=_columns(settings["columns"]),
        diagnostics=DIAGNOSTICS,
        usage=_usage(settings, comparison.best),
        facts=_facts(settings),
        notes=[
            *notes,
            *(f"{row['method']}: {note}" for row in comparison.methods for note in row["notes"]),
        ],
    )


def suite_to_html(suite, origin, links):
    """Return the page of many tables as text.

    Parameters
    ----------
    suite : Suite
    origin : str
    links : dict of str
        File of the page of each table, by its name.
    """
    tables = []
    for row in suite.rows:
        comparison = suite.comparisons.get(row["table"])
        advice = None if comparison is None else comparison.verdict.recommendation
        tables.append(
            {
                "name": row["table"],
                "link": None if comparison is None else quote(links[row["table"]]),
                "sizes": None if comparison is None else f"{row['n_rows']} rows, {row['n_columns']} columns",
                "line": None if comparison is None else comparison.verdict.line,
                "sentence": None if advice is None else advice.sentence,
                "warnings": [] if comparison is None else comparison.settings["warnings"],
                "failure": row["failure"],
            }
        )
    ranks, drawn = suite.ranks(), None
    if ranks is not None:
        from matplotlib.figure import Figure

        display = CriticalDifferenceDisplay(ranks)
        with _styled():
            ax = display.plot(ax=Figure(figsize=display.size, layout="constrained").subplots()).ax_
            means = ", ".join(f"{name} {rank:.2f}" for name, rank in zip(ranks.names, ranks.ranks))
            drawn = _drawing(ax, f"Mean ranks of the models over {ranks.n_tables} tables: {means}.")
    return rendered("suite.html", title=f"Comparison on the tables of {clean(origin)}", tables=cleaned(tables),
                    summary=clean(suite.summary().splitlines()[0]), ranks=drawn)  # fmt: skip


def rendered(template, **values):
    """Return a template of this folder with values; all text is escaped."""
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:
        raise ImportError('A report needs jinja2 and matplotlib: pip install "sklearn_ltdl[report]"') from error
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**values)


def first_part(comparison):
    """Return what is first on the page as HTML, for a notebook: the answer, the warnings, and the models.

    It takes no jinja2; without matplotlib the models are a table.
    """
    comparison = cleaned(comparison)
    try:
        with _styled():
            models = _models_drawing(comparison)
    except ImportError:
        models = _models_table(comparison)
    failed = [f"<li>{escape(name)} failed</li>" for name in comparison.failed]
    below = f"<p>{escape(_baseline(comparison))}</p>" + (f"<ul>{''.join(failed)}</ul>" if failed else "")
    return f'<div style="max-width: 44em; overflow-x: auto">{box(comparison)}{models}{below}</div>'


def box(comparison):
    """Return the answer in a box, and the warnings in another, as HTML."""
    verdict, warned = comparison.verdict, comparison.settings["warnings"]
    advice = verdict.sentence if verdict.recommendation is None else verdict.recommendation.sentence
    found = comparison.evidence.get("confirmed")
    confirmed = f'<p style="margin: .35em 0 0">{escape(found["sentence"])}</p>' if found else ""
    parts = [
        f'<section class="verdict" aria-label="Verdict" style="{_BOX}; border: 2px solid #1a1a1a">'
        f'<p class="claim" style="font-size: 1.15em; font-weight: 600; margin: 0 0 .35em">{_unbroken(advice)}</p>'
        f'<p style="margin: 0; color: #555">Verdict: {escape(verdict.line)}</p>{confirmed}</section>'
    ]
    if warned:
        items = "".join(f"<li>{escape(str(text))}</li>" for text in warned)
        parts.append(
            f'<section class="warnings" aria-label="Warnings" style="{_BOX}; border: 2px solid #b35900; '
            f'background: #fff6e8"><p style="margin: 0; font-weight: 600">Before you rely on it</p>'
            f'<ul style="margin: 0; padding-left: 1.2em">{items}</ul></section>'
        )
    return "".join(parts)


_BOX = "border-radius: .4em; padding: 1em; margin: 1em 0; color: #1a1a1a; background: #fff"


def _unbroken(text):
    """Return a text as HTML in which no line ends between a number and its per cent sign."""
    return escape(text.replace(" %", "\N{NO-BREAK SPACE}%"))


def recommended(comparison):
    """Return the name of the recommended model, None if there is none."""
    advice = comparison.verdict.recommendation
    return None if advice is None else advice.model


def _origin(settings):
    return settings.get("data", "A table")


def _known(comparison, part):
    """Return a part of the evidence, None if there is none."""
    found = comparison.evidence[part]
    return None if found is None or found.get("failure") else found


def _pairs(verdict):
    """Return the contrasts of the page: one entry a pair of models, with its questions, and those that failed."""
    evidence, shown = verdict.evidence, []
    pairs = {}
    for row in evidence.values():
        key = (row["candidate"], row["reference"]) if "low" in row else row["question"]
        pairs.setdefault(key, []).append(row)
    for rows in pairs.values():
        first = rows[0]
        drawn = "low" in first
        shown.append(
            {
                "questions": [(row["question"], row["answer"]) for row in rows],
                "models": f"{first['candidate']} against {first['reference']}" if drawn else "models failed",
                "difference": f"{100 * first['difference']:z.1f}" if drawn else "",
                "interval": f"{100 * first['low']:z.1f} to {100 * first['high']:z.1f}" if drawn else "",
            }
        )
    return shown


def _baseline(comparison):
    """Return a sentence on the score of the baseline."""
    score = comparison.settings["scoring"]
    row = next(row for row in comparison.methods if row["family"] == "dummy")
    return (
        f"{score[0].upper()}{score[1:]} on rows that a model has not seen, with {100 * SCORE_LEVEL:.0f} % intervals. "
        f"The baseline, which ignores the columns, has {row['score']:z.3f}."
    )


def _plain(number):
    """Return a number with four figures, without an exponent up to a billion."""
    text = f"{number:.4g}"
    return f"{float(text):.0f}" if "e" in text and 1 <= abs(number) < 1e9 else text


def _target(settings):
    """Return what is predicted, and of classes the number of rows of each."""
    name = "the target" if settings["target"] is None else settings["target"]
    counts = settings["class_counts"]
    if counts is None:
        return f"the logarithm of {name}" if settings["log"] else name
    frequent = sorted(counts.items(), key=lambda count: -count[1])
    more = f" and {len(frequent) - MOST_NAMES} more" if len(frequent) > MOST_NAMES else ""
    return f"{name} ({', '.join(f'{label}: {n}' for label, n in frequent[:MOST_NAMES])}{more} rows)"


def _columns(columns):
    """Return how the columns were read: one line a kind, and lines with what else there is to say of them."""
    lines, more = [], []
    for kind, titles in _KINDS.items():
        names = [column["name"] for column in columns if column["kind"] == kind]
        if names:
            title = f"{len(names)} {titles[len(names) > 1]}"
            cut = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
            holes = sum(column["n_missing"] > 0 for column in columns if column["kind"] == kind != "left out")
            missing = f" ({holes} with missing values)" if holes else ""
            lines.append((title, f"{', '.join(names[:MOST_NAMES])}{cut}{missing}"))
            more += [(title, ", ".join(names))] if cut else []
    left_out = {"left out": "left out: "}
    more += [
        (column["name"], f"{left_out.get(column['kind'], '')}{column['note']}") for column in columns if column["note"]
    ]
    return lines, more


@contextmanager
def _styled():
    """Draw with texts that stay texts, and the same bytes each time."""
    from matplotlib import rc_context

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ltdl", "text.parse_math": False}):
        yield


def _axes(height=3.0):
    from matplotlib.figure import Figure

    return Figure(figsize=(4.6, height), layout="constrained").subplots()


def _models_drawing(comparison):
    models = scored(comparison)
    scores = ", ".join(f"{row['method']} {row['score']:.3f}" for row in models)
    ax = _axes(0.8 + 0.27 * max(3, len(models)))
    draw_scores(ax, comparison)
    return _drawing(
        ax, f"Scores of the models with {100 * SCORE_LEVEL:.0f} % intervals, the best first: {scores or 'none'}."
    )


def _models_table(comparison):
    rows = "".join(
        f'<tr><td>{escape(row["method"])}</td><td style="text-align: right">{row["score"]:.3f}</td></tr>'
        for row in scored(comparison)
    )
    return f"<table><tr><th>model</th><th>{escape(comparison.settings['scoring'])}</th></tr>{rows}</table>"


def _figures(comparison):
    """Return the drawings of the page by name; None, or an empty list, where there is nothing to draw."""
    evidence = comparison.evidence
    families = {row["method"]: row["family"] for row in comparison.methods}
    figures = dict.fromkeys(("contrasts", "calibration", "importance", "time", "scales", "curves", "agop"))
    figures |= {"models": _models_drawing(comparison), "predicted": []}
    if pairs_of(comparison.verdict):
        ax = _axes(0.9 + 0.3 * max(3, len(pairs_of(comparison.verdict))))
        draw_contrasts(ax, comparison)
        figures["contrasts"] = _drawing(
            ax,
            f"Loss saved by one model over another, with {100 * comparison.settings['level']:.0f} % intervals, as in "
            "the table.",
        )
    for part in evidence["predicted"]:
        if "observed" in part:
            text = f"Observed against predicted numbers of {part['method']}, {len(part['observed'])} rows."
            ax = draw_predicted(_axes(), part, families[part["method"]], _target(comparison.settings))
            drawn = _drawing(ax, text)
            figures["predicted"].append(drawn)
    if evidence["predicted"] and not figures["predicted"]:
        names = " and ".join(part["method"] for part in evidence["predicted"])
        text = f"Shares of rows against probabilities of {names}: on the line, probabilities are right."
        figures["calibration"] = _drawing(draw_calibration(_axes(), evidence["predicted"], families), text)
    importance = _known(comparison, "importance")
    if importance:
        n = min(len(importance["columns"]), MOST_COLUMNS)
        text = f"Loss added by shuffling a column, the most first: {', '.join(importance['columns'][:n])}."
        ax = _axes(max(1.9, 0.7 + 0.25 * n))
        figures["importance"] = _drawing(draw_importance(ax, importance, families[importance["method"]]), text)
    if len(scored(comparison)) > 1:
        seconds = ", ".join(f"{row['method']} {row['fit_seconds']:.2g} s" for row in scored(comparison))
        figures["time"] = _drawing(draw_time(_axes(), comparison), f"Score against the seconds of a fit: {seconds}.")
    path, table = (_known(comparison, part) for part in ("scale_path", "differences"))
    if path:
        ax = LazyToRichDisplay(comparison).plot(ax=_axes()).ax_
        text = f"Loss saved by one network at the scales {_listed(path['scale'])}, beside others."
        figures["scales"] = _drawing(ax, text)
    if table and len(set(table["n_train"])) > 1:
        ax = ContrastCurveDisplay(comparison).plot(ax=_axes()).ax_
        figures["curves"] = _drawing(ax, "Differences between models against the number of training rows.")
    agop = _known(comparison, "agop")
    if agop and agop["n_rounds"]:
        text = f"Columns that the recursive feature machine reads: {', '.join(_most_read(agop))}."
        figures["agop"] = _drawing(_draw_most_read(_axes(), agop), text)
        figures["agop_share"] = f"{100 * agop['eigenvalues'][0]:.0f}"
    return figures


def _listed(numbers):
    return ", ".join(f"{number:g}" for number in numbers)


def _most_read(agop):
    """Return the names of the columns of largest importance, without that of the step that made them."""
    return [re.sub(r"^(numbers|dates|levels)__", "", name) for name in agop["columns"][:MOST_COLUMNS]]


def _draw_most_read(ax, agop):
    """Draw the largest importances as bars."""
    names, values = _most_read(agop), agop["importances"][:MOST_COLUMNS]
    ax.barh(range(len(names)), values, color=style_of("rfm")[0])
    ax.set_yticks(range(len(names)), [shortened(name) for name in names])
    ax.invert_yaxis()
    ax.set_xlabel("share of the squared gradient")
    return ax


def _drawing(ax, text):
    """Return a figure as an inline drawing, with a text for who does not see it and ids that no other drawing has."""
    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # texts stay texts, and the browser has other fonts
        ax.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    name = f"d{hashlib.sha256((svg + text).encode()).hexdigest()[:8]}"
    svg = re.sub(r'(?<=[\s:])(id="|href="#)|(url\(#)', lambda match: f"{match.group()}{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(text)}"', 1)


def _usage(settings, best):
    given = ", sample_weight=sample_weight" * settings["weights"] + ", also=also" * (best not in METHODS)
    if "command" not in settings:
        return (
            "from sklearn_ltdl.study import winner\n\n"
            f"model = winner(comparison, X, y{given})  # a fitted scikit-learn Pipeline\n"
            "predictions = model.predict(X_new)"
        )
    saved = settings.get("saved") or "model.skops"
    save = "" if settings.get("saved") else f"$ {settings['command']} --save {saved}\n"
    return (
        f"{save}$ ltdl predict {shlex.quote(saved)} new_rows.csv\n\n"
        "import skops.io\n\n"
        f"types = skops.io.get_untrusted_types(file={saved!r})  # read them\n"
        f"model = skops.io.load({saved!r}, trusted=types)  # a fitted scikit-learn Pipeline\n"
        "predictions = model.predict(X_new)"
    )


def _facts(settings):
    """Yield what was run, as pairs of a name and a text."""
    yield "command", settings.get("command", "sklearn_ltdl.compare")
    drawn = f", drawn {settings['repeats']} times" if settings["repeats"] > 1 else ""
    yield "folds", f"{settings['cv']}{drawn}, seed {settings['seed']}"
    yield "margin", f"{100 * settings['margin']:g} % of the baseline's loss"
    yield "models", ", ".join(settings["models"])
    yield "versions", ", ".join(f"{package} {version}" for package, version in settings["versions"].items())
