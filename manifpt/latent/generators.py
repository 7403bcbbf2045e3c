"""Trained generators as differentiable functions of one flat latent code."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import vmap
from tqdm.auto import tqdm

from manifpt.utils import files, paths
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError

NOISE = 0  # seed of StyleGAN2's noise, which the estimator knows
CHUNK = 500  # latents drawn at a time


@dataclass(frozen=True)
class LatentGenerator:
    """What latent fingerprints need to know of a generator.

    Attributes
    ----------
    name
        What messages and settings call it.
    dimension
        Of its latent code, d.
    draw
        From a number n to n codes, float32 `(n, d)`, by torch's default generator.
    render
        From codes `(n, d)` to images, float32 `(n, c, h, w)`, nominally in [-1, 1]: differentiable, the same for the
        same code wherever it stands in the batch.
    checksum
        Of its weights: codes that were drawn are kept on disk under it. Empty: nothing is kept.
    device
        Where codes are.
    """

    name: str
    dimension: int
    draw: Callable[[int], Tensor]
    render: Callable[[Tensor], Tensor]
    checksum: str = ""
    device: str = "cpu"

    def latents(self, n: int, *, seed: int) -> Tensor:
        """Draw n codes, float32 `(n, d)`; a smaller n gives the first of them."""
        starts = range(0, n, CHUNK)
        hidden = len(starts) == 1 or None  # None: where nobody watches
        bar = tqdm(starts, desc=f"codes of {self.name}", leave=False, delay=5, disable=hidden)
        return torch.cat([self._chunk(start, seed) for start in bar])[:n]

    def _chunk(self, start: int, seed: int) -> Tensor:
        """Codes from number `start` on, `(CHUNK, d)`."""
        settings = {"checksum": self.checksum, "start": start, "n": CHUNK, "seed": seed}
        path = paths.cache() / "latents" / f"{files.settings_hash(settings)}.safetensors"
        if self.checksum and path.exists():
            return files.load_tensors(path, self.device)[0]["codes"]
        with torch.no_grad(), seeded(seed, start):
            codes = self.draw(CHUNK)
        if self.checksum:
            files.save_tensors(path, {"codes": codes}, settings)
        return codes


def load_generator(label: str = "stylegan2", *, dataset: str = "gm-fashion", device: str = "auto") -> LatentGenerator:
    """A trained generator of a GM dataset: w of ``stylegan2``, the flattened latent of ``ldm``.

    Raises
    ------
    InputError
        Unknown dataset or model, or one that is neither.
    """
    from manifpt.zoo.dataset import load_gm
    from manifpt.zoo.sample import load_checkpoint

    checkpoint = load_gm(dataset).checkpoint(label)
    where = str(pick_device(device))
    _, network, settings = load_checkpoint(checkpoint, device=where)
    if settings["model"] not in ADAPTERS:
        raise InputError(f"model {label!r}: no latent code to write into; choose one of {', '.join(ADAPTERS)}")
    network.requires_grad_(False)
    draw, render, dimension = ADAPTERS[settings["model"]](network)
    return LatentGenerator(f"{dataset}/{label}", dimension, draw, render, files.sha256(checkpoint), where)


def _stylegan2(network: torch.nn.Module) -> tuple:
    one = vmap(lambda w: network.synthesis(w[None])[0], randomness="same")  # one noise for all images

    def render(w: Tensor) -> Tensor:
        with seeded(NOISE):
            return one(w)

    dimension, device = network.mapping[0].weight.shape[1], network.start.device
    return lambda n: network.map(torch.randn(n, dimension, device=device)), render, dimension


def _ldm(network: torch.nn.Module) -> tuple:
    from manifpt.zoo.diffusion import LATENT, ddim

    shape, device = (LATENT, 8, 8), network.scale.device

    def render(z: Tensor) -> Tensor:
        return network.autoencoder.decode(z.unflatten(1, shape) / network.scale).sample  # fp32, unlike `decode`

    def draw(n: int) -> Tensor:
        return ddim(network.unet, torch.randn(n, *shape, device=device), 3.0).flatten(1)

    return draw, render, int(np.prod(shape))


ADAPTERS = {"stylegan2": _stylegan2, "ldm": _ldm}
