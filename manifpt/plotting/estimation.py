"""Figures of estimation: images beside their projections and artifacts in each space, and lengths of artifacts."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifpt.embeddings import freq
from manifpt.plotting.common import SIGNED, draw_image, panels


def strips(
    rows: Mapping[str, np.ndarray], *, groups: Sequence[str], signed: Sequence[str] = (), scale: float = 0.55
) -> Figure:
    """Images side by side in a strip for each name: pixels in grey or colour, artifacts in the colours of their sign.

    Parameters
    ----------
    rows
        Name to images `(n, c, h, w)`, uint8 or float in [0, 1], n the same for all.
    groups
        Name of each image, `(n,)`, written above each run of equal ones.
    signed
        Names of the strips of artifacts, whose channels are averaged. Each has symmetric limits of its own, the 99.5th
        percentile of absolute values, written beside it.
    scale
        Side of an image in inches.
    """
    groups = np.asarray(groups)
    starts = np.flatnonzero(np.r_[True, groups[1:] != groups[:-1]])
    figure, axes = panels(len(rows), 1, (scale * len(groups) + 2.2, scale * (1.06 * len(rows) + 0.6)))
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
    """Horizontal centres of n images in a strip, in pixels; the gap before the image at each of `starts` is wider."""
    gaps = np.full(n, 2) + np.where(np.isin(np.arange(n), starts), width // 4, 0)
    return np.arange(n) * width + np.cumsum(gaps) - gaps[0] + width / 2


def _draw_strip(ax: Axes, images: np.ndarray, starts: np.ndarray, *, signed: bool) -> float | None:
    """Draw images `(n, c, h, w)` on one axis; returns the limit of a signed strip, else None."""
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


def views(image: np.ndarray, target: np.ndarray, artifact: np.ndarray) -> Figure:
    """Image, projection, artifact and log spectrum of the artifact side by side, each with its range of values.

    Parameters
    ----------
    image
        uint8 `(c, h, w)`.
    target, artifact
        float32 `(c, h, w)` in units of pixels in [0, 1]: the point on the manifold, and the image minus that point. The
        channels of the artifact and of its spectrum are averaged; its colours end at the largest magnitude.
    """
    signed, spectrum = artifact.mean(0), freq(artifact).mean(0)
    limit = float(np.abs(signed).max())
    shown = {  # title to values and the range and colours that they are drawn in
        "image $x$": (np.moveaxis(image, 0, -1) / 255, 0, 1, "gray"),
        "projection $x^*$": (np.moveaxis(target, 0, -1).clip(0, 1), 0, 1, "gray"),
        "artifact $x - x^*$": (signed, -limit, limit, SIGNED),
        "spectrum of the artifact": (spectrum, *np.quantile(spectrum, [0.01, 1]), "gray"),
    }
    figure, axes = panels(1, len(shown), (10, 2.9))
    for ax, (title, (values, low, high, colours)) in zip(axes[0], shown.items(), strict=True):
        drawn = ax.imshow(values, cmap=colours, vmin=low, vmax=high)
        ax.set_title(title)
        ax.axis("off")
        figure.colorbar(drawn, ax=ax, location="bottom", shrink=0.8, ticks=[low, high], format="%.2g")
    return figure


def verdicts(images: Mapping[str, np.ndarray], probabilities: np.ndarray, classes: Sequence[str]) -> Figure:
    """Images above the probabilities that an attributor gives their classes; the bar of the true class is dark.

    Parameters
    ----------
    images
        True class to a uint8 image `(c, h, w)` of it.
    probabilities
        `(n, C)`, rows sum to 1.
    classes
        The C names.
    """
    figure, axes = panels(2, len(images), (2.6 * len(images), 3.6), sharey="row")
    for (truth, image), share, (above, below) in zip(images.items(), probabilities, axes.T, strict=True):
        draw_image(above, image, f"truth: {truth}")
        colours = ["C0" if name == truth else "0.75" for name in classes]
        bars = below.barh(list(classes), share, color=colours, edgecolor="black", linewidth=0.8)
        below.bar_label(bars, [f"{p:.2f}" for p in share], padding=3)
        below.set(xlim=(0, 1.25), xticks=[0, 0.5, 1], xlabel="probability")
    axes[1, 0].invert_yaxis()
    return figure


def four_spaces(image: np.ndarray, nearest: Mapping[str, np.ndarray], artifacts: Mapping[str, np.ndarray]) -> Figure:
    """A generated image and its nearest real image in each space, above the artifacts: the paper's Figure 4.

    Parameters
    ----------
    image
        uint8 `(c, h, w)`.
    nearest
        Space to the nearest real image, uint8 `(c, h, w)`.
    artifacts
        Space to the artifact: `(c, h, w)` is drawn as an image with symmetric limits, `(d,)` as its sorted entries.
    """
    figure, axes = panels(2, 1 + len(nearest), (2 * (1 + len(nearest)), 4.1))
    pictures = {"generated x": image} | {f"x* in {name}": real for name, real in nearest.items()}
    for ax, (title, picture) in zip(axes[0], pictures.items(), strict=True):
        draw_image(ax, picture, title)
    axes[1, 0].axis("off")
    axes[1, 0].text(0.5, 0.5, "artifact\nφ(x) − φ(x*)", ha="center", va="center")
    for ax, artifact in zip(axes[1, 1:], (artifacts[name] for name in nearest), strict=True):
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
        The model whose median is marked.
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
