"""Figures of the result tables: accuracy of every method, gains over a control, clusters and design choices."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

MARKERS = "osD^vP"
PUBLISHED = {  # names in the paper's tables
    "mccloskey18": "McClo18",
    "nataraj19": "Nataraj19",
    "durall20": "Durall20",
    "dzanic20": "Dzanic20",
    "wang20": "Wang20",
    "marra18": "Marra18",
    "marra19": "Marra19",
    "yu19": "Yu19",
} | {f"manifpt-{space}-nearest": f"ManiFPT {space.upper()}" for space in ("rgb", "freq", "sl", "ssl")}


def published(method: str) -> str:
    """The paper's name of a method; of those that the paper lacks, our own."""
    return PUBLISHED.get(method, method.removeprefix("manifpt-"))


def accuracies(frame: pd.DataFrame, *, column: str = "n_per_class", chance: float | None = None) -> Figure:
    """Accuracy of each method, a row a method in the order of the frame: mean over seeds, bars of one sd.

    Parameters
    ----------
    frame
        Tidy rows; those of the metric ``accuracy`` are drawn.
    column
        Whose values get a marker each.
    chance
        Drawn as a line.
    """
    shown = frame[frame["metric"] == "accuracy"]
    methods = list(dict.fromkeys(shown["method"]))[::-1]
    figure, ax = plt.subplots(figsize=(7.5, 0.24 * len(methods) + 1.2), layout="constrained")
    values = list(dict.fromkeys(shown[column]))
    for number, value in enumerate(values):
        scores = shown[shown[column] == value].groupby("method")["value"].agg(["mean", "std"]).reindex(methods)
        style = {"marker": MARKERS[number % len(MARKERS)], "markerfacecolor": f"{0.9 * (1 - number / len(values)):.2f}"}
        style |= {"linestyle": "none", "color": "0.25", "capsize": 2, "markersize": 6}
        ax.errorbar(scores["mean"], range(len(methods)), xerr=scores["std"].fillna(0), label=f"{value}", **style)
    ax.set_yticks(range(len(methods)), [published(method) for method in methods])
    ax.set(xlabel="test accuracy", xlim=(0, 1.02))
    ax.grid(axis="y", color="0.92")
    if chance is not None:
        ax.axvline(chance, color="0.5", linestyle=":")
        ax.annotate("chance", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.4")
    title = {"n_per_class": "images a class"}.get(column, column)
    ax.legend(title=title, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def gains(table: pd.DataFrame, *, control: str, level: float) -> Figure:
    """Gain in accuracy of methods over a control; filled where it is significant.

    Parameters
    ----------
    table
        Index: methods; columns ``gain`` and ``p_holm``, as `manifpt.experiments.ledger.comparisons` gives them.
    """
    table = table.sort_values("gain")
    figure, ax = plt.subplots(figsize=(7, 0.24 * len(table) + 1), layout="constrained")
    for row, (gain, p) in enumerate(zip(table["gain"], table["p_holm"], strict=True)):
        ax.plot([0, 100 * gain], [row, row], color="0.6")
        ax.plot(100 * gain, row, "o", color="0.2", markerfacecolor="0.2" if p < level else "white")
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set_yticks(range(len(table)), [published(method) for method in table.index])
    ax.set(xlabel=f"points of accuracy above {control} (filled: p < {level:g} after Holm)")
    return figure


def matrix(table: pd.DataFrame, *, label: str, form: str = ".2f", bracketed: pd.DataFrame | None = None) -> Figure:
    """A table of numbers as shades of grey, numbers written in; where `bracketed` (same shape) is true, in brackets."""
    size = (0.5 * len(table.columns) + 2.6, 0.34 * len(table) + 1.6)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    text = table.map(lambda value: "" if pd.isna(value) else format(value, form))
    text = text if bracketed is None else text.mask(bracketed, "(" + text + ")")
    style = {"cmap": "Greys", "annot": text, "fmt": "", "annot_kws": {"fontsize": 7}, "cbar_kws": {"label": label}}
    sns.heatmap(table.astype(float), ax=ax, **style)
    ax.set(xlabel="", ylabel="")
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=40, ha="right")
    return figure


def embeddings(panels: Mapping[str, np.ndarray], labels: np.ndarray, groups: Mapping[str, str]) -> Figure:
    """Points in the plane, a panel an entry; one marker a group, one colour and number a class.

    A class's number stands on that of its points which is nearest to their median.

    Parameters
    ----------
    panels
        Title to points `(n, 2)`.
    labels
        Class of each point, `(n,)`.
    groups
        Class to group, as a model to its family.
    """
    columns = min(3, len(panels))
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3 * columns + 1.5, 3 * rows), squeeze=False, layout="constrained"
    )
    families = list(dict.fromkeys(groups.values()))
    colours = dict(zip(groups, sns.color_palette("husl", len(groups)), strict=True))
    for ax, (title, points) in zip(axes.flat, panels.items(), strict=False):
        for number, (label, family) in enumerate(groups.items(), 1):
            mine = points[labels == label]
            marker = MARKERS[families.index(family)]
            ax.scatter(*mine.T, s=8, marker=marker, color=colours[label], linewidth=0, label=f"{number} {label}")
            place = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
            halo = [withStroke(linewidth=2, foreground="white")]
            ax.annotate(str(number), place, ha="center", va="center", fontsize=8, path_effects=halo, zorder=3)
        ax.set(title=title, xticks=[], yticks=[])
    for ax in axes.flat[len(panels) :]:
        ax.axis("off")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize="small", markerscale=2)
    return figure


