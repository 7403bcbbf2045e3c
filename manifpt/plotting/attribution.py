"""Figures of attribution: training, confusion, learning curves."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure

NAMES = {  # of the inputs of a learning curve, in the order of the legend
    "manifpt-rgb-nearest": "artifact, nearest (the paper's)",
    "manifpt-rgb-tangent": "artifact, tangent",
    "manifpt-rgb-denoiser": "artifact, denoiser",
    "control-raw": "control: the image itself",
    "control-random-rgb": "control: minus a random real",
}


def training(history: Sequence[dict], best_epoch: int) -> Figure:
    """Loss and validation accuracy of each epoch; the dotted line marks the epoch whose weights were kept."""
    frame = pd.DataFrame(history)
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
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
    """Share of each class's images (rows) that is attributed to each class (columns)."""
    table = pd.crosstab(truth, predicted, normalize="index").reindex(index=classes, columns=classes, fill_value=0.0)
    figure, ax = plt.subplots(figsize=(4.6, 3.8), layout="constrained")
    sns.heatmap(table, annot=True, fmt=".2f", cmap="Greys", vmin=0, vmax=1, square=True, cbar=False, ax=ax)
    ax.set(xlabel="attributed to", ylabel="made by")
    ax.tick_params(length=0, axis="both", rotation=0)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=30, ha="right")
    return figure


def learning_curves(frame: pd.DataFrame, *, chance: float) -> Figure:
    """Accuracy against images a class, a line an input: mean over seeds, bars of one standard deviation."""
    shown = frame[frame["metric"] == "accuracy"]
    figure, ax = plt.subplots(figsize=(7, 3.8), layout="constrained")
    for number, (method, name) in enumerate(NAMES.items()):
        values = shown[shown["method"] == method].groupby("n_per_class")["value"].agg(["mean", "std"])
        if len(values):
            style = {"marker": "osD^v"[number], "linestyle": ["-", "-", "-", "--", ":"][number], "capsize": 3}
            ax.errorbar(values.index, values["mean"], values["std"].fillna(0), label=name, **style)
    ax.axhline(chance, color="0.5", linewidth=1)
    ax.annotate("chance", (1, chance), xycoords=("axes fraction", "data"), ha="right", va="bottom", color="0.4")
    sizes = sorted(shown["n_per_class"].unique())
    ax.set(xscale="log", xlabel="training images a class", ylabel="test accuracy")
    ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
    ax.minorticks_off()
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def shares(values: Mapping[str, Sequence[float]], *, chance: float, label: str) -> Figure:
    """A bar for the mean of each name's shares in [0, 1], equally many, with standard deviation; dashed: chance."""
    mean, sd = pd.DataFrame(values).agg(["mean", "std"]).to_numpy()
    figure, ax = plt.subplots(figsize=(7, 0.5 * len(values) + 1), layout="constrained")
    bars = ax.barh(list(values), mean, xerr=sd, capsize=4, color="0.8", edgecolor="black", linewidth=0.8)
    ax.bar_label(bars, [f"{value:.2f}" for value in mean], padding=6)
    ax.axvline(chance, color="C3", linestyle="--")
    ax.set(xlim=(0, 1.1), xlabel=label)
    ax.invert_yaxis()
    return figure
