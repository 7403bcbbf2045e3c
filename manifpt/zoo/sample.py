"""Images from a checkpoint: on one machine, one seed gives one set of images."""

from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from manifpt.utils import files
from manifpt.utils.arrays import to_uint8
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError
from manifpt.zoo import models
from manifpt.zoo.base import Generator

BATCH = 100


def sample_images(
    checkpoint: Path | str, n: int, *, seed: int = 0, first: int = 0, device: str = "auto", progress: bool = True
) -> np.ndarray:
    """Draw images `first` to `n` from the model of a checkpoint.

    Images come in seeded batches of 100, so that a smaller n gives the first of a larger one's images. They are uint8
    `(n - first, c, 32, 32)`: what the generator gives, mapped from [-1, 1], rounded and clipped. `InputError` if the
    file is not a checkpoint of a model of the zoo, or n is not more than first.
    """
    if not isinstance(n, int | np.integer) or n <= first:
        raise InputError(f"n must be at least {first + 1}, not {n!r}; a whole number expected")
    generator, network, settings = load_checkpoint(checkpoint, device=device)
    batches, hidden = range(first // BATCH, -(-n // BATCH)), None if progress else True
    bar = tqdm(batches, f"sample {settings['model']}", unit_scale=BATCH, unit="image", disable=hidden)
    images = np.concatenate([_draw_batch(generator, network, seed, number) for number in bar])
    return images[first % BATCH :][: n - first]


def load_checkpoint(checkpoint: Path | str, *, device: str = "auto") -> tuple[Generator, torch.nn.Module, dict]:
    """The generator of a checkpoint, its averaged network in evaluation mode, and its settings.

    `InputError` if the file is not a checkpoint of a model of the zoo.
    """
    tensors, settings = files.load_tensors(checkpoint)
    entry = models.entry(settings.get("model"))
    with seeded(0):  # the initial weights do not matter; the global random generators stay as they are
        generator = entry.make(settings["channels"], pick_device(device))
    network = generator.average.module
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: not the weights of {settings['model']!r}; train it anew") from error
    return generator, network.eval(), settings


def _draw_batch(generator: Generator, network: torch.nn.Module, seed: int, number: int) -> np.ndarray:
    with torch.no_grad(), seeded(seed, number):
        images = generator.sample(network, BATCH).float().cpu()
    return to_uint8(images, low=-1).numpy()
