r"""Read keys back by Adam: search for the latent codes that make the images.

From each of several starts, Adam minimises over content α and key logits κ, with φ = sigmoid(κ),

.. math:: L = \mathrm{distance}(x, T(g(w(\alpha, \varphi)))) + 0.1 \sum_j \mathrm{ReLU}(|\alpha_j| - 3 s_j),

T the attack that the estimator knows of, if any. The start with the lowest L at the end counts; the true key is never
used (the released code for latent diffusion stops at it).

The paper's distance is LPIPS, which the loss ``lpips`` computes where its network can be downloaded. Ours are the
default distance, which needs no download, the stop on a plateau, all images and starts in one batch, whitened units,
and the warm start of `manifpt.latent.warm`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import qmc
from torch import Tensor

from manifpt.latent.attacks import attack_named
from manifpt.latent.fingerprinter import LatentFingerprinter, to_float
from manifpt.latent.warm import WarmStart
from manifpt.nn.perceptual import Lpips, Perceptual
from manifpt.utils.arrays import as_images
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError, check_choice

FEATURES = {"perceptual": Perceptual, "lpips": Lpips}  # by the first word of a loss
LOSSES = ("perceptual+pixel", "perceptual", "lpips+pixel", "lpips", "pixel")
UNITS = ("raw", "whitened")  # of α where Adam walks: the code's (released), or deviations s_j
BOUND, PENALTY = 3.0, 0.1
RATE, DECAY = 0.2, 2.0  # the rate falls by exp(-2) over all steps: the released 0.2 exp(-0.001 (i + 1)) for its 2,000
ROWS = 256  # images times starts that are searched for at a time
CHECK, PLATEAU = 50, 0.01  # after so many steps, a start that won less than this part of its loss stops
LOGIT = 3.0  # largest logit that a warm start may give: the search can still turn the bit


@dataclass(frozen=True)
class Estimate:
    """What was read from n images."""

    bits: np.ndarray  # keys, uint8 (n, key_length)
    phi: np.ndarray  # keys before rounding, float32 (n, key_length) in [0, 1]
    alpha: np.ndarray  # contents, float32 (n, m)
    loss: np.ndarray  # L of the start that counts, float32 (n,)


class AdamEstimator:
    """Read the keys that a fingerprinter wrote.

    `InputError` for unknown names, numbers out of range, a network that is neither there nor downloadable.

    Parameters
    ----------
    loss
        Distance of images: that of features (`manifpt.nn.perceptual`; ``lpips`` is the paper's, and downloads its
        network on first use), the mean squared one of pixels, or their sum.
    starts, steps
        Starts for each image, and steps of Adam from each; 20 and 2,000 in the released code.
    units
        ``raw``: Adam walks in the units of the code (released); ``whitened``: in deviations of each component.
    attack
        One of `manifpt.latent.attacks.ATTACKS` that the estimator passes its own image through, with a noise of its
        own.
    warm_start
        Replaces the first start; with `steps` 0, its guess is the answer.
    """

    def __init__(
        self,
        fingerprinter: LatentFingerprinter,
        *,
        loss: str = "perceptual+pixel",
        starts: int = 20,
        steps: int = 2000,
        units: str = "raw",
        attack: str = "none",
        warm_start: WarmStart | None = None,
    ):
        check_choice("loss:", loss, LOSSES)
        check_choice("units:", units, UNITS)
        check_search(starts, steps, warm_start)
        self.fingerprinter, self.starts, self.steps, self.warm_start = fingerprinter, starts, steps, warm_start
        self.attack, self.pixel = attack_named(attack), "pixel" in loss
        self._unit = fingerprinter.deviations_ if units == "whitened" else torch.ones_like(fingerprinter.deviations_)
        features = FEATURES.get(loss.split("+")[0])
        self._perceptual = features().to(fingerprinter.mean_.device) if features else None

    def estimate(self, images: np.ndarray, *, seed: int = 0) -> Estimate:
        """Read the keys of images, uint8 `(n, c, h, w)`; the seed is that of the starts.

        `InputError` for images of another type or shape than the generator's.
        """
        target = checked_images(self.fingerprinter, images)
        alpha, kappa = self._begin(target, seed)  # (n, starts, …)
        rows = torch.arange(len(target)).repeat_interleave(self.starts)
        x = torch.cat([alpha / self._unit, kappa], 2).flatten(0, 1)  # (n * starts, m + key_length)
        chunks = zip(x.split(ROWS), rows.split(ROWS), strict=True)
        parts = [self._descend(start, target[image], seed) for start, image in chunks]
        x, loss = (torch.cat(part).unflatten(0, (len(target), self.starts)) for part in zip(*parts, strict=True))
        loss, best = loss.min(1)
        alpha, phi = self._parts(x[torch.arange(len(target)), best])
        bits = (phi > 0.5).to(torch.uint8)
        return Estimate(*(tensor.cpu().numpy() for tensor in (bits, phi, alpha, loss)))

    def _begin(self, target: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Starts: centred Latin-hypercube contents in ± s_j and undecided keys, the same for every image."""
        n = len(target)
        alpha = latin_hypercube(self.fingerprinter, self.starts, seed).repeat(n, 1, 1)
        kappa = alpha.new_zeros(n, self.starts, self.fingerprinter.key_length)
        if self.warm_start:
            alpha[:, 0], logits = self.warm_start(target)
            kappa[:, 0] = logits.clamp(-LOGIT, LOGIT)
        return alpha, kappa

    def _descend(self, x: Tensor, target: Tensor, seed: int) -> tuple[Tensor, Tensor]:
        """Where each row of x ends, and its L there."""
        with torch.no_grad():  # pixels of the images to explain, and their features if these count
            wanted = [target, *(self._perceptual.features(target) if self._perceptual else [])]
        end, alive = x.clone(), torch.arange(len(x))
        x, last = x.clone().requires_grad_(), torch.full((len(x),), torch.inf)
        low = last.to(x.device)  # lowest L so far, since steps of Adam go up and down
        optimiser = torch.optim.Adam([x], RATE)
        for step in range(self.steps):
            optimiser.param_groups[0]["lr"] = RATE * np.exp(-DECAY * (step + 1) / self.steps)
            optimiser.zero_grad()
            loss = self._loss(x, [part[alive] for part in wanted], seed, step)
            loss.sum().backward()
            optimiser.step()
            low = torch.minimum(low, loss.detach())
            if (step + 1) % CHECK == 0:
                end[alive], going = x.detach(), low.cpu() < (1 - PLATEAU) * last
                alive, low = alive[going], low[going]
                last, x = low.cpu(), _keep(optimiser, x, going)
                if not len(alive):
                    break
        end[alive] = x.detach()
        with torch.no_grad():
            return end, self._loss(end, wanted, seed, self.steps)

    def _parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """α and φ at what Adam walks on, `(k, m + key_length)`."""
        m = len(self._unit)
        return x[:, :m] * self._unit, torch.sigmoid(x[:, m:])

    def _loss(self, x: Tensor, wanted: list[Tensor], seed: int, step: int) -> Tensor:
        """L of each row of x, `(k,)`."""
        alpha, phi = self._parts(x)
        with seeded(seed, step):
            images = self.attack(self.fingerprinter.generator.render(self.fingerprinter.compose(alpha, phi)))
        loss = PENALTY * (alpha.abs() - BOUND * self.fingerprinter.deviations_).relu().sum(1)
        if self.pixel:
            loss = loss + (images - wanted[0]).square().mean((1, 2, 3))
        return loss + self._perceptual.to_features(images, wanted[1:]) if self._perceptual else loss


