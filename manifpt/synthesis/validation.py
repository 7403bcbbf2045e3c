r"""Fidelity and diversity of synthetic models: how near they come to real models, and how far they lie apart.

A model is one vector: the power spectrum of its residuals, averaged over angles, images and channels,

.. math:: s_k = \log_{10} \frac1N \sum_{i=1}^N \operatorname*{mean}_{\lfloor |f| \rfloor = k} |\mathrm{FFT}_2(r_i)(f)|^2

FFD is the Fréchet distance between the Gaussians fitted to the vectors of the real and of the synthetic models. The
source does not give, and we chose, the logarithm, rings one frequency wide and 10⁻⁶ added to the diagonal of both
covariances, as there are fewer real models than rings. We did not find the source's diversity; ours is below.
"""

import numpy as np
from scipy.spatial.distance import pdist

from manifpt.metrics import frechet_distance
from manifpt.utils.errors import InputError

RIDGE = 1e-6
TINY = 1e-20  # power of what is constant


def spectrum_vector(residuals: np.ndarray) -> np.ndarray:
    """The vector of the model whose images have these residuals `(n, c, h, w)`; see `manifpt.synthesis.spectrum`.

    float64 `(rings,)`: log10 of the mean power at each whole radius up to half the diagonal, 23 rings at 32x32.
    """
    h, w = residuals.shape[-2:]
    power = np.square(np.abs(np.fft.fft2(residuals.astype(np.float64)))).mean((0, 1)).ravel()  # (h * w,)
    radius = np.hypot(np.fft.fftfreq(h, 1 / h)[:, None], np.fft.fftfreq(w, 1 / w)).astype(int).ravel()
    return np.log10(np.bincount(radius, power) / np.bincount(radius) + TINY)


def ffd(real: np.ndarray, synthetic: np.ndarray) -> float:
    r"""Fidelity, lower is nearer: the Fréchet distance of two sets of vectors, `(m, rings)` and `(n, rings)`.

    .. math:: \|\mu_r - \mu_s\|^2 + \mathrm{tr}\big(\Sigma_r + \Sigma_s - 2 (\Sigma_r \Sigma_s)^{1/2}\big)

    `InputError` for fewer than two models in a set, numbers of rings that differ, NaN or infinity.
    """
    return frechet_distance(_models("real", real), _models("synthetic", synthetic), ridge=RIDGE)


def diversity(vectors: np.ndarray) -> dict[str, float]:
    """How far models, vectors `(n, rings)`, lie apart: mean ``distance`` of pairs, ``trace`` of the covariance; ≥ 0.

    `InputError` for fewer than two models.
    """
    vectors = _models("vectors", vectors)
    return {"distance": float(pdist(vectors).mean()), "trace": float(vectors.var(0, ddof=1).sum())}


def _models(name: str, vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    if vectors.ndim != 2 or len(vectors) < 2:
        raise InputError(f"{name}: shape {vectors.shape}; vectors of at least two models, (n, d), expected")
    return vectors
