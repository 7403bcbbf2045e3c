r"""Read a key back by regularised Gauss-Newton steps: an image takes some twenty, not thousands of steps of Adam.

Content and key are walked in units of their spread, :math:`u = (\alpha_j / s_j, 2 \varphi - 1)`. Each step minimises

.. math:: \|x - T(g(w(u)))\|^2 / s^2 + \|u\|^2

with g linearised at u, and with s the root mean squared residual that is left, down to that of 8 bits: what cannot be
explained yet counts as noise, so that far from the image the prior holds u back, and near it the pixels decide. A
pixel beyond black or white that fits says no more than that it is beyond, and counts for nothing. Where a step does not
lower the objective, damping shortens it (Levenberg 1944).

Ours altogether: the paper searches by Adam, see `manifpt.latent.estimate`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import jvp, vmap
from tqdm.auto import tqdm

from manifpt.errors import InputError
from manifpt.latent.attacks import modelled
from manifpt.latent.directions import LatentFingerprinter
from manifpt.latent.estimate import Estimate, checked_images, cube
from manifpt.latent.theory import CHUNK, ROUNDING
from manifpt.latent.warm import WarmStart

DONE = 1.3  # residual, in units of that of 8 bits, at which all is explained
SURE = 6.0  # standard deviations of every bit from undecided, at which the key is read
PATIENCE, PLATEAU = 4, 0.05  # after so many steps, a residual that fell by less than this part ends the search
DAMPING, TRIES = 3.0, 8  # factor between tries of one step, and their number


@dataclass(frozen=True)
class Place:
    """Where the search is: u `(d,)`, the residual `(pixels,)` there and its root mean square."""

    u: Tensor
    residual: Tensor
    rms: float

    def objective(self, noise: float) -> float:
        """What a step must lower."""
        return float(self.residual.square().sum()) / noise**2 + float(self.u.square().sum())


class NewtonEstimator:
    """Reads the keys that a fingerprinter wrote, image by image.

    Parameters
    ----------
    starts
        For each image: the mean code, or the guess of `warm_start`, then centred Latin-hypercube contents. Further ones
        are taken only until an image is explained, or its key read.
    steps
        At most, from each start; 0 gives the warm start's guess.
    attack
        One of `manifpt.latent.attacks.ATTACKS` that the estimator passes its own image through.
    warm_start
        Takes the place of the first start.
    progress
        Show a progress bar.

    Raises
    ------
    InputError
        Unknown attack; numbers out of range; no steps without a warm start.
    """

    def __init__(
        self,
        fingerprinter: LatentFingerprinter,
        *,
        starts: int = 1,
        steps: int = 24,
        attack: str = "none",
        warm_start: WarmStart | None = None,
        progress: bool = False,
    ):
        if starts < 1 or steps < 0 or (steps == 0 and warm_start is None):
            raise InputError(
                f"{starts} starts, {steps} steps: at least 1 of each expected (of steps, 0 with a warm start)"
            )
        self.fingerprinter, self.starts, self.steps = fingerprinter, starts, steps
        self.warm_start, self.progress = warm_start, progress
        self._attack, self._smooth = modelled(attack)
        half = fingerprinter.key_ / 2
        self._origin = fingerprinter.mean_ + half.sum(0)
        self._spread = torch.cat([fingerprinter.content_ * fingerprinter.deviations_[:, None], half])  # du to dw

    def estimate(self, images: np.ndarray, *, seed: int = 0) -> Estimate:
        """Read the keys of images, uint8 `(n, c, h, w)`; `loss` is the root mean squared residual of pixels.

        Raises
        ------
        InputError
            Images that the generator cannot have made: another type or shape.
        """
        target = checked_images(self.fingerprinter, images)
        first = self._guess(target)
        others = cube(self.fingerprinter, self.starts, seed) / self.fingerprinter.deviations_  # (starts, m)
        bar = tqdm(zip(target, first, strict=True), total=len(target), unit="image", disable=not self.progress)
        found = [self._search(x, u, others[1:]) for x, u in bar]
        u = torch.stack([place.u for place in found])
        alpha, psi = u.split([len(self.fingerprinter.deviations_), self.fingerprinter.key_length], 1)
        phi = ((1 + psi) / 2).clamp(0, 1)
        parts = (phi > 0.5).to(torch.uint8), phi, alpha * self.fingerprinter.deviations_
        loss = np.array([place.rms for place in found], np.float32)
        return Estimate(*(part.cpu().numpy() for part in parts), loss)

    def _guess(self, target: Tensor) -> Tensor:
        if self.warm_start is None:
            return self._origin.new_zeros(len(target), len(self._origin))[:, : len(self._spread)]
        alpha, logits = self.warm_start.guess(target)
        return torch.cat([alpha / self.fingerprinter.deviations_, torch.tanh(logits / 2)], 1)

    def _search(self, x: Tensor, first: Tensor, others: Tensor) -> Place:
        """The best end of all starts for one image `(c, h, w)`."""
        undecided = first.new_zeros(self.fingerprinter.key_length)
        ends = []
        for u in [first, *(torch.cat([content, undecided]) for content in others)]:
            place, read = self._descend(x, self._place(x, u))
            ends.append(place)
            if read:
                break
        return min(ends, key=lambda place: place.rms)

    def _descend(self, x: Tensor, place: Place) -> tuple[Place, bool]:
        """Where the steps from a place end, and whether the key counts as read there."""
        damping, past = 0.0, []
        for _ in range(self.steps):
            past.append(place.rms)
            if len(past) > PATIENCE and place.rms > (1 - PLATEAU) * past[-1 - PATIENCE]:
                break
            noise = max(place.rms, ROUNDING)
            columns = self._jacobian(place, noise)  # (pixels, d)
            hessian = columns.T @ columns / noise**2
            hessian.diagonal().add_(1)
            slope = columns.T @ place.residual.double() / noise**2 + place.u.double()
            if self._sure(place.u, hessian):
                return place, True
            for _ in range(TRIES):
                step = torch.linalg.solve(hessian + damping * torch.eye(len(slope)).to(slope), -slope)
                new = self._place(x, place.u + step.float())
                if better := new.objective(noise) < place.objective(noise):
                    break
                damping = max(1.0, DAMPING * damping)
            if not better:
                return place, False
            place, damping = new, damping / DAMPING if damping > 1 else 0.0
            if place.rms < DONE * ROUNDING:
                return place, True
        return place, False

    def _sure(self, u: Tensor, hessian: Tensor) -> bool:
        """Whether every bit is far from undecided, in deviations of the linearised posterior."""
        length = self.fingerprinter.key_length
        variance = torch.linalg.inv(hessian).diagonal()[-length:]
        return bool((u[-length:].double().square() > SURE**2 * variance).all())

    def _place(self, x: Tensor, u: Tensor) -> Place:
        with torch.no_grad():
            image = self.fingerprinter.generator.render((self._origin + u @ self._spread)[None])
            residual = (self._attack(image.clamp(-1, 1))[0] - x).flatten()
        return Place(u, residual, float(residual.square().mean().sqrt()))

    def _jacobian(self, place: Place, noise: float) -> Tensor:
        """Derivative of the attacked image by u, float64 `(pixels, d)`; pixels beyond the range that fit give zero."""
        render, code = self.fingerprinter.generator.render, self._origin + place.u @ self._spread
        image = render(code[None])
        fits = place.residual.abs().view_as(image) <= noise / 2
        free = ~((image.abs() > 1) & fits)

        def column(direction: Tensor) -> Tensor:
            seen = lambda w: self._smooth(torch.where(free, render(w[None]), image)).flatten()  # noqa: E731
            return jvp(seen, (code,), (direction,))[1]

        return vmap(column, randomness="same", chunk_size=CHUNK)(self._spread).t().double()
