r"""The shallow baseline: a visible pattern on the finished image instead of a direction in the latent code.

.. math:: x_\varphi = g(w_0) + \sigma \sum_j (2 \varphi_j - 1) p_j

with random patterns p, orthonormal up to the root of the number of pixels, so that each key is a pattern of its own
whose pixels have standard deviation :math:`\sigma \sqrt{d_\varphi}` (after Kim et al. 2021, who train a model for each
user). A bit is read by the matched filter :math:`\Sigma^{-1} p_j`, with mean and covariance of images that the
generator drew without a key. All details are ours.
"""

import numpy as np
import torch

from manifpt.latent.fingerprinter import LatentFingerprinter, to_bytes, to_float

DRAWN = 2000  # images for mean and covariance
RIDGE = 1e-3  # added to their pixels' variance


class ShallowFingerprinter:
    """Add keys to the images of a `LatentFingerprinter`, which writes none, and read them.

    `sigma` is the strength σ of each bit's pattern, in images from -1 to 1; the seed is that of the patterns.
    """

    def __init__(self, fingerprinter: LatentFingerprinter, *, sigma: float, seed: int = 0):
        self.plain, self.key_length, self.sigma = fingerprinter, fingerprinter.key_length, sigma
        images = _rows(fingerprinter.embed(None, DRAWN, seed=seed))
        pixels = images.shape[1]
        random = np.random.default_rng(seed).normal(size=(pixels, self.key_length))
        self.patterns_ = np.linalg.qr(random)[0].T * np.sqrt(pixels)  # (key_length, pixels)
        self.mean_ = images.mean(0)
        covariance = np.cov(images, rowvar=False) + RIDGE * np.eye(pixels)
        self.filters_ = np.linalg.solve(covariance, self.patterns_.T)  # (pixels, key_length)

    def embed(self, keys: np.ndarray, n: int, seed: int = 0) -> np.ndarray:
        """Images uint8 `(n, c, h, w)` with a key each, uint8 `(n, key_length)`; the seed is that of the content."""
        plain = to_float(self.plain.embed(None, n, seed))
        added = self.sigma * (2.0 * keys - 1) @ self.patterns_
        return to_bytes(plain + torch.from_numpy(added).float().view(plain.shape))

    def read(self, images: np.ndarray) -> np.ndarray:
        """The keys of images uint8 `(n, c, h, w)`: uint8 `(n, key_length)`."""
        return ((_rows(images) - self.mean_) @ self.filters_ > 0).astype(np.uint8)


def _rows(images: np.ndarray) -> np.ndarray:
    """Pixels of each image, float64 `(n, pixels)` in [-1, 1]."""
    return to_float(images).flatten(1).double().numpy()
