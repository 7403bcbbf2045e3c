"""The set `photos`: 32x32 colour patches of the natural photographs inside installed wheels.

Each photograph is cut across its width into four regions, one for each split, with gaps of a patch width between them:
pixels of different splits are more than a patch width apart. The order of the regions rotates from photograph to
photograph, so that no split always has the same border.
"""

import importlib.util
from pathlib import Path

import numpy as np

from manifpt.utils import files
from manifpt.utils.errors import InputError

PATCH = 32
HOPPER = "mpl-data/sample_data/grace_hopper.jpg"
PHOTOGRAPHS = {  # (package, file in it): SHA-256; natural scenes in colour, one of a stereo pair
    ("skimage", "data/astronaut.png"): "88431cd9653ccd539741b555fb0a46b61558b301d4110412b5bc28b5e3ea6cb5",
    ("skimage", "data/chelsea.png"): "596aa1e7cb875eb79f437e310381d26b338a81c2da23439704a73c4651e8c4bb",
    ("skimage", "data/coffee.png"): "cc02f8ca188b167c775a7101b5d767d1e71792cf762c33d6fa15a4599b5a8de7",
    ("skimage", "data/motorcycle_left.png"): "db18e9c4157617403c3537a6ba355dfeafe9a7eabb6b9b94cb33f6525dd49179",
    ("skimage", "data/rocket.jpg"): "c2dd0de7c538df8d111e479619b129464d0269d0ae5fd18ca91d33a7fdfea95c",
    ("sklearn", "datasets/images/china.jpg"): "8378025ad2519d649d02e32bd98990db4ab572357d9f09841c2fbfbb4fefad29",
    ("sklearn", "datasets/images/flower.jpg"): "a77f6ec41e353afdf8bdff2ea981b2955535d8d83294f8cfa49cf4e423dd5638",
    ("matplotlib", HOPPER): "a8ca6d734765703b09728ab47fe59f473d93ae3967fc24c7c0288c3c7adb7130",
}
SHARE = {"reference": 0.60, "train": 0.16, "val": 0.10, "test": 0.14}  # of a photograph's width
COUNT = {"reference": 30_000, "train": 3_000, "val": 900, "test": 2_100}
FLAT_BELOW = 4.0  # grey levels; a patch whose pixels have a smaller standard deviation is nearly constant
FLAT_SHARE = 0.1
CONSTANT_BELOW = 1.0  # grey levels; patches below, as of saturated sky, are left out, since they repeat


def photograph(package: str, file: str) -> np.ndarray:
    """Read a photograph as uint8 `(h, w, 3)`; raise `InputError` if its file is missing or has another checksum."""
    from PIL import Image

    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        wanted = "`pip install scikit-image scikit-learn matplotlib`"
        raise InputError(f"photos: package {package} is not installed; {wanted}")
    path = Path(spec.origin).parent / file
    files.check_sha256(path, PHOTOGRAPHS[package, file])
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def regions(length: int, rotation: int) -> dict[str, tuple[int, int]]:
    """Cut ``[0, length)`` into an interval for each split, in an order rotated by `rotation`, with gaps of `PATCH`."""
    names = list(SHARE)
    names = names[rotation % len(names) :] + names[: rotation % len(names)]
    free = length - PATCH * (len(names) - 1)
    start, cut = 0, {}
    for name in names:
        stop = start + round(free * SHARE[name])
        cut[name] = (start, min(stop, length))
        start = stop + PATCH
    return cut


def cut_patches(split: str) -> np.ndarray:
    """Cut the patches of a split: uint8 `(COUNT[split], 3, 32, 32)`, the same on every machine.

    Each photograph gives equally many distinct patches, at random positions from a fixed seed; at most a tenth of them
    are nearly constant.
    """
    rng = np.random.default_rng(list(SHARE).index(split))
    share = -(-COUNT[split] // len(PHOTOGRAPHS))
    patches = np.concatenate(
        [_from_photograph(number, key, split, share, rng) for number, key in enumerate(PHOTOGRAPHS)]
    )
    return patches[rng.permutation(len(patches))[: COUNT[split]]]


def _from_photograph(number: int, key: tuple[str, str], split: str, n: int, rng: np.random.Generator) -> np.ndarray:
    picture = photograph(*key)
    start, stop = regions(picture.shape[1], number)[split]
    windows = np.lib.stride_tricks.sliding_window_view(picture[:, start:stop], (PATCH, PATCH), axis=(0, 1))
    positions = rng.permutation(windows.shape[0] * windows.shape[1])[: max(3 * n, 4000)]
    patches = windows[np.unravel_index(positions, windows.shape[:2])]  # (3n, c, h, w)
    deviation = patches.std(axis=(2, 3), dtype=np.float32).mean(axis=1)
    flat = deviation < FLAT_BELOW
    admitted = np.cumsum(flat) <= FLAT_SHARE * n
    patches = patches[(deviation >= CONSTANT_BELOW) & (~flat | admitted)]
    return np.stack(list({patch.tobytes(): patch for patch in patches}.values()))[:n]
