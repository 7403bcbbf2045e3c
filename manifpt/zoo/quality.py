"""Quality of samples: scores against held-out reals, the same of two yardsticks, and copies of training images."""

from functools import cache

import numpy as np
from sklearn.decomposition import PCA

from manifpt import metrics
from manifpt.data.real import load_real
from manifpt.embeddings import embed
from manifpt.search.neighbours import Neighbours

N = 1000
COLLAPSED_BELOW = 0.1  # recall
COPY_QUANTILE = 0.001  # of the distance from held-out reals to the nearest training image
COMPONENTS = 128  # of the PCA-Gaussian


def quality(images: np.ndarray, real: str) -> dict:
    """FD, precision, recall, density and coverage in ``sl`` against as many held-out reals, up to 1,000; copies.

    Parameters
    ----------
    images
        uint8 `(m, c, 32, 32)`.
    real
        Name of the real set.

    Returns
    -------
    ``n`` of each side, the five scores, ``collapsed`` (recall below 0.1), and ``copies``: the share of all m images
    that are closer to a training image, in pixels, than all but 0.1 % of the held-out reals are.
    """
    held_out = _held_out(real)
    n = min(N, len(images), len(held_out))
    ours, theirs = embed(images[:n], "sl"), embed(held_out[:n], "sl")
    scores = {"fd": metrics.frechet_distance(theirs, ours)}
    scores |= metrics.precision_recall_density_coverage(theirs, ours)
    rounded = {key: round(float(value), 4) for key, value in scores.items()}
    return {"n": n, **rounded, "collapsed": rounded["recall"] < COLLAPSED_BELOW, "copies": copies(images, real)}


def copies(images: np.ndarray, real: str) -> float:
    """Share of images nearer to a training image than the 0.1 % quantile of that distance among held-out reals."""
    search, threshold = _training(real)
    distance, _ = search.search(images.reshape(len(images), -1))
    return round(float((distance[:, 0] < threshold).mean()), 4)


def yardsticks(real: str, *, seed: int = 0) -> dict:
    """`quality` of other held-out reals, and of `pca_gaussian`."""
    return {"real": quality(_held_out(real)[N:], real), "pca-gaussian": quality(pca_gaussian(real, N, seed=seed), real)}


def pca_gaussian(real: str, n: int, *, seed: int = 0) -> np.ndarray:
    """uint8 images `(n, c, 32, 32)` of a Gaussian with mean and first 128 principal components of the training set."""
    reference = load_real(real)
    pca = PCA(COMPONENTS, svd_solver="randomized", random_state=seed).fit(reference.reshape(len(reference), -1) / 255)
    scores = np.random.default_rng(seed).normal(size=(n, COMPONENTS)) * np.sqrt(pca.explained_variance_)
    pixels = np.rint(255 * pca.inverse_transform(scores)).clip(0, 255)
    return pixels.astype(np.uint8).reshape(n, *reference.shape[1:])


def _held_out(real: str) -> np.ndarray:
    """The real images that no model was trained on, in an order of their own."""
    images = np.concatenate([load_real(real, split=split) for split in ("train", "val", "test")])
    return images[np.random.default_rng(0).permutation(len(images))]


@cache
def _training(real: str) -> tuple[Neighbours, float]:
    """Search among the training images, and the squared distance below which an image is a copy."""
    reference, held_out = load_real(real), _held_out(real)
    search = Neighbours(reference.reshape(len(reference), -1))
    distance, _ = search.search(held_out.reshape(len(held_out), -1))
    return search, float(np.quantile(distance[:, 0], COPY_QUANTILE))
