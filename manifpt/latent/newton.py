r"""Read keys back by regularised Gauss-Newton steps: tens of them, where Adam takes thousands.

Content and key are walked in units of their spread, :math:`u = (\alpha_j / s_j, 2 \varphi - 1)`. Each step minimises

.. math:: \|x - T(g(w(u)))\|^2 / s^2 + \|u\|^2

with g linearised at u. Far from the image s is the root mean squared residual ρ that is left: what cannot be explained
yet counts as noise, and the prior holds u back. Close to it the linearisation errs by the square of the distance, and s
falls as ρ², down to the rounding to 8 bits: the pixels decide. A pixel that is rendered beyond black or white, where
the image is black or white, carries no further information and does not count.

First, steps of Adam on the same objective bring all images and starts nearer, in one batch: a gradient costs a few
renderings, a derivative one for each direction. Adam scales each coordinate separately, so it walks along the
eigenvectors of :math:`J^\top J`, averaged over some contents, in which the objective is nearly separable. Derivatives
are differences along the same eigenvectors; directions that the noise would drown are left to the prior. While steps
make progress, derivatives are corrected by the change that a step made (Broyden 1965) instead of computed anew. Where a
step does not lower the objective, damping shortens it (Levenberg 1944). The search ends at a plateau, not at the
residual that rounding explains: a weak key changes an image by less than that.

The prior does not know that a bit is zero or one. Where the search leaves bits near the middle, the nearest keys are
compared: each is held fixed while the content alone is searched for, and the one with the lowest objective counts.

All of this is ours: the paper searches by Adam, see `manifpt.latent.adam`.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from manifpt.latent.adam import Estimate, check_search, checked_images, latin_hypercube
from manifpt.latent.attacks import modelled
from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.theory import ROUNDING, jacobian
from manifpt.latent.warm import WarmStart

TRUSTED = 0.03  # residual below which the linearisation is believed more and more
ALL, BEST = (60, 0.1, 0.05), (400, 0.05, 0.001)  # steps of Adam, first and last rate: from every start, from the best
BETAS = (0.9, 0.99)
ROWS = 256  # images times starts that Adam moves at a time
EXPLAINED = 1.05  # residual, in units of that of 8 bits, that needs no other start
PATIENCE, PLATEAU = 3, 0.02  # after so many steps, a residual that fell by less than this part ends the search
PROGRESS, GROWTH = 0.8, 1.3  # derivatives are kept while a step leaves less of the residual, and directions grow less
DAMPING, TRIES = 3.0, 8  # factor between tries of one step, and their number
UNDECIDED, HELD = 0.5, 1e4  # |2φ - 1| below which both values of a bit are compared, and the weight that holds them
LEGIBLE = 2.5  # residual, in units of that of 8 bits, up to which it is worthwhile
FLIPS, SETTLED = 2, 12  # bits that are compared at most, and steps for each
AVERAGED = 4  # contents, for the directions
LEAST = 0.5  # variance that the pixels explain, in units of the noise's, in directions that are walked
CHANGE = 0.0025  # norm of the change of an image by which it is differentiated, at most one deviation of the code;
# more misses the curvature of weak directions, less drowns in single precision
CHUNK = 64  # images rendered at a time
SEARCH = {"explained": EXPLAINED, "patience": PATIENCE, "plateau": PLATEAU, "change": CHANGE}  # in results


class NewtonEstimator:
    """Read the keys that a fingerprinter wrote.

    `InputError` for an unknown attack, numbers out of range, and no steps without a warm start.

    Parameters
    ----------
    starts
        For each image: the mean code, and centred Latin-hypercube contents. Adam moves all of them; Gauss-Newton steps
        go on from the one that came nearest, then from the others until the image is explained; the lowest residual
        wins.
    steps
        Largest number from each start; 0 gives the warm start's guess.
    attack
        One of `manifpt.latent.attacks.ATTACKS` that the estimator passes its own image through.
    warm_start
        Replaces the first start, and the steps of Adam.
    """

    def __init__(
        self,
        fingerprinter: LatentFingerprinter,
        *,
        starts: int = 4,
        steps: int = 60,
        attack: str = "none",
        warm_start: WarmStart | None = None,
    ):
        check_search(starts, steps, warm_start)
        self.fingerprinter, self.starts, self.steps, self.warm_start = fingerprinter, starts, steps, warm_start
        self._attack, self._smooth = modelled(attack)
        half = fingerprinter.key_ / 2
        self._origin = fingerprinter.mean_ + half.sum(0)
        self._spread = torch.cat([fingerprinter.content_ * fingerprinter.deviations_[:, None], half])  # du to dw
        self._eigen: tuple[Tensor, Tensor] | None = None

    def estimate(self, images: np.ndarray, *, seed: int = 0) -> Estimate:
        """Read the keys of images, uint8 `(n, c, h, w)`; `loss` is the root mean squared residual of pixels.

        `InputError` for images of another type or shape than the generator's.
        """
        target = checked_images(self.fingerprinter, images)
        ends = [self._search(x, starts) for x, starts in zip(target, self._starts(target, seed), strict=True)]
        u, loss = torch.stack([end.u for end in ends]), torch.tensor([end.rms for end in ends])
        alpha, psi = u.split([len(self.fingerprinter.deviations_), self.fingerprinter.key_length], 1)
        phi = ((1 + psi) / 2).clamp(0, 1)
        parts = (phi > 0.5).to(torch.uint8), phi, alpha * self.fingerprinter.deviations_, loss
        return Estimate(*(part.cpu().numpy() for part in parts))

    def _starts(self, target: Tensor, seed: int) -> Tensor:
        """Where the search for each image begins, `(n, starts, d)`, the most promising first."""
        contents = latin_hypercube(self.fingerprinter, self.starts, seed) / self.fingerprinter.deviations_
        contents[0] = 0
        starts = F.pad(contents, (0, self.fingerprinter.key_length)).repeat(len(target), 1, 1)
        if self.warm_start is None:
            return approach(self._shown, target, starts, self._averaged()[1])
        alpha, logits = self.warm_start(target)
        starts[:, 0] = torch.cat([alpha / self.fingerprinter.deviations_, torch.tanh(logits / 2)], 1)
        return starts

    def _search(self, x: Tensor, starts: Tensor) -> "Place":
        """The best end of all starts `(starts, d)` for an image `(c, h, w)`."""
        ends = []
        for u in starts:
            ends.append(self._descend(x, u))
            if ends[-1].rms < EXPLAINED * ROUNDING:
                break
        best = min(ends, key=lambda end: end.rms)
        return self._decide(x, best) if best.rms < LEGIBLE * ROUNDING else best

    def _decide(self, x: Tensor, place: "Place") -> "Place":
        """The place with the key that fits best, of those which differ in bits that are near the middle."""
        length = self.fingerprinter.key_length
        key = place.u[-length:]
        undecided = [number for number in key.abs().argsort().tolist()[:FLIPS] if key[number].abs() < UNDECIDED]
        if not undecided:
            return place
        weight = torch.ones_like(place.u)
        weight[-length:] = HELD
        ends = []
        for signs in itertools.product((1.0, -1.0), repeat=len(undecided)):
            centre = torch.zeros_like(place.u)
            centre[-length:] = torch.where(key > 0, 1.0, -1.0)
            centre[[number - length for number in undecided]] = centre.new_tensor(signs)
            start = torch.where(weight > 1, centre, place.u)
            ends.append(self._descend(x, start, Prior(centre, weight), steps=SETTLED))
        return min(ends, key=lambda end: end.objective(ROUNDING, Prior()))

    def _descend(self, x: Tensor, u: Tensor, prior: "Prior | None" = None, steps: int | None = None) -> "Place":
        """Where the steps from a start end."""
        prior = prior or Prior()
        place, past, damping, model = self._place(x, u), [], 0.0, None
        for _ in range(self.steps if steps is None else steps):
            past.append(place.rms)
            if len(past) > PATIENCE and place.rms > (1 - PLATEAU) * past[-1 - PATIENCE]:
                break
            noise, new = float(noise_of(torch.tensor(place.rms))), None
            if model and self._known(noise) <= GROWTH * len(model.directions):
                new, damping = self._step(x, place, model, noise, prior, damping, tries=1)
            if new is None:
                model = self._derivative(place, noise)
                new, damping = self._step(x, place, model, noise, prior, damping, tries=TRIES)
            if new is None:
                break
            model = model.corrected(place, new) if new.rms < PROGRESS * place.rms else None
            place = new
        return place

    def _step(
        self, x: Tensor, place: "Place", model: "Linear", noise: float, prior: "Prior", damping: float, *, tries: int
    ) -> tuple["Place | None", float]:
        """The next place, None if no try lowers the objective, and the damping to go on with."""
        step = model.stepper(place, noise, prior)
        for _ in range(tries):
            new = self._place(x, place.u + step(damping))
            if new.objective(noise, prior) < place.objective(noise, prior):
                return new, damping / DAMPING if damping > 1 else 0.0
            damping = max(1.0, DAMPING * damping)
        return None, damping

    def _known(self, noise: float) -> int:
        """Number of directions that the noise does not drown."""
        return max(int((self._averaged()[0] ** 2 > LEAST * noise**2).sum()), 1)

    def _derivative(self, place: "Place", noise: float) -> "Linear":
        """Differences of the attacked image along the directions that the noise does not drown.

        Pixels beyond the range that fit do not change.
        """
        (strength, vectors), known = self._averaged(), self._known(noise)
        directions, length = vectors[:known], (CHANGE / strength[:known]).clamp(max=1)
        fits = place.residual.abs().view_as(place.image) <= 2 * ROUNDING
        free = (place.image.abs() <= 1) | ~fits
        here = self._smooth(place.image[None]).flatten()
        parts = []
        for moved in (place.u + length[:, None] * directions).split(CHUNK):
            images = torch.where(free, self._render(moved), place.image)
            parts.append(self._smooth(images).flatten(1) - here)
        return Linear(directions, torch.cat(parts) / length[:, None])

    def _render(self, u: Tensor) -> Tensor:
        return self.fingerprinter.generator.render(self._origin + u @ self._spread)

    def _shown(self, u: Tensor) -> Tensor:
        """Images in their range and after the attack; their gradient is that without a range."""
        images = self._render(u)
        return self._attack(images + (images.clamp(-1, 1) - images).detach())

    def _place(self, x: Tensor, u: Tensor) -> "Place":
        (image,) = self._render(u[None])
        return Place(u, image, (self._attack(image[None].clamp(-1, 1)) - x).flatten())

    def _averaged(self) -> tuple[Tensor, Tensor]:
        """Roots of the eigenvalues of JᵀJ averaged over contents, largest first, `(d,)`, and its vectors as rows."""
        if self._eigen is None:
            alpha = self.fingerprinter.contents(AVERAGED, seed=0)
            undecided = alpha.new_full((AVERAGED, self.fingerprinter.key_length), 0.5)
            spread, total = self._spread.double(), 0
            for code in self.fingerprinter.compose(alpha, undecided):
                columns = jacobian(self.fingerprinter.generator, code) @ spread.t()
                total = total + columns.t() @ columns / AVERAGED
            values, vectors = torch.linalg.eigh(total.cpu())
            strength = values.flip(0).clamp(min=1e-12).sqrt()
            self._eigen = strength.to(self._spread), vectors.flip(1).t().to(self._spread)
        return self._eigen


def noise_of(rms: Tensor) -> Tensor:
    """The standard deviation s that counts as noise where a residual is left."""
    return (rms * (rms / TRUSTED).clamp(max=1)).clamp(min=ROUNDING)


def approach(show: Callable[[Tensor], Tensor], target: Tensor, starts: Tensor, basis: Tensor) -> Tensor:
    """Move the starts of each image, u `(n, starts, d)`, by Adam, and the best of them farther, which then comes first.

    `show` maps u `(k, d)` to images `(k, c, h, w)`, differentiably; `target` holds the images `(n, c, h, w)`. Adam
    walks along the rows of `basis`, orthonormal `(d, d)`.
    """
    ends, (_, k, _) = [], starts.shape
    for some, images in zip(*(part.split(max(1, ROWS // k)) for part in (starts, target)), strict=True):
        c, rms = _walk(show, images.repeat_interleave(k, 0), some.flatten(0, 1) @ basis.t(), basis, *ALL)
        order = rms.view(-1, k).argsort(1)
        c = c.unflatten(0, (-1, k)).take_along_dim(order[..., None], 1)
        c[:, 0], _ = _walk(show, images, c[:, 0], basis, *BEST)
        ends.append(c @ basis)
    return torch.cat(ends)


def _walk(
    show: Callable[[Tensor], Tensor], target: Tensor, c: Tensor, basis: Tensor, steps: int, first: float, last: float
) -> tuple[Tensor, Tensor]:
    """Where Adam with a falling rate leads from coordinates `(k, d)`, and the residual there, `(k,)`."""
    c = c.clone().requires_grad_()
    optimiser = torch.optim.Adam([c], betas=BETAS)
    for rate in np.geomspace(first, last, steps):
        optimiser.param_groups[0]["lr"] = rate
        squares = (show(c @ basis) - target).square().flatten(1)
        noise = noise_of(squares.detach().mean(1).sqrt())
        optimiser.zero_grad()
        (squares.sum(1) / noise**2 + c.square().sum(1)).sum().backward()
        optimiser.step()
    c = c.detach()
    return c, (show(c @ basis) - target).square().flatten(1).mean(1).sqrt()


@dataclass(frozen=True)
class Place:
    """Where a search is: u `(d,)`, the image `(c, h, w)` before range and attack, the residual `(c * h * w,)`."""

    u: Tensor
    image: Tensor
    residual: Tensor

    @property
    def rms(self) -> float:
        """Root mean square of the residual."""
        return float(self.residual.square().mean().sqrt())

    def objective(self, noise: float, prior: "Prior") -> float:
        """What a step must lower."""
        unlikely = prior.weight * (self.u - prior.centre).square()
        return float(self.residual.square().sum()) / noise**2 + float(unlikely.sum())


@dataclass(frozen=True)
class Prior:
    """The expected u and the weight of a squared deviation from it, of all coordinates or `(d,)`."""

    centre: Tensor | float = 0.0
    weight: Tensor | float = 1.0


@dataclass(frozen=True)
class Linear:
    """The generator near a place: directions of u `(m, d)`, and the change of the image by each, `(m, pixels)`."""

    directions: Tensor
    columns: Tensor

    def stepper(self, place: Place, noise: float, prior: Prior) -> Callable[[float], Tensor]:
        """From a damping to the step: at 0 to the minimum of the linearised objective, else shorter."""
        columns = self.columns.double()
        hessian = columns @ columns.t() / noise**2
        slope = columns @ place.residual.double() / noise**2
        slope = slope + (self.directions @ (prior.weight * (place.u - prior.centre))).double()
        hessian = hessian + (self.directions @ (prior.weight * self.directions).t()).double()
        unit = torch.eye(len(columns)).to(columns)
        return lambda damping: torch.linalg.solve(hessian + damping * unit, -slope).to(place.u) @ self.directions

    def corrected(self, before: Place, after: Place) -> "Linear":
        """The nearest one that is exact for the step between two places (Broyden 1965)."""
        step = self.directions @ (after.u - before.u)
        error = after.residual - before.residual - step @ self.columns
        return Linear(self.directions, self.columns + torch.outer(step, error) / step.square().sum())
