r"""Where in the latent code a key is written.

Latent codes have a mean μ and principal directions p with standard deviations s, largest first. The components from
`shift` on carry the key φ, all others the content α:

.. math:: w_\varphi = \mu + U^\top \alpha + \sigma V^\top \varphi, \quad \alpha_j \sim N(0, s_j^2)

with bits φ. An image is :math:`g(w_\varphi)`, in 8 bits. For latent diffusion a bit is written on several
components, and the content is that of a sampled code.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from manifpt.latent.generators import CHECKSUM, CODES, LatentGenerator, load_generator
from manifpt.latent.keys import parse_key
from manifpt.utils.arrays import to_uint8
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError, check_choice

CONTENTS = ("gaussian", "sample")  # alpha drawn by the components' deviations, or that of a sampled latent code
DERIVED = {"generator", "weights", "directions"}  # settings that are no parameters
BATCH = 64  # images rendered at a time


class LatentFingerprinter:
    """Write keys into the latent codes of one generator.

    `InputError` for values out of range, and for more components than the code has dimensions.

    Parameters
    ----------
    generator
        See `manifpt.latent.generators.load_generator`.
    key_length
        Bits of a key; with them the generator serves ``2 ** key_length`` users.
    shift
        First component of the key, counted from the largest variance; None for the last ones, of least variance.
    sigma
        Strength of the key; 1 in the released code.
    repeat
        Components for each bit.
    content
        ``gaussian``: α_j ~ N(0, s_j²); ``sample``: α of a code that the generator draws.
    n_pca
        Latent codes whose principal directions are used; those of 10,000 are stored with the checkpoint.

    Attributes
    ----------
    mean_, content_, deviations_
        μ, float32 `(d,)`; U, float32 `(d - repeat * key_length, d)`; the s_j of its rows.
    key_
        Rows of σV, those of one bit added up, float32 `(key_length, d)`: the code of a key is ``phi @ key_``.
    capacity
        Number of different keys.
    settings
        All of the above parameters by name, the name of the generator, and 12 digits each of the SHA-256 of its
        weights and of the directions: who has the same settings reads the same keys.
    """

    def __init__(
        self,
        generator: LatentGenerator,
        *,
        key_length: int = 16,
        shift: int | None = None,
        sigma: float = 2.0,
        repeat: int = 1,
        content: str = "gaussian",
        n_pca: int = CODES,
    ):
        width, d = key_length * repeat, generator.dimension
        shift = d - width if shift is None else shift
        _check(d, key_length, repeat, shift, sigma, n_pca)
        check_choice("content:", content, CONTENTS)
        directions = generator.directions(n_pca)
        self.generator, self.key_length, self.shift, self.content = generator, key_length, shift, content
        self.capacity = 2**key_length
        self.settings = {"generator": generator.name, "key_length": key_length, "shift": shift, "sigma": sigma}
        self.settings |= {"repeat": repeat, "content": content, "n_pca": n_pca}
        self.settings |= {"weights": generator.checksum[:CHECKSUM], "directions": directions.checksum}
        self.mean_, components, deviations = (part.to(generator.device) for part in vars(directions).values())
        keyed = (torch.arange(d) >= shift) & (torch.arange(d) < shift + width)
        self.content_, self.deviations_ = components[~keyed], deviations[~keyed]
        self.key_ = (sigma * components[keyed]).unflatten(0, (key_length, repeat)).sum(1)

    @classmethod
    def from_settings(cls, settings: dict) -> "LatentFingerprinter":
        """The fingerprinter of a trained generator whose `settings` these are.

        `InputError` if they are not such settings, or if the generator has other weights or other directions here, so
        that bits would be read by chance.
        """
        try:
            dataset, _, label = settings["generator"].rpartition("/")
            generator = load_generator(label, dataset=dataset)
            _expect("weights", settings, generator.checksum[:CHECKSUM], generator.checkpoint)
            found = cls(generator, **{name: settings[name] for name in settings.keys() - DERIVED})
            _expect("directions", settings, found.settings["directions"], generator.places(found.settings["n_pca"])[0])
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"settings: not those of a fingerprinter ({error})") from error
        return found

    def compose(self, alpha: Tensor, phi: Tensor) -> Tensor:
        """Codes `(n, d)` of contents α `(n, d - repeat * key_length)` and keys φ `(n, key_length)` in [0, 1]."""
        return self.mean_ + alpha @ self.content_ + phi @ self.key_

    def contents(self, n: int, *, seed: int = 0) -> Tensor:
        """Draw α for n images, float32 `(n, d - repeat * key_length)`."""
        if self.content == "sample":
            return (self.generator.latents(n, seed=seed) - self.mean_) @ self.content_.t()
        with seeded(seed):
            return torch.randn(n, len(self.deviations_)).to(self.mean_) * self.deviations_

    def embed(self, key: str | np.ndarray | None, n: int, seed: int = 0) -> np.ndarray:
        """Draw n images that carry a key, uint8 `(n, c, h, w)`; images of one seed have the same contents.

        The key is one that `manifpt.latent.keys.parse_key` reads; or uint8 `(n, key_length)`, a key for each image; or
        None for images without a key. `InputError` for a malformed key, or n less than 1.
        """
        if n < 1:
            raise InputError(f"n: {n} images; at least 1 expected")
        alpha, phi = self.contents(n, seed=seed), self._phi(key, n)
        with torch.no_grad():
            parts = [self.generator.render(w) for w in self.compose(alpha, phi).split(BATCH)]
        return to_bytes(torch.cat(parts))

    def _phi(self, key: str | np.ndarray | None, n: int) -> Tensor:
        if key is None:
            bits = np.zeros((n, self.key_length))
        elif not isinstance(key, str) and np.ndim(key) == 2:
            if len(key) != n:
                raise InputError(f"key: {len(key)} keys for {n} images; one, or as many as images expected")
            bits = np.stack([parse_key(one, self.key_length) for one in key])
        else:
            bits = np.tile(parse_key(key, self.key_length), (n, 1))
        return torch.from_numpy(bits).to(self.mean_)


def to_bytes(images: Tensor) -> np.ndarray:
    """Images in [-1, 1] as uint8, rounded and clipped."""
    return to_uint8(images.detach().cpu(), low=-1).numpy()


def to_float(images: np.ndarray) -> Tensor:
    """Images of 8 bits as float32 in [-1, 1]."""
    return torch.from_numpy(images).float().div(127.5).sub(1)


def _expect(what: str, settings: dict, here: str, file: Path) -> None:
    """`InputError` unless the generator has the weights or directions that settings name; they lie in `file`."""
    if (there := settings[what]) != here:
        raise InputError(
            f"settings: of {settings['generator']} with {what} {there}, which here has {what} {here}; copy {file} from "
            "where the settings were made, or make new keys"
        )


def _check(d: int, key_length: int, repeat: int, shift: int, sigma: float, n_pca: int) -> None:
    numbers = {"key_length": key_length, "repeat": repeat, "shift": shift, "n_pca": n_pca}
    for what, number in numbers.items():
        if not isinstance(number, int | np.integer):
            raise InputError(f"{what}: {number!r}; a whole number expected")
    if key_length < 1 or repeat < 1 or key_length * repeat >= d:
        raise InputError(
            f"key_length: {key_length} bits on {repeat} components each; at least 1, and less than the {d} of the code"
        )
    if not 0 <= shift <= d - key_length * repeat:
        raise InputError(f"shift: {shift}; a number from 0 to {d - key_length * repeat} expected")
    if not 0 < sigma < np.inf:
        raise InputError(f"sigma: {sigma}; a positive number expected")
    if n_pca <= d:
        raise InputError(f"n_pca: {n_pca} codes; more than the {d} dimensions of the code expected")
