"""Figures of Model Synthesis: spectra of architectural options, accuracies beside chance, sets of synthetic models."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from sklearn.metrics.pairwise import cosine_similarity

from manifpt.plotting.attribution import matrix
from manifpt.plotting.common import legend_beside, panels


def option_spectra(spectra: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Average log spectra minus that of all models, on one scale: a row for each option, a panel for each value.

    Spectra are `(h, w)`, zero frequency in the middle.
    """
    columns = max(map(len, spectra.values()))
    figure, axes = panels(len(spectra), columns, (1.5 * columns + 1.2, 1.5 * len(spectra)))
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
    figure.colorbar(picture, ax=axes, shrink=0.6, label="mean log |F| of the residual, minus that of all")
    return figure


def cosines(means: Mapping[str, np.ndarray]) -> Figure:
    """Cosines between the mean features of models, `(d,)` each."""
    similarity = cosine_similarity(np.stack([*means.values()]))
    return matrix(pd.DataFrame(similarity, list(means), list(means)), label="cosine", vmax=1)


def beside_chance(frame: pd.DataFrame, *, metric: str, chance: float | Mapping[str, float]) -> Figure:
    """Mean and standard deviation over splits of each method: a row of panels a dataset, a column a task.

    Rows are tidy, with one number of gallery images; methods that begin with ``synthesis`` are coloured. The dashed
    line is `chance`, a level or the name of the metric that holds it.
    """
    shown = frame[frame["metric"] == metric]
    shown = shown.assign(ours=shown["method"].str.startswith("synthesis"))
    height = 0.22 * shown["method"].nunique() + 0.6
    style = {"palette": {False: "0.45", True: "C0"}, "markers": ["o", "D"], "linestyle": "none", "markersize": 5}
    grid = sns.catplot(
        shown, kind="point", x="value", y="method", row="dataset", col="task", hue="ours", hue_order=[False, True],
        height=height, aspect=2.6 / height, errorbar="sd", err_kws={"linewidth": 1}, legend=False, **style,
    )  # fmt: skip
    for (dataset, task), ax in grid.axes_dict.items():
        level = chance
        if isinstance(chance, str):
            same = (frame["dataset"] == dataset) & (frame["task"] == task) & (frame["metric"] == chance)
            level = frame.loc[same, "value"].mean()
        ax.axvline(level, color="0.4", linestyle="--", linewidth=1)
    return grid.set(xlim=(0, 1.02)).set_titles("{row_name}: {col_name}").set_axis_labels(metric, "").figure


def sets(frame: pd.DataFrame, *, reduced: Sequence[str]) -> Figure:
    """Identification by sets of synthetic models, a row a dataset, bars of one standard deviation over seeds.

    Rows are those of `manifpt.experiments.synthesis_sets`. On the left at most nine `reduced` sets over their Fréchet
    distance; on the right growing sets, which have their number of models as a name.
    """
    datasets = frame["dataset"].unique()
    figure, axes = panels(len(datasets), 2, (9.4, 2.6 * len(datasets)), sharex="col", sharey="row")
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
    """Fine-tuned models over their training steps, a column for each base model.

    Above: cosine of the mean feature with those of the base and of the nearest other model. Below: share of the images
    that are attributed to the base, bars of one standard deviation over seeds, chance dashed.
    """
    named = frame["task"].str.rpartition("+")
    table = frame.assign(base=named[0], steps=named[2].astype(int))
    bases = table["base"].unique()
    figure, axes = panels(2, len(bases), (3.4 * len(bases) + 1.8, 4.4), sharex=True, sharey="row")
    for (above, below), base in zip(axes.T, bases, strict=True):
        lines = table[table["base"] == base].pivot_table("value", "steps", "metric", aggfunc=["mean", "std"])
        above.plot(lines.index, lines["mean", "cosine"], "o-", color="C0", label="its base")
        above.plot(lines.index, lines["mean", "runner_up"], "s--", color="0.45", label="nearest other model")
        spread = lines["std", "matched"].fillna(0)
        below.errorbar(lines.index, lines["mean", "matched"], yerr=spread, fmt="^:", color="0.2", capsize=2)
        below.axhline(lines["mean", "chance"].mean(), color="0.4", linestyle="--", linewidth=1)
        above.set_title(base)
        below.set(xlabel="fine-tuning steps", ylim=(0, 1))
    axes[0, 0].set_ylabel("cosine with")
    axes[1, 0].set_ylabel("share of images matched")
    legend_beside(axes[0, -1])
    return figure
