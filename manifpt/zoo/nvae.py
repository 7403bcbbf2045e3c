r"""NVAE (Vahdat 2020) in small: latents at three resolutions, residual cells, swish, batch norm.

The decoder goes from 4x4 to 32x32. At each group a latent :math:`z_l \sim p(z_l \mid z_{<l})` enters; the encoder's
posterior is given relative to that prior, :math:`q = \mathcal N(\mu_p + \Delta\mu, \sigma_p \cdot \Delta\sigma)`.
Pixels follow a discretised logistic distribution; samples are its means. The KL term is warmed up.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.train import descend
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator

WIDTHS = {4: 96, 8: 64, 16: 32}  # resolution: channels
GROUPS = {4: 5, 8: 2, 16: 1}  # resolution: groups of latents; the first ones decide what the image is of
LATENT = 8  # channels of a group
WARM_UP = 500  # steps
Posterior = Callable[[Tensor], Tensor]  # state of the decoder to moments, `(n, 2 * LATENT, h, w)`


def _normed(inner: int, outer: int, *, bias: bool = True) -> tuple[nn.Module, ...]:
    return nn.BatchNorm2d(inner), nn.SiLU(), nn.Conv2d(inner, outer, 3, padding=1, bias=bias)


def _by_size(make: Callable[[int], nn.Module], sizes: Iterable[int] = WIDTHS) -> nn.ModuleDict:
    return nn.ModuleDict({str(size): make(size) for size in sizes})


class Cell(nn.Module):
    """Residual cell, which keeps the shape: batch norm, swish and convolution, twice; squeeze and excitation."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(*_normed(width, width, bias=False), *_normed(width, width))
        self.gate = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        y = self.body(x)
        return x + 0.1 * y * self.gate(y.mean((2, 3)))[:, :, None, None]


