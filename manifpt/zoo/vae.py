r"""Variational auto-encoders that share one network.

`beta-vae` (Higgins 2017) minimises, with a Bernoulli likelihood over pixels in [0, 1],

.. math:: -\mathbb E_{q(z|x)} \log p(x|z) + \beta\, \mathrm{KL}(q(z|x)\,\|\,\mathcal N(0, I)).

`dfc-vae` (Hou 2017) compares images by the features of a pretrained network instead.
"""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.perceptual import Perceptual
from manifpt.nn.train import Training, late_decay
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator

LATENT = 64
WIDTH = 48


def encoder(channels: int, latent: int = LATENT, width: int = WIDTH) -> nn.Sequential:
    """Images `(n, c, 32, 32)` to mean and log-variance of the latents, `(n, 128)`; strided convolutions."""
    widths = [channels, width, 2 * width, 4 * width]
    layers = [
        layer
        for inner, outer in itertools.pairwise(widths)
        for layer in (nn.Conv2d(inner, outer, 4, 2, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(inplace=True))
    ]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4 * width * 16, 2 * latent))


def decoder(channels: int, latent: int = LATENT, width: int = WIDTH) -> nn.Sequential:
    """Latents `(n, 64)` to logits of images `(n, c, 32, 32)`; transposed convolutions."""
    widths = [4 * width, 2 * width, width, channels]
    layers = [nn.Linear(latent, 4 * width * 16), nn.Unflatten(1, (4 * width, 4, 4))]
    for inner, outer in itertools.pairwise(widths):
        layers += [nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
        layers += [nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=outer == channels)]
    return nn.Sequential(*layers)


def sample(decoder: nn.Module, n: int) -> Tensor:
    """n decoder means from standard normal latents, in [-1, 1]."""
    device = next(decoder.parameters()).device
    return 2 * decoder(torch.randn(n, LATENT, device=device)).sigmoid() - 1


def _train(
    channels: int,
    device: torch.device,
    distance: Callable[[Tensor, Tensor], Tensor],
    *,
    weight: float,
    batch_size: int,
) -> Generator:
    """Adam 1e-3 on ``distance(logits, images) + weight * KL``, both means over the batch."""
    vae = nn.ModuleDict({"encoder": encoder(channels), "decoder": decoder(channels)})
    vae.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(vae.parameters(), 1e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            mean, log_variance = vae["encoder"](images).float().chunk(2, dim=1)
            z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
            logits = vae["decoder"](z).float()
        reconstruction = distance(logits, images).mean()
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean()
        optimiser.zero_grad(set_to_none=True)
        (reconstruction + weight * kl).backward()
        optimiser.step()
        return {"reconstruction": reconstruction.item(), "KL": kl.item()}

    task = Training(dict(vae), {"adam": optimiser}, update, "decoder", decay=0.998, factor=late_decay)
    return Generator(task, sample, batch_size=batch_size)


def bernoulli(logits: Tensor, images: Tensor) -> Tensor:
    """Negative log-likelihood of each image `(n,)`, in nats."""
    pixels = F.binary_cross_entropy_with_logits(logits, (images + 1) / 2, reduction="none")
    return pixels.sum((1, 2, 3))


def beta_vae(channels: int, device: torch.device) -> Generator:
    """β = 2."""
    return _train(channels, device, bernoulli, weight=2.0, batch_size=128)


def dfc_vae(channels: int, device: torch.device) -> Generator:
    """Features of the ``sl`` network in place of VGG's, and a little of the pixels' likelihood to hold the colours."""
    perceptual = Perceptual().to(device)

    def distance(logits: Tensor, images: Tensor) -> Tensor:
        return 300 * perceptual(2 * logits.sigmoid() - 1, images) + 0.1 * bernoulli(logits, images)

    return _train(channels, device, distance, weight=1.0, batch_size=64)
