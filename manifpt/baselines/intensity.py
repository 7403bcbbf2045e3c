"""Grey levels of colour images."""

import numpy as np


def intensity(images: np.ndarray) -> np.ndarray:
    """Luma 0.299 R + 0.587 G + 0.114 B, float64 `(n, h, w)` in [0, 255], of uint8 images; grey ones as they are."""
    if images.shape[1] == 1:
        return images[:, 0].astype(np.float64)
    return np.tensordot(images.astype(np.float64), (0.299, 0.587, 0.114), axes=(1, 0))