class HierarchicalDecoder(nn.Module):
    """From 4x4 to 32x32, a latent at each group on the way."""

    def __init__(self, channels: int):
        super().__init__()
        sizes, widths = list(WIDTHS), list(WIDTHS.values())
        self.start = nn.Parameter(torch.zeros(widths[0], 4, 4))
        self.groups = _by_size(lambda size: nn.ModuleList(Group(WIDTHS[size]) for _ in range(GROUPS[size])))
        self.up = _by_size(lambda size: nn.Conv2d(WIDTHS[size // 2], WIDTHS[size], 3, padding=1), sizes[1:])
        enlarged = nn.Upsample(scale_factor=2), nn.Conv2d(widths[-1], 32, 3, padding=1)
        self.head = nn.Sequential(*enlarged, Cell(32), *_normed(32, 2 * channels))

    def forward(self, n: int, posteriors: Mapping[str, list[Posterior]] | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-scale of the pixels of n images, `(n, c, 32, 32)`, and the KL term `(n,)`.

        Latents are drawn from the posteriors, resolution to one a group, or else from the priors.
        """
        x, kl = self.start.expand(n, -1, -1, -1), torch.zeros(n, device=self.start.device)
        for size, groups in self.groups.items():
            if size in self.up:
                x = self.up[size](F.interpolate(x, scale_factor=2))
            for group, posterior in zip(groups, posteriors[size] if posteriors else [None] * len(groups), strict=True):
                x, part = group(x, posterior)
                kl = kl + part
        mean, log_scale = self.head(x).float().chunk(2, dim=1)
        return mean, log_scale.clamp(-7, 2), kl


class Group(nn.Module):
    """One latent: its prior from the decoder, and what it adds."""

    def __init__(self, width: int):
        super().__init__()
        self.prior = nn.Sequential(nn.SiLU(), nn.Conv2d(width, 2 * LATENT, 1))
        self.merge = nn.Conv2d(width + LATENT, width, 1)
        self.cell = Cell(width)

    def forward(self, x: Tensor, posterior: Posterior | None) -> tuple[Tensor, Tensor]:
        """Decoder state `(n, width, h, w)` to the next state and the KL term `(n,)`."""
        mean, log_sd = _bounded(self.prior(x))
        kl = torch.zeros(len(x), device=x.device)
        if posterior is not None:
            shift, log_ratio = _bounded(posterior(x))
            kl = 0.5 * ((shift / log_sd.exp()).square() + (2 * log_ratio).exp() - 1) - log_ratio
            kl = kl.sum((1, 2, 3))
            mean, log_sd = mean + shift, log_sd + log_ratio
        z = mean + log_sd.exp() * torch.randn_like(mean)
        return self.cell(self.merge(torch.cat([x, z.to(x.dtype)], dim=1))), kl


class HierarchicalEncoder(nn.Module):
    """From 32x32 to 4x4; its state at a resolution goes into the posteriors there."""

    def __init__(self, channels: int):
        super().__init__()
        sizes = list(WIDTHS)
        self.stem = nn.Conv2d(channels, WIDTHS[sizes[-1]], 4, 2, 1)
        self.cells = _by_size(lambda size: Cell(WIDTHS[size]))
        self.down = _by_size(lambda size: nn.Conv2d(WIDTHS[2 * size], WIDTHS[size], 4, 2, 1), sizes[:-1])
        self.posteriors = _by_size(lambda size: nn.ModuleList(_posterior(size) for _ in range(GROUPS[size])))

    def forward(self, images: Tensor) -> dict[str, list[Posterior]]:
        """Resolution to one function a group: the decoder's state to the posterior's moments beside the prior's."""
        x, posteriors = self.stem(images), {}
        for size in reversed(list(self.cells)):
            x = self.down[size](x) if size in self.down else x
            x = self.cells[size](x)
            posteriors[size] = [partial(_moments, x, layer) for layer in self.posteriors[size]]
        return posteriors


def _posterior(size: int) -> nn.Conv2d:
    return nn.Conv2d(2 * WIDTHS[size], 2 * LATENT, 3, padding=1)


def _moments(evidence: Tensor, layer: nn.Module, x: Tensor) -> Tensor:
    return layer(torch.cat([x, evidence], dim=1))


def _bounded(moments: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and log standard deviation, softly kept within ±5."""
    mean, log_sd = (5 * torch.tanh(part / 5) for part in moments.float().chunk(2, dim=1))
    return mean, log_sd


def logistic_nll(images: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Negative log-likelihood `(n,)` in nats of 8-bit images in [-1, 1] under a discretised logistic distribution."""
    centred, rate, half = images - mean, torch.exp(-log_scale), 1 / 255
    upper, lower = rate * (centred + half), rate * (centred - half)
    middle = torch.log((upper.sigmoid() - lower.sigmoid()).clamp_min(1e-7))
    log_p = torch.where(images < -0.999, F.logsigmoid(upper), torch.where(images > 0.999, -F.softplus(lower), middle))
    return -log_p.sum((1, 2, 3))


def nvae(channels: int, device: torch.device) -> Generator:
    """NVAE, trained by Adamax 2e-3."""
    network = nn.ModuleDict({"encoder": HierarchicalEncoder(channels), "decoder": HierarchicalDecoder(channels)})
    network.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adamax(network.parameters(), 2e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            mean, log_scale, kl = network["decoder"](len(images), network["encoder"](images))
        nll, kl = logistic_nll(images, mean, log_scale).mean(), kl.mean()
        descend(optimiser, nll + min(1.0, step / WARM_UP) * kl, clip=1000.0)
        bits = images[0].numel() * math.log(2)
        return {"bits per dimension": (nll.item() + kl.item()) / bits, "KL": kl.item() / bits}

    def sample(decoder: nn.Module, n: int) -> Tensor:
        return decoder(n)[0]  # the means of the pixels' distributions

    return Generator(dict(network), {"adamax": optimiser}, update, "decoder", sample=sample, decay=0.995)
