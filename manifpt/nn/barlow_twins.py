r"""Self-supervised features: a small ResNet, trained here with the Barlow Twins loss (Zbontar et al., 2021).

Two augmented views of each image give standardised projections :math:`z^A, z^B`; with their cross-correlation
:math:`C = \frac1n (z^A)^\top z^B` the loss is :math:`\sum_i (1 - C_{ii})^2 + \lambda \sum_{i \ne j} C_{ij}^2`, λ =
0.0051.
"""

from pathlib import Path

import kornia.augmentation as K
import numpy as np
import torch
from timm.models.resnet import BasicBlock, ResNet
from torch import Tensor, nn

from manifpt.nn.pretrained import build_network, train_network
from manifpt.nn.train import Training, descend, linear_decay
from manifpt.utils.compute import autocast, seeded

WIDTHS = (48, 64, 96, 128)
OFF_DIAGONAL = 0.0051


class Backbone(ResNet):
    """Images `(n, c, 32, 32)` in [-1, 1] to 128 features: 3x3 stem, four basic blocks, global mean.

    The stem halves the resolution, by a stride or by a max-pool after it, which costs more and keeps finer detail.
    """

    def __init__(self, channels: int, widths: tuple[int, ...] = WIDTHS, *, pool: bool = False):
        super().__init__(BasicBlock, (1, 1, 1, 1), num_classes=0, in_chans=channels, channels=widths)
        self.conv1 = nn.Conv2d(channels, 64, 3, stride=1 if pool else 2, padding=1, bias=False)
        if not pool:
            self.maxpool = nn.Identity()


def projector(features: int = WIDTHS[-1], width: int = 512) -> nn.Sequential:
    """One hidden layer and the projection that the loss decorrelates."""
    hidden = [nn.Linear(features, width, bias=False), nn.BatchNorm1d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*hidden, nn.Linear(width, width, bias=False), nn.BatchNorm1d(width, affine=False))


def augmentation(channels: int) -> nn.Sequential:
    """Random crop, flip, brightness, contrast; in colour also saturation and grey: images in [0, 1] to [0, 1]."""
    views: list[nn.Module] = [K.RandomResizedCrop((32, 32), scale=(0.3, 1.0)), K.RandomHorizontalFlip()]
    views += [K.RandomBrightness((0.6, 1.4), p=0.8), K.RandomContrast((0.6, 1.4), p=0.8)]
    if channels == 3:
        views += [K.RandomSaturation((0.5, 1.5), p=0.8), K.RandomGrayscale(p=0.2)]
    return nn.Sequential(*views)


def barlow_loss(a: Tensor, b: Tensor) -> Tensor:
    """The Barlow Twins loss of two projections `(n, d)`, each standardised over the batch."""
    correlation = a.T @ b / len(a)
    squares = (correlation - torch.eye(len(correlation), device=a.device)).square()
    on = squares.diagonal().sum()
    return on + OFF_DIAGONAL * (squares.sum() - on)


def train_ssl(reference: np.ndarray, *, dataset: str, steps: int = 600, seed: int = 0, device: str = "auto") -> Path:
    """Train the features of a real set, uint8 `(n, c, 32, 32)`: at most 20 minutes on 2 cores. Returns its checkpoint.

    AdamW at 1e-3, with a warm-up of 50 steps and linear decay to zero; 256 images a step.
    """
    backbone = build_network(Backbone, reference.shape[1], seed=seed, device=device)
    with seeded(seed, 1):
        head = projector().to(next(backbone.parameters()).device)
    augment = augmentation(reference.shape[1])
    optimiser = torch.optim.AdamW([*backbone.parameters(), *head.parameters()], 1e-3, weight_decay=1e-4)

    def update(images: Tensor, step: int) -> dict[str, float]:
        clean = (images + 1) / 2
        views = torch.cat([augment(clean), augment(clean)]).mul(2).sub(1).contiguous(memory_format=torch.channels_last)
        with autocast(views.device):
            features = backbone(views)
        return {"loss": descend(optimiser, barlow_loss(*(head(half) for half in features.float().chunk(2))))}

    modules = {"backbone": backbone, "projector": head}
    training = Training(modules, {"adamw": optimiser}, update, "backbone", decay=0.98, factor=warm_up_and_decay)
    return train_network("ssl", training, reference, dataset=dataset, steps=steps, batch_size=256, seed=seed)


def warm_up_and_decay(step: int, steps: int) -> float:
    """The factor of the learning rate."""
    return min(1.0, (step + 1) / 50) * linear_decay(step, steps)
