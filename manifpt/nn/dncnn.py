r"""The learned projection :math:`x^* = D(x)`: a small DnCNN (Zhang et al., TIP 2017) trained on the reference images.

The network predicts the noise, :math:`D(x) = x - R(x)`, and minimises
:math:`\mathbb E\,\|R(x + \sigma\varepsilon) - \sigma\varepsilon\|^2` with :math:`\sigma \sim U(0, 0.1)` on images in
[0, 1]. By Tweedie's formula :math:`R(x) \approx -\sigma^2\nabla\log p_\sigma(x)`: the residual points from the
blurred data density to x, and for a small σ a denoiser moves x towards the data manifold. The residual is also the
noise residual of Marra et al. (2019) and of Model Synthesis (Yang et al., 2025).
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from manifpt.nn.pretrained import build_network, load_network, train_network
from manifpt.nn.train import Training, descend, linear_decay
from manifpt.utils.compute import autocast

MAX_SIGMA = 0.1
WIDTH, DEPTH = 64, 6


class DnCNN(nn.Sequential):
    """Images `(n, c, h, w)` in [0, 1] to their noise: six 3x3 convolutions, batch norm in the inner layers, ReLU."""

    def __init__(self, channels: int):
        inner = []
        for _ in range(DEPTH - 2):
            inner += [nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False), nn.BatchNorm2d(WIDTH), nn.ReLU(inplace=True)]
        first = [nn.Conv2d(channels, WIDTH, 3, padding=1), nn.ReLU(inplace=True)]
        super().__init__(*first, *inner, nn.Conv2d(WIDTH, channels, 3, padding=1))


def train_denoiser(
    reference: np.ndarray, *, dataset: str, steps: int = 700, seed: int = 0, device: str = "auto"
) -> Path:
    """Train the denoiser of a real set, uint8 `(n, c, h, w)`: at most 5 minutes on 2 cores. Returns its checkpoint."""
    network = build_network(DnCNN, reference.shape[1], seed=seed, device=device)
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        clean = (images + 1) / 2
        noise = torch.randn_like(clean) * MAX_SIGMA * torch.rand(len(clean), 1, 1, 1, device=clean.device)
        with autocast(clean.device):
            predicted = network(clean + noise)
        return {"rmse": descend(optimiser, (predicted.float() - noise).square().mean()) ** 0.5}

    training = Training({"dncnn": network}, {"adam": optimiser}, update, "dncnn", decay=0.98, factor=linear_decay)
    return train_network("denoiser", training, reference, dataset=dataset, steps=steps, batch_size=64, seed=seed)


def load_denoiser(*, dataset: str) -> DnCNN:
    """The denoiser of a real set; errors are those of `manifpt.nn.pretrained.network_path`."""
    return load_network("denoiser", DnCNN, dataset=dataset)
