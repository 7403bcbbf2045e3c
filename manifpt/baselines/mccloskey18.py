"""McCloskey and Albright 2018: how often pixels are over- or under-exposed.

Theirs: the share of pixels at or above 240, 245, 250, 255, and at or below 0, 5, 10, 15; a linear SVM. Ours: one SVM
against the rest for each model; the second cue of their paper, chromaticity, is weak and left out.
"""

import numpy as np
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC

from manifpt.baselines.base import HandCrafted, Method, intensity

OVER = (240, 245, 250, 255)
UNDER = (0, 5, 10, 15)


def exposure(images: np.ndarray) -> np.ndarray:
    """Shares of over- and of under-exposed pixels, `(n, 8)` in [0, 1], of uint8 images."""
    levels = np.round(intensity(images), 6)  # 0.299 + 0.587 + 0.114 is 1 but for rounding
    shares = [(levels >= level).mean((1, 2)) for level in OVER] + [(levels <= level).mean((1, 2)) for level in UNDER]
    return np.stack(shares, axis=1)


def baseline(*, seed: int = 0, **_) -> Method:
    """The baseline."""
    return Method(exposure, HandCrafted(make_pipeline(StandardScaler(), LinearSVC(random_state=seed))))
