"""What figures share: their look, colours and marks, an image on an axis, a legend beside it."""

import io

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

SIGNED = "RdBu_r"  # colours of artifacts: white is 0, red above, blue below
MARKERS = "osD^vPX*<>"


def style() -> None:
    """Set the look of all figures; the setup cell of a notebook calls it once."""
    sns.set_theme(context="notebook", style="ticks", palette="colorblind", font_scale=0.9)
    plt.rcParams.update({"figure.dpi": 85, "axes.spines.top": False, "axes.spines.right": False})


def png(figure: Figure) -> bytes:
    """The figure as a PNG file; the figure is closed."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=100)
    plt.close(figure)
    return content.getvalue()


def panels(rows: int, columns: int, size: tuple[float, float], **options) -> tuple[Figure, np.ndarray]:
    """A figure of the given width and height in inches, with axes `(rows, columns)`."""
    return plt.subplots(rows, columns, figsize=size, squeeze=False, layout="constrained", **options)


def draw_image(ax: Axes, image: np.ndarray, title: str = "") -> None:
    """Draw an image, uint8 `(c, h, w)`, in grey or colour, without frame and ticks."""
    ax.imshow(np.moveaxis(image, 0, -1), cmap="gray", vmin=0, vmax=255)  # (h, w, c)
    ax.set(title=title, xticks=[], yticks=[])
    sns.despine(ax=ax, left=True, bottom=True)


def legend_beside(ax: Axes, **options) -> None:
    """Put the legend of an axis at its right side."""
    ax.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), **options)
