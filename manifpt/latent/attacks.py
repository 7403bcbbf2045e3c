"""Attacks on an image between its generator and the reader of its key; the last two are ours.

Every attack maps float images `(n, c, h, w)` in [-1, 1], c 1 or 3, to such images, and lets gradients through: an
estimator that knows the attack passes its own image through it.
"""

from collections.abc import Callable

import kornia
import numpy as np
import torch
from torch import Tensor

from manifpt.data import pictures
from manifpt.latent.fingerprinter import to_bytes, to_float
from manifpt.utils.arrays import as_images
from manifpt.utils.compute import seeded
from manifpt.utils.errors import check_choice

KERNEL, BLUR = 25, 0.5  # pixels; standard deviation
NOISE = 0.1  # standard deviation
QUALITY = 50  # of JPEG
CROP = 0.875  # part of each side that is kept, around the centre
BRIGHTER = 0.1  # of the range from black to white


def blur(images: Tensor) -> Tensor:
    """Gaussian blur; the kernel is smaller than 25 pixels where the image is too small to be mirrored for it."""
    size = min(KERNEL, 2 * min(images.shape[2:]) - 1)
    return kornia.filters.gaussian_blur2d(images, (size, size), (BLUR, BLUR))


def noise(images: Tensor) -> Tensor:
    """Normal noise from torch's default generator, clipped to the range."""
    return (images + NOISE * torch.randn(images.shape).to(images)).clamp(-1, 1)


def jpeg(images: Tensor) -> Tensor:
    """JPEG as Pillow writes it; gradients are those of kornia's smooth model (sides have to be multiples of 16)."""
    files = to_float(np.stack([pictures.jpeg(image, QUALITY) for image in to_bytes(images)])).to(images)
    if not images.requires_grad:
        return files
    unit = ((images + 1) / 2).clamp(0, 1).expand(-1, 3, -1, -1)
    quality = torch.tensor([float(QUALITY)], device=images.device)
    smooth = kornia.enhance.jpeg_codec_differentiable(unit, quality) * 2 - 1
    smooth = smooth.mean(1, keepdim=True) if images.shape[1] == 1 else smooth
    return smooth + (files - smooth).detach()


def combination(images: Tensor) -> Tensor:
    """Blur, then noise, then JPEG."""
    return jpeg(noise(blur(images)))


def crop_resize(images: Tensor) -> Tensor:
    """The middle of the image, enlarged to its old size by bilinear interpolation."""
    height, width = images.shape[2:]
    middle = kornia.geometry.transform.center_crop(images, (round(CROP * height), round(CROP * width)))
    return kornia.geometry.transform.resize(middle, (height, width))


def brightness(images: Tensor) -> Tensor:
    """Brighter by a tenth of the range, clipped to it."""
    return kornia.enhance.adjust_brightness((images + 1) / 2, BRIGHTER) * 2 - 1


ATTACKS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda images: images,
    "blur": blur,
    "noise": noise,
    "jpeg": jpeg,
    "combination": combination,
    "crop-resize": crop_resize,
    "brightness": brightness,
}

MODELS = {  # of attacks that are not smooth: the expected image, and a smooth stand-in
    "noise": (ATTACKS["none"], ATTACKS["none"]),
    "jpeg": (jpeg, ATTACKS["none"]),
    "combination": (lambda images: jpeg(blur(images)), blur),
}


def attack_named(name: str) -> Callable[[Tensor], Tensor]:
    """The attack of that name; `InputError` for an unknown one."""
    check_choice("attack:", name, ATTACKS)
    return ATTACKS[name]


def modelled(name: str) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    """The expected image after a known attack, and a smooth stand-in for derivatives: of use to Gauss-Newton steps.

    The expected noise is zero; JPEG, which is a staircase, gets the derivative of the identity.
    """
    attack_named(name)
    return MODELS.get(name, (ATTACKS[name], ATTACKS[name]))


def attacked(images: np.ndarray, name: str, *, seed: int = 0) -> np.ndarray:
    """Attack images, uint8 `(n, c, h, w)`, and return them in 8 bits; the seed is that of the noise.

    `InputError` for an unknown attack, or images of another type or shape.
    """
    images, attack = as_images(images), attack_named(name)
    with seeded(seed):
        return to_bytes(attack(to_float(images)))
