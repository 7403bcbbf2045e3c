r"""Synthetic models that are solved, not trained: what they make of real images, in a thirtieth of a second a model.

The inner weights of a model are drawn as at the start of a training. Its last convolution is the ridge regression
:math:`W = (H^\top H + \lambda I)^{-1} H^\top Z` on a few images, with the 3x3 neighbourhoods H of its input and the
target Z, the pixels before the last norm and activation. Batch norms take the statistics of these images; one at the
end is set to pass them on unchanged. This is ours; the paper trains 5,760 models, 20 of each architecture.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.synthesis.models import SyntheticModel, architectures, build_synthetic_model
from manifpt.utils.arrays import as_images, to_uint8
from manifpt.utils.compute import pick_device
from manifpt.utils.errors import InputError

RIDGE = 1e-3  # of the mean square of the features
STATISTICS_ON, FIT_ON = 8, 4  # images: of batch norms, and the first of them for the regression


def synthesise(
    reals, *, each: int, seeds: int = 1, seed: int = 0, device: str = "cpu"
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Let every architecture, with as many seeds, reconstruct `each` real images that it has not been fitted to.

    Parameters
    ----------
    reals
        Real images as `manifpt.utils.arrays.as_images` takes them, sides multiples of 4; of grey ones the models see
        three equal channels, and the mean of theirs is kept.
    each, seeds
        Images a model, and models an architecture: 288 models for one seed.
    seed
        Draws the images that a model is fitted to and those that it is given.

    Yields
    ------
    index, images
        int64 `(each,)`, the real images, and uint8 `(each, c, h, w)`, what the model makes of them; architecture by
        architecture, in the order of `manifpt.synthesis.models.architectures`.
    """
    reals = as_images(reals, "reals")
    if min(each, seeds) < 1 or len(reals) < STATISTICS_ON + each or any(side % 4 for side in reals.shape[2:]):
        raise InputError(
            f"each, seeds, reals: {each}, {seeds}, {reals.shape}; at least 1 and 1, {STATISTICS_ON + each} images or "
            "more, and sides that are multiples of 4 expected"
        )
    where, rng, grey = pick_device(device), np.random.default_rng(seed), reals.shape[1] == 1
    for architecture in architectures():
        for number in range(seeds):
            drawn = rng.permutation(len(reals))[: STATISTICS_ON + each]
            images = torch.from_numpy(reals[drawn]).to(where).expand(-1, 3, -1, -1) / 127.5 - 1
            model = build_synthetic_model(architecture, seed=number).to(where)
            solve(model, images[:STATISTICS_ON], fit_on=FIT_ON)
            with torch.inference_mode():
                made = model(images[STATISTICS_ON:])
            made = made.mean(1, keepdim=True) if grey else made
            yield drawn[STATISTICS_ON:], to_uint8(made, low=-1).cpu().numpy()


@torch.no_grad()
def solve(model: SyntheticModel, images: Tensor, *, fit_on: int | None = None) -> None:
    """Set batch norms and last convolution so that the model reconstructs images, and put it in evaluation mode.

    The convolution is fitted to the first `fit_on` images, or to all.
    """
    leaves = [module for module in model.body.modules() if not isinstance(module, nn.Sequential)]
    for module in leaves:
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # these images' statistics alone
    last = max(index for index, module in enumerate(leaves) if isinstance(module, nn.Conv2d))
    features = images
    for module in leaves[:last]:
        features = module(features)
    target = _before_activation(model, images)
    rows = F.unfold(features[:fit_on], 3, padding=1).transpose(1, 2).flatten(0, 1)  # (n * h * w, 9 * width)
    rows = torch.cat([rows, rows.new_ones(len(rows), 1)], 1)
    z = target[:fit_on].permute(0, 2, 3, 1).flatten(0, 2)  # (n * h * w, 3)
    gram = (rows.T @ rows).double()
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram)).to(gram)
    weights = torch.linalg.solve(gram, (rows.T @ z).double()).float()  # (9 * width + 1, 3)
    leaves[last].weight.copy_(weights[:-1].T.reshape_as(leaves[last].weight))
    leaves[last].bias.copy_(weights[-1])
    if last + 1 < len(leaves) and isinstance(norm := leaves[last + 1], nn.BatchNorm2d):
        values = leaves[last](features)
        norm.running_var.copy_(values.var((0, 2, 3)))
        norm.running_mean.copy_(values.mean((0, 2, 3)))
        norm.weight.copy_((norm.running_var + norm.eps).sqrt())
        norm.bias.copy_(norm.running_mean)
    model.eval()


def _before_activation(model: SyntheticModel, images: Tensor) -> Tensor:
    """The input of the last activation that gives the images, as nearly as it can."""
    activation = model.architecture.activation if model.architecture.order == "post" else "none"
    if activation == "tanh":
        return images.clamp(-0.95, 0.95).atanh()
    if activation == "sigmoid":
        return images.add(1).div(2).clamp(0.025, 0.975).logit()
    return images.add(1).div(2) if activation == "relu" else images
