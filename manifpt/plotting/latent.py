"""Figures of latent fingerprints: keys, images that carry them, attacks on these, rates of reading and their costs."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from manifpt.plotting.common import MARKERS, draw_image, panels


def key_path(rows: Sequence[Mapping[str, np.ndarray]]) -> Figure:
    """One row an attack: key in, image, its change by the key, image after the attack, and the key that was read.

    Rows have a ``name``, ``key`` and ``read`` as bits `(d,)`, and uint8 images `(c, h, w)`: ``plain`` (without a key),
    ``image`` and ``attacked``. Bits that were read wrongly are crossed out.
    """
    titles = ("key in", "image", "change by the key", "after the attack", "key out")
    figure, axes = panels(len(rows), len(titles), (2 * len(titles), 1.45 * len(rows) + 0.3))
    for line, row in zip(axes, rows, strict=True):
        change = row["image"].astype(float) - row["plain"]
        _bits(line[0], row["key"], row["key"])
        draw_image(line[1], row["image"])
        line[2].imshow(change.mean(0), cmap="RdBu_r", vmin=-128, vmax=128)
        draw_image(line[3], row["attacked"])
        _bits(line[4], row["read"], row["key"])
        line[0].set_ylabel(row["name"], rotation=0, ha="right", va="center")
    for ax, title in zip(axes[0], titles, strict=True):
        ax.set_title(title)
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    return figure


def _bits(ax, bits: np.ndarray, key: np.ndarray) -> None:
    """Draw bits as a square of black (1) and white (0) fields, with the wrong ones crossed out."""
    width = int(np.ceil(np.sqrt(len(bits))))
    square = np.full(width * width, np.nan)
    square[: len(bits)] = bits
    ax.imshow(square.reshape(width, width), cmap="Greys", vmin=0, vmax=1.15)
    for number in np.flatnonzero(bits != key):
        ax.plot(number % width, number // width, "x", color="tab:red", markersize=9, markeredgewidth=2)


def front(frame: pd.DataFrame, *, x: str, y: str, line: str, label: str, at: str = "") -> Figure:
    """Accuracy over cost, a line for each kind: means with standard deviations over seeds on both axes.

    The frame has the columns `x` and `y`, their deviations ``<x>_sd`` and ``<y>_sd``, the kind (`line`), the text
    beside a point (`label`), and optionally predictions (`at`), which are open marks on a dotted line.
    """
    figure, ax = plt.subplots(figsize=(9, 4.4), layout="constrained")
    for number, ((name, part), marker) in enumerate(zip(frame.groupby(line, sort=False), MARKERS, strict=False)):
        part, below = part.sort_values(x), number % 2 == 0
        errors = {"xerr": part[f"{x}_sd"], "yerr": part[f"{y}_sd"]}
        drawn = ax.errorbar(part[x], part[y], **errors, marker=marker, capsize=2, label=name, linewidth=1)
        for place, (_, row) in enumerate(part.iterrows()):  # neighbours at two heights
            side, right, up = ("left", 5, -14) if below else ("right", -4, 8)
            beside = {"xytext": (right, up * (1 + place % 2)), "textcoords": "offset points", "ha": side}
            ax.annotate(row[label], (row[x], row[y]), fontsize=8, **beside)
        if at:
            ax.plot(part[x], part[at], marker=marker, mfc="none", linestyle=":", color=drawn[0].get_color())
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def rates(theory: pd.DataFrame, *, x: str, measured: str, predicted: str, line: str) -> Figure:
    """Measured rates as marks and predicted rates as curves, in one colour for each value of `line`."""
    figure, ax = plt.subplots(figsize=(6, 3.8), layout="constrained")
    ax.set(xlabel=x, ylabel=measured)
    for (name, part), marker in zip(theory.groupby(line), MARKERS, strict=False):
        (curve,) = ax.plot(part[x], part[predicted], linewidth=1)
        ax.plot(part[x], part[measured], marker, color=curve.get_color(), label=f"{line} {name:g}")
    ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1, 1), title="lines: theory")
    return figure


def attack_bars(frame: pd.DataFrame, *, chance: float = 0.5) -> Figure:
    """Bit accuracy after each attack, a panel a fingerprint; dark bars are of readers that know the attack.

    The frame has the columns ``panel``, ``attack``, ``known`` (bool), ``mean`` and ``sd``.
    """
    names = list(dict.fromkeys(frame["panel"]))
    attacks = list(dict.fromkeys(frame["attack"]))
    bars = {False: (-0.2, "0.75"), True: (0.2, "0.3")}  # position and shade
    size = (2.9 * len(names) + 1, 0.42 * len(attacks) + 1)
    figure, axes = panels(1, len(names), size, sharey=True)
    for ax, panel in zip(axes[0], names, strict=True):
        for known, (shift, colour) in bars.items():
            part = frame[(frame["panel"] == panel) & (frame["known"] == known)]
            heights = [attacks.index(name) + shift for name in part["attack"]]
            ax.barh(heights, part["mean"], 0.38, xerr=part["sd"], color=colour, error_kw={"linewidth": 1})
        ax.axvline(chance, color="k", linestyle=":", linewidth=1)
        ax.set(title=panel, xlim=(0, 1.05), xlabel="bit accuracy")
    axes[0, 0].set_yticks(range(len(attacks)), attacks)
    axes[0, 0].invert_yaxis()
    patches = [Patch(color=bars[known][1], label=who) for known, who in ((False, "unknown"), (True, "known"))]
    figure.legend(handles=patches, frameon=False, loc="outside upper right", ncols=2, title="attack to the reader")
    return figure
