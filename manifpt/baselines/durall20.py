"""Durall et al. 2020: the power spectrum averaged over angles.

Theirs: 20 ln|F| of the grey image, its mean over pixels of equal integer radius about ((w - 1)/2, (h - 1)/2) without
the first and the last radius, min-max normalised; an SVM with RBF kernel, C = 6.37, γ = 0.86. Ours: one SVM against one
for each pair of models, as scikit-learn does.
"""

import numpy as np
from sklearn.svm import SVC

from manifpt.baselines.base import HandCrafted, Method, intensity

FLAT = 1e-6  # a spectrum that spans less has no shape but rounding


def azimuthal_average(images: np.ndarray) -> np.ndarray:
    """Mean log-magnitude at each radius, `(n, radii - 2)` in [0, 1]: 20 radii for 32x32; 0 where it is flat."""
    h, w = images.shape[-2:]
    spectrum = np.fft.fftshift(np.fft.fft2(intensity(images) / 255), axes=(-2, -1))
    magnitude = 20 * np.log(np.abs(spectrum + 1e-8))
    y, x = np.indices((h, w))
    radius = np.hypot(x - (w - 1) / 2, y - (h - 1) / 2).astype(int).ravel()
    ring = np.eye(radius.max() + 1)[radius]  # (pixels, radii)
    mean = magnitude.reshape(len(images), -1) @ ring / ring.sum(0)
    mean = mean[:, 1:-1]
    low, high = mean.min(1, keepdims=True), mean.max(1, keepdims=True)
    return (mean - low) / np.where(high - low > FLAT, high - low, np.inf)


def baseline(**_) -> Method:
    """The baseline."""
    return Method(azimuthal_average, HandCrafted(SVC(C=6.37, gamma=0.86)))
