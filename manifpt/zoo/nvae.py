r"""NVAE (Vahdat 2020) in small: latents at three resolutions, residual cells, swish, batch norm.

The decoder goes from 4x4 to 32x32. At each group a latent :math:`z_l \sim p(z_l \mid z_{<l})` enters; the encoder's
posterior is given relative to that prior, :math:`q = \mathcal N(\mu_p + \Delta\mu, \sigma_p \cdot \Delta\sigma)`.
Pixels follow a discretised logistic distribution; samples are its means. The KL term is warmed up.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.compute import autocast
from manifpt.training import Task
from manifpt.zoo.recipe import Recipe

WIDTHS = {4: 96, 8: 64, 16: 32}  # resolution: channels
GROUPS = {4: 5, 8: 2, 16: 1}  # resolution: groups of latents; the first ones decide what the image is of
LATENT = 8  # channels of a group
WARM_UP = 500  # steps


class Cell(nn.Module):
    """Residual cell: batch norm and swish before each of two convolutions, squeeze and excitation after."""

    def __init__(self, width: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        self.gate = nn.Sequential(nn.Linear(width, width // 4), nn.ReLU(), nn.Linear(width // 4, width), nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        y = self.body(x)
        return x + 0.1 * y * self.gate(y.mean((2, 3)))[:, :, None, None]


class NVAE(nn.Module):
    """Encoder cells up to 4x4, decoder cells down to 32x32, latents on the way."""

    def __init__(self, channels: int):
        super().__init__()
        sizes = list(WIDTHS)
        widths = list(WIDTHS.values())
        self.stem = nn.Conv2d(channels, widths[-1], 4, 2, 1)
        self.encoder = nn.ModuleDict({str(size): Cell(WIDTHS[size]) for size in sizes})
        self.down = nn.ModuleDict(
            {str(size): nn.Conv2d(WIDTHS[2 * size], WIDTHS[size], 4, 2, 1) for size in sizes[:-1]}
        )
        self.start = nn.Parameter(torch.zeros(widths[0], 4, 4))
        self.groups = nn.ModuleDict({str(s): nn.ModuleList(Group(WIDTHS[s]) for _ in range(GROUPS[s])) for s in sizes})
        self.up = nn.ModuleDict({str(s): nn.Conv2d(WIDTHS[s // 2], WIDTHS[s], 3, padding=1) for s in sizes[1:]})
        self.head = nn.Sequential(
            nn.Upsample(scale_factor=2),
            nn.Conv2d(widths[-1], 32, 3, padding=1),
            Cell(32),
            nn.BatchNorm2d(32),
            nn.SiLU(),
            nn.Conv2d(32, 2 * channels, 3, padding=1),
        )

    def forward(self, images: Tensor | None, n: int = 0) -> tuple[Tensor, Tensor, Tensor]:
        """Images, or None to draw n: mean and log-scale of the pixels `(n, c, 32, 32)`, and the KL term `(n,)`."""
        evidence = self._encode(images) if images is not None else {}
        n = len(images) if images is not None else n
        x, kl = self.start.expand(n, -1, -1, -1), torch.zeros(n, device=self.start.device)
        for size, groups in self.groups.items():
            if size in self.up:
                x = self.up[size](F.interpolate(x, scale_factor=2))
            for group in groups:
                x, part = group(x, evidence.get(size))
                kl = kl + part
        mean, log_scale = self.head(x).float().chunk(2, dim=1)
        return mean, log_scale.clamp(-7, 2), kl

    def _encode(self, images: Tensor) -> dict[str, Tensor]:
        x, evidence = self.stem(images), {}
        for size in reversed(list(self.encoder)):
            x = self.down[size](x) if size in self.down else x
            evidence[size] = x = self.encoder[size](x)
        return evidence


class Group(nn.Module):
    """One latent: its prior from the decoder, its posterior from decoder and encoder, and what it adds."""

    def __init__(self, width: int):
        super().__init__()
        self.prior = nn.Sequential(nn.SiLU(), nn.Conv2d(width, 2 * LATENT, 1))
        self.posterior = nn.Conv2d(2 * width, 2 * LATENT, 3, padding=1)
        self.merge = nn.Conv2d(width + LATENT, width, 1)
        self.cell = Cell(width)

    def forward(self, x: Tensor, evidence: Tensor | None) -> tuple[Tensor, Tensor]:
        """Decoder state `(n, width, h, w)` and the encoder's, to the next state and the KL term `(n,)`."""
        mean, log_sd = _bounded(self.prior(x))
        kl = torch.zeros(len(x), device=x.device)
        if evidence is not None:
            shift, log_ratio = _bounded(self.posterior(torch.cat([x, evidence], dim=1)))
            kl = 0.5 * ((shift / log_sd.exp()).square() + (2 * log_ratio).exp() - 1) - log_ratio
            kl = kl.sum((1, 2, 3))
            mean, log_sd = mean + shift, log_sd + log_ratio
        z = mean + log_sd.exp() * torch.randn_like(mean)
        return self.cell(self.merge(torch.cat([x, z.to(x.dtype)], dim=1))), kl


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


def sample(nvae: NVAE, n: int) -> Tensor:
    """n means of the pixels' distribution, latents drawn from the priors."""
    return nvae(None, n)[0]


def nvae(channels: int, device: torch.device) -> Recipe:
    """Adamax 2e-3; 32 images a step."""
    network = NVAE(channels).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.Adamax(network.parameters(), 2e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            mean, log_scale, kl = network(images)
        nll, kl = logistic_nll(images, mean, log_scale).mean(), kl.mean()
        optimiser.zero_grad(set_to_none=True)
        (nll + min(1.0, step / WARM_UP) * kl).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1000.0)
        optimiser.step()
        bits = images[0].numel() * math.log(2)
        return {"bits a pixel": (nll.item() + kl.item()) / bits, "KL": kl.item() / bits}

    return Recipe(
        Task({"nvae": network}, {"adamax": optimiser}, update, "nvae", decay=0.995, anneal=True), sample, batch_size=32
    )
