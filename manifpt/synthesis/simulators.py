r"""Sources of an extractor's training images: trained synthetic models, or models made afresh for every batch.

Both turn real images into synthetic ones, and give the model and the *category* of each: a class that lasts from batch
to batch, for the cross-entropy. With trained models it is the model. A fresh model is gone after its batch, so its
category is its architecture, one of 288. The triplet loss separates models in both cases.

*A fresh model is solved, not trained.* Its inner weights are drawn as at the start of a training. The last convolution
is the ridge regression :math:`W = (H^\top H + \lambda I)^{-1} H^\top Z` on a few images, with the 3x3 neighbourhoods H
of its input and the target Z, the pixels before the last norm and activation. Batch norms take the statistics of these
images; one at the end is set to pass them on unchanged. This is ours; the paper trains 5,760 models.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.synthesis.models import SyntheticModel, architectures, build_synthetic_model
from manifpt.synthesis.train import load_synthetic_model, to_pixels
from manifpt.utils import files
from manifpt.utils.errors import InputError

RIDGE = 1e-3  # of the mean square of the features
STATISTICS_ON, FIT_ON = 8, 4  # images: of batch norms, and the first of them for the regression


@dataclass
class Synthetic:
    """Images uint8 `(n, 3, h, w)`; model and category of each, int64 `(n,)`."""

    images: Tensor
    model: Tensor
    category: Tensor


class Simulator(Protocol):
    """Makes synthetic images of real ones; it has so many `categories`, and is described by its `settings`."""

    categories: int
    settings: dict

    def draw(self, images: Tensor, *, each: int) -> Synthetic:
        """Apply models, drawn by torch's default generator, to real images, float32 `(n, 3, h, w)` in [-1, 1].

        With ``each = 1`` a model is drawn for every image, as released; else n // each different models take `each`
        images each, and a remainder of n is dropped.
        """
        ...


class TrainedModels:
    """Simulator of the models in checkpoints; `InputError` for fewer than two, or a damaged one."""

    def __init__(self, checkpoints: Sequence[Path]):
        if len(checkpoints) < 2:
            raise InputError(
                f"checkpoints: {len(checkpoints)} synthetic models, two at least expected; "
                "`manifpt synthesis train-models` trains them"
            )
        loaded = [load_synthetic_model(path) for path in checkpoints]
        self.models = [model for model, _ in loaded]
        self.categories = len(self.models)
        self.settings = {"simulator": "trained", "models": files.settings_hash([header for _, header in loaded])}

    @torch.no_grad()
    def draw(self, images: Tensor, *, each: int) -> Synthetic:
        """See `Simulator`."""
        groups = len(images) // each
        if each > 1 and groups > self.categories:
            raise InputError(f"batch: {groups} models asked for; at most the {self.categories} that there are expected")
        drawn = torch.randint(self.categories, (groups,)) if each == 1 else torch.randperm(self.categories)[:groups]
        owner = drawn.repeat_interleave(each)
        made = torch.empty(len(owner), *images.shape[1:], dtype=torch.uint8)
        for index in owner.unique().tolist():
            mine = owner == index
            made[mine] = to_pixels(self.models[index](images[: len(owner)][mine]))
        return Synthetic(made, owner, owner)


class FreshModels:
    """Simulator that makes a model for every `each` images of every batch, and keeps none.

    Architectures are drawn in pairs, so that most models of a batch have a sibling that differs in its seed alone. With
    ``each = 1`` no two images are of one model, so the triplet loss has no positives.
    """

    def __init__(self):
        self.space = architectures()
        self.categories = len(self.space)
        self.settings = {"simulator": "fresh"}

    @torch.no_grad()
    def draw(self, images: Tensor, *, each: int) -> Synthetic:
        """See `Simulator`."""
        groups = len(images) // each
        category = torch.randint(self.categories, (groups // 2 + 1,)).repeat_interleave(2)[:groups]
        made = []
        for number, index in enumerate(category.tolist()):
            model = build_synthetic_model(self.space[index], seed=int(torch.randint(2**31, ())))
            solve(model, images[torch.randperm(len(images))[:STATISTICS_ON]], fit_on=FIT_ON)
            made.append(to_pixels(model(images[number * each : (number + 1) * each])))
        owner = torch.arange(len(category)).repeat_interleave(each)
        return Synthetic(torch.cat(made), owner, category.repeat_interleave(each))


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
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
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
