"""Find picture files, decode them to 8 bits, and describe what else than the image a classifier could learn from.

Files whose names begin with a dot are left out; links are followed, once. A picture is decoded to 8-bit grey or colour:
16 bits keep the upper eight, palettes, CMYK and others become RGB, and transparency becomes white. Orientation tags are
ignored: pixels stay where the file has them.
"""

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from manifpt.utils import files
from manifpt.utils.errors import InputError

SUFFIXES = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
LEAST_SIDE = 8
MOST_PIXELS = 2**26
AHEAD = 8  # pictures that each thread decodes ahead at most
warnings.filterwarnings("ignore", module=r"PIL\.")  # such pictures are either refused or read all the same


@dataclass(frozen=True)
class Picture:
    """A picture file: native size, format, hash of its JPEG quantisation tables, checksum of its pixels."""

    path: Path
    width: int
    height: int
    format: str
    tables: str
    grey: bool
    digest: str


def find(folder: Path | str) -> list[Path]:
    """List all picture files below a folder, sorted; `InputError` if there is none, or links form a circle."""
    folder = check_folder(folder)
    seen, found = set(), []
    for where, below, names in os.walk(folder, followlinks=True, onerror=_unreadable):
        below[:] = [name for name in below if not name.startswith(".")]
        if (real := os.path.realpath(where)) in seen:
            raise InputError(f"{where}: leads to {real}, which is already read; remove this link")
        seen.add(real)
        found += [Path(where, name) for name in names if is_picture(name)]
    if not found:
        raise InputError(f"{folder}: holds no image; files that end in {', '.join(SUFFIXES)} expected")
    return sorted(found)


def is_picture(name: str) -> bool:
    """Say whether a file of that name counts as a picture."""
    return not name.startswith(".") and name.lower().endswith(SUFFIXES)


def check_folder(folder: Path | str) -> Path:
    """Return the folder as a path; raise `InputError` if there is none."""
    folder = files.as_path("folder", folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: {'a file' if folder.is_file() else 'no such folder'}; a folder of images expected")
    return folder


def look(path: Path) -> Picture:
    """Decode a file in full and describe it; raise `InputError` as `decode` does."""
    return read(path)[0]


def read(path: Path) -> tuple[Picture, Image.Image]:
    """What `look` and `decode` return, of one reading of the file."""
    image, made = _read(path)
    return Picture(path, *image.size, *made, image.mode == "L", _digest(image)), image


def decode(path: Path, digest: str | None = None) -> Image.Image:
    """Decode a file to a picture of mode ``L`` or ``RGB``; `digest` is the checksum of its pixels, if they were read.

    `InputError` if it is not a picture or cut short, animated, of 32 bits, of more than 2**26 pixels or a side below 8,
    or has other pixels than those of the digest.
    """
    image = _read(path)[0]
    if digest not in (None, _digest(image)):
        raise InputError(f"{path}: changed since it was surveyed; start again, and leave the folders as they are")
    return image


def each(function: Callable, items: Iterable, *, workers: int = 1) -> Iterator:
    """Apply `function` to each item in `workers` threads; yield results in order, with few items ahead."""
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: {workers!r}; a whole number from 1 on expected")
    with ThreadPoolExecutor(workers) as pool:
        rest = iter(items)
        while some := list(islice(rest, AHEAD * workers)):
            yield from pool.map(function, some)


def _digest(image: Image.Image) -> str:
    """Checksum of a decoded picture's pixels, mode and size."""
    return hashlib.sha256(repr((image.mode, image.size)).encode() + image.tobytes()).hexdigest()


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: cannot be read ({error.strerror}); give yourself the right to") from error


def _read(path: Path) -> tuple[Image.Image, tuple[str, str]]:
    """Return the decoded picture, its format and the hash of its quantisation tables."""
    if path.exists() and not path.is_file():
        raise InputError(f"{path}: no regular file; remove it, or give it another ending")
    try:
        with Image.open(path, formats=FORMATS) as opened:
            _check(path, opened)
            tables = sorted(getattr(opened, "quantization", {}).items())
            made = opened.format.replace("MPO", "JPEG"), files.settings_hash(tables) if tables else ""
            return _eight_bits(path, opened), made
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: too large ({error}); {MOST_PIXELS:,} pixels at most expected") from error
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise InputError(f"{path}: cannot be read as an image ({error}); mend or remove it") from error


def _check(path: Path, image: Image.Image) -> None:
    """Refuse a picture that is too large, too small or animated before any pixel is decoded."""
    if image.width * image.height > MOST_PIXELS:
        raise InputError(f"{path}: {image.width}x{image.height}; {MOST_PIXELS:,} pixels at most expected, cut it up")
    if min(image.size) < LEAST_SIDE:
        raise InputError(f"{path}: {image.width}x{image.height}; {LEAST_SIDE} pixels a side at least; remove it")
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise InputError(f"{path}: {image.n_frames} frames; one picture a file expected, save the frames one by one")


def _eight_bits(path: Path, image: Image.Image) -> Image.Image:
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):  # those have 16 in fact
        raise InputError(f"{path}: 32 bits a pixel, whose range is not stated; save it with 8 or 16")
    if image.mode[0] == "I":
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("L" if grey else "RGB")


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Compress a uint8 image `(c, h, w)`, c 1 or 3, as JPEG of a quality from 1 to 95, and return the decoded image."""
    pixels, buffer = image[0] if len(image) == 1 else image.transpose(1, 2, 0), io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.atleast_3d(np.asarray(Image.open(buffer))).transpose(2, 0, 1)
