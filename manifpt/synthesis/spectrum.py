r"""The spectral fingerprint of an image: the spectrum of its noise residual, which a denoiser leaves.

.. math:: D = |\mathrm{FFT}_2(R(x))| \text{ per channel}, \qquad D_{\mathrm{root}} = \sqrt D, \qquad
   D_{\log} = \log(D + 10^{-3})

with the image x in [0, 1] and the noise residual R. As released: ``linear``, no shift, no scaling. Deviations: theirs
is a DnCNN of 17 layers without padding, whose smaller residual is resized to the size of the image; ours are the DnCNN
of `manifpt.nn.dncnn`, which pads, in fp32, and a wavelet denoiser. A grey image is read as three equal channels.
"""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.utils import gen_batches

from manifpt.nn.dncnn import load_denoiser
from manifpt.utils.arrays import as_images
from manifpt.utils.errors import InputError, check_choice

DENOISERS = ("dncnn", "wavelet")
SCALES = ("linear", "root", "log")
FLOOR = 1e-3  # inside the logarithm
BATCH = 256
Residual = Callable[[np.ndarray], np.ndarray]


def residuals(name: str = "dncnn", *, real: str = "photos") -> Residual:
    """A function of uint8 images `(n, c, h, w)`, c 1 or 3, that gives their noise residual, float32 `(n, 3, h, w)`.

    The denoiser `name` is ``dncnn``, trained on the real set in colour `real`, or ``wavelet``: scikit-image's,
    BayesShrink. `InputError` for an unknown one, or if no denoiser was trained on that set, or one for grey images.
    """
    check_choice("denoiser", name, DENOISERS)
    one = _wavelet if name == "wavelet" else _dncnn(real)

    def residual(images: np.ndarray) -> np.ndarray:
        images = as_images(images)
        images = np.repeat(images, 3 // images.shape[1], axis=1)
        blocks = (images[some] for some in gen_batches(len(images), BATCH))
        return np.concatenate([one(block.astype(np.float32) / np.float32(255)) for block in blocks])

    return residual


def spectrum(residual: np.ndarray, scale: str = "linear") -> np.ndarray:
    """Magnitudes of each channel's 2-D Fourier transform, float32, in the shape of `residual`, on one of `SCALES`."""
    check_choice("scale", scale, SCALES)
    magnitude = np.abs(np.fft.fft2(residual)).astype(np.float32)
    if scale == "root":
        return np.sqrt(magnitude)
    return np.log(magnitude + np.float32(FLOOR)) if scale == "log" else magnitude


def _dncnn(real: str) -> Residual:
    network = load_denoiser(dataset=real)
    if network[0].in_channels != 3:
        raise InputError(f"denoiser of {real!r}: reads grey images; one of a set in colour expected")

    @torch.inference_mode()
    def residual(images: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(images).to(memory_format=torch.channels_last)).contiguous().numpy()

    return residual


def _wavelet(images: np.ndarray) -> np.ndarray:
    from skimage.restoration import denoise_wavelet

    return np.stack([image - denoise_wavelet(image, channel_axis=0) for image in images]).astype(np.float32)
