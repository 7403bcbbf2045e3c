"""Figures of zero-shot attribution: artifacts over frequencies, likelihood ratios, calibration, tasks by method."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_curve
from sklearn.metrics.pairwise import cosine_similarity

from manifpt.plotting.attribution import matrix
from manifpt.plotting.common import MARKERS, SIGNED, legend_beside, panels

METHODS = {  # of zero-shot attribution, in the order of a legend
    "psd-plda": "ours: whitened, PLDA, synthetic makers",
    "control-no-makers": "ours without makers",
    "psd-gaussian": "whitened, cosine",
    "psd": "power spectrum, cosine",
    "extractor": "the paper's extractor",
    "control-untrained": "extractor, untrained",
    "spectrum": "spectrum of the residual",
    "marra19": "residual (Marra19)",
    "control-sl": "ImageNet features",
    "control-raw": "pixels",
}


def cosines(means: Mapping[str, np.ndarray]) -> Figure:
    """Cosines between the mean features of models, `(d,)` each."""
    similarity = cosine_similarity(np.stack([*means.values()]))
    return matrix(pd.DataFrame(similarity, list(means), list(means)), label="cosine", vmax=1)


def frequency_planes(vectors: Mapping[str, np.ndarray], *, label: str, columns: int = 6) -> Figure:
    """The luminance of vectors in ``psd``, `(d,)` each, over frequencies: columns across, rows down, both in the image.

    A vector begins with 16 vertical times 9 horizontal frequencies, in cycles a pixel; all share symmetric limits.
    """
    shown = {name: np.fft.fftshift(vector[:144].reshape(16, 9), axes=0) for name, vector in vectors.items()}
    limit = float(np.quantile(np.abs([*shown.values()]), 0.99))
    rows = -(-len(shown) // columns)
    figure, axes = panels(rows, columns, (1.25 * columns + 1, 2.15 * rows), sharex=True, sharey=True)
    for ax in axes.flat[len(shown) :]:
        ax.axis("off")
    for ax, (name, plane) in zip(axes.flat, shown.items(), strict=False):
        drawn = ax.imshow(plane, cmap=SIGNED, vmin=-limit, vmax=limit, extent=(-1 / 32, 17 / 32, 15 / 32, -17 / 32))
        ax.set_title(name, fontsize="x-small")
        ax.set(xticks=[0, 0.5], yticks=[-0.5, 0])
    figure.colorbar(drawn, ax=axes, shrink=0.8, label=label)
    return figure


def likelihood_ratios(ratios: Mapping[str, np.ndarray], *, xlabel: str, limit: float = 12) -> Figure:
    """A histogram of log10 likelihood ratios of each kind; what lies beyond the limits is counted in the last bars."""
    figure, ax = plt.subplots(figsize=(6.5, 2.8), layout="constrained")
    for number, (name, values) in enumerate(ratios.items()):
        inside = np.clip(values, -limit, limit)
        weights = np.full(len(values), 1 / len(values))
        style = {"alpha": 0.55, "color": f"C{number}", "label": f"{name} (n = {len(values):,})"}
        ax.hist(inside, np.linspace(-limit, limit, 49), weights=weights, **style)
    ax.axvline(0, color="0.3", linewidth=1)
    ax.set(xlabel=xlabel, ylabel="share")
    legend_beside(ax)
    return figure


def calibration(scores: Mapping[str, np.ndarray], same: Mapping[str, np.ndarray]) -> Figure:
    """Reliability and detection error trade-off of at most three log-likelihood ratios `(n,)`, bool `same` `(n,)` each.

    On the left, the share of trials of one maker in ten bins of the probability that the ratio means when half of the
    trials are; on the right, false acceptance over misses on normal scales.
    """
    figure, ((left, right),) = panels(1, 2, (8.6, 3.4))
    for (name, ratios), marker, width in zip(scores.items(), MARKERS, (4, 2, 1.5), strict=False):
        said, truth = expit(ratios), same[name]
        bins = np.minimum((10 * said).astype(int), 9)
        points = [(said[bins == one].mean(), truth[bins == one].mean()) for one in np.unique(bins)]
        left.plot(*zip(*points, strict=True), f"{marker}-", label=name)
        false, true, _ = roc_curve(truth, ratios)
        kept = (false > 0) & (true < 1)
        right.plot(norm.ppf(false[kept]), norm.ppf(1 - true[kept]), linewidth=width, label=name)
    left.plot([0, 1], [0, 1], color="0.5", linestyle=":")
    left.set(xlabel="probability that is said", ylabel="share of one maker", xlim=(-0.03, 1.03), ylim=(-0.03, 1.03))
    ticks = np.array([0.001, 0.01, 0.05, 0.2, 0.5, 0.8])
    right.set_xticks(norm.ppf(ticks), [f"{100 * tick:g}" for tick in ticks])
    right.set_yticks(norm.ppf(ticks), [f"{100 * tick:g}" for tick in ticks])
    shown = norm.ppf([0.0007, 0.85])
    right.set(xlabel="different makers accepted (%)", ylabel="one maker missed (%)", xlim=shown, ylim=shown)
    right.plot(shown, shown, color="0.5", linestyle=":")
    legend_beside(right)
    return figure


def tasks(table: pd.DataFrame, asked: Mapping[str, tuple[str, int, str]], *, order: Sequence[str]) -> Figure:
    """Scores of every method by dataset, a panel a task: mean over splits, ours in colour.

    `asked` maps a panel's title to the task, the number of images and the metric of tidy rows; `order` names datasets.
    """
    figure, (axes,) = panels(1, len(asked), (1.9 * len(asked) + 2.4, 0.42 * len(order) + 1.2), sharey=True)
    for ax, (title, (task, n, metric)) in zip(axes, asked.items(), strict=True):
        rows = table[(table["task"] == task) & (table["n_per_class"] == n) & (table["metric"] == metric)]
        rows = rows[rows["dataset"].isin(order)]
        means = rows.pivot_table("value", "dataset", "method")
        for number, (method, name) in reversed([*enumerate(METHODS.items())]):
            if method in means:
                values = 100 * means[method].reindex(order)
                style = {"color": "C0" if number < 2 else "0.45", "markerfacecolor": "C0" if not number else "none"}
                ax.plot(values, range(len(order)), MARKERS[number], label=name, markersize=6, **style)
        ax.set_title(title, fontsize="small")
        ax.set_xlabel(f"{metric} (%)")
        ax.grid(axis="y", color="0.92")
    axes[0].set_yticks(range(len(order)), order)
    axes[0].invert_yaxis()
    handles, names = axes[0].get_legend_handles_labels()
    figure.legend(handles[::-1], names[::-1], loc="outside right center", frameon=False, fontsize="small")
    return figure


def ablation(table: pd.DataFrame) -> Figure:
    """Accuracy of each task of tidy rows, best first: a marker a dataset, bars of one standard deviation."""
    rows = table[table["metric"] == "accuracy"].assign(value=100 * table["value"])
    order = rows.groupby("task")["value"].mean().sort_values(ascending=False).index
    datasets = [*rows["dataset"].drop_duplicates()]
    figure, ax = plt.subplots(figsize=(8, 0.24 * len(order) + 1.2), layout="constrained")
    style = {"palette": sns.color_palette("Greys_r", len(datasets) + 1)[:-1], "markers": [*MARKERS[: len(datasets)]]}
    style |= {"linestyle": "none", "markersize": 6, "err_kws": {"linewidth": 1}, "errorbar": "sd"}
    sns.pointplot(rows, x="value", y="task", order=order, hue="dataset", hue_order=datasets, **style, ax=ax)
    ax.set(xlabel="accuracy (%)", ylabel="", xlim=(0, 102))
    ax.grid(axis="y", color="0.92")
    legend_beside(ax)
    return figure
