"""Figures of GM datasets: contact sheets, quality beside yardsticks, average spectra."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from manifpt.embeddings import freq
from manifpt.plotting.common import SIGNED, legend_beside, panels

YARDSTICKS = ("real", "pca-gaussian")


def contact_sheet(classes: Mapping[str, np.ndarray], *, columns: int = 16) -> Figure:
    """The first images of each class, uint8 `(n, c, 32, 32)`, a row a class."""
    figure, ax = plt.subplots(figsize=(0.45 * columns + 1.2, 0.48 * len(classes)), layout="constrained")
    rows = [np.concatenate([*np.moveaxis(images[:columns], 1, -1)], axis=1) for images in classes.values()]
    ax.imshow(np.concatenate(rows).squeeze(), cmap="gray", vmin=0, vmax=255)  # (rows * h, columns * w[, c])
    height = rows[0].shape[0]
    ax.set_yticks(height * (np.arange(len(rows)) + 0.5), list(classes))
    ax.set_xticks([])
    ax.tick_params(length=0)
    sns.despine(ax=ax, left=True, bottom=True)
    return figure


def quality(scores: pd.DataFrame) -> Figure:
    """Scores of each model, a panel a score; lines mark those of other reals and of the PCA-Gaussian.

    The index are models and yardsticks, the columns scores, for example ``fd``, ``precision``, ``recall``.
    """
    models = scores.drop(index=[*YARDSTICKS], errors="ignore")
    size = (2.3 * len(scores.columns) + 1, 0.24 * len(models) + 1.1)
    figure, (axes,) = panels(1, len(scores.columns), size, sharey=True)
    for ax, (name, values) in zip(axes, models.items(), strict=True):
        ax.barh(models.index, values.astype(float), color="0.75")
        for yardstick, line in zip(YARDSTICKS, ("-", "--"), strict=True):
            ax.axvline(scores.loc[yardstick, name], color="C3", linestyle=line, label=yardstick)
        ax.set(title=name)
        if name == "fd":
            ax.set(xscale="log", xlim=(scores[name].min() / 1.5, None))
            ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0].invert_yaxis()
    legend_beside(axes[-1], title="yardstick")
    return figure


def spectra(classes: Mapping[str, np.ndarray], *, reference: str = "real", columns: int = 6) -> Figure:
    """Mean log spectrum of each class minus that of `reference`; zero frequency in the middle, symmetric limits.

    Classes have uint8 images `(n, c, h, w)`.
    """
    means = {name: freq(images / np.float32(255)).mean((0, 1)) for name, images in classes.items()}
    base = means.pop(reference)
    differences = {name: mean - base for name, mean in means.items()}
    limit = float(np.quantile(np.abs([*differences.values()]), 0.99))
    rows = -(-len(differences) // columns)
    figure, axes = panels(rows, columns, (1.5 * columns + 0.8, 1.9 * rows + 0.4))
    for ax in axes.flat:
        ax.axis("off")
    for ax, (name, difference) in zip(axes.flat, differences.items(), strict=False):
        shown = ax.imshow(difference, cmap=SIGNED, vmin=-limit, vmax=limit)
        ax.set_title(name, fontsize="small")
    figure.colorbar(shown, ax=axes, shrink=0.7, label=f"log |F| minus {reference}")
    return figure
