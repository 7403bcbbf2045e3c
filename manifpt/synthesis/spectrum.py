r"""The spectral fingerprint of an image: the spectrum of its noise residual, which a denoiser leaves.

.. math:: D = |\mathrm{FFT}_2(R(x))| \text{ per channel}

with the image x in [0, 1] and the noise residual R. As released: no shift, no scaling. Deviation: theirs is a DnCNN of
17 layers without padding, whose smaller residual is resized to the size of the image; ours is the DnCNN of
`manifpt.nn.dncnn`, which pads. A grey image is read as three equal channels.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from manifpt.nn.dncnn import load_denoiser
from manifpt.utils.compute import pick_device
from manifpt.utils.errors import InputError


def residuals(*, real: str = "photos", device: str = "cpu") -> Callable[[Tensor], Tensor]:
    """A function of uint8 images `(n, c, h, w)`, c 1 or 3, that gives their noise residual, float32 `(n, 3, h, w)`.

    The denoiser was trained on the real set in colour `real`. `InputError` if none was, or one for grey images.
    """
    network = load_denoiser(dataset=real)
    if network[0].in_channels != 3:
        raise InputError(f"denoiser of {real!r}: reads grey images; one of a set in colour expected")
    network = network.to(pick_device(device), memory_format=torch.channels_last)

    @torch.no_grad()
    def residual(images: Tensor) -> Tensor:
        images = images.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)
        return network(images / 255).float().contiguous()

    return residual


def spectrum(residual: Tensor) -> Tensor:
    """Magnitudes of each channel's 2-D Fourier transform, float32, in the shape of `residual`."""
    return torch.fft.fft2(residual).abs()
