r"""Glow (Kingma 2018) in small: an invertible network, trained by exact maximum likelihood.

Each step is actnorm, an invertible 1x1 convolution and an affine coupling; three levels, half of the channels leave
after each of the first two:

.. math:: \log p(x) = \log p(z) + \sum_\text{layers} \log \left|\det \frac{\partial h_{i}}{\partial h_{i-1}}\right|.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.train import descend
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator

LEVELS = 3
STEPS = 6  # of flow in a level
WIDTH = 96
TEMPERATURE = 0.7


class Step(nn.Module):
    """Actnorm, invertible 1x1 convolution and affine coupling of c channels, an even number."""

    def __init__(self, c: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(c, 1, 1))
        self.shift = nn.Parameter(torch.zeros(c, 1, 1))
        self.mix = nn.Parameter(torch.linalg.qr(torch.randn(c, c))[0])
        self.initialised = nn.Buffer(torch.tensor(False))
        self.coupling = nn.Sequential(
            nn.Conv2d(c // 2, WIDTH, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(WIDTH, WIDTH, 1),
            nn.ReLU(inplace=True),
            _zeros(nn.Conv2d(WIDTH, c, 3, padding=1)),
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`(n, c, h, w)` to the same shape and the log-determinant `(n,)`."""
        if not self.initialised:
            self._initialise(x)
        x = (x + self.shift) * self.log_scale.exp()
        x = F.conv2d(x, self.mix[:, :, None, None])
        kept, changed = x.chunk(2, dim=1)
        log_scale, shift = self._coupled(kept)
        log_det = self.log_scale.sum() + torch.linalg.slogdet(self.mix)[1]
        log_det = x.shape[2] * x.shape[3] * log_det + log_scale.sum((1, 2, 3))
        return torch.cat([kept, (changed + shift) * log_scale.exp()], dim=1), log_det

    def inverse(self, x: Tensor) -> Tensor:
        """What `forward` made `x` of."""
        kept, changed = x.chunk(2, dim=1)
        log_scale, shift = self._coupled(kept)
        x = torch.cat([kept, changed * (-log_scale).exp() - shift], dim=1)
        x = F.conv2d(x, self.mix.inverse()[:, :, None, None])
        return x * (-self.log_scale).exp() - self.shift

    def _coupled(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        with autocast(kept.device):
            log_scale, shift = self.coupling(kept).chunk(2, dim=1)
        return 2 * torch.tanh(log_scale.float() / 2), shift.float()

    @torch.no_grad()
    def _initialise(self, x: Tensor) -> None:
        """Actnorm: unit variance and zero mean of each channel on the first batch."""
        self.shift.copy_(-x.mean((0, 2, 3))[:, None, None])
        self.log_scale.copy_(-x.std((0, 2, 3)).clamp_min(1e-3).log()[:, None, None])
        self.initialised.fill_(True)


class Glow(nn.Module):
    """Levels of steps; `forward` gives log-likelihoods, `generate` images."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels
        widths = [channels * 4 * 2**level for level in range(LEVELS)]
        self.levels = nn.ModuleList(nn.ModuleList(Step(c) for _ in range(STEPS)) for c in widths)
        self.priors = nn.ModuleList(_zeros(nn.Conv2d(c // 2, c, 3, padding=1)) for c in widths[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """log p `(n,)` in nats of images in [-0.5, 0.5]."""
        log_p = torch.zeros(len(x), device=x.device)
        for index, steps in enumerate(self.levels):
            x = F.pixel_unshuffle(x, 2)
            for step in steps:
                x, log_det = step(x)
                log_p = log_p + log_det
            if index < len(self.priors):
                x, z = x.chunk(2, dim=1)
                mean, log_sd = self.priors[index](x).chunk(2, dim=1)
                log_p = log_p + _normal(z, mean, log_sd)
        return log_p + _normal(x, torch.zeros_like(x), torch.zeros_like(x))

    def generate(self, n: int, temperature: float = TEMPERATURE) -> Tensor:
        """n images; the standard deviation of all latents is scaled by the temperature."""
        side = 32 // 2**LEVELS
        device = self.levels[0][0].mix.device
        x = temperature * torch.randn(n, self.channels * 4 * 2 ** (LEVELS - 1), side, side, device=device)
        for index in reversed(range(LEVELS)):
            if index < len(self.priors):
                mean, log_sd = self.priors[index](x).chunk(2, dim=1)
                x = torch.cat([x, mean + temperature * log_sd.exp() * torch.randn_like(mean)], dim=1)
            for step in reversed(self.levels[index]):
                x = step.inverse(x)
            x = F.pixel_shuffle(x, 2)
        return x


def _zeros(layer: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _normal(z: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    log_p = -0.5 * ((z - mean) * (-log_sd).exp()).square() - log_sd - 0.5 * math.log(2 * math.pi)
    return log_p.sum((1, 2, 3))


def sample_glow(glow: Glow, n: int) -> Tensor:
    """n images at temperature 0.7, rounded down to the grey level to which dequantisation had added its noise."""
    return (256 * (glow.generate(n) + 0.5)).floor() / 127.5 - 1


def glow(channels: int, device: torch.device) -> Generator:
    """Glow, trained by Adam 1e-3 on uniformly dequantised images."""
    network = Glow(channels).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    nats = channels * 32 * 32 * math.log(2)

    def update(images: Tensor, step: int) -> dict[str, float]:
        noise = torch.rand_like(images) / 256
        x = (images + 1) * (255 / 512) - 0.5 + noise
        return {"bits per dimension": descend(optimiser, -network(x).mean() / nats + 8, clip=1.0)}

    return Generator({"glow": network}, {"adam": optimiser}, update, "glow", sample=sample_glow)
