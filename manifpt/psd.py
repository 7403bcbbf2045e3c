r"""The space ``psd``: log power spectra by Welch's method, of images of any size.

An image is cut into windows that overlap by half, each tapered by a Hann window w; with the power of each window's
two-dimensional Fourier transform,

.. math:: \varphi(x)_{c,k} = \frac1M \sum_{m=1}^M \log\big(|\mathrm{FFT}_2(w \cdot x_{c,m})_k|^2 + \varepsilon\big)

over the M windows, for each channel c and each frequency k of the half that does not mirror the other. Colours are
first rotated to luminance and two opponents, (r + g + b)/√3, (r − g)/√2 and (r + g − 2b)/√6. The logarithm is taken
before the mean, so that a window of strong edges counts no more than one of sky. The vector says nothing of where in
the picture something is, and has as many numbers for 32x32 pixels as for 4,000x3,000.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from manifpt.utils.errors import InputError

OPPONENTS = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]], np.float32) / np.sqrt(np.float32([[3], [2], [6]]))
DIFFERENCE = np.outer([1, -2, 1], [1, -2, 1]).astype(np.float32) / 4
PIXELS = 2**20  # of the windows that are transformed at a time, which so stay in the processor's cache


@dataclass(frozen=True)
class PowerSpectrum:
    """Map float32 images `(n, c, h, w)` in [0, 1] to vectors `(n, c * window * (window // 2 + 1))`; a space by itself.

    Attributes
    ----------
    window, step
        Side of a window in pixels, even, and the distance of two: 16 and 8 give 144 numbers a channel.
    floor
        ε, in squared pixels of a sum over the window: keeps a black window's logarithm finite.
    rotate
        Turn colours to luminance and opponents; images of one channel have nothing to turn.
    residual
        Take the second difference along both axes first, (1, −2, 1)ᵀ(1, −2, 1)/4, as detectors of forgery do.

    Examples
    --------
    >>> PowerSpectrum()(np.full((2, 3, 40, 64), 0.5, np.float32)).shape
    (2, 432)
    """

    window: int = 16
    step: int = 8
    floor: float = 1e-7
    rotate: bool = True
    residual: bool = False

    def __post_init__(self):
        if self.window < 4 or self.window % 2 or not 1 <= self.step <= self.window or not self.floor > 0:
            raise InputError(
                f"window, step, floor: {self.window}, {self.step}, {self.floor}; an even window from 4 on, a step from "
                "1 to the window, and a floor above 0 expected"
            )

    @property
    def __name__(self) -> str:
        return "psd"

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """The vectors of images, float32 `(n, d)`; `InputError` for images smaller than a window."""
        least = self.window + 2 * self.residual
        if min(images.shape[2:]) < least:
            h, w = images.shape[2:]
            raise InputError(f"images: {w}x{h} pixels; {least}x{least} at least expected for windows of {self.window}")
        return np.concatenate([self._vectors(some) for some in self._batches(images)])

    def resample(self, image: np.ndarray, n: int, seed: int) -> np.ndarray:
        """The vector of an image `(c, h, w)`, and n others as if it showed other parts of the same: `(1 + n, d)`.

        This is the bootstrap of blocks. Neighbouring windows share pixels, so that whole tiles of windows, 4x4 but in
        images too small for 16 tiles, are drawn with replacement.
        """
        x = self._prepared(image[None])
        side = int(np.clip(min(self._windows(x)) // 4, 1, 4))
        down, across = (np.linspace(0, count, count // side + 1).astype(int) for count in self._windows(x))  # edges
        owner = torch.arange(len(across) - 1).repeat_interleave(torch.from_numpy(np.diff(across)))
        sums = []
        for band in self._bands(x, down):
            columns = band.sum(2)[0].transpose(0, 1).flatten(1)  # (columns, d)
            sums.append(torch.zeros(len(across) - 1, columns.shape[1]).index_add_(0, owner, columns))
        sums, counts = torch.cat(sums).numpy(), np.outer(np.diff(down), np.diff(across)).ravel()
        tiles = len(counts)
        drawn = np.random.default_rng(seed).multinomial(tiles, np.full(tiles, 1 / tiles), size=n)
        weights = np.concatenate([np.ones((1, tiles)), drawn]).astype(np.float32)
        return weights @ sums / (weights @ counts)[:, None].astype(np.float32)

    def _batches(self, images: np.ndarray) -> Iterator[np.ndarray]:
        share = images[0].size * (self.window / self.step) ** 2
        size = max(1, int(PIXELS / share))
        return (images[start : start + size] for start in range(0, len(images), size))

    @torch.inference_mode()
    def _prepared(self, images: np.ndarray) -> torch.Tensor:
        """Images of which windows are cut, `(n, c, h, w)`."""
        x = torch.from_numpy(np.ascontiguousarray(images))
        if self.rotate and x.shape[1] == 3:
            x = torch.einsum("ij,njhw->nihw", torch.from_numpy(OPPONENTS), x)
        if self.residual:
            kernel = torch.from_numpy(DIFFERENCE)[None, None]
            x = torch.nn.functional.conv2d(x.flatten(0, 1)[:, None], kernel).view(
                len(x), -1, *(s - 2 for s in x.shape[2:])
            )
        return x

    def _windows(self, x: torch.Tensor) -> tuple[int, int]:
        """The number of rows and columns of windows."""
        return tuple((side - self.window) // self.step + 1 for side in x.shape[2:])

    @torch.inference_mode()
    def _bands(self, x: torch.Tensor, edges: np.ndarray) -> Iterator[torch.Tensor]:
        """Log powers `(n, c, rows, columns, window, window // 2 + 1)`, of the rows of windows between edges in turn."""
        hann = torch.hann_window(self.window + 2, periodic=False)[1:-1]  # none of its values is 0
        for first, last in itertools.pairwise(edges.tolist()):
            band = x[:, :, first * self.step : (last - 1) * self.step + self.window]
            windows = band.unfold(2, self.window, self.step).unfold(3, self.window, self.step)
            spectrum = torch.fft.rfft2(windows * torch.outer(hann, hann))
            yield (spectrum.real.square() + spectrum.imag.square() + self.floor).log_()

    def _vectors(self, images: np.ndarray) -> np.ndarray:
        x = self._prepared(images)
        rows, columns = self._windows(x)
        height = max(1, PIXELS // (x.shape[0] * x.shape[1] * columns * self.window**2))  # so memory is bounded
        edges = np.append(np.arange(0, rows, height), rows)
        total = sum(band.sum((2, 3)) for band in self._bands(x, edges))
        return (total / (rows * columns)).flatten(1).numpy()
