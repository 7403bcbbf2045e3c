"""Real image sets: one call, `load_real`, and four disjoint splits.

`reference` is X_R, the images that stand for the data manifold and on which generators train. `train`, `val` and `test`
are held-out reals: the *real class* of an attribution task. The splits share no image, by content hash.
"""

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from manifpt.data import photos
from manifpt.utils import cache, files, paths
from manifpt.utils.errors import InputError

REAL = "real"  # the label of real images
FEWEST = 24  # images of a folder, so that none of its splits is empty
SPLITS = ("reference", "train", "val", "test")
SIZE = 32
HELD_OUT_SHARE = {"train": (0.0, 0.5), "val": (0.5, 0.65), "test": (0.65, 1.0)}  # of the images that are not reference

DATASETS = {
    "fashion-mnist": "20,000 + 4,000 garments of Fashion-MNIST, 1 channel; embedded in the repository",
    "fashion-mnist-full": "all 70,000 of Fashion-MNIST, through torchvision",
    "photos": "30,000 + 6,000 colour patches of the photographs inside installed wheels",
    "cifar10": "50,000 + 10,000 of CIFAR-10, through torchvision or the folder named by MANIFPT_CIFAR10",
    "celeba": "CelebA faces, centre-cropped to 178 and resized to 32, through torchvision",
    "folder": "any folder of images: load_real('folder', path=…)",
}


def load_real(name: str, *, split: str = "reference", path: Path | str | None = None, **options) -> np.ndarray:
    """Real images of one split.

    Parameters
    ----------
    name
        A key of `DATASETS`.
    split
        ``reference``, ``train``, ``val`` or ``test``.
    path
        For ``folder``: the folder, searched with its sub-folders.
    **options
        For ``folder``: ``size`` (32), ``fit`` (``"crop"``: resize the short side, then centre-crop; ``"stretch"``:
        resize both sides; ``"centre"``: centre-crop without resampling), ``channels`` (3).

    Returns
    -------
    uint8 array of shape (n, c, 32, 32), read-only by convention: a cached array may be shared.

    Raises
    ------
    InputError
        Unknown name, split or option; images that are neither there nor downloadable; a damaged file.
    """
    _check_choice("name", name, DATASETS)
    _check_choice("split", split, SPLITS)
    if name == "folder":
        if path is None:
            raise InputError("load_real('folder'): argument path is missing; name the folder that holds the images")
        for option in options:
            _check_choice("option", option, ("size", "fit", "channels"))
        return _split_of_pool(read_folder(path, **options), split)
    if path is not None or options:
        raise InputError(f"load_real({name!r}): takes no path or options; they are for 'folder'")
    if name == "photos":
        return cache.memory().cache(_cut_patches)(split, files.sha256(photos.__file__))
    reference, held_out = _PARTS[name]()
    return reference if split == "reference" else _held_out(held_out, reference, split)


def load_real_labels(name: str, *, split: str = "reference") -> np.ndarray:
    """Class of each image of ``load_real(name, split=split)``, int64 `(n,)`; for ``fashion-mnist`` and ``cifar10``."""
    _check_choice("name with labels", name, _LABELS)
    _check_choice("split", split, SPLITS)
    reference, held_out = _PARTS[name]()
    labels = _LABELS[name]()
    if split == "reference":
        return labels[0]
    return labels[1][_held_out_index(held_out, reference, split)]


def check_disjoint(**batches: np.ndarray) -> None:
    """Raise `InputError` if two of the named image batches share an image (same pixels)."""
    seen: dict[bytes, str] = {}
    for name, images in batches.items():
        for number, digest in enumerate(_digests(images)):
            if seen.setdefault(digest, name) != name:
                raise InputError(f"{name}: image {number} is also in {seen[digest]}; the two must share no image")


