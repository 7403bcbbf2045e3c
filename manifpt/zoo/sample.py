"""Images from a checkpoint: one seed gives one set of images on one machine."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from tqdm.auto import tqdm

from manifpt import files
from manifpt.compute import pick_device, seeded
from manifpt.errors import InputError
from manifpt.zoo import registry

BATCH = 100


def sample(checkpoint: Path | str, n: int, *, seed: int = 0, device: str = "auto", progress: bool = True) -> np.ndarray:
    """Draw `n` images from the model of a checkpoint.

    Images come in seeded batches of 100, so that a smaller n gives the first of a larger one's images.

    Returns
    -------
    uint8 array (n, c, 32, 32): what the generator gives, mapped from [-1, 1], rounded and clipped.

    Raises
    ------
    InputError
        The file is not a checkpoint of a model of the zoo; n is less than 1.
    """
    if n < 1:
        raise InputError(f"n must be at least 1, not {n}")
    tensors, settings = files.load_tensors(checkpoint)
    where = pick_device(device)
    entry = registry.entry(settings.get("model"))
    with seeded(seed):
        recipe = entry.make(settings["channels"], where)
    network = recipe.task.average.module
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{checkpoint}: not the weights of {settings['model']!r}; train it anew") from error
    network.eval()
    batches = range(-(-n // BATCH))
    return np.concatenate([_batch(recipe, network, seed, k) for k in _watch(batches, settings["model"], progress)])[:n]


def _watch(batches: range, name: str, progress: bool) -> Iterator[int]:
    return tqdm(batches, desc=f"sample {name}", unit_scale=BATCH, unit="image", disable=None if progress else True)


def _batch(recipe, network: torch.nn.Module, seed: int, number: int) -> np.ndarray:
    with torch.no_grad(), seeded(seed, number):
        images = recipe.sample(network, BATCH).float().cpu()
    return images.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8).numpy()
