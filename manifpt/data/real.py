"""Real image sets: `load_real` reads them in four disjoint splits.

`reference` is X_R, the images that stand for the data manifold and on which generators train. `train`, `val` and `test`
are held-out reals: the *real class* of an attribution task. The splits share no image, by content hash.
"""

import hashlib
import json
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import numpy as np

from manifpt.data import photos
from manifpt.data.photographs import RIM, load_crops
from manifpt.utils import files, paths
from manifpt.utils.cache import cache_key, stored
from manifpt.utils.errors import InputError, check_choice

REAL = "real"  # the label of real images
FEWEST = 24  # images of a folder, so that none of its splits is empty
SPLITS = ("reference", "train", "val", "test")
SIZE = 32
HELD_OUT_SHARE = {"train": (0.0, 0.5), "val": (0.5, 0.65), "test": (0.65, 1.0)}  # of the images that are not reference

DATASETS = {
    "fashion-mnist": "20,000 + 4,000 garments of Fashion-MNIST, 1 channel; embedded in the repository",
    "fashion-mnist-full": "all 70,000 of Fashion-MNIST, through torchvision",
    "photos": "30,000 + 6,000 colour patches of the photographs inside installed wheels",
    "photographs": "500 + 300 colour crops of 128 pixels, of 35 photographs with free licences; in the repository",
    "cifar10": "50,000 + 10,000 of CIFAR-10, through torchvision or the folder named by MANIFPT_CIFAR10",
    "celeba": "CelebA faces, centre-cropped to 178 and resized to 32, through torchvision",
    "folder": "any folder of images: load_real('folder', path=…)",
}
WAYS = {  # to get a set that torchvision reads and that is not here, after the first one, to go online
    "fashion-mnist-full": "(2) unpack the four *-ubyte.gz files of Fashion-MNIST into {}/FashionMNIST/raw; "
    "(3) use 'fashion-mnist', the 24,000 embedded images",
    "cifar10": "(2) set MANIFPT_CIFAR10 to a folder {{train,test}}/<class>/*.png; "
    "(3) put cifar-10-python.tar.gz, unpacked, into {}",
    "celeba": "(2) put img_align_celeba and the list files into {}/celeba, or install gdown for the download; "
    "(3) use load_real('folder', path=…) on your copy",
}


def load_real(name: str, *, split: str = "reference", path: Path | str | None = None, **options) -> np.ndarray:
    """Read the real images of one split.

    Parameters
    ----------
    name
        A key of `DATASETS`.
    split
        ``reference``, ``train``, ``val`` or ``test``.
    path
        For ``folder``: the folder, which is searched with its sub-folders.
    **options
        For ``folder``: ``size`` (32) of the images, to which the short side is resized before the long side is cropped
        around the centre; ``channels`` (3), 1 or 3.

    Returns
    -------
    uint8 array of shape (n, c, h, w); of 32 x 32 pixels, of ``photographs`` 128 x 128.

    Raises
    ------
    InputError
        Unknown name, split or option; images that are neither there nor downloadable; a damaged file.

    Examples
    --------
    >>> load_real("fashion-mnist", split="val").shape
    (600, 1, 32, 32)
    """
    check_choice("name", name, DATASETS)
    check_choice("split", split, SPLITS)
    if name == "folder":
        if path is None:
            raise InputError("load_real('folder'): argument path is missing; name the folder that holds the images")
        for option in options:
            check_choice("option", option, ("size", "channels"))
        images = read_folder(path, **options)
        if len(images) < FEWEST:
            raise InputError(f"folder: {len(images)} distinct images; at least {FEWEST} are needed for four splits")
        order, cut = np.random.default_rng(0).permutation(len(images)), len(images) * 5 // 6
        parts = {"reference": images[order[:cut]], "heldout": images[order[cut:]]}
        return _split(parts.__getitem__, split)
    if path is not None or options:
        raise InputError(f"load_real({name!r}): takes no path or options; they are for 'folder'")
    if name == "photographs":
        crops, rim = load_crops(split), RIM if split != "reference" else 0
        return crops[:, :, rim : crops.shape[2] - rim, rim : crops.shape[3] - rim]
    if name == "photos":
        return stored("photos", cache_key(split, code=photos.__name__), lambda: photos.cut_patches(split))
    return _split(_IMAGES.get(name, partial(_torchvision_images, name)), split)


def load_real_labels(name: str, *, split: str = "reference") -> np.ndarray:
    """Read the class of each image of ``load_real(name, split=split)``, int64 `(n,)`, of a set that has classes.

    These are ``fashion-mnist`` and ``cifar10``.
    """
    check_choice("name with labels", name, _LABELS)
    check_choice("split", split, SPLITS)
    if split == "reference":
        return _LABELS[name](split)
    return _LABELS[name]("heldout")[_held_out_index(_IMAGES[name]("reference"), _IMAGES[name]("heldout"), split)]


def check_disjoint(**batches: np.ndarray) -> None:
    """Raise `InputError` if two of the named image batches share an image (same pixels)."""
    seen: dict[bytes, str] = {}
    for name, images in batches.items():
        for number, digest in enumerate(_digests(images)):
            if seen.setdefault(digest, name) != name:
                raise InputError(f"{name}: image {number} is also in {seen[digest]}; the two must share no image")


def read_folder(path: Path | str, *, size: int = SIZE, channels: int = 3) -> np.ndarray:
    """Read all images below a folder in sorted order, each image once: uint8 `(n, channels, size, size)`.

    Raise `InputError` for a folder that is not there or holds no image, and for a file that is not an image.
    """
    from manifpt.data.pictures import find

    check_choice("channels", channels, (1, 3))
    if size < 1:
        raise InputError(f"size must be at least 1, not {size}")
    return np.stack(list({image.tobytes(): image for image in _decoded(find(path), size, channels)}.values()))


