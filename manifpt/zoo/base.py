"""What a family's function returns: how to train one generator, and how to sample from it."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from manifpt.nn.train import Training


@dataclass
class Generator:
    """One generator.

    Attributes
    ----------
    task
        Its networks, optimisers and training step (`manifpt.nn.train.Training`); images are float32
        `(n, c, 32, 32)` in [-1, 1].
    sample
        ``sample(generator, n)`` gives n images, float32 `(n, c, 32, 32)`, nominally in [-1, 1], from the averaged
        network of the task, in evaluation mode; it may draw from torch's default generator.
    batch_size
        Of training.
    """

    task: Training
    sample: Callable[[nn.Module, int], Tensor]
    batch_size: int = 64
