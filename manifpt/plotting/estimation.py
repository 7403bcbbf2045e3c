"""Figures of manifolds: artifacts where the foot points are known and of images, in each space; lengths and errors."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manifpt.embeddings import freq
from manifpt.plotting.common import SIGNED, draw_image, legend_beside, panels


def plane(reference: np.ndarray, x: np.ndarray, targets: Mapping[str, np.ndarray], *, truth: np.ndarray) -> Figure:
    """Artifacts in the plane as lines from estimated points of the manifold M to points x: the paper's Figure 1.

    Points are `(m, 2)`, the known ones of M; `(n, 2)`, x and, by the name of an estimator, its points of M; `(t, 2)`, a
    line along M.
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

    The frame is tidy. `slopes` maps a panel and a value of `hue` to the slope of a guide, which is drawn a little below
    the first point of that line; `log` makes the axes logarithmic.
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

    The image is uint8 `(c, h, w)`, its point on the manifold and the artifact are float32 of that shape, in units of
    pixels in [0, 1]. Of artifact and spectrum the mean over channels is shown, up to the largest magnitude.
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

    Images are given by their true class, uint8 `(c, h, w)`; probabilities are `(n, C)`, in the order of the C classes.
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

    Images are uint8 `(c, h, w)`. An artifact `(c, h, w)` is drawn as an image with symmetric limits, one of shape
    `(d,)` as its sorted entries.
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
    """Boxes of artifact lengths, a panel for each estimator; a dashed line marks the median of the model `first`.

    The frame is tidy, with columns ``estimator``, ``model`` and ``length``.
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