def read_folder(path: Path | str, *, size: int = SIZE, fit: str = "crop", channels: int = 3) -> np.ndarray:
    """All images below a folder, in sorted order, duplicates dropped: uint8 `(n, channels, size, size)`.

    Raises
    ------
    InputError
        No such folder, no image in it, a file that is not an image, or one too small for ``fit="centre"``.
    """
    _check_choice("fit", fit, ("crop", "stretch", "centre"))
    _check_choice("channels", channels, (1, 3))
    if size < 1:
        raise InputError(f"size must be at least 1, not {size}")
    return np.stack(list({image.tobytes(): image for _, image in _decode_below(path, size, fit, channels)}.values()))


def _decode_below(path: Path | str, size: int, fit: str, channels: int):
    from PIL import Image, ImageOps

    from manifpt.data.pictures import decode, find

    for file in find(path):
        image = decode(file).convert("RGB" if channels == 3 else "L")
        if fit == "centre" and min(image.size) < size:
            raise InputError(f"{file}: {image.width}x{image.height} is smaller than {size}; use fit='crop'")
        if fit == "crop":
            image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        elif fit == "stretch":
            image = image.resize((size, size), Image.Resampling.LANCZOS)
        else:
            left, top = (image.width - size) // 2, (image.height - size) // 2
            image = image.crop((left, top, left + size, top + size))
        yield file, np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)  # (c, h, w)


def _check_choice(what: str, value: object, choices) -> None:
    if not isinstance(value, str | int) or value not in choices:
        raise InputError(f"{what} {value!r} is unknown; choose one of {', '.join(map(str, choices))}")


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in np.ascontiguousarray(images)]


def _held_out_index(held_out: np.ndarray, reference: np.ndarray, split: str) -> np.ndarray:
    """Index of one split's images among the held-out ones, copies of reference or earlier held-out images left out."""
    known, keep = set(_digests(reference)), []
    for index, digest in enumerate(_digests(held_out)):
        if digest not in known:
            keep.append(index)
            known.add(digest)
    start, stop = HELD_OUT_SHARE[split]
    return np.array(keep[round(start * len(keep)) : round(stop * len(keep))], np.int64)


def _held_out(held_out: np.ndarray, reference: np.ndarray, split: str) -> np.ndarray:
    return held_out[_held_out_index(held_out, reference, split)]


def _split_of_pool(images: np.ndarray, split: str) -> np.ndarray:
    """Splits of a set that has none of its own: five sixths reference, the rest held out, by a fixed permutation."""
    if len(images) < FEWEST:
        raise InputError(f"folder: {len(images)} distinct images; at least {FEWEST} are needed for four splits")
    order = np.random.default_rng(0).permutation(len(images))
    cut = len(images) * 5 // 6
    reference, held_out = images[order[:cut]], images[order[cut:]]
    return reference if split == "reference" else _held_out(held_out, reference, split)


def _fashion_manifest() -> tuple[Path, dict]:
    folder = paths.data() / "fashion-mnist"
    return folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _fashion() -> tuple[np.ndarray, np.ndarray]:
    folder, manifest = _fashion_manifest()
    parts = []
    for part in ("reference", "heldout"):
        for mosaic in manifest[part]["mosaics"]:
            files.check_sha256(folder / mosaic["file"], mosaic["sha256"])
        parts.append(
            np.concatenate([files.load_mosaic(folder / m["file"], m["images"]) for m in manifest[part]["mosaics"]])
        )
    return parts[0], parts[1]


def _fashion_labels() -> tuple[np.ndarray, np.ndarray]:
    folder, manifest = _fashion_manifest()
    files.check_sha256(folder / "labels.json", manifest["labels"]["sha256"])
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return tuple(np.array([int(digit) for digit in labels[part]]) for part in ("reference", "heldout"))


def _torchvision(name: str, make: Callable, ways: str) -> Sequence:
    """Both parts of a torchvision data set, downloaded where possible; else one error that names the ways to get it."""
    try:
        try:
            return [make(train, False) for train in (True, False)]
        except RuntimeError:  # not there yet
            return [make(train, True) for train in (True, False)]
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{name}: not on this machine and not downloadable ({error}). Three ways to get it: {ways}"
        ) from error


