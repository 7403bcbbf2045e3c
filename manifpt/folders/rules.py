"""Rules that turn pictures of any size into images of one size; each has a name, since it leaves traces of its own.

===============  ======================================================================================================
``centre-crop``  the middle; no pixel is changed
``patches``      the whole picture, cut into disjoint squares; no pixel is changed, a remainder at the rim is lost
``resize``       both sides resampled (Lanczos), which blurs high frequencies and stretches what is not square
``whole``        the whole picture at its own size, for spaces that take any; the size is the least that a side may have
===============  ======================================================================================================

No rule enlarges. Crops begin at multiples of 8 pixels, as the blocks of a JPEG do. Equalised pictures are re-encoded as
JPEG of quality 75 before the rule is applied: all share the last compression, but traces of an earlier one may remain.
"""

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image
from scipy.spatial.distance import pdist

from manifpt.data.pictures import LEAST_SIDE, Picture, decode
from manifpt.utils.errors import InputError, check_choice

RULES = ("centre-crop", "patches", "resize", "whole")
QUALITY = 75
USUAL_SIZE = 64
WHOLE_SIZE = 32  # least side of a picture that is taken whole
ALIKE = 0.1  # largest total variation between the traits of two classes that is not reported
TRAITS = {
    "native size": lambda picture: f"{picture.width}x{picture.height}",
    "format": lambda picture: picture.format,
    "JPEG quantisation tables": lambda picture: picture.tables or "none",
    "colour": lambda picture: "grey" if picture.grey else "colour",
}


@dataclass(frozen=True)
class Rule:
    """A rule by name; side in pixels and channels (1 or 3) of its images; whether pictures are equalised."""

    name: str
    size: int
    channels: int
    equalise: bool = False

    def __post_init__(self):
        check_rule(self.name, self.size)

    def check(self, picture: Picture) -> None:
        """Raise `InputError` if the picture is smaller than the images to be made of it."""
        if min(picture.width, picture.height) < self.size:
            raise InputError(
                f"{picture.path}: {picture.width}x{picture.height} is smaller than {self.size}, and no rule enlarges; "
                f"set the size to {min(picture.width, picture.height)} at most, or remove it"
            )

    def count(self, picture: Picture) -> int:
        """The number of images that the rule makes of the picture."""
        return (picture.width // self.size) * (picture.height // self.size) if self.name == "patches" else 1

    def images(self, path: Path, digest: str | None = None) -> np.ndarray:
        """The images of a picture file, uint8 `(m, c, size, size)`; options and errors are those of `decode`."""
        return self.cut(decode(path, digest))

    def cut(self, picture: Image.Image) -> np.ndarray:
        """The images of a decoded picture, uint8 `(m, c, size, size)`, or `(1, c, h, w)` of a whole one."""
        picture = picture.convert("L" if self.channels == 1 else "RGB")
        if self.equalise:
            picture.save(encoded := io.BytesIO(), "JPEG", quality=QUALITY)
            picture = Image.open(encoded)
        if self.name == "resize":
            picture = picture.resize((self.size, self.size), Image.Resampling.LANCZOS)
        pixels = np.atleast_3d(np.asarray(picture)).transpose(2, 0, 1)  # (c, height, width)
        if self.name == "centre-crop":
            top, left = ((side - self.size) // 16 * 8 for side in pixels.shape[1:])
            pixels = pixels[:, top : top + self.size, left : left + self.size].copy()  # releases the rest
        return pixels[None] if self.name == "whole" else _squares(pixels, self.size)


def check_rule(name: str, size: int | None) -> None:
    """Raise `InputError` for an unknown rule, or a size that is neither None nor a whole number from 8 on."""
    check_choice("rule", name, RULES)
    if size is not None and (not isinstance(size, int | np.integer) or size < LEAST_SIDE):
        raise InputError(f"size: {size!r}; a whole number from {LEAST_SIDE} on expected")


def differences(classes: Mapping[str, Sequence[Picture]]) -> list[str]:
    """One line for each native trait in which classes differ, with the values of every class.

    Two classes differ if one has a value that the other lacks, or if the total variation between their shares of the
    values exceeds a tenth.
    """
    lines = []
    for trait, of in TRAITS.items():
        found = {label: Counter(map(of, pictures)) for label, pictures in classes.items()}
        shares = pd.DataFrame(found).fillna(0).pipe(lambda counts: counts / counts.sum())  # (values, classes)
        if (shares == 0).any(axis=None) or pdist(shares.T, "cityblock").max(initial=0) / 2 > ALIKE:
            told = "; ".join(f"{label}: {_shares(counts)}" for label, counts in found.items())
            lines.append(f"{trait}: classes differ ({told}); a classifier would learn that instead of the models")
    return lines


def _shares(counts: Counter) -> str:
    """The most frequent values, with their shares if there are several."""
    if len(counts) == 1:
        return next(iter(counts))
    told = [f"{count / counts.total():.0%} {value}" for value, count in counts.most_common(3)]
    return ", ".join(told) + (f" and {len(counts) - 3} more" if len(counts) > 3 else "")


def _squares(pixels: np.ndarray, size: int) -> np.ndarray:
    """Cut `(c, h, w)` into whole squares, row by row: `(m, c, size, size)`."""
    c, down, across = pixels.shape[0], pixels.shape[1] // size, pixels.shape[2] // size
    tiles = pixels[:, : down * size, : across * size].reshape(c, down, size, across, size)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(-1, c, size, size)
