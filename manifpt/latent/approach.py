r"""The first part of a search by Gauss-Newton steps: Adam, with all images and starts in one batch.

A gradient costs a few renderings, a derivative one for each direction. Adam treats every coordinate on its own, so it
is given some that are nearly so: along the eigenvectors of :math:`J^\top J` averaged over contents. Each image walks
from several starts, and farther from the one that came nearest. What is minimised is the objective of
`manifpt.latent.newton`, with the same noise s; beyond black and white the image is what a file would hold, and its
gradient that of the generator.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from manifpt.latent.theory import ROUNDING

TRUSTED = 0.03  # residual below which the linearisation is believed more and more
ALL, BEST = (60, 0.1, 0.05), (400, 0.05, 0.001)  # steps, first and last rate: from every start, then from the best
BETAS = (0.9, 0.99)
ROWS = 256  # images times starts at a time


def noise_of(rms: Tensor) -> Tensor:
    """What counts as noise where a residual is left, see `manifpt.latent.newton`."""
    return (rms * (rms / TRUSTED).clamp(max=1)).clamp(min=ROUNDING)


def approach(show: Callable[[Tensor], Tensor], target: Tensor, starts: Tensor, basis: Tensor) -> Tensor:
    """Walk from the starts of each image.

    Parameters
    ----------
    show
        From u `(k, d)` to images `(k, c, h, w)`, differentiable: what is expected where the target is.
    target
        `(n, c, h, w)`.
    starts
        u, `(n, starts, d)`.
    basis
        Orthonormal rows `(d, d)`.

    Returns
    -------
    u, `(n, starts, d)`: ends, that of the lowest residual first.
    """
    ends = []
    for some, images in zip(
        starts.split(max(1, ROWS // starts.shape[1])), target.split(max(1, ROWS // starts.shape[1])), strict=True
    ):
        n, k = some.shape[:2]
        c, rms = _walk(show, images.repeat_interleave(k, 0), some.flatten(0, 1) @ basis.t(), basis, *ALL)
        order = rms.unflatten(0, (n, k)).argsort(1)
        c = c.unflatten(0, (n, k)).take_along_dim(order[..., None], 1)
        c[:, 0], _ = _walk(show, images, c[:, 0], basis, *BEST)
        ends.append(c @ basis)
    return torch.cat(ends)


def _walk(
    show: Callable[[Tensor], Tensor], target: Tensor, c: Tensor, basis: Tensor, steps: int, first: float, last: float
) -> tuple[Tensor, Tensor]:
    """Where steps of Adam with a falling rate lead from coordinates `(k, d)`, and the residual there, `(k,)`."""
    c = c.clone().requires_grad_()
    optimiser = torch.optim.Adam([c], betas=BETAS)
    for rate in np.geomspace(first, last, steps):
        optimiser.param_groups[0]["lr"] = rate
        squares = (show(c @ basis) - target).square().flatten(1)
        noise = noise_of(squares.detach().mean(1).sqrt())
        optimiser.zero_grad()
        (squares.sum(1) / noise**2 + c.square().sum(1)).sum().backward()
        optimiser.step()
    with torch.no_grad():
        return c.detach(), (show(c @ basis) - target).square().flatten(1).mean(1).sqrt()