def _fashion_full() -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import FashionMNIST

    parts = _torchvision(
        "fashion-mnist-full",
        lambda train, download: FashionMNIST(paths.downloads(), train=train, download=download),
        "(1) go online and call again, torchvision downloads it; "
        f"(2) unpack the four *-ubyte.gz files of Fashion-MNIST into {paths.downloads()}/FashionMNIST/raw; "
        "(3) use 'fashion-mnist', the 24,000 embedded images",
    )
    return tuple(np.pad(part.data.numpy(), ((0, 0), (2, 2), (2, 2)))[:, None] for part in parts)


def _cut_patches(split: str, code: str) -> np.ndarray:
    """Photo patches, cached by the checksum of the `code` that cuts them, which names the photographs and theirs."""
    return photos.cut_patches(split)


def _cifar10_source() -> tuple[str, Path, str]:
    """How CIFAR-10 is read, from where, and what tells whether its files have changed."""
    if folder := os.environ.get("MANIFPT_CIFAR10"):
        found = sorted(Path(folder).rglob("*.*"))
        state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]
        return "folder", Path(folder), files.settings_hash(state)
    return "torchvision", paths.downloads(), ""  # torchvision checks its own files


def _read_cifar10(source: str, folder: Path, state: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images and labels of both parts, from a class-per-folder tree or through torchvision."""
    if source == "folder":
        parts = []
        for part in ("train", "test"):
            classes = {
                name: label
                for label, name in enumerate(sorted(p.name for p in (folder / part).glob("*") if p.is_dir()))
            }
            if len(classes) != 10:
                raise InputError(f"{folder / part}: holds {len(classes)} class folders, 10 expected (MANIFPT_CIFAR10)")
            decoded = list(_decode_below(folder / part, SIZE, "centre", 3))
            if stray := [file for file, _ in decoded if file.parent.parent != folder / part]:
                raise InputError(f"{stray[0]}: {part}/<class>/<image> expected (MANIFPT_CIFAR10)")
            order = np.random.default_rng(0).permutation(len(decoded))  # the folder is sorted by class
            images, labels = (
                np.stack([image for _, image in decoded]),
                [classes[file.parent.name] for file, _ in decoded],
            )
            parts += [images[order], np.array(labels)[order]]
        return tuple(parts)
    from torchvision.datasets import CIFAR10

    parts = _torchvision(
        "cifar10",
        lambda train, download: CIFAR10(folder, train=train, download=download),
        "(1) go online and call again, torchvision downloads it; "
        "(2) set MANIFPT_CIFAR10 to a folder {train,test}/<class>/*.png; "
        f"(3) put cifar-10-python.tar.gz, unpacked, into {folder}",
    )
    pairs = ((part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in parts)
    return tuple(array for pair in pairs for array in pair)


def _cifar10() -> tuple[np.ndarray, np.ndarray]:
    images = cache.memory().cache(_read_cifar10)(*_cifar10_source())
    return images[0], images[2]


def _cifar10_labels() -> tuple[np.ndarray, np.ndarray]:
    images = cache.memory().cache(_read_cifar10)(*_cifar10_source())
    return images[1], images[3]


def _celeba() -> tuple[np.ndarray, np.ndarray]:
    from torchvision.datasets import CelebA

    parts = _torchvision(
        "celeba",
        lambda train, download: CelebA(paths.downloads(), split="train" if train else "test", download=download),
        "(1) go online and call again, torchvision downloads it (needs the package gdown); "
        f"(2) put img_align_celeba and the list files into {paths.downloads()}/celeba; "
        "(3) use load_real('folder', path=…) on your copy",
    )
    return tuple(cache.memory().cache(_shrink_faces, ignore=["part"])(part, len(part)) for part in parts)


def _shrink_faces(part: Sequence, n: int) -> np.ndarray:
    return np.stack(
        [np.asarray(part[i][0].crop((0, 20, 178, 198)).resize((SIZE, SIZE))).transpose(2, 0, 1) for i in range(n)]
    )


_PARTS = {
    "fashion-mnist": _fashion,
    "fashion-mnist-full": _fashion_full,
    "cifar10": _cifar10,
    "celeba": _celeba,
}
_LABELS = {"fashion-mnist": _fashion_labels, "cifar10": _cifar10_labels}
