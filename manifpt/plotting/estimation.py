"""Figures of estimation: images beside their projections and artifacts, in each space, and how long artifacts are."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIGNED = "RdBu_r"  # colours of artifacts: white is 0, red above, blue below


def strips(
    rows: Mapping[str, np.ndarray], *, groups: Sequence[str], signed: Sequence[str] = (), scale: float = 0.55
) -> Figure:
    """Images side by side, a strip for each name: pixels in grey or colour, artifacts in the colours of their sign.

    Parameters
    ----------
    rows
        Name to images `(n, c, h, w)`, uint8 or float in [0, 1], the same n for all.
    groups
        Name of each image, `(n,)`; neighbours of one name stand together under it.
    signed
        Names of the strips with artifacts. Each has symmetric limits of its own, the 99.5th percentile of absolute
        values, written beside it; of colours the mean is shown.
    scale
        Inches of an image.
    """
    groups = np.asarray(groups)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    size = (scale * len(groups) + 2.2, scale * (1.06 * len(rows) + 0.6))
    figure, axes = plt.subplots(len(rows), figsize=size, squeeze=False, layout="constrained")
    for ax, (name, images) in zip(axes[:, 0], rows.items(), strict=True):
        limit = _draw_strip(ax, images, starts, signed=name in signed)
        label = name if limit is None else f"{name}\n± {limit:.2g}"
        ax.set_ylabel(label, rotation=0, ha="right", va="center", multialignment="right")
        ax.set(xticks=[], yticks=[])
        sns.despine(ax=ax, left=True, bottom=True)
    centres = [part.mean() for part in np.split(_centres(len(groups), images.shape[-1], starts), starts[1:])]
    axes[0, 0].set_xticks(centres, groups[starts])
    axes[0, 0].tick_params(top=False, labeltop=True, bottom=False, labelbottom=False)
    return figure


def _centres(n: int, width: int, starts: np.ndarray) -> np.ndarray:
    """Where the middle of each of n images lies in a strip: a gap between images, a wider one between groups."""
    gaps = np.full(n, 2) + np.where(np.isin(np.arange(n), starts), width // 4, 0)
    return np.arange(n) * width + np.cumsum(gaps) - gaps[0] + width / 2


def _draw_strip(ax: Axes, images: np.ndarray, starts: np.ndarray, *, signed: bool) -> float | None:
    """Draw images `(n, c, h, w)` on one axis; the limit of a signed strip, else None."""
    n, channels, height, width = images.shape
    if signed:
        images, channels = images.mean(1, keepdims=True), 1
        limit = float(np.quantile(np.abs(images), 0.995))
    lefts = (_centres(n, width, starts) - width / 2).astype(int)
    strip = np.full((height, lefts[-1] + width, channels), np.nan)
    for left, image in zip(lefts, images / (255 if images.dtype == np.uint8 else 1), strict=True):
        strip[:, left : left + width] = np.moveaxis(image, 0, -1)  # (h, w, c)
    strip = np.nan_to_num(strip, nan=1.0) if channels == 3 else strip[..., 0]
    ax.imshow(strip, cmap=SIGNED if signed else "gray", vmin=-limit if signed else 0, vmax=limit if signed else 1)
    return limit if signed else None


def verdicts(images: Mapping[str, np.ndarray], probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """What an attributor says of images: each above the bars of its probabilities, that of its true maker dark.

    Parameters
    ----------
    images
        True class to a uint8 image `(c, h, w)` of it.
    probabilities
        `(n, C)`, rows sum to 1.
    classes
        The C names.
    """
    size = (2.6 * len(images), 3.6)
    figure, axes = plt.subplots(2, len(images), figsize=size, squeeze=False, sharey="row", layout="constrained")
    for (truth, image), share, (above, below) in zip(images.items(), probabilities, axes.T, strict=True):
        above.imshow(np.moveaxis(image, 0, -1), cmap="gray", vmin=0, vmax=255)  # (h, w, c)
        above.set(title=f"truth: {truth}")
        above.axis("off")
        colours = ["C0" if name == truth else "0.75" for name in classes]
        bars = below.barh(list(classes), share, color=colours, edgecolor="black", linewidth=0.8)
        below.bar_label(bars, [f"{p:.2f}" for p in share], padding=3)
        below.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], xlabel="probability")
    axes[1, 0].invert_yaxis()
    return figure


def four_spaces(image: np.ndarray, nearest: Mapping[str, np.ndarray], artifacts: Mapping[str, np.ndarray]) -> Figure:
    """One generated image and its nearest real image in each space, with the artifact below: the paper's Figure 4.

    Parameters
    ----------
    image
        uint8 `(c, h, w)`.
    nearest
        Space to the nearest real image, uint8 `(c, h, w)`.
    artifacts
        Space to the artifact: `(c, h, w)` is drawn as an image with symmetric limits, `(d,)` as its sorted entries.
    """
    names = list(nearest)
    figure, axes = plt.subplots(2, 1 + len(names), figsize=(2 * (1 + len(names)), 4.1), layout="constrained")
    pictures = {"generated x": image} | {f"x* in {name}": nearest[name] for name in names}
    for ax, (title, picture) in zip(axes[0], pictures.items(), strict=True):
        ax.imshow(np.moveaxis(picture, 0, -1), cmap="gray", vmin=0, vmax=255)  # (h, w, c)
        ax.set(title=title)
        ax.axis("off")
    axes[1, 0].axis("off")
    axes[1, 0].text(0.5, 0.5, "artifact\nφ(x) − φ(x*)", ha="center", va="center")
    for ax, name in zip(axes[1, 1:], names, strict=True):
        artifact = artifacts[name]
        if artifact.ndim == 1:
            ax.fill_between(np.arange(len(artifact)), np.sort(artifact)[::-1], color="0.45", linewidth=0)
            ax.axhline(0, color="black", linewidth=0.8)
            ax.set(title=f"{len(artifact)} features, sorted", xticks=[])
        else:
            limit = np.quantile(np.abs(artifact), 0.995)
            shown = ax.imshow(artifact.mean(0), cmap=SIGNED, vmin=-limit, vmax=limit)
            ax.axis("off")
            figure.colorbar(shown, ax=ax, location="bottom", shrink=0.8, ticks=[-limit, 0, limit], format="%.1f")
    return figure


def lengths(frame: pd.DataFrame, *, first: str = "real") -> Figure:
    """Boxes of artifact lengths, a panel for each estimator; the dashed line is the median of the held-out reals.

    Parameters
    ----------
    frame
        Tidy, columns ``estimator``, ``model``, ``length``.
    first
        The model that the others are held against.
    """
    grid = sns.catplot(
        data=frame, x="length", y="model", col="estimator", kind="box", sharex=False, height=2.6, aspect=1.0,
        color="0.8", linecolor="0.2", fliersize=1.5, linewidth=1,
    )  # fmt: skip
    for name, ax in grid.axes_dict.items():
        mine = frame[(frame["estimator"] == name) & (frame["model"] == first)]
        ax.axvline(mine["length"].median(), color="C3", linestyle="--", linewidth=1.2)
        ax.set_xlim(left=0)
    return grid.set_titles("{col_name}").set_axis_labels("artifact length", "").figure