def clusters(table: pd.DataFrame, *, paper: Mapping[str, float] | None = None) -> Figure:
    """NMI of clusters with each design variable beside its permutation null and, crossed, the paper's.

    Parameters
    ----------
    table
        Index: variables; columns ``nmi``, ``null_mean``, ``null_sd``.
    """
    figure, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
    where = np.arange(len(table))
    ax.errorbar(
        where, table["null_mean"], 2 * table["null_sd"], fmt="_", color="0.55", capsize=6, label="chance ± 2 sd"
    )
    ax.plot(where, table["nmi"], "o", color="0.1", label="ours")
    if paper:
        ax.plot(where, [paper.get(name, np.nan) for name in table.index], "x", color="0.1", label="the paper's")
    ax.set_xticks(where, table.index)
    ax.set(ylabel="NMI with clusters", ylim=(0, 1), xlim=(-0.5, len(table) - 0.5))
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def bars(table: pd.DataFrame, *, ylabel: str, order: Sequence[str] | None = None) -> Figure:
    """Grouped bars: a group a row, a bar a column."""
    figure, ax = plt.subplots(figsize=(0.9 * len(table) + 2.6, 2.9), layout="constrained")
    shades = [f"{shade:.2f}" for shade in np.linspace(0.2, 0.85, len(table.columns))]
    table.loc[:, list(order or table.columns)].plot.bar(ax=ax, color=shades, edgecolor="0.2", width=0.8, rot=0)
    ax.set(ylabel=ylabel, xlabel="")
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def curves(frame: pd.DataFrame, *, ylabel: str, xlabel: str, logy: bool = False) -> Figure:
    """A line a method over `n_per_class`: mean over seeds, bars of one sd."""
    figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for number, method in enumerate(dict.fromkeys(frame["method"])):
        values = frame[frame["method"] == method].groupby("n_per_class")["value"].agg(["mean", "std"])
        style = {"marker": MARKERS[number % len(MARKERS)], "linestyle": ["-", "--", ":"][number % 3], "capsize": 3}
        ax.errorbar(values.index, values["mean"], values["std"].fillna(0), label=published(method), **style)
    sizes = sorted(frame["n_per_class"].unique())
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, yscale="log" if logy else "linear")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def profiles(table: pd.DataFrame, *, xlabel: str, ylabel: str) -> Figure:
    """A line a column over the index, told apart by marker and dashes; zero as a grey line."""
    figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    for number, (name, values) in enumerate(table.items()):
        style = {"marker": MARKERS[number % len(MARKERS)], "linestyle": ["-", "--", ":"][number % 3], "markersize": 4}
        ax.plot(table.index, values, label=name, **style)
    ax.axhline(0, color="0.6", linewidth=1)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
