r"""Variational auto-encoders that share one network.

`beta-vae` (Higgins 2017) minimises, with a Bernoulli likelihood over pixels in [0, 1],

.. math:: -\mathbb E_{q(z|x)} \log p(x|z) + \beta\, \mathrm{KL}(q(z|x)\,\|\,\mathcal N(0, I)).

`dfc-vae` (Hou 2017) compares images by the features of a pretrained network instead.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.perceptual import Perceptual
from manifpt.nn.train import descend
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator, strided, transposed

LATENT = 64
WIDTH = 48


def _variational(
    channels: int, device: torch.device, distance: Callable, *, weight: float, batch_size: int
) -> Generator:
    """An auto-encoder that minimises ``distance(logits, images) + weight * KL``, by Adam 1e-3.

    The encoder gives mean and log-variance of the latents `(n, 128)`, the decoder logits of images `(n, c, 32, 32)`.
    """
    widths = [WIDTH, 2 * WIDTH, 4 * WIDTH]
    encoder = nn.Sequential(*strided([channels, *widths]), nn.Flatten(), nn.Linear(widths[-1] * 16, 2 * LATENT))
    enter = nn.Linear(LATENT, widths[-1] * 16), nn.Unflatten(1, (widths[-1], 4, 4))
    decoder = nn.Sequential(*enter, *transposed([*widths[::-1], channels]))
    vae = nn.ModuleDict({"encoder": encoder, "decoder": decoder}).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(vae.parameters(), 1e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            mean, log_variance = encoder(images).float().chunk(2, dim=1)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            logits = decoder(z).float()
        reconstruction = distance(logits, images).mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        descend(optimiser, reconstruction + weight * kl)
        return {"reconstruction": reconstruction.item(), "KL": kl.item()}

    def sample(decoder: nn.Module, n: int) -> Tensor:
        return 2 * decoder(torch.randn(n, LATENT, device=device)).sigmoid() - 1

    return Generator(dict(vae), {"adam": optimiser}, update, "decoder", sample=sample, batch_size=batch_size)


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Negative log-likelihood of each image `(n,)`, in nats."""
    pixels = F.binary_cross_entropy_with_logits(logits, (images + 1) / 2, reduction="none")
    return pixels.sum((1, 2, 3))


def beta_vae(channels: int, device: torch.device) -> Generator:
    """The β-VAE with β = 2."""
    return _variational(channels, device, bernoulli, weight=2.0, batch_size=128)


def dfc_vae(channels: int, device: torch.device) -> Generator:
    """The DFC-VAE with the features of the ``sl`` network in place of VGG's.

    A little of the pixels' likelihood is added, to hold the colours.
    """
    perceptual = Perceptual().to(device)

    def distance(logits: Tensor, images: Tensor) -> Tensor:
        return 300 * perceptual(2 * logits.sigmoid() - 1, images) + 0.1 * bernoulli(logits, images)

    return _variational(channels, device, distance, weight=1.0, batch_size=64)