def check_search(starts: int, steps: int, warm_start: WarmStart | None) -> None:
    """`InputError` for a search without a start, or without both steps and a warm start."""
    for what, number, least in (("starts", starts, 1), ("steps", steps, 0)):
        if number < least:
            raise InputError(f"{what}: {number}; at least {least} expected")
    if steps == 0 and warm_start is None:
        raise InputError("steps: 0 without a warm start; at least 1 step, or a warm start expected")


def checked_images(fingerprinter: LatentFingerprinter, images: np.ndarray) -> Tensor:
    """Images as float32 in [-1, 1]; `InputError` if the generator cannot have made them: another type or shape."""
    with torch.no_grad():
        shape = tuple(fingerprinter.generator.render(fingerprinter.mean_[None]).shape[1:])
    images = as_images(images)
    if images.shape[1:] != shape:
        raise InputError(
            f"images: (n, {', '.join(map(str, shape))}) expected, as {fingerprinter.generator.name} makes them, "
            f"not {images.shape}"
        )
    return to_float(images).to(fingerprinter.mean_)


def latin_hypercube(fingerprinter: LatentFingerprinter, starts: int, seed: int) -> Tensor:
    """Centred Latin-hypercube contents in ± s_j, float32 `(starts, m)`."""
    deviations = fingerprinter.deviations_
    points = qmc.LatinHypercube(len(deviations), scramble=False, rng=seed).random(starts)
    return (2 * torch.from_numpy(points).to(deviations) - 1) * deviations


def _keep(optimiser: torch.optim.Adam, x: Tensor, rows: Tensor) -> Tensor:
    """Keep some rows of the only parameter, and Adam's state of them; Adam treats each row on its own."""
    state = optimiser.state.pop(x)
    state |= {name: state[name][rows] for name in ("exp_avg", "exp_avg_sq")}
    x = x.detach()[rows].requires_grad_()
    optimiser.param_groups[0]["params"], optimiser.state[x] = [x], state
    return x