def _decoded(paths: Iterable[Path], size: int, channels: int) -> Iterable[np.ndarray]:
    """Yield each picture as uint8 `(channels, size, size)`."""
    from PIL import Image, ImageOps

    from manifpt.data.pictures import decode

    for path in paths:
        image = decode(path).convert("RGB" if channels == 3 else "L")
        image = ImageOps.fit(image, (size, size), Image.Resampling.LANCZOS)
        yield np.atleast_3d(np.asarray(image)).transpose(2, 0, 1)  # (c, h, w)


def _digests(images: np.ndarray) -> list[bytes]:
    return [hashlib.sha256(image.tobytes()).digest() for image in np.ascontiguousarray(images)]


def _split(read, split: str) -> np.ndarray:
    """Take one split of a set whose parts ``reference`` and ``heldout`` are read by ``read(part)``."""
    reference = read("reference")
    if split == "reference":
        return reference
    held_out = read("heldout")
    return held_out[_held_out_index(reference, held_out, split)]


def _held_out_index(reference: np.ndarray, held_out: np.ndarray, split: str) -> np.ndarray:
    """Return the rows of a split among the held-out images; copies of earlier or reference images are in no split."""
    known, keep = set(_digests(reference)), []
    for index, digest in enumerate(_digests(held_out)):
        if digest not in known:
            keep.append(index)
            known.add(digest)
    start, stop = HELD_OUT_SHARE[split]
    return np.array(keep[round(start * len(keep)) : round(stop * len(keep))], np.int64)


def _fashion_manifest() -> tuple[Path, dict]:
    folder = paths.data() / "fashion-mnist"
    return folder, json.loads((folder / "manifest.json").read_text(encoding="utf-8"))


def _fashion(part: str) -> np.ndarray:
    from manifpt.data.mosaics import load_mosaic

    folder, manifest = _fashion_manifest()
    for mosaic in manifest[part]["mosaics"]:
        files.check_sha256(folder / mosaic["file"], mosaic["sha256"])
    return np.concatenate([load_mosaic(folder / m["file"], m["images"]) for m in manifest[part]["mosaics"]])


def _fashion_labels(part: str) -> np.ndarray:
    folder, manifest = _fashion_manifest()
    files.check_sha256(folder / "labels.json", manifest["labels"]["sha256"])
    labels = json.loads((folder / "labels.json").read_text(encoding="utf-8"))
    return np.array([int(digit) for digit in labels[part]])


def _torchvision(name: str, part: str):
    """Open one part of a torchvision data set, downloaded if need be; else raise an error with three ways to get it."""
    from torchvision import datasets

    train, root = part == "reference", paths.downloads()
    make = {
        "fashion-mnist-full": partial(datasets.FashionMNIST, root, train=train),
        "cifar10": partial(datasets.CIFAR10, root, train=train),
        "celeba": partial(datasets.CelebA, root, split="train" if train else "test"),
    }[name]
    try:
        try:
            return make(download=False)
        except RuntimeError:  # not there yet
            return make(download=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{name}: not on this machine and not downloadable ({error}). Three ways to get it: "
            f"(1) go online and call again, torchvision downloads it; {WAYS[name].format(root)}"
        ) from error


def _torchvision_images(name: str, part: str) -> np.ndarray:
    found = _torchvision(name, part)
    if name == "cifar10":
        return found.data.transpose(0, 3, 1, 2)
    if name == "fashion-mnist-full":
        return np.pad(found.data.numpy(), ((0, 0), (2, 2), (2, 2)))[:, None]

    def shrink() -> np.ndarray:
        faces = (face.crop((0, 20, 178, 198)).resize((SIZE, SIZE)) for face, _ in found)
        return np.stack([np.asarray(face).transpose(2, 0, 1) for face in faces])

    return stored("celeba", cache_key([part, len(found)], code=__name__), shrink)


def _cifar10_files(part: str) -> tuple[list[Path], np.ndarray]:
    """Find the pictures below ``$MANIFPT_CIFAR10/{train,test}`` and their classes, in an order that mixes classes."""
    from manifpt.data.pictures import find

    folder = Path(os.environ["MANIFPT_CIFAR10"], "train" if part == "reference" else "test")
    classes = sorted(path.name for path in folder.glob("*") if path.is_dir())
    if len(classes) != 10:
        raise InputError(f"{folder}: holds {len(classes)} class folders, 10 expected (MANIFPT_CIFAR10)")
    found = find(folder)
    if stray := [file for file in found if file.parent.parent != folder]:
        raise InputError(f"{stray[0]}: {folder.name}/<class>/<image> expected (MANIFPT_CIFAR10)")
    found = [found[i] for i in np.random.default_rng(0).permutation(len(found))]
    return found, np.array([classes.index(file.parent.name) for file in found])


def _cifar10(part: str) -> np.ndarray:
    if not os.environ.get("MANIFPT_CIFAR10"):
        return _torchvision_images("cifar10", part)
    found, _ = _cifar10_files(part)
    state = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in found]
    key = cache_key(state, code=__name__)
    return stored("cifar10", key, lambda: np.stack(list(_decoded(found, SIZE, 3))))


def _cifar10_labels(part: str) -> np.ndarray:
    if os.environ.get("MANIFPT_CIFAR10"):
        return _cifar10_files(part)[1]
    return np.array(_torchvision("cifar10", part).targets)


_IMAGES = {"fashion-mnist": _fashion, "cifar10": _cifar10}
_LABELS = {"fashion-mnist": _fashion_labels, "cifar10": _cifar10_labels}
