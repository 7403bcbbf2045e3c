"""One image seen four ways: itself, its point on the manifold, the artifact, and the artifact's spectrum."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from manifpt.embeddings import freq
from manifpt.plotting.estimation import SIGNED


def views(image: np.ndarray, target: np.ndarray, artifact: np.ndarray) -> Figure:
    """Image, projection, artifact and log spectrum of the artifact side by side, each with its range of values.

    Parameters
    ----------
    image
        uint8 `(c, h, w)`.
    target, artifact
        float32 `(c, h, w)` in units of pixels in [0, 1]: the point on the manifold, and the image less that point; of
        colours the artifact and its spectrum are means. The colours of the artifact end at its largest magnitude.
    """
    signed, spectrum = artifact.mean(0), freq(artifact).mean(0)
    limit = float(np.abs(signed).max())
    panels = {  # title to values and the range and colours that they are drawn in
        "image $x$": (np.moveaxis(image, 0, -1) / 255, 0, 1, "gray"),
        "projection $x^*$": (np.moveaxis(target, 0, -1).clip(0, 1), 0, 1, "gray"),
        "artifact $x - x^*$": (signed, -limit, limit, SIGNED),
        "spectrum of the artifact": (spectrum, *np.quantile(spectrum, [0.01, 1]), "gray"),
    }
    figure, axes = plt.subplots(1, len(panels), figsize=(10, 2.9), layout="constrained")
    for ax, (title, (values, low, high, colours)) in zip(axes, panels.items(), strict=True):
        shown = ax.imshow(values, cmap=colours, vmin=low, vmax=high)
        ax.set_title(title)
        ax.axis("off")
        figure.colorbar(shown, ax=ax, location="bottom", shrink=0.8, ticks=[low, high], format="%.2g")
    return figure
