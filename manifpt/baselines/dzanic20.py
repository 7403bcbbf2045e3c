r"""Dzanic et al. 2020: how the spectrum decays at its highest frequencies.

Theirs: the magnitude |F| of the grey image, averaged in equal bins of the radius from half of the largest one on, then
smoothed over five bins; :math:`y_1 (x / x_1)^c` fitted in least squares from 0.85 of the largest radius on; features
are c and the first and last value; the five nearest neighbours decide. Ours: 24 bins in place of 200, most of which
would be empty at 32x32; the same least squares by Gauss-Newton for all images at once in place of Nelder-Mead one by
one; standardised features.
"""

import numpy as np
from scipy.ndimage import uniform_filter1d
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifpt.baselines.base import HandCrafted, Method, intensity

BINS = 24
FIT_FROM = 0.85  # of the largest radius
ITERATIONS = 100


def decay(images: np.ndarray) -> np.ndarray:
    """Exponent, first and last value of the high-frequency fit, `(n, 3)`."""
    x, y = high_frequencies(images)
    start = int(BINS * (FIT_FROM - 0.5) / 0.5) + 1
    x, y = x[start:] / x[-1], y[:, start:]
    return np.stack([exponent(x, y), y[:, 0], y[:, -1]], axis=1)


def high_frequencies(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radii `(24,)` relative to the largest, from 0.5 to 1, and the smoothed mean magnitude there, `(n, 24)`."""
    h, w = images.shape[-2:]
    magnitude = np.abs(np.fft.fftshift(np.fft.fft2(intensity(images) / 255), axes=(-2, -1)))
    y, x = np.indices((h, w))
    radius = np.hypot(y - h // 2, x - w // 2).ravel() / np.hypot(h / 2, w / 2)
    edges = np.linspace(0.5, 1, BINS + 1)
    member = (radius[:, None] > edges[:-1]) & (radius[:, None] <= edges[1:])  # (pixels, bins)
    count = member.sum(0)
    mean = magnitude.reshape(len(images), -1) @ member / np.maximum(count, 1)
    centres, filled = (edges[:-1] + edges[1:]) / 2, np.flatnonzero(count)
    mean = np.stack([np.interp(np.arange(BINS), filled, row[filled]) for row in mean])
    return centres, uniform_filter1d(mean, 5, axis=1)


def exponent(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    r"""The c of each row of y `(n, m)` that minimises :math:`\sum_i (y_i - y_1 (x_i / x_1)^c)^2`, from -2, `(n,)`."""
    log_x, scale = np.log(x / x[0]), np.maximum(y[:, :1], 1e-12)
    target, c = y / scale, np.full((len(y), 1), -2.0)
    for _ in range(ITERATIONS):
        fit = np.exp(c * log_x)
        slope = fit * log_x
        c += np.clip(((target - fit) * slope).sum(1, keepdims=True) / (slope**2).sum(1, keepdims=True), -1, 1)
        c = c.clip(-100, 100)
    return c[:, 0]


def baseline(**_) -> Method:
    """The baseline."""
    return Method(decay, HandCrafted(make_pipeline(StandardScaler(), KNeighborsClassifier(5))))
