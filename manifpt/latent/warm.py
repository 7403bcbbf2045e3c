"""A learned first guess of content and key: a small network trained on the generator's own images."""

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.latent.fingerprinter import LatentFingerprinter, to_bytes, to_float
from manifpt.nn.train import Training, descend, late_decay, run_training, state_path
from manifpt.utils import files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

WIDTHS = (32, 64, 128)
BATCH = 64
RATE = 2e-3

WarmStart = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (n, c, h, w) in [-1, 1] to α (n, m) and logits of bits


def train_warm_start(
    fingerprinter: LatentFingerprinter, *, steps: int = 2000, seed: int = 0, folder: Path | None = None
) -> WarmStart:
    """Train a guess on images with random contents and keys; an interrupted or finished training is taken up.

    The loss is the mean squared error of α over its deviations, plus the cross-entropy of the bits. Adam at 2e-3, the
    rate falling to zero in the second half; 64 new images a step, in 8 bits.

    Its state lies in `folder`, by default ``paths.runs() / "latent"``; a damaged one is trained anew. `InputError` for
    less than 1 step.
    """
    if steps < 1:
        raise InputError(f"steps: {steps}; at least 1 expected")
    deviations, length = fingerprinter.deviations_, fingerprinter.key_length
    with torch.no_grad():
        shape = fingerprinter.generator.render(fingerprinter.mean_[None]).shape[1:]
    with seeded(seed):
        encoder = _encoder(tuple(shape), len(deviations) + length).to(deviations.device)
    optimiser = torch.optim.Adam(encoder.parameters(), RATE)

    def batch(step: int) -> Tensor:
        content = torch.randn(BATCH, len(deviations)).to(deviations)
        return torch.cat([content, torch.randint(2, (BATCH, length)).to(deviations)], 1)

    def update(truth: Tensor, step: int) -> dict[str, float]:
        alpha, phi = truth.split([len(deviations), length], 1)
        with torch.no_grad():
            images = fingerprinter.generator.render(fingerprinter.compose(alpha * deviations, phi))
            images = to_float(to_bytes(images)).to(deviations)
        guess, logits = encoder(images).split([len(deviations), length], 1)
        content, key = F.mse_loss(guess, alpha), F.binary_cross_entropy_with_logits(logits, phi)
        descend(optimiser, content + key)
        return {"content": content.item(), "key": key.item()}

    task = Training({"encoder": encoder}, {"adam": optimiser}, update, "encoder", decay=0.99, factor=late_decay)
    settings = {"fingerprint": fingerprinter.settings, "seed": seed, "steps": steps}
    state = state_path(folder or paths.runs() / "latent", settings, task)
    with files.locked(state):  # a second process waits, and finds it trained
        run_training(task, batch, steps=steps, seed=seed, path=state)
    trained = task.average.module.eval().requires_grad_(False)

    def guess(images: Tensor) -> tuple[Tensor, Tensor]:
        alpha, logits = trained(images).split([len(deviations), length], 1)
        return alpha * deviations, logits

    return guess


def _encoder(shape: tuple[int, int, int], outputs: int) -> nn.Sequential:
    """From images of a shape (c, h, w) to outputs: convolutions that halve the sides, then two linear layers."""
    layers, inner = [], shape[0]
    for width in WIDTHS:
        layers += [nn.Conv2d(inner, width, 3, padding=1), nn.BatchNorm2d(width), nn.SiLU(),
                   nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width), nn.SiLU()]  # fmt: skip
        inner = width
    sides = [-(-side // 2 ** len(WIDTHS)) for side in shape[1:]]
    layers += [nn.Flatten(), nn.Linear(inner * sides[0] * sides[1], 512), nn.SiLU(), nn.Linear(512, outputs)]
    return nn.Sequential(*layers)
