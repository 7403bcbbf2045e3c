"""Nataraj et al. 2019: co-occurrence matrices of neighbouring grey levels, seen by a network.

Theirs: for each channel the symmetric 256x256 matrix of horizontally adjacent levels. Ours: 32 levels in place of 256,
since an image of 32x32 has 992 such pairs for 65,536 entries; log(1 + count); the network and the budget of all learned
rows instead of their six convolutions.
"""

import numpy as np

from manifpt.attribution import Attributor
from manifpt.baselines.base import Method

LEVELS = 32


def co_occurrence(images: np.ndarray) -> np.ndarray:
    """Logarithm of 1 + the symmetric counts of pairs (pixel, right neighbour): float32 `(n, c, 32, 32)`."""
    n, c = images.shape[:2]
    levels = images.astype(np.int64) * LEVELS // 256
    left, right = levels[..., :-1].reshape(n, c, -1), levels[..., 1:].reshape(n, c, -1)
    matrix = (np.arange(n * c) * LEVELS**2).reshape(n, c, 1)  # where the counts of each channel begin
    counts = np.bincount((matrix + left * LEVELS + right).ravel(), minlength=n * c * LEVELS**2)
    counts = counts.reshape(n, c, LEVELS, LEVELS)
    return np.log1p(counts + counts.swapaxes(2, 3)).astype(np.float32)


def baseline(*, seed: int = 0, epochs: int | None = None, **_) -> Method:
    """The baseline."""
    return Method(co_occurrence, Attributor(seed=seed, epochs=epochs))
