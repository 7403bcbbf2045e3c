r"""How well a key can be read, and what it costs, if the generator were linear (our derivation).

With :math:`J = \partial g / \partial w`, :math:`A = J U^\top`, :math:`B = \sigma J V^\top` and noise of standard
deviation s on every pixel, least squares over content and key leave

.. math:: \hat\varphi - \varphi \sim N(0, s^2 S^{-1}), \quad S = B^\top (I - A A^+) B.

σ is part of B here, so S grows with σ².
"""

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import norm
from torch import Tensor
from torch.func import jvp, vmap

from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.generators import LatentGenerator
from manifpt.utils.errors import InputError

warnings.filterwarnings("ignore", r"`torch\.jit\.script` is deprecated", FutureWarning)  # by torch's own forward mode
ROUNDING = 2 / 255 / np.sqrt(12)  # standard deviation of the error of 8 bits, in images from -1 to 1
CHUNK = 64  # directions differentiated at a time


@dataclass(frozen=True)
class Prediction:
    """What the linearisation says about one content."""

    separation: np.ndarray  # noise at which each bit lies one deviation from undecided: 1 / (2 √[S⁻¹]_jj), float64
    bit_error: np.ndarray  # probability that each bit is read wrongly: Q(separation / s), float64 (key_length,)
    change: float  # mean over keys of ‖image − image without a key‖²: (tr(BᵀB) + 1ᵀBᵀB1) / 4


def jacobian(generator: LatentGenerator, code: Tensor) -> Tensor:
    """Derivative of the image's pixels by the code `(d,)`: float64 `(c * h * w, d)`."""

    def column(direction: Tensor) -> Tensor:
        return jvp(lambda w: generator.render(w[None]).flatten(), (code,), (direction,))[1]

    columns = vmap(column, chunk_size=CHUNK)  # forward: there are fewer dimensions than pixels
    return columns(torch.eye(len(code)).to(code)).t().double()


def predict_reading(
    fingerprinter: LatentFingerprinter, derivative: Tensor, *, noise: float = ROUNDING, prior: bool = False
) -> Prediction:
    r"""Predict error rates and the change of an image from the linearised generator.

    Parameters
    ----------
    derivative
        `jacobian` at a code without a key.
    noise
        Standard deviation s of every pixel, in images from -1 to 1; `InputError` unless it is positive.
    prior
        Whether the estimator knows that α is normal with deviations s_j (ours): :math:`A A^+` becomes
        :math:`A (A^\top A + s^2 \mathrm{diag}(s_j^{-2}))^{-1} A^\top`.
    """
    if not noise > 0:
        raise InputError(f"noise: {noise}; a positive standard deviation expected")
    a = (derivative @ fingerprinter.content_.double().t()).cpu().numpy()  # (pixels, d - repeat * key_length)
    b = (derivative @ fingerprinter.key_.double().t()).cpu().numpy()  # (pixels, key_length)
    gram = b.T @ b
    if prior:  # as further pixels, which show α alone
        ridge = np.diag(noise / fingerprinter.deviations_.double().cpu().numpy())
        a, b = np.vstack([a, ridge]), np.vstack([b, np.zeros((len(ridge), b.shape[1]))])
    unexplained = b - a @ np.linalg.lstsq(a, b, rcond=None)[0]  # by A
    separation = 1 / (2 * np.sqrt(_inverse_diagonal(unexplained.T @ unexplained)))
    change = (np.trace(gram) + gram.sum()) / 4
    return Prediction(separation, norm.sf(separation / noise), float(change))


def _inverse_diagonal(matrix: np.ndarray) -> np.ndarray:
    """Diagonal of the inverse; huge where the matrix is singular, so that such a bit is a guess."""
    values, vectors = np.linalg.eigh(matrix)
    return (vectors**2) @ (1 / values.clip(1e-12 * values[-1]))


def least_squares(fingerprinter: LatentFingerprinter, derivative: Tensor, residual: Tensor) -> Tensor:
    """The keys that the linearisation reads, float64 `(n, key_length)`, before rounding.

    `residual` holds images minus that of the code where `derivative` was taken, `(n, c * h * w)`; for a linear
    generator the code is μ.
    """
    columns = derivative @ torch.cat([fingerprinter.content_, fingerprinter.key_]).double().t()
    solution = torch.linalg.lstsq(columns, residual.double().t()).solution.t()  # (n, alpha and phi)
    return solution[:, len(fingerprinter.content_) :]


def linear_generator(dimension: int = 24, size: int = 8, *, spread: float = 0.25, seed: int = 0) -> LatentGenerator:
    r"""A toy for which the theory is exact: g(w) = M w, M with standard normal entries over the root of d.

    Its codes are normal; standard deviations fall from `spread` to a tenth of it. Images are `(n, 1, size, size)`;
    `InputError` unless there are more pixels than dimensions.
    """
    if not 1 <= dimension < size * size:
        raise InputError(f"dimension: {dimension}; from 1 to {size * size - 1} expected for {size * size} pixels")
    random = torch.Generator().manual_seed(seed)
    matrix = torch.randn(dimension, size * size, generator=random) / dimension**0.5
    deviations = torch.logspace(0, -1, dimension) * spread
    return LatentGenerator(
        "linear",
        dimension,
        lambda n: torch.randn(n, dimension) * deviations,
        lambda w: (w @ matrix).unflatten(1, (1, size, size)),
    )
