"""Figures of Model Synthesis: what options do to a spectrum, who is told apart, what a set of models is worth."""

from collections.abc import Mapping, Sequence
from itertools import product

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure


def option_spectra(spectra: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Average log spectra less that of all models, `(h, w)`, zero frequency in the middle: a row an option.

    Parameters
    ----------
    spectra
        Option to its values to what is shown, on one scale for all.
    """
    columns = max(map(len, spectra.values()))
    figure, axes = plt.subplots(
        len(spectra), columns, figsize=(1.5 * columns + 1.2, 1.5 * len(spectra)), layout="constrained", squeeze=False
    )
    every = np.stack([shown for values in spectra.values() for shown in values.values()])
    low, high = np.quantile(every, [0.01, 0.99])
    for row, (option, values) in zip(axes, spectra.items(), strict=True):
        for ax in row:
            ax.set(xticks=[], yticks=[])
            sns.despine(ax=ax, left=True, bottom=True)
        row[0].set_ylabel(option)
        for ax, (value, shown) in zip(row, values.items(), strict=False):
            picture = ax.imshow(shown, cmap="gray", vmin=low, vmax=high)
            ax.set_title(value, fontsize="small")
    figure.colorbar(picture, ax=axes, shrink=0.6, label="mean log |F| of the residual, less that of all")
    return figure


def cosines(means: Mapping[str, np.ndarray]) -> Figure:
    """Cosine of each model's mean feature `(d,)` with each other's."""
    rows = np.stack([*means.values()])
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    side = 0.34 * len(rows) + 1.8
    figure, ax = plt.subplots(figsize=(side + 0.6, side), layout="constrained")
    sns.heatmap(
        pd.DataFrame(rows @ rows.T, list(means), list(means)), cmap="Greys", vmax=1, square=True, ax=ax, cbar=True
    )
    ax.tick_params(length=0, axis="y", rotation=0)
    ax.set_xticks(ax.get_xticks(), ax.get_xticklabels(), rotation=45, ha="right")
    return figure


def beside_chance(frame: pd.DataFrame, *, metric: str, chance: float | Mapping[str, float]) -> Figure:
    """A row of panels a dataset, a column a task, a line a method: mean ± sd over splits, chance dashed.

    Parameters
    ----------
    frame
        Tidy rows, one number of gallery images.
    metric
        Which of their metrics.
    chance
        Level of all panels; or the name of a metric of `frame` that holds it.
    """
    shown = frame[frame["metric"] == metric]
    datasets, tasks, methods = (shown[name].drop_duplicates().tolist() for name in ("dataset", "task", "method"))
    methods.reverse()
    size = (2.6 * len(tasks) + 1.6, (0.22 * len(methods) + 0.6) * len(datasets) + 0.4)
    grid = {"sharex": True, "sharey": True, "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(len(datasets), len(tasks), figsize=size, **grid)
    for ax, (dataset, task) in zip(axes.flat, product(datasets, tasks), strict=True):
        part = shown[(shown["dataset"] == dataset) & (shown["task"] == task)]
        values = part.groupby("method")["value"].agg(["mean", "std"]).reindex(methods)
        ours = [name.startswith("synthesis") for name in methods]
        for marker, mine, colour in (("o", False, "0.45"), ("D", True, "C0")):
            at = [number for number, own in enumerate(ours) if own == mine]
            some = values.iloc[at]
            ax.errorbar(some["mean"], at, xerr=some["std"].fillna(0), fmt=marker, color=colour, capsize=2)
        level = chance
        if isinstance(chance, str):
            same = (frame["dataset"] == dataset) & (frame["task"] == task) & (frame["metric"] == chance)
            level = frame.loc[same, "value"].mean()
        ax.axvline(level, color="0.4", linestyle="--", linewidth=1)
        ax.set(title=f"{dataset}: {task}", xlim=(0, 1.02))
    for ax in axes[-1]:
        ax.set_xlabel(metric)
    axes[0, 0].set_yticks(range(len(methods)), methods)
    return figure


def sets(frame: pd.DataFrame, *, reduced: Sequence[str]) -> Figure:
    """A row a dataset. Left: identification against the Fréchet distance of reduced sets; right: against growing draws.

    Bars are one standard deviation over seeds; chance, far below, is named at the axis.

    Parameters
    ----------
    frame
        Tidy rows by `manifpt.experiments.synthesis_sets.synthesis_sets`.
    reduced
        Sets of the left panel, nine at most; those of the right one are named by their number of models.
    """
    datasets = frame["dataset"].unique()
    grid = {"sharex": "col", "sharey": "row", "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(len(datasets), 2, figsize=(9.4, 2.6 * len(datasets)), **grid)
    for (left, right), dataset in zip(axes, datasets, strict=True):
        table = frame[frame["dataset"] == dataset].pivot_table("value", "task", "metric", aggfunc=["mean", "std"])
        mean, accuracy, sd = table["mean"], table["mean", "accuracy"], table["std", "accuracy"]
        for name, marker in zip([name for name in reduced if name in table.index], "osD^v<>PX", strict=False):
            style = {"fmt": marker, "color": "0.3", "elinewidth": 1, "label": name}
            left.errorbar(mean.loc[name, "ffd"], accuracy[name], sd[name], **style)
        grown = sorted((name for name in table.index if name.isdecimal()), key=int)
        right.errorbar(mean.loc[grown, "models"], accuracy[grown], sd[grown], fmt="o-", elinewidth=1)
        right.set_xscale("log")
        right.set_xticks(mean.loc[grown, "models"], grown)
        right.minorticks_off()
        left.set(title=dataset, ylabel=f"accuracy (chance {mean['chance'].mean():.2f})")
    left.set_xlabel("FFD to the zoo (lower is nearer)")
    right.set_xlabel("synthetic models")
    figure.legend(*left.get_legend_handles_labels(), loc="outside right center", frameon=False)
    return figure


def lineage(frame: pd.DataFrame) -> Figure:
    """A column a fine-tuned model. Above: cosine of its mean feature with its base's and the nearest other fingerprint.

    Below: share of its images that are given to the base, bars of one standard deviation over seeds, chance dashed.
    """
    named = frame["task"].str.rpartition("+")
    table = frame.assign(base=named[0], steps=named[2].astype(int))
    bases = table["base"].unique()
    size = (3.4 * len(bases) + 1.8, 4.4)
    grid = {"sharex": True, "sharey": "row", "layout": "constrained", "squeeze": False}
    figure, axes = plt.subplots(2, len(bases), figsize=size, **grid)
    for (above, below), base in zip(axes.T, bases, strict=True):
        lines = table[table["base"] == base].pivot_table("value", "steps", "metric", aggfunc=["mean", "std"])
        for metric, style, colour, label in (
            ("cosine", "o-", "C0", "its base"),
            ("runner_up", "s--", "0.45", "nearest other model"),
        ):
            above.plot(lines.index, lines["mean", metric], style, color=colour, label=label)
        spread = lines["std", "matched"].fillna(0)
        below.errorbar(lines.index, lines["mean", "matched"], yerr=spread, fmt="^:", color="0.2", capsize=2)
        below.axhline(lines["mean", "chance"].mean(), color="0.4", linestyle="--", linewidth=1)
        above.set_title(base)
        below.set(xlabel="fine-tuning steps", ylim=(0, 1))
    axes[0, 0].set_ylabel("cosine with")
    axes[1, 0].set_ylabel("share of images matched")
    axes[0, -1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure
