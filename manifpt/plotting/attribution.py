"""Figures of attribution and its tables: training, accuracy of every method, gains over a control, clusters."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from manifpt.plotting.common import MARKERS, legend_beside, panels

INPUTS = {  # of a learning curve, in the order of the legend
    "manifpt-rgb-nearest": "artifact, nearest (the paper's)",
    "manifpt-rgb-tangent": "artifact, tangent",
    "manifpt-rgb-denoiser": "artifact, denoiser",
    "control-raw": "control: the image itself",
    "control-random-rgb": "control: minus a random real",
}
BASELINES = ("nataraj19", "durall20", "dzanic20", "wang20", "marra18", "marra19", "yu19")
PUBLISHED = {"mccloskey18": "McClo18"} | {name: name.capitalize() for name in BASELINES}  # names in the paper's tables
PUBLISHED |= {f"manifpt-{space}-nearest": f"ManiFPT {space.upper()}" for space in ("rgb", "freq", "sl", "ssl")}


def published(method: str) -> str:
    """The paper's name of a method, or ours for a method that the paper lacks."""
    return PUBLISHED.get(method, method.removeprefix("manifpt-"))


def training(history: Sequence[dict], best_epoch: int) -> Figure:
    """Loss and validation accuracy of each epoch; the dotted line marks the epoch whose weights were kept."""
    frame = pd.DataFrame(history)
    figure, ((left, right),) = panels(1, 2, (8, 2.8))
    left.plot(frame["epoch"], frame["loss"], "o-", label="training")
    left.plot(frame["epoch"], frame["val_loss"], "s--", label="validation")
    left.set(xlabel="epoch", ylabel="cross-entropy")
    left.legend(frameon=False)
    right.plot(frame["epoch"], frame["val_accuracy"], "s--", color="C1")
    right.set(xlabel="epoch", ylabel="validation accuracy", ylim=(0, 1.02))
    for ax in (left, right):
        ax.axvline(best_epoch, color="0.5", linestyle=":")
    return figure


def confusion(truth: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> Figure:
    """Share of the images of each class (row) that is attributed to each class (column)."""
    table = pd.crosstab(truth, predicted, normalize="index").reindex(index=classes, columns=classes, fill_value=0.0)
    figure = matrix(table, label="share", vmin=0, vmax=1)
    figure.axes[0].set(xlabel="attributed to", ylabel="made by")
    return figure


def curves(frame: pd.DataFrame, *, ylabel: str, xlabel: str, logy: bool = False) -> Figure:
    """A line for each method over `n_per_class`: mean over seeds, bars of one standard deviation."""
    figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    shown = frame.assign(method=frame["method"].map(published))
    style = {"style": "method", "markers": True, "errorbar": "sd", "err_style": "bars", "err_kws": {"capsize": 3}}
    sns.lineplot(shown, x="n_per_class", y="value", hue="method", **style, ax=ax)
    sizes = sorted(frame["n_per_class"].unique())
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, yscale="log" if logy else "linear")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    legend_beside(ax)
    return figure


def learning_curves(frame: pd.DataFrame, *, chance: float) -> Figure:
    """Accuracy over the number of training images a class, a line for each of `INPUTS` in the frame; see `curves`."""
    shown = frame[(frame["metric"] == "accuracy") & frame["method"].isin([*INPUTS])]
    shown = shown.sort_values("method", key=lambda names: names.map([*INPUTS].index), kind="stable")
    shown = shown.assign(method=shown["method"].map(INPUTS))
    figure = curves(shown, ylabel="test accuracy", xlabel="training images a class")
    figure.axes[0].axhline(chance, color="0.5", linewidth=1)
    place = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
    figure.axes[0].annotate("chance", (1, chance), color="0.4", **place)
    return figure


def shares(values: Mapping[str, Sequence[float]], *, chance: float, label: str) -> Figure:
    """A bar for the mean of each name's shares in [0, 1], equally many, with standard deviation; chance is dashed."""
    mean, sd = pd.DataFrame(values).agg(["mean", "std"]).to_numpy()
    figure, ax = plt.subplots(figsize=(7, 0.5 * len(values) + 1), layout="constrained")
    bars = ax.barh(list(values), mean, xerr=sd, capsize=4, color="0.8", edgecolor="black", linewidth=0.8)
    ax.bar_label(bars, fmt="%.2f", padding=6)
    ax.axvline(chance, color="C3", linestyle="--")
    ax.set(xlim=(0, 1.1), xlabel=label)
    ax.invert_yaxis()
    return figure


