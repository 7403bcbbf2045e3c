r"""The real-data manifold, estimated from real images, and the projection of any image onto it.

The paper's Figure 1 draws two points for an image x: the foot point :math:`x_p` of the perpendicular on the manifold,
and the nearest real image :math:`x^*`, which stands in for it. The artifact is :math:`a = \varphi(x) - \varphi(x^*)`.
Estimators of the point:

``nearest``
    the paper's: :math:`\varphi(x^*)`, the nearest of the reference points in squared L2, exact.
``tangent``
    ours, for :math:`x_p`: the ridge-regularised projection on the affine span of the k nearest points. With their mean
    :math:`\bar z` and the rows :math:`z_i - \bar z` of V,
    :math:`\hat x_p = \bar z + V^\top (V V^\top + \lambda I)^{-1} V (\varphi(x) - \bar z)`, :math:`\lambda =
    \mathrm{ridge} \cdot \mathrm{tr}(V V^\top) / k`. For k = 1 it is ``nearest``.
``denoiser``
    ours, learned: :math:`x^* = D(x)`, see `manifpt.nn.dncnn`; space ``rgb`` only.
``random``
    a control: a random reference point in place of the nearest, another for each image and seed.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from manifpt.embeddings import check_images, check_space, embed, name_of
from manifpt.fingerprints import Fingerprint
from manifpt.search.neighbours import Neighbours
from manifpt.utils.arrays import take
from manifpt.utils.errors import InputError

ESTIMATORS = ("nearest", "tangent", "denoiser", "random")
LEAST_RIDGE = 1e-6
BATCH = 256  # images at most whose artifacts are worked out at a time
NUMBERS = 2**26  # float32 numbers of their neighbours at most, and 8-bit ones of a chunk of the reference


@dataclass(frozen=True)
class Projection:
    """What `Manifold.project` gives for n images.

    Attributes
    ----------
    index
        int64 `(n,)`: the nearest (or random) reference image, -1 for ``denoiser``, which has none.
    distance
        float32 `(n,)`: Euclidean length of the artifact, in units of the space.
    target
        float32 `(n, …)`: the estimated point of the manifold, :math:`\\varphi(x^*)`.
    artifact
        float32 `(n, …)`: :math:`\\varphi(x) - \\varphi(x^*)`. Images `(n, c, h, w)` in ``rgb`` and ``freq``, else
        vectors `(n, d)`.
    """

    index: np.ndarray
    distance: np.ndarray
    target: np.ndarray
    artifact: np.ndarray


class Manifold:
    """Real images in a space, ready to project others onto.

    Parameters
    ----------
    space
        ``rgb``, ``freq``, ``sl``, ``ssl``, a variant of these (`manifpt.embeddings`) or a function of float32 images
        in [0, 1].
    estimator
        ``nearest``, ``tangent``, ``denoiser`` or ``random``.
    k, ridge
        Of ``tangent``: neighbours, and ridge relative to their mean squared deviation.
    index
        ``exact``, or approximate by faiss: ``ivf``, ``hnsw``, see `manifpt.search.neighbours.Neighbours.recall`.
    dataset
        Name of the real set whose trained network ``ssl`` and ``denoiser`` use; by default recognised from the
        reference.
    seed
        Of ``random``.
    device
        Where networks run.

    Attributes
    ----------
    reference_
        The images given to `fit`.
    neighbours_
        The search over the reference points (`manifpt.search.neighbours.Neighbours`); not for ``denoiser``.
    """

    def __init__(
        self,
        space: str | Callable = "rgb",
        *,
        estimator: str = "nearest",
        k: int = 64,
        ridge: float = 0.1,
        index: str = "exact",
        dataset: str | None = None,
        seed: int = 0,
        device: str = "auto",
    ):
        if estimator not in ESTIMATORS:
            raise InputError(f"estimator {estimator!r} is unknown; choose one of {', '.join(ESTIMATORS)}")
        if estimator == "denoiser" and space != "rgb":
            raise InputError(f"estimator 'denoiser' works on pixels: space 'rgb' expected, not {name_of(space)!r}")
        check_space(space)
        if not isinstance(k, int | np.integer) or not isinstance(ridge, int | float) or k < 1 or not ridge >= 0:
            raise InputError(f"k must be a whole number from 1 and ridge a number from 0 on, not {k!r} and {ridge!r}")
        if not isinstance(seed, int | np.integer) or seed < 0:
            raise InputError(f"seed must be a whole number from 0 on, not {seed!r}")
        self.space, self.estimator, self.k, self.ridge = space, estimator, k, ridge
        self.index, self.dataset, self.seed, self.device = index, dataset, seed, device

    def fit(self, reference: np.ndarray, *, progress: bool = False) -> "Manifold":
        """Take uint8 images `(n, c, h, w)` as the reference set X_R; in ``rgb`` a memory-mapped file stays on disk."""
        check_images(reference, "reference")
        if self.estimator == "tangent" and self.k > len(reference):
            raise InputError(f"k = {self.k} neighbours, but the reference set has {len(reference)} images; lower k=")
        if self.estimator == "denoiser":
            self._denoiser = self._load_denoiser(reference)
        else:
            self._space = self._resolve(reference)
            points = self._points(reference, progress)
            chunk = min(4096, max(1, NUMBERS // points.shape[1]))
            self.neighbours_ = Neighbours(points, index=self.index, chunk=chunk)
        self.reference_ = reference
        return self

    def project(self, images: np.ndarray, *, exclude: np.ndarray | None = None, progress: bool = False) -> Projection:
        """Project uint8 images `(n, c, h, w)`.

        Parameters
        ----------
        exclude
            int `(n,)` or `(n, m)`: reference images that an image may not be projected on, -1 for none. Where reference
            images are projected themselves, pass their own indices: an image is never its own neighbour.

        Raises
        ------
        InputError
            Before `fit`; images of another dtype, or of a shape other than the reference's.
        """
        if not hasattr(self, "reference_"):
            raise InputError("Manifold.project: call fit(reference) first")
        check_images(images)
        if images.shape[1:] != self.reference_.shape[1:]:
            expected = ", ".join(map(str, self.reference_.shape[1:]))
            raise InputError(f"images: shape (n, {expected}) as the reference set expected, not {images.shape}")
        if self.estimator == "denoiser":
            return self._denoise(images)
        points = self._points(images, progress)
        neighbours = self._neighbours(images, points, exclude, progress)
        batch = min(BATCH, max(1, NUMBERS // (neighbours.shape[1] * points.shape[1])))
        target = np.concatenate(
            [self._foot(points[i : i + batch], neighbours[i : i + batch]) for i in range(0, len(points), batch)]
        )
        return self._projection(neighbours[:, 0], self._vectors(points), target, images.shape)

    def fingerprint(self, images: np.ndarray, *, model: str, exclude: np.ndarray | None = None) -> Fingerprint:
        """The fingerprint of a model from its images: the set of their artifacts."""
        artifacts = self.project(images, exclude=exclude).artifact
        return Fingerprint(model, name_of(self.space), self.estimator, artifacts)

    def _load_denoiser(self, reference: np.ndarray):
        """The denoiser of the reference images, on the device."""
        from manifpt.nn import dncnn
        from manifpt.utils.compute import pick_device

        network = dncnn.load_denoiser(dataset=self.dataset, reference=reference)
        if (wanted := next(network.parameters()).shape[1]) != reference.shape[1]:
            raise InputError(
                f"reference: {reference.shape[1]} channels, but the denoiser of {self.dataset!r} has {wanted}; "
                "name another dataset= or train one: manifpt.nn.dncnn.train_denoiser(reference, dataset=…)"
            )
        return network.to(pick_device(self.device))

    def _resolve(self, reference: np.ndarray) -> str | Callable:
        """The space, with ``ssl`` replaced by the network trained on the reference images."""
        if self.space != "ssl":
            return self.space
        from manifpt.nn import pretrained

        return f"ssl:{self.dataset or pretrained.dataset_of('ssl', reference)}"

    def _points(self, images: np.ndarray, progress: bool) -> np.ndarray:
        """Images as points of the search: 8-bit pixels in ``rgb``, where it is exact and fast, else float32 vectors."""
        if self._space == "rgb":
            return images.reshape(len(images), -1)
        return embed(images, self._space, device=self.device, progress=progress)

    def _vectors(self, points: np.ndarray) -> np.ndarray:
        return points.astype(np.float32) / np.float32(255) if self._space == "rgb" else points

    def _neighbours(
        self, images: np.ndarray, points: np.ndarray, exclude: np.ndarray | None, progress: bool
    ) -> np.ndarray:
        """Indices `(n, k)` of the reference points that the estimator uses."""
        if self.estimator == "random":
            excluded = self.neighbours_.check(points, 1, exclude)
            return np.array([[self._random(*pair)] for pair in zip(images, excluded, strict=True)])
        k = self.k if self.estimator == "tangent" else 1
        found = self.neighbours_.search(points, k, exclude=exclude, progress=progress)[1]
        if (found < 0).any():
            raise InputError(f"index {self.index!r} found fewer than k = {k} neighbours; lower k=, or index='exact'")
        return found

    def _random(self, image: np.ndarray, excluded: np.ndarray) -> int:
        """Index drawn uniformly from the reference, but for the excluded `(m,)`, by the seed and the image alone."""
        rng = np.random.default_rng([self.seed, zlib.crc32(image.tobytes())])
        while (chosen := rng.integers(len(self.reference_))) in excluded:
            pass
        return chosen

    def _foot(self, points: np.ndarray, neighbours: np.ndarray) -> np.ndarray:
        """Estimated points of the manifold, float32 `(n, d)`."""
        z = self._vectors(take(self.neighbours_.points, neighbours))  # (n, k, d)
        if neighbours.shape[1] == 1:
            return z[:, 0]
        return tangent_foot(self._vectors(points), z, self.ridge)

    def _denoise(self, images: np.ndarray) -> Projection:
        import torch

        where = next(self._denoiser.parameters()).device

        def residual(batch: np.ndarray) -> np.ndarray:
            with torch.inference_mode():
                return self._denoiser(torch.from_numpy(batch).to(where)).cpu().numpy()

        pixels = embed(images, "rgb")
        target = pixels - embed(images, residual)
        return self._projection(np.full(len(images), -1), pixels, target, images.shape)

    def _projection(
        self, index: np.ndarray, vectors: np.ndarray, target: np.ndarray, shape: tuple[int, ...]
    ) -> Projection:
        artifact = vectors - target
        distance = np.linalg.norm(artifact, axis=1)
        if self.space in ("rgb", "freq"):
            target, artifact = target.reshape(shape), artifact.reshape(shape)  # (n, c, h, w)
        return Projection(index, distance, target, artifact)


def tangent_foot(x: np.ndarray, z: np.ndarray, ridge: float) -> np.ndarray:
    r"""Ridge-regularised projection of each point on the affine span of its own neighbours.

    Parameters
    ----------
    x
        float32 `(n, d)`.
    z
        float32 `(n, k, d)`: the neighbours of each.
    ridge
        λ relative to the mean squared deviation of the neighbours; at least 1e-6 is used, so that 0 means the
        orthogonal projection wherever the neighbours span all their dimensions well.

    Returns
    -------
    float32 `(n, d)`: :math:`\bar z + V^\top (V V^\top + \lambda I)^{-1} V (x - \bar z)`.
    """
    v = z - z[:, :1]  # (n, k, d); exactly zero for copies of one point
    mean = v.mean(axis=1)
    centre = z[:, 0] + mean
    v -= mean[:, None]
    gram = (v @ v.swapaxes(1, 2)).astype(np.float64)  # (n, k, k)
    spread = np.trace(gram, axis1=1, axis2=2) / z.shape[1]
    penalty = np.maximum(ridge, LEAST_RIDGE) * spread + (
        spread == 0
    )  # copies of one point span nothing: any penalty will do
    along = np.einsum("nkd,nd->nk", v, x - centre).astype(np.float64)
    weight = np.linalg.solve(gram + penalty[:, None, None] * np.eye(z.shape[1]), along[..., None])[..., 0]  # (n, k)
    return centre + np.einsum("nkd,nk->nd", v, weight.astype(np.float32))
