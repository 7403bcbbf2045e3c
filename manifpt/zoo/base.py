"""What the families of generators share: the type of what they make, a step of an optimiser, layers."""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from manifpt.nn.training import Training


@dataclass(kw_only=True)
class Generator(Training):
    """A generator in training: its networks, optimisers and training step (see `Training`), and its sampler.

    Training images are float32 `(n, c, 32, 32)` in [-1, 1].

    Attributes
    ----------
    sample
        ``sample(network, n)`` draws n images, float32 `(n, c, 32, 32)`, nominally in [-1, 1], from the averaged network
        in evaluation mode. It may use torch's default random generator.
    batch_size
        Number of images in a training step.
    """

    sample: Callable[[nn.Module, int], Tensor]
    decay: float = 0.998
    anneal: bool = True
    batch_size: int = 32


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, *, clip: float | None = None) -> float:
    """Take one step of the optimiser, with the norm of the gradient limited to `clip`; return the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], clip)
    optimiser.step()
    return loss.item()


def strided(
    widths: Sequence[int], norm: Callable | None = nn.BatchNorm2d, activation: Callable = nn.ReLU
) -> list[nn.Module]:
    """Layers that halve the resolution from each width to the next: 4x4 convolution, norm, activation."""
    blocks = (
        Conv2dNormActivation(inner, outer, 4, 2, 1, norm_layer=norm, activation_layer=activation)
        for inner, outer in itertools.pairwise(widths)
    )
    return [layer for block in blocks for layer in block]


def transposed(widths: Sequence[int]) -> list[nn.Module]:
    """Layers that double the resolution from each width to the next: batch norm, ReLU, transposed 4x4 convolution.

    The last convolution alone has a bias.
    """
    layers: list[nn.Module] = []
    for inner, outer in itertools.pairwise(widths):
        convolution = nn.ConvTranspose2d(inner, outer, 4, 2, 1, bias=outer == widths[-1])
        layers += [nn.BatchNorm2d(inner), nn.ReLU(inplace=True), convolution]
    return layers