def accuracies(frame: pd.DataFrame, *, column: str = "n_per_class", chance: float | None = None) -> Figure:
    """Accuracy of each method, one row each in the order of the frame: mean over seeds, bars of one standard deviation.

    The tidy rows of the metric ``accuracy`` are drawn, with a marker for each value of `column` and a line at `chance`.
    """
    shown = frame[frame["metric"] == "accuracy"]
    shown = shown.assign(method=shown["method"].map(published))
    values = [*shown[column].drop_duplicates()]
    figure, ax = plt.subplots(figsize=(7.5, 0.24 * shown["method"].nunique() + 1.2), layout="constrained")
    style = {"palette": sns.color_palette("Greys_r", len(values) + 1)[:-1], "markers": [*MARKERS[: len(values)]]}
    style |= {"linestyle": "none", "markersize": 6, "markeredgecolor": "0.25", "err_kws": {"linewidth": 1}}
    sns.pointplot(shown, x="value", y="method", hue=column, hue_order=values, errorbar="sd", **style, ax=ax)
    ax.set(xlabel="test accuracy", ylabel="", xlim=(0, 1.02))
    ax.grid(axis="y", color="0.92")
    if chance is not None:
        ax.axvline(chance, color="0.5", linestyle=":")
        ax.annotate("chance", (chance, 1), xycoords=("data", "axes fraction"), ha="center", va="bottom", color="0.4")
    legend_beside(ax, title={"n_per_class": "images a class"}.get(column, column))
    return figure


def gains(table: pd.DataFrame, *, control: str, level: float) -> Figure:
    """Gain in accuracy of methods over a control, filled where ``p_holm`` is below the level.

    The table is that of `manifpt.experiments.ledger.comparisons`, with methods as index.
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


def matrix(
    table: pd.DataFrame, *, label: str, form: str = ".2f", bracketed: pd.DataFrame | None = None, **limits: float
) -> Figure:
    """A table of numbers in shades of grey, each written in; in brackets where `bracketed`, of its shape, is true.

    Other options are limits of the shades: ``vmin``, ``vmax``.
    """
    size = (0.5 * len(table.columns) + 2.6, 0.34 * len(table) + 1.6)
    figure, ax = plt.subplots(figsize=size, layout="constrained")
    text = table.map(lambda value: "" if pd.isna(value) else format(value, form))
    text = text if bracketed is None else text.mask(bracketed, "(" + text + ")")
    style = {"cmap": "Greys", "annot": text, "fmt": "", "annot_kws": {"fontsize": 7}, "cbar_kws": {"label": label}}
    sns.heatmap(table.astype(float), ax=ax, **style, **limits)
    ax.set(xlabel="", ylabel="")
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=40, ha="right")
    ax.tick_params(axis="y", rotation=0)
    return figure


def embeddings(points: Mapping[str, np.ndarray], labels: np.ndarray, groups: Mapping[str, str]) -> Figure:
    """Points in the plane, each with a label: title to points `(n, 2)` and labels `(n,)`, a panel a title.

    `groups` maps a class to its group, as a model to its family. Each group has a marker, each class a colour and a
    number, which stands on the point that is nearest to the median of its points.
    """
    columns = min(3, len(points))
    rows = -(-len(points) // columns)
    figure, axes = panels(rows, columns, (3 * columns + 1.5, 3 * rows))
    families = list(dict.fromkeys(groups.values()))
    colours = dict(zip(groups, sns.color_palette("husl", len(groups)), strict=True))
    for ax, (title, places) in zip(axes.flat, points.items(), strict=False):
        for number, (label, family) in enumerate(groups.items(), 1):
            mine = places[labels == label]
            marker = MARKERS[families.index(family)]
            ax.scatter(*mine.T, s=8, marker=marker, color=colours[label], linewidth=0, label=f"{number} {label}")
            place = mine[np.linalg.norm(mine - np.median(mine, axis=0), axis=1).argmin()]
            halo = [withStroke(linewidth=2, foreground="white")]
            ax.annotate(str(number), place, ha="center", va="center", fontsize=8, path_effects=halo, zorder=3)
        ax.set(title=title, xticks=[], yticks=[])
    for ax in axes.flat[len(points) :]:
        ax.axis("off")
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside right center", frameon=False, fontsize="small", markerscale=2)
    return figure


def clusters(table: pd.DataFrame, *, paper: Mapping[str, float] | None = None) -> Figure:
    """NMI of clusters with each design variable beside its permutation null; values of the paper are crosses.

    The index of the table are variables, its columns ``nmi``, ``null_mean`` and ``null_sd``.
    """
    figure, ax = plt.subplots(figsize=(6.5, 2.9), layout="constrained")
    where, spread = np.arange(len(table)), 2 * table["null_sd"]
    ax.errorbar(where, table["null_mean"], spread, fmt="_", color="0.55", capsize=6, label="chance ± 2 sd")
    ax.plot(where, table["nmi"], "o", color="0.1", label="ours")
    if paper:
        ax.plot(where, [paper.get(name, np.nan) for name in table.index], "x", color="0.1", label="the paper's")
    ax.set_xticks(where, table.index)
    ax.set(ylabel="NMI with clusters", ylim=(0, 1), xlim=(-0.5, len(table) - 0.5))
    legend_beside(ax)
    return figure
