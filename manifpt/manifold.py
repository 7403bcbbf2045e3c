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
``gaussian``
    ours: the manifold is a Gaussian with the mean :math:`\bar\varphi` and the covariance Σ of the reference. The
    point is the mean, and the artifact is told in units of what real images do, :math:`a = \Sigma^{-1/2} (\varphi(x)
    - \bar\varphi)`; its length is the Mahalanobis distance. Σ is shrunk to :math:`(1 - s) \Sigma + s \,
    \mathrm{tr}(\Sigma) / d \cdot I`, and the root is the symmetric one, so that a coordinate keeps its meaning.
``random``
    a control: a random reference point in place of the nearest, another for each image and seed.
"""

import secrets
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from manifpt.data.real import REAL
from manifpt.embeddings import check_space, embed, images_of, name_of, space_function, takes_any_size, weights_of
from manifpt.fingerprints import Fingerprint
from manifpt.nn import dncnn, pretrained
from manifpt.nn.pretrained import network_path
from manifpt.search.estimators import gaussian, tangent_foot
from manifpt.search.neighbours import INDICES, Neighbours
from manifpt.utils.arrays import check_labels, take
from manifpt.utils.compute import pick_device
from manifpt.utils.errors import InputError, check_choice

ESTIMATORS = ("nearest", "tangent", "denoiser", "gaussian", "random")
PARAMETERS = ("estimator", "n_neighbors", "ridge", "shrinkage", "index", "seed")  # that projections depend on
FOLDS = 5  # Gaussians by which the reference's own images are whitened, each without a fifth of them
BATCH = 256  # most images whose artifacts are computed at a time
NUMBERS = 2**26  # most float32 numbers of their neighbours, and most 8-bit ones of a chunk of the reference


@dataclass(frozen=True)
class Projection:
    r"""The projection of n images, as `Manifold.project` gives it.

    Attributes
    ----------
    index
        int64 `(n,)`: the nearest (or random) reference image, -1 for ``denoiser`` and ``gaussian``, which have none.
    distance
        float32 `(n,)`: Euclidean length of the artifact, in units of the space; of ``gaussian``, in standard
        deviations of the reals.
    target, artifact
        float32: the estimated point of the manifold, :math:`\varphi(x^*)`, and :math:`\varphi(x) - \varphi(x^*)`,
        whitened in ``gaussian``; images `(n, c, h, w)` in ``rgb`` and ``freq``, else vectors `(n, d)`.
    """

    index: np.ndarray
    distance: np.ndarray
    target: np.ndarray
    artifact: np.ndarray


class Manifold(TransformerMixin, BaseEstimator):
    """Real images in a space, ready to project others onto: a transformer of scikit-learn from images to artifacts.

    Images come in any form that `manifpt.utils.arrays.as_images` takes; in ``psd``, lists may hold images of several
    sizes.

    Parameters
    ----------
    space
        ``rgb``, ``freq``, ``sl``, ``ssl``, ``psd``, a variant of these, a function or a torch module; see
        `manifpt.embeddings.embed`.
    estimator
        ``nearest``, ``tangent``, ``denoiser``, ``gaussian`` or ``random``.
    n_neighbors, ridge
        Of ``tangent``: number of neighbours, and ridge relative to their mean squared deviation.
    shrinkage
        Of ``gaussian``: the share s of the covariance that is replaced by a multiple of the identity.
    index
        ``exact``, or approximate by faiss: ``ivf``, ``hnsw``; see `manifpt.search.neighbours.Neighbours.recall`.
    dataset
        Name of the real set whose trained network ``ssl`` and ``denoiser`` use; by default it is recognised from the
        reference.
    reference
        Real images that stand for the manifold, where `fit` is given others, as in cross-validation.
    seed
        Of ``random``.
    device
        Where networks run.

    Attributes
    ----------
    reference_
        The real images X_R, uint8 `(n, c, h, w)`, or the list of their `(c, h, w)` where their sizes differ.
    neighbours_
        The search over the reference points (`manifpt.search.neighbours.Neighbours`); not for ``denoiser`` and
        ``gaussian``.
    mean_, covariance_, whitening_
        Of ``gaussian``: float64 `(d,)`, `(d, d)`, shrunk, and the symmetric root of its inverse.
    settings_, weights_
        What projections depend on besides reference and code: a dict of plain values, and the networks' checkpoints. A
        function or module has another name in `settings_` after each `fit`, since two of them cannot be compared.

    Examples
    --------
    >>> reals = np.random.default_rng(0).integers(0, 256, (50, 1, 8, 8), np.uint8)
    >>> manifold = Manifold("rgb", estimator="tangent", n_neighbors=5).fit(reals[:40])
    >>> manifold.transform(reals[40:]).shape
    (10, 1, 8, 8)
    >>> manifold.project(reals[:2]).index  # an image is nearest to itself: exclude it, or use fit_transform
    array([0, 1])
    """

    def __init__(
        self,
        space: str | Callable = "rgb",
        *,
        estimator: str = "nearest",
        n_neighbors: int = 64,
        ridge: float = 0.1,
        shrinkage: float = 0.003,
        index: str = "exact",
        dataset: str | None = None,
        reference=None,
        seed: int = 0,
        device: str = "auto",
    ):
        self.space, self.estimator, self.n_neighbors, self.ridge = space, estimator, n_neighbors, ridge
        self.shrinkage, self.index, self.dataset, self.reference, self.seed, self.device = (
            shrinkage,
            index,
            dataset,
            reference,
            seed,
            device,
        )

    def check(self) -> None:
        """Raise `InputError` unless the parameters are possible; `fit` does so first."""
        check_space(self.space)
        for name, known in (("estimator", ESTIMATORS), ("index", INDICES)):
            check_choice(name, getattr(self, name), known)
        if self.estimator == "denoiser" and self.space != "rgb":
            raise InputError(f"estimator 'denoiser' works on pixels: space 'rgb' expected, not {name_of(self.space)!r}")
        for name, least in (("n_neighbors", 1), ("seed", 0)):
            if not isinstance(value := getattr(self, name), int | np.integer) or value < least:
                raise InputError(f"{name} must be a whole number from {least} on, not {value!r}")
        if not isinstance(self.ridge, int | float) or not self.ridge >= 0:
            raise InputError(f"ridge must be a number from 0 on, not {self.ridge!r}")
        if not isinstance(self.shrinkage, int | float) or not 0 < self.shrinkage <= 1:
            raise InputError(f"shrinkage must be a number above 0 and at most 1, not {self.shrinkage!r}")

    def fit(self, X, y=None, *, progress: bool = False) -> "Manifold":
        """Take real images as the reference set X_R: all of `X`; with labels `y` `(n,)`, those labelled ``real``.

        With labels, as in a pipeline, `X` holds images of models, too. If the parameter `reference` was given, `X` and
        `y` are not used. In ``rgb`` a memory-mapped uint8 array stays on disk.

        Raises
        ------
        InputError
            Impossible parameters or images; no image labelled ``real``; fewer real images than neighbours.
        """
        self._fit(X, y, progress)
        return self

    def fit_transform(self, X, y=None, *, progress: bool = False) -> np.ndarray:
        """Fit, and give the artifacts of all of `X`, no image of which is projected on itself.

        On itself, a real image would leave no artifact, which would give it away. So a pipeline learns from artifacts
        like those of new images. `transform` does not know which images are in the reference.
        """
        images, own = self._fit(X, y, progress)
        return self.project(images, exclude=own, progress=progress).artifact

    def transform(self, X) -> np.ndarray:
        """Artifacts of images; see `project`."""
        return self.project(X).artifact

    def project(self, images, *, exclude: np.ndarray | None = None, progress: bool = False) -> Projection:
        """Project images on the manifold.

        Parameters
        ----------
        images
            Of the shape of the reference.
        exclude
            int `(n,)` or `(n, m)`: reference images that an image may not be projected on, -1 for none. Where reference
            images are projected themselves, pass their own indices: an image is never its own neighbour, and no part
            of the Gaussian that it is whitened by.

        Raises
        ------
        InputError
            Images of another kind, or of a shape other than the reference's; fewer neighbours than asked for.
        sklearn.exceptions.NotFittedError
            Before `fit`.
        """
        check_is_fitted(self, "reference_")
        images = images_of(images, self.space)
        if not takes_any_size(self.space) and images.shape[1:] != self.reference_.shape[1:]:
            expected = ", ".join(map(str, self.reference_.shape[1:]))
            raise InputError(f"images: shape (n, {expected}) as the reference set expected, not {images.shape}")
        if self.estimator == "denoiser":
            index, vectors = np.full(len(images), -1), embed(images, "rgb")
            target = vectors - embed(images, self._function, progress=progress)
        elif self.estimator == "gaussian":
            index, vectors = np.full(len(images), -1), self._vectors(self._points(images, progress))
            target, artifact = self._whiten(vectors, exclude)
        else:
            points = self._points(images, progress)
            neighbours = self._neighbours(images, points, exclude, progress)  # (n, k)
            index, vectors = neighbours[:, 0], self._vectors(points)
            step = min(BATCH, max(1, NUMBERS // (neighbours.shape[1] * points.shape[1])))
            target = np.empty_like(vectors)
            for part in (slice(start, start + step) for start in range(0, len(points), step)):
                found = self._vectors(take(self.neighbours_.points, neighbours[part]))  # (m, k, d)
                target[part] = tangent_foot(vectors[part], found, self.ridge)
        if self.estimator != "gaussian":
            artifact = vectors - target
        distance = np.linalg.norm(artifact, axis=1)
        if self.space in ("rgb", "freq"):
            target, artifact = target.reshape(images.shape), artifact.reshape(images.shape)  # (n, c, h, w)
        return Projection(index, distance, target, artifact)

    def fingerprint(self, images, *, model: str, exclude: np.ndarray | None = None) -> Fingerprint:
        """The fingerprint of a model: the set of its images' artifacts; see `project`."""
        artifacts = self.project(images, exclude=exclude).artifact
        return Fingerprint(model, name_of(self.space), self.estimator, artifacts)

    def _fit(self, X, y, progress: bool) -> tuple[np.ndarray, np.ndarray]:
        """Fit; the images, and the index of each in the reference or -1."""
        self.check()
        images = images_of(X, self.space, "X")
        real = np.full(len(images), self.reference is None)
        if self.reference is not None:
            reference = images_of(self.reference, self.space, "reference")
        elif y is None:
            reference = images
        elif not (real := check_labels("y", y, len(images)) == REAL).any():
            raise InputError(f"y: no image is labelled {REAL!r}; label real ones, or pass Manifold(reference=images)")
        elif isinstance(images, list):
            reference = [image for image, wanted in zip(images, real, strict=True) if wanted]
        else:
            reference = take(images, real)
        if self.estimator == "tangent" and self.n_neighbors > (n := len(reference)):
            raise InputError(f"n_neighbors: {self.n_neighbors}, but the reference set has {n} images; lower it")
        self._learn(reference, progress)
        return images, np.where(real, np.cumsum(real) - 1, -1)

    def _learn(self, reference: np.ndarray, progress: bool) -> None:
        """Load the network that is needed, embed the reference, and set all attributes of a fitted manifold."""
        space, dataset, kind = self.space, self.dataset, "ssl" if self.space == "ssl" else self.estimator
        if kind in ("ssl", "denoiser"):
            dataset = dataset or pretrained.dataset_of(kind, reference)
            space = f"ssl:{dataset}" if kind == "ssl" else space
        if kind == "denoiser":
            self._function, weights = _denoiser(dataset, reference, self.device), [network_path(kind, dataset=dataset)]
        else:
            self._function, weights = space_function(space, self.device), weights_of(space)
            points = self._points(reference, progress)
        if kind == "gaussian":
            self.mean_, self.covariance_, self.whitening_ = gaussian(self._vectors(points), self.shrinkage)
        elif kind != "denoiser":
            chunk = min(4096, max(1, NUMBERS // points.shape[1]))
            self.neighbours_ = Neighbours(points, index=self.index, chunk=chunk)
        options = {name: getattr(self, name) for name in PARAMETERS}
        space = space if isinstance(space, str) else f"{name_of(space)}#{secrets.token_hex(8)}"
        self.settings_, self.weights_ = {"space": space, "dataset": dataset, **options}, weights
        self.reference_ = reference

    def _whiten(self, vectors: np.ndarray, exclude: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Targets and artifacts of vectors `(n, d)`, those of reference images by Gaussians without them."""
        own = np.full(len(vectors), -1) if exclude is None else np.asarray(exclude).reshape(len(vectors), -1).max(1)
        target, artifact = np.empty_like(vectors), np.empty_like(vectors)
        for fold in {-1, *(own[own >= 0] % FOLDS).tolist()}:
            mine = own < 0 if fold < 0 else (own >= 0) & (own % FOLDS == fold)
            mean, whitening = self.mean_, self.whitening_
            if fold >= 0:
                known = self._vectors(self._points(self.reference_, False))
                mean, _, whitening = gaussian(known[np.arange(len(known)) % FOLDS != fold], self.shrinkage)
            target[mine], artifact[mine] = mean, (vectors[mine] - mean) @ whitening
        return target, artifact

    def _points(self, images: np.ndarray, progress: bool) -> np.ndarray:
        """Images as points of the search: 8-bit pixels in ``rgb``, where it is exact and fast, else float32 vectors."""
        if self.space == "rgb":
            return images.reshape(len(images), -1)
        return embed(images, self._function, progress=progress)

    def _vectors(self, points: np.ndarray) -> np.ndarray:
        return points.astype(np.float32) / np.float32(255) if self.space == "rgb" else points

    def _neighbours(self, images: np.ndarray, points: np.ndarray, exclude, progress: bool) -> np.ndarray:
        """Indices `(n, k)` of the reference points that the estimator uses."""
        if self.estimator == "random":
            excluded = self.neighbours_.check(points, 1, exclude)
            return np.array([[self._random(*pair)] for pair in zip(images, excluded, strict=True)])
        k = self.n_neighbors if self.estimator == "tangent" else 1
        found = self.neighbours_.search(points, k, exclude=exclude, progress=progress)[1]
        if (found < 0).any():
            raise InputError(f"index {self.index!r} found fewer than {k} neighbours; lower n_neighbors, or use 'exact'")
        return found

    def _random(self, image: np.ndarray, excluded: np.ndarray) -> int:
        """Index drawn uniformly from the reference, but for the excluded `(m,)`, by the seed and the image alone."""
        rng = np.random.default_rng([self.seed, zlib.crc32(image.tobytes())])
        while (chosen := rng.integers(len(self.reference_))) in excluded:
            pass
        return chosen

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False  # it takes images
        return tags


def _denoiser(dataset: str, reference: np.ndarray, device: str) -> Callable:
    """The denoiser of a real set, on the device; `InputError` unless it takes images like the reference."""
    network = dncnn.load_denoiser(dataset=dataset)
    if (wanted := next(network.parameters()).shape[1]) != reference.shape[1]:
        raise InputError(
            f"reference: {reference.shape[1]} channels, but the denoiser of {dataset!r} has {wanted}; "
            "name another dataset= or train one: manifpt.nn.dncnn.train_denoiser(reference, dataset=…)"
        )
    return network.to(pick_device(device))
