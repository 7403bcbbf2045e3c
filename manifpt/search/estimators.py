"""The point of the manifold that an image is compared with, from points of it that are known: foot points, Gaussian."""

import numpy as np
import scipy.linalg
from sklearn.covariance import ShrunkCovariance

from manifpt.utils.errors import InputError

LEAST_RIDGE = 1e-6
MOST_DIMENSIONS = 8192  # of a Gaussian, whose covariance then has 2**26 numbers


def tangent_foot(x: np.ndarray, z: np.ndarray, ridge: float) -> np.ndarray:
    r"""Ridge-regularised projection of each point on the affine span of its own neighbours.

    Parameters
    ----------
    x, z
        float32 `(n, d)` and `(n, k, d)`: points, and the neighbours of each.
    ridge
        λ relative to the mean squared deviation of the neighbours; at least 1e-6 is used, so that 0 means the
        orthogonal projection wherever the neighbours span all their dimensions well.

    Returns
    -------
    float32 `(n, d)`: :math:`\bar z + V^\top (V V^\top + \lambda I)^{-1} V (x - \bar z)`.
    """
    if z.shape[1] == 1:
        return z[:, 0]
    v = z - z[:, :1]  # (n, k, d); exactly zero for copies of one point
    mean = v.mean(axis=1)
    centre = z[:, 0] + mean
    v -= mean[:, None]
    gram = (v @ v.swapaxes(1, 2)).astype(np.float64)  # (n, k, k)
    spread = np.trace(gram, axis1=1, axis2=2) / z.shape[1]
    penalty = np.maximum(ridge, LEAST_RIDGE) * spread
    penalty[spread == 0] = 1  # copies of one point span nothing: any penalty will do
    along = np.einsum("nkd,nd->nk", v, x - centre).astype(np.float64)
    weight = np.linalg.solve(gram + penalty[:, None, None] * np.eye(z.shape[1]), along[..., None])[..., 0]  # (n, k)
    return centre + np.einsum("nkd,nk->nd", v, weight.astype(np.float32))


def gaussian(vectors: np.ndarray, shrinkage: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean `(d,)`, shrunk covariance and whitening `(d, d)` of vectors of real images `(n, d)`, in float64.

    `InputError` for one vector, for too many dimensions and where all vectors are the same.
    """
    n, d = vectors.shape
    if n < 2 or d > MOST_DIMENSIONS:
        limits = f"at least 2 images and at most {MOST_DIMENSIONS:,} dimensions expected"
        raise InputError(f"reference: {n} images of {d:,} dimensions; {limits}")
    found = ShrunkCovariance(store_precision=False, shrinkage=shrinkage).fit(vectors.astype(np.float64))
    if not np.trace(found.covariance_) > 0:
        raise InputError(f"reference: {n} images that are all the same; different ones expected")
    return found.location_, found.covariance_, inverse_root(found.covariance_)


def inverse_root(covariance: np.ndarray) -> np.ndarray:
    """The symmetric inverse square root of a positive definite matrix `(d, d)`."""
    variances, axes = scipy.linalg.eigh(covariance)
    return (axes / np.sqrt(variances)) @ axes.T
