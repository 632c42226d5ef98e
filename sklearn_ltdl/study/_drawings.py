"""The drawings of a page that are made of the evidence on rows, columns and time."""

import numpy as np

from sklearn_ltdl.study._display import plain_ticks, scored, style_of

MOST_COLUMNS = 10  # whose importance is drawn
LONGEST_NAME = 26  # of a column


def draw_predicted(ax, part, family, target):
    """Draw predicted against observed numbers; what is beyond the frame is drawn on it."""
    observed = np.array(part["observed"])
    pad = 0.08 * (np.ptp(observed) or 1.0)
    low, high = observed.min() - pad, observed.max() + pad
    colour, mark, _ = style_of(family)
    ax.plot([low, high], [low, high], color="0.6", linewidth=1)
    predicted = np.clip(part["predicted"], low, high)
    ax.plot(predicted, observed, mark, color=colour, markersize=3.5, alpha=0.5, markeredgewidth=0, clip_on=False)
    ax.set(xlim=(low, high), ylim=(low, high), xlabel=f"predicted by {part['method']}", ylabel=shortened(target))
    return ax


def draw_calibration(ax, parts, families):
    """Draw the share of rows that are of a class against its probability, for several models."""
    ax.plot([0, 1], [0, 1], color="0.6", linewidth=1)
    for part in parts:
        curve = part["calibration"]
        colour, mark, line = style_of(families[part["method"]])
        shares = np.array(curve["shares"])
        ends = [shares - curve["low"], np.array(curve["high"]) - shares]
        style = {"color": colour, "marker": mark, "linestyle": line, "capsize": 2, "elinewidth": 0.8}
        ax.errorbar(curve["probabilities"], shares, yerr=ends, label=part["method"], **style)
    named = parts[0]["calibration"]["class"]
    of = "the predicted class" if named is None else shortened(named)
    least = min(min(part["calibration"]["probabilities"] + part["calibration"]["low"]) for part in parts)
    ends = np.floor(10 * least) / 10 - 0.02, 1.02
    ax.set(xlim=ends, ylim=ends, xlabel=f"probability of {of}", ylabel="share of rows")
    ax.legend()
    return ax


def draw_importance(ax, part, family):
    """Draw what shuffling each of the most important columns adds to the loss, with intervals."""
    columns = [shortened(name) for name in part["columns"][:MOST_COLUMNS]]
    center, low, high = (100 * np.array(part[key][: len(columns)]) for key in ("importances", "low", "high"))
    colour, mark, _ = style_of(family)
    ax.axvline(0, color="0.5", linewidth=0.8)
    ends = [center - low, high - center]
    ax.errorbar(center, range(len(columns)), xerr=ends, color=colour, marker=mark, linestyle="", capsize=3)
    ax.set_yticks(range(len(columns)), columns)
    ax.set_ylim(len(columns) - 0.5, -0.5)
    ax.set_xlabel("loss added, % of the baseline's")
    ax.grid(axis="x", alpha=0.3)
    return ax


def draw_time(ax, comparison):
    """Draw the score of each model against the seconds of a fit, each with its name."""
    methods = scored(comparison)
    for row in methods:
        colour, mark, _ = style_of(row["family"])
        ax.plot(max(row["fit_seconds"], 1e-3), row["score"], mark, color=colour)
    ax.set(xscale="log", xlabel="seconds to fit, mean of the folds", ylabel=comparison.settings["scoring"])
    ax.grid(alpha=0.3)
    ax.margins(x=0.25, y=0.12)
    low, high = ax.get_xlim()
    ticks = [step * 10.0**power for power in range(-3, 6) for step in (1, 3)]
    ticks = [tick for tick in ticks if low <= tick <= high] or [float(f"{np.sqrt(low * high):.1g}")]
    plain_ticks(ax, ticks if len(ticks) < 7 else ticks[::2])
    if comparison.settings["scoring"] == "R2" and ax.get_ylim()[0] < 0 < ax.get_ylim()[1]:
        ax.set_ylim(bottom=-0.05 * ax.get_ylim()[1])
    _name_points(ax, methods)
    return ax


def _name_points(ax, methods):
    """Write each name next to its mark, above or below it where another name or mark would be in the way."""
    from matplotlib.transforms import Bbox

    ax.figure.draw_without_rendering()
    places = [(max(row["fit_seconds"], 1e-3), max(row["score"], ax.get_ylim()[0])) for row in methods]
    taken = [Bbox(np.add([[-4, -4], [4, 4]], ax.transData.transform(place))) for place in places]  # the marks
    for row, at in zip(methods, places):
        for side in ((6, 0), (-6, 0), (6, 11), (6, -11), (-6, 11), (-6, -11), (6, 22), (6, -22)):
            horizontal = "left" if side[0] > 0 else "right"
            label = ax.annotate(
                row["method"], at, side, textcoords="offset points", ha=horizontal, va="center", fontsize="small"
            )
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken) or side == (6, -22):
                break
            label.remove()
        taken.append(box)


def shortened(name):
    """Return a name that fits next to a drawing."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"
