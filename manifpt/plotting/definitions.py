"""Figures of the definitions: points, manifolds whose foot points are known, rates of error."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

from manifpt.plotting.common import legend_beside


def plane(reference: np.ndarray, x: np.ndarray, targets: Mapping[str, np.ndarray], *, truth: np.ndarray) -> Figure:
    """Artifacts in the plane as lines from estimated points of the manifold M to points x: the paper's Figure 1.

    Parameters
    ----------
    reference, x
        Known points of M, `(m, 2)`, and the points that are projected, `(n, 2)`.
    targets
        Name of an estimator to the estimated point for each of `x`, `(n, 2)`.
    truth
        Points along M, `(t, 2)`.
    """
    figure, ax = plt.subplots(figsize=(6.5, 3.2), layout="constrained")
    ax.plot(*truth.T, color="0.75", linewidth=4, zorder=0, label="manifold M")
    ax.scatter(*reference.T, s=28, color="0.2", label="known reals", zorder=2)
    ax.scatter(*x.T, s=80, marker="*", color="white", edgecolor="black", label="point x", zorder=4)
    for number, (name, target) in enumerate(targets.items()):
        color, line, marker = f"C{number}", ["-", "--", ":"][number], "sD^"[number]
        style = {"marker": marker, "facecolor": "none", "edgecolor": color, "linewidth": 1.8}
        ax.scatter(*target.T, s=50, **style, label=name, zorder=3)
        for start, end in zip(target, x, strict=True):
            ax.plot(*np.stack([start, end], axis=1), color=color, linestyle=line, linewidth=1.8, zorder=1)
    ax.set(aspect="equal", xlabel="first coordinate", ylabel="second coordinate")
    legend_beside(ax)
    return figure


def manifolds(samples: Mapping[str, tuple[np.ndarray, np.ndarray, np.ndarray]]) -> Figure:
    """Artifacts of manifolds in two or three dimensions: name to points of M, generated points, foot points."""
    figure = plt.figure(figsize=(3.4 * len(samples), 3.4), layout="constrained")
    for number, (name, (points, x, foot)) in enumerate(samples.items(), start=1):
        ax = figure.add_subplot(1, len(samples), number, projection="3d" if points.shape[1] == 3 else None)
        ax.scatter(*points.T, s=6, color="0.65")
        ax.scatter(*x.T, s=30, marker="*", color="C0")
        for start, end in zip(foot, x, strict=True):
            ax.plot(*np.stack([start, end], axis=1), color="C1", linewidth=2)
        ax.set(title=name, aspect="equal")
        ax.set_axis_off()
        if ax.name == "3d":
            ax.view_init(elev=15, azim=-75)
            ax.set_box_aspect(np.ptp(np.concatenate([points, x, foot]), axis=0), zoom=1.3)
    return figure


def errors(
    frame: pd.DataFrame,
    *,
    x: str,
    y: str = "error",
    hue: str = "estimator",
    col: str | None = None,
    slopes: Mapping[str, Mapping[str, float]] | None = None,
    log: bool = True,
) -> Figure:
    """Mean and standard deviation of `y` over `x`, a line for each value of `hue`, a panel for each value of `col`.

    Parameters
    ----------
    frame
        Tidy: one row a value, with the columns named.
    slopes
        Panel and value of `hue` to the slope of a guide, drawn a little below the first point of that line.
    log
        Whether the axes are logarithmic.
    """
    grid = sns.relplot(
        data=frame, x=x, y=y, hue=hue, style=hue, col=col, kind="line", markers=True, dashes=True, errorbar="sd",
        height=3.4, aspect=0.9 if col else 1.7,
    )  # fmt: skip
    if log:
        grid.set(xscale="log", yscale="log")
    grid.set_titles("{col_name}" if col else "")
    means = frame.groupby([col, hue, x])[y].mean() if slopes else {}
    for panel, guides in (slopes or {}).items():
        for name in means[panel].index.unique(hue).intersection(list(guides)):
            sizes = means[panel, name].index
            guide = 0.6 * means[panel, name].iloc[0] * (sizes / sizes[0]) ** guides[name]
            grid.axes_dict[panel].plot(sizes, guide, color="0.5", linewidth=0.8)
    return grid.figure
