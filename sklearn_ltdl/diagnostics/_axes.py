"""Helpers for the axes of several diagnostic figures."""

import numpy as np


def panels_of(axes, names, **layout):
    """Return the given axes, one per panel, or those of a new figure."""
    import matplotlib.pyplot as plt

    if axes is None:
        return plt.subplots(1, len(names), layout="constrained", **layout)[1]
    axes = np.asarray(axes, dtype=object).ravel()
    if len(axes) != len(names):
        raise ValueError(
            f"axes must be {len(names)} matplotlib Axes, for {', '.join(names[:-1])} and {names[-1]}; got {len(axes)}. "
            f"Use plt.subplots(1, {len(names)}), or None for a new figure."
        )
    return axes


def name_rows(ax, names, *, top):
    """Label the rows, with the first at the top."""
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(len(names) - 0.4, top)
    ax.grid(axis="y", color="0.9")
    ax.set_axisbelow(True)
