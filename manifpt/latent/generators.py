"""Trained generators as differentiable functions of one flat latent code, and the principal directions of their codes.

A key is read only with the directions with which it was written, and two decompositions of the same codes may differ by
signs, or by rounding. So directions are computed once for a checkpoint, and stored in
``directions/<label>.safetensors`` beside ``checkpoints/``: who copies a generator to another machine copies both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from sklearn.utils.extmath import svd_flip
from torch import Tensor
from tqdm.auto import tqdm

from manifpt.utils import files, paths
from manifpt.utils.cache import array_checksum, cache_key, stored
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError

NOISE = 0  # seed of StyleGAN2's noise, which the estimator knows
CHUNK = 500  # codes drawn at a time
CODES = 10_000  # of which a checkpoint's stored directions are computed
CHECKSUM = 12  # digits of a checksum in settings


@dataclass(frozen=True)
class Directions:
    """Principal components of latent codes, largest variance first; float32, on the CPU."""

    mean: Tensor  # (d,)
    components: Tensor  # orthonormal rows, (d, d)
    deviations: Tensor  # standard deviations along them, (d,)

    @classmethod
    def of(cls, codes: Tensor) -> "Directions":
        """Decompose codes `(n, d)`, n > d, in float64 on the CPU; the largest entry of each component is positive."""
        codes = codes.cpu().double()
        mean = codes.mean(0)
        _, singular, components = torch.linalg.svd(codes - mean, full_matrices=False)
        _, components = svd_flip(None, components.numpy(), u_based_decision=False)
        return cls(mean.float(), torch.from_numpy(components).float(), (singular / np.sqrt(len(codes) - 1)).float())

    @property
    def checksum(self) -> str:
        """12 hexadecimal digits that change with any bit of the three arrays."""
        return array_checksum(torch.vstack([self.mean, self.deviations, self.components]).numpy())[:CHECKSUM]


@dataclass(frozen=True)
class LatentGenerator:
    """A generator as latent fingerprints see it.

    `draw` gives n codes, float32 `(n, d)`, on the CPU, by torch's default generator. `render` maps codes `(n, d)` to
    images, float32 `(n, c, h, w)`, nominally in [-1, 1]: differentiable, the same for the same code wherever it stands
    in the batch.
    """

    name: str
    dimension: int  # d
    draw: Callable[[int], Tensor]
    render: Callable[[Tensor], Tensor]
    checksum: str = ""  # SHA-256 of its weights, under which codes and directions are kept on disk, if there are any
    device: str = "cpu"  # of `render`, and of the codes that `latents` returns
    checkpoint: Path | None = None  # file of its weights, in the folder ``checkpoints`` of a GM dataset

    def latents(self, n: int, *, seed: int) -> Tensor:
        """Draw n codes, float32 `(n, d)`; a smaller n gives the first of them, and every device the same."""
        starts = range(0, n, CHUNK)
        bar = tqdm(starts, f"codes of {self.name}", leave=False, delay=5, disable=len(starts) == 1 or None)
        return torch.cat([torch.from_numpy(self._chunk(start, seed)) for start in bar])[:n].to(self.device)

    def _chunk(self, start: int, seed: int) -> np.ndarray:
        """Codes from number `start` on, `(CHUNK, d)`."""

        def draw() -> np.ndarray:
            with torch.no_grad(), seeded(seed, start):
                return self.draw(CHUNK).numpy()

        if not self.checksum:
            return draw()
        settings = {"start": start, "n": CHUNK, "seed": seed}
        return stored("latents", cache_key(settings, code=__name__, data=[self.checksum]), draw)

    def directions(self, n: int = CODES) -> Directions:
        """Principal directions of n codes, computed once for these weights and kept in the first of `places`.

        `InputError` if the file is damaged.
        """
        if not self.checksum:
            return Directions.of(self.latents(n, seed=0))
        places = self.places(n)
        if found := next(filter(None, map(self._stored, places)), None):
            return found
        try:
            files.check_writable(place := places[0])
        except InputError:
            place = places[-1]
        with files.locked(place):
            if (found := self._stored(place)) is None:
                found = Directions.of(self.latents(n, seed=0))
                about = {"checkpoint": self.checksum, "n_pca": n, "checksum": found.checksum}
                files.save_tensors(place, vars(found), about | {"version": version("manifpt")})
        return found

    def places(self, n: int = CODES) -> list[Path]:
        """Where directions of n codes may be stored: of 10,000 beside the checkpoint, of any below `paths.home()`."""
        own = paths.home() / "directions" / f"{self.checksum[:CHECKSUM]}-{n}.safetensors"
        beside = self.checkpoint and self.checkpoint.parent.parent / "directions" / self.checkpoint.name
        return [beside, own] if beside and n == CODES else [own]

    def _stored(self, place: Path) -> Directions | None:
        """The directions in a file; None if there is no file, or one of other weights."""
        if not place.exists():
            return None
        tensors, about = files.load_tensors(place)
        if about.get("checkpoint") != self.checksum:
            return None
        if (found := Directions(**tensors)).checksum != about["checksum"]:
            raise InputError(f"{place}: damaged file, other than the checksum {about['checksum']} says; restore it")
        return found


def load_generator(label: str = "stylegan2", *, dataset: str = "gm-fashion", device: str = "auto") -> LatentGenerator:
    """A trained generator of a GM dataset, as a function of w (``stylegan2``) or of its flattened latent (``ldm``).

    Codes are drawn on the CPU and images rendered on `device`, with one noise: the same ones on every device, up to
    rounding. `InputError` for an unknown dataset or model, or one that is neither.
    """
    from manifpt.zoo.dataset import load_gm

    checkpoint = load_gm(dataset).checkpoint(label)
    where, name = str(pick_device(device)), f"{dataset}/{label}"
    draw, render, dimension = _adapted(checkpoint, "cpu")
    if where != "cpu":
        _, render, _ = _adapted(checkpoint, where)
    return LatentGenerator(name, dimension, draw, render, files.sha256(checkpoint), where, checkpoint)


def _adapted(checkpoint: Path, device: str) -> tuple[Callable, Callable, int]:
    """The parts `draw`, `render` and `dimension` of a `LatentGenerator`."""
    from manifpt.zoo.sample import load_checkpoint

    _, network, settings = load_checkpoint(checkpoint, device=device)
    if settings["model"] not in ADAPTERS:
        raise InputError(f"model {checkpoint.stem!r}: has no latent code to write into; choose {' or '.join(ADAPTERS)}")
    return ADAPTERS[settings["model"]](network.requires_grad_(False))


def _stylegan2(network: torch.nn.Module) -> tuple[Callable, Callable, int]:
    from manifpt.zoo.stylegan import LATENT, WIDTHS

    sizes = sorted([*WIDTHS, *WIDTHS])[1:]  # of its convolutions: one at the lowest resolution, two at the others
    with seeded(NOISE):  # one noise for all images and devices
        noise = [torch.randn(1, 1, size, size).to(network.start) for size in sizes]
    return lambda n: network.map(torch.randn(n, LATENT)), lambda w: network.synthesis(w, noise), LATENT


def _ldm(network: torch.nn.Module) -> tuple[Callable, Callable, int]:
    from manifpt.zoo.diffusion import LATENT, ddim

    shape = (LATENT, 8, 8)

    def render(z: Tensor) -> Tensor:
        return network.autoencoder.decode(z.unflatten(1, shape) / network.scale).sample  # fp32, unlike `decode`

    return lambda n: ddim(network.unet, torch.randn(n, *shape), 3.0).flatten(1), render, int(np.prod(shape))


ADAPTERS = {"stylegan2": _stylegan2, "ldm": _ldm}
