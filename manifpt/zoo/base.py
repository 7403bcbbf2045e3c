"""What the families of generators share: the class of what they make, and layers."""

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from manifpt.nn.train import Training, late_decay

FOUR_BY_FOUR = {"kernel_size": 4, "stride": 2, "padding": 1}  # a convolution that halves or doubles the resolution


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
    factor: Callable[[int, int], float] = late_decay
    batch_size: int = 32


def stack(widths: Sequence[int], block: Callable[[int, int], Iterable[nn.Module]]) -> list[nn.Module]:
    """The layers of ``block(inner, outer)`` for each pair of successive widths."""
    return [layer for inner, outer in itertools.pairwise(widths) for layer in block(inner, outer)]


def strided(
    widths: Sequence[int], norm: Callable | None = nn.BatchNorm2d, activation: Callable = nn.ReLU
) -> list[nn.Module]:
    """Layers that halve the resolution from each width to the next: 4x4 convolution, norm, activation."""
    return stack(widths, partial(Conv2dNormActivation, **FOUR_BY_FOUR, norm_layer=norm, activation_layer=activation))


def transposed(widths: Sequence[int]) -> list[nn.Module]:
    """Layers that double the resolution from each width to the next: batch norm, ReLU, transposed 4x4 convolution.

    The last convolution alone has a bias.
    """

    def block(inner: int, outer: int) -> tuple[nn.Module, ...]:
        convolution = nn.ConvTranspose2d(inner, outer, **FOUR_BY_FOUR, bias=outer == widths[-1])
        return nn.BatchNorm2d(inner), nn.ReLU(inplace=True), convolution

    return stack(widths, block)
