"""The report of a comparison: one HTML page that needs nothing but itself."""

import io
import re
import shlex
import warnings
from pathlib import Path

from sklearn_ltdl.running._terminal import cleaned
from sklearn_ltdl.study._display import ComparisonDisplay, ContrastCurveDisplay, LazyToRichDisplay
from sklearn_ltdl.study._evidence import DIAGNOSTICS
from sklearn_ltdl.study._models import METHODS
from sklearn_ltdl.study._verdict import LEVEL, SCORE_LEVEL

MOST_COLUMNS = 10  # of the recursive feature machine, that are drawn

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
    try:
        from jinja2 import Environment, StrictUndefined
    except ImportError as error:
        raise ImportError('A report needs jinja2 and matplotlib: pip install "sklearn_ltdl[report]"') from error

    comparison = cleaned(comparison)
    settings, verdict = comparison.settings, comparison.verdict
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    origin = settings.get("data", "A table")
    first, *others = _figures(comparison)
    return template.render(
        title=f"{_CLAIMS[verdict.code]} {origin}",
        claim=_CLAIMS[verdict.code],
        advice=_ADVICE[verdict.code],
        origin=origin,
        settings=settings,
        verdict=verdict,
        warnings=settings.get("warnings", []),
        methods=sorted(comparison.methods, key=lambda row: (row["loss"] is None, row["loss"])),
        best=comparison.best,
        two=any(row["auc"] is not None for row in comparison.methods),
        loss="squared error" if settings["task"] == "regression" else "log loss",
        margin=f"{100 * settings['margin']:g}",
        level=f"{100 * LEVEL:.0f}",
        score_level=f"{100 * SCORE_LEVEL:.0f}",
        percent=lambda share: f"{100 * share:z.1f}",
        first=first,
        others=others,
        regime=_known(comparison, "regime"),
        diagnostics=DIAGNOSTICS,
        usage=_usage(settings, comparison.best),
        facts=_facts(settings),
        notes=[
            *settings["notes"],
            *(f"{row['method']}: {note}" for row in comparison.methods for note in row["notes"]),
        ],
    )


def _known(comparison, part):
    """Return a part of the evidence, None if there is none."""
    found = comparison.evidence[part]
    return None if found is None or found.get("failure") else found


def _figures(comparison):
    """Return drawings with a caption each, those of scores and differences first."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    def axes():
        return Figure(figsize=(5.5, 3.6), layout="constrained").subplots()

    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "ltdl", "text.parse_math": False}):
        panels = ComparisonDisplay(comparison).plot(axes=[axes(), axes()]).axes_
        ran = sorted((row for row in comparison.methods if not row["failure"]), key=lambda row: -row["score"])
        scores = ", ".join(f"{row['method']} {row['score']:.3f}" for row in ran)
        figures = [
            _captioned(
                "Scores, and the differences on which the verdict rests; a hollow mark is undecided.",
                (
                    panels[0],
                    f"Scores of the models with {100 * SCORE_LEVEL:.0f} % intervals, the best first: {scores}.",
                ),
                (panels[1], f"Differences of losses with {100 * LEVEL:.0f} % intervals, as in the next table."),
            )
        ]
        curves = []
        path, table = (_known(comparison, part) for part in ("scale_path", "differences"))
        if path:
            ax = LazyToRichDisplay(comparison).plot(ax=axes()).ax_
            curves.append((ax, f"Loss saved by one network at the scales {_listed(path['scale'])}, beside others."))
        if table and len(set(table["n_train"])) > 1:
            ax = ContrastCurveDisplay(comparison).plot(ax=axes()).ax_
            curves.append((ax, "Differences between models against the number of training rows."))
        if curves:
            caption = "One network from rich to lazy, of the first fold; and the differences with fewer training rows."
            figures.append(_captioned(caption, *curves))
        agop = _known(comparison, "agop")
        if agop and agop["n_rounds"]:
            ax = _draw_importances(axes(), agop)
            names = ", ".join(_most_read(agop))
            caption = (
                "The columns that a recursive feature machine came to read, the most important first, and how many "
                f"directions it reads: its first eigenvalue has {100 * agop['eigenvalues'][0]:.0f} % of the sum."
            )
            figures.append(_captioned(caption, (ax, f"Importances of the columns {names}.")))
    return figures


def _listed(numbers):
    return ", ".join(f"{number:g}" for number in numbers)


def _most_read(agop):
    """Return the names of the columns of largest importance, without that of the step that made them."""
    return [re.sub(r"^(numbers|dates|levels)__", "", name) for name in agop["columns"][:MOST_COLUMNS]]


def _draw_importances(ax, agop):
    """Draw the largest importances as bars."""
    names, values = _most_read(agop), agop["importances"][:MOST_COLUMNS]
    ax.barh(range(len(names)), values, color="tab:purple")
    ax.set_yticks(range(len(names)), [name if len(name) <= 30 else f"{name[:29]}…" for name in names])
    ax.invert_yaxis()
    ax.set_xlabel("importance (share of the squared gradient)")
    return ax


def _captioned(caption, *panels):
    return {"caption": caption, "drawings": [_drawing(ax.figure, text) for ax, text in panels]}


def _drawing(figure, text):
    """Return a figure as an inline drawing, with a text for who does not see it and ids that no other drawing has."""
    from markupsafe import Markup, escape

    file = io.StringIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # texts stay texts, and the browser has other fonts
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    svg = file.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    name = re.sub(r"\W+", "-", text.lower())[:24]
    svg = re.sub(r'(?<=[\s:])(id="|href="#)|(url\(#)', lambda match: f"{match.group()}{name}-", svg)
    return Markup(svg.replace("<svg", f'<svg role="img" aria-label="{escape(text)}"', 1))


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
