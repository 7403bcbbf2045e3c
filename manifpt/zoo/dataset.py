"""GM datasets: a real set and samples of models trained on it, in three splits.

A GM dataset is a folder with ``manifest.json``, ``checkpoints/<label>.safetensors`` and ``samples/<label>.png`` (a
lossless mosaic; a few held-out reals may lie there, too, to be looked at). Where fewer samples ship than belong to the
dataset, the rest is drawn from the checkpoint when it is first asked for, and cached. A model may also be a published
network, whose images are made of the real set's held-out photographs; see `manifpt.zoo.published`. Of each model's
samples the first half is ``train``, the next 15 % ``val``, the rest ``test``; the class ``real`` holds the real set's
held-out images of the same split. A folder without a manifest, whose sub-folders hold images, is read, too.
"""

import json
import os
from collections.abc import Sequence
from copy import copy
from pathlib import Path

import numpy as np

from manifpt.data import mosaics, photographs, pictures
from manifpt.data.real import HELD_OUT_SHARE, REAL, check_disjoint, load_real
from manifpt.utils import files, paths
from manifpt.utils.cache import cache_key, stored
from manifpt.utils.errors import InputError, check_choice
from manifpt.zoo import published

LEVELS = ("L1", "L2", "L3")  # of difficulty: other families; one network; all the same but a seed or a noise level
PUBLISHED = "gm-upscaled"  # the dataset of networks that others published
REAL_GENERATORS = "MANIFPT_REAL_GENERATORS"  # names a folder of sets of images, which `load_gm("real-<set>")` reads


class GMDataset:
    """The models of one folder, or of several; of models with the same label, the one in the last folder counts.

    Attributes
    ----------
    folders
        Where the models lie.
    name
        Name of the dataset, for example ``gm-fashion``.
    real
        Name of its real set, for `manifpt.load_real`.
    models
        Model label to its entry in the manifest: family, citation, design choices, parameters, steps, quality, ….
    yardsticks
        The same quality scores of other real images and of a PCA-Gaussian.
    levels
        Level of difficulty, ``L1`` to ``L3``, to the models that an attribution task of that level tells apart.
    lineage
        Model to those that were trained from its weights, or anew on its network.

    Examples
    --------
    >>> import manifpt
    >>> gm = manifpt.load_gm("gm-fashion").only("dcgan", "ddpm")
    >>> gm.classes
    ('real', 'dcgan', 'ddpm')
    >>> images, labels = gm.task(10, split="val")
    >>> images.shape, labels.shape
    ((30, 1, 32, 32), (30,))
    """

    def __init__(self, *folders: Path | str):
        self.folders = tuple(map(Path, folders))
        manifests = {folder: read_manifest(folder) for folder in self.folders}
        first = manifests[self.folders[0]]
        self.name, self.real, self.yardsticks = first["name"], first["real"], first.get("yardsticks", {})
        self.levels = {level: tuple(members) for level, members in first.get("levels", {}).items()}
        self.lineage = first.get("lineage", {})
        self._reals = next(((folder, m["reals"]) for folder, m in manifests.items() if "reals" in m), None)
        self._folder = {label: folder for folder, manifest in manifests.items() for label in manifest["models"]}
        self.models = {label: manifests[folder]["models"][label] for label, folder in sorted(self._folder.items())}

    def __repr__(self) -> str:
        folders = ", ".join(map(str, self.folders))
        return f"<{self.name}: {len(self.models)} models of {self.real}, in {folders}>"

    def only(self, *labels: str) -> "GMDataset":
        """The same dataset with some of its models, in the manifest's order; `InputError` for an unknown one."""
        if not labels:
            raise InputError(f"{self.name}: no model named; choose one at least of {', '.join(self.models)}")
        for label in labels:
            self._record(label)
        some = copy(self)
        some.models = {label: record for label, record in self.models.items() if label in labels}
        return some

    @property
    def classes(self) -> tuple[str, ...]:
        """The held-out reals and every model, the labels of the full attribution task."""
        return (REAL, *self.models)

    def reference(self) -> np.ndarray:
        """The real images X_R that the models were trained on: uint8 `(n, c, h, w)`."""
        return load_real(self.real)

    def images(self, label: str, *, split: str | None = None) -> np.ndarray:
        """Images of one class, uint8 `(n, c, h, w)`: all of a model's samples, or those of a split.

        Of ``real`` without a split: the test split. `InputError` for an unknown class or split, and a sample file that
        is missing or damaged.
        """
        if label == REAL:
            return load_real(self.real, split=split or "test")
        if split is not None:
            check_choice("split", split, HELD_OUT_SHARE)
        images = self._samples(label)
        start, stop = HELD_OUT_SHARE[split] if split else (0.0, 1.0)
        return images[round(start * len(images)) : round(stop * len(images))]

    def preview(self, label: str, n: int) -> np.ndarray:
        """At most n images of a class, uint8 `(m, c, h, w)`: the first that ship; none is drawn from a checkpoint."""
        _check_count(n)
        if label == REAL and self._reals is None:
            return load_real(self.real, split="test")[:n]
        folder, record = self._reals if label == REAL else (self._folder.get(label), self._record(label)["samples"])
        return mosaics.load_mosaic(_checked(folder, record), min(n, record["shipped"]), record.get("side", 32))

    def sample(self, label: str, n: int, *, seed: int = 0, progress: bool = False) -> np.ndarray:
        """Draw n images of a model anew, uint8 `(n, c, h, w)`; a published network has no noise: its first n images.

        `InputError` for an unknown model or an impossible n; of a published network, for a seed, and for more images
        than there are photographs.
        """
        _check_count(n)
        if "network" not in self._record(label):
            checkpoint = self.checkpoint(label)
            from manifpt.zoo.sample import sample_images

            return sample_images(checkpoint, n, seed=seed, progress=progress)
        if seed != 0:
            raise InputError(f"seed: {seed}; {label} has no noise, so leave the seed out")
        if n > (most := self.models[label]["samples"]["n"]):
            raise InputError(f"n: {n} images; {label} enlarges {most} photographs, so {most} at most expected")
        return self._enlarged([label], n, progress)[label]

    def _enlarged(self, labels: Sequence[str], n: int | None = None, progress: bool = True) -> dict[str, np.ndarray]:
        """The first n images, or all, of published networks."""
        contents = np.concatenate([photographs.load_crops(split) for split in HELD_OUT_SHARE])[:n]
        networks = {label: published.Network(**self.models[label]["network"]) for label in labels}
        return published.make_images(networks, contents, jobs=os.cpu_count() or 1, progress=progress)

    def _record(self, label: str) -> dict:
        """A model's entry; `InputError` for an unknown model."""
        if not isinstance(label, str) or label not in self.models:
            remedy = f"choose one of {', '.join(self.models)}; `manifpt zoo list` says which dataset has which"
            raise InputError(f"{self.name}: no model {label!r}; {remedy}")
        return self.models[label]

    def _samples(self, label: str) -> np.ndarray:
        """All samples of a model: those that ship, and those that its checkpoint gives after them."""
        if "network" in self._record(label):
            return self._enlarged([label])[label]
        record = self.models[label]["samples"]
        shipped = self.preview(label, record["n"])
        if len(shipped) == record["n"]:
            return shipped
        checkpoint = self.checkpoint(label)
        drawn = {"n": record["n"], "seed": record["seed"], "first": len(shipped)}
        key = cache_key(drawn, code="manifpt.zoo.sample", weights=[checkpoint])

        def draw_rest() -> np.ndarray:
            from manifpt.zoo.sample import sample_images

            return sample_images(checkpoint, **drawn)

        return np.concatenate([shipped, stored("samples", key, draw_rest)])

    def check_splits(self) -> None:
        """Raise `InputError` if reference, training, validation and test images are not all different."""
        splits = {split: np.concatenate([*self.pools(split).values()]) for split in ("train", "val", "test")}
        check_disjoint(reference=self.reference(), **splits)

    def checkpoint(self, label: str) -> Path:
        """Path of a model's checkpoint, its checksum checked; `InputError` for a model that has none."""
        if "checkpoint" not in self._record(label):
            raise InputError(
                f"{self.name}: {label} has no checkpoint, as those have that the project trained; use its images"
            )
        return _checked(self._folder[label], self.models[label]["checkpoint"])

    def task(
        self, n_per_class: int | None, *, split: str, classes: Sequence[str] | None = None, seed: int = 0
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of an attribution task of the given classes, or of all; see `draw`."""
        return draw(self.pools(split, classes), n_per_class, seed=seed)

    def pools(self, split: str, classes: Sequence[str] | None = None) -> dict[str, np.ndarray]:
        """Class to its images of a split, for the given classes or all."""
        if isinstance(classes, str) or (classes is not None and not classes):
            raise InputError(f"classes: a list of names expected, not {classes!r}")
        labels = classes or self.classes
        if made := [label for label in labels if "network" in self.models.get(label, ())]:
            self._enlarged(made)  # in several processes
        return {label: self.images(label, split=split) for label in labels}


class FolderDataset(GMDataset):
    """A folder whose sub-folders are the classes: images of any size, read in three channels.

    The sub-folder ``real``, if there is one, holds real images; there are no reference images. The name of a file,
    without its ending, says in which split it is, so that contents that have the same names in all classes are in the
    same split. A class of images of several sizes is a list of uint8 `(3, h, w)`.
    """

    def __init__(self, folder: Path, name: str):
        below = sorted(path for path in pictures.check_folder(folder).iterdir() if path.is_dir())
        self._files = {path.name: pictures.find(path) for path in below if not path.name.startswith(".")}
        if not self._files:
            raise InputError(f"{folder}: no manifest.json and no sub-folder; a sub-folder of images a class expected")
        self.folders, self.name, self.real = (folder,), name, "folder"
        self.yardsticks, self.levels, self.lineage = {}, {}, {}
        self.models = {label: {"samples": {"n": len(found)}} for label, found in self._files.items() if label != REAL}

    @property
    def classes(self) -> tuple[str, ...]:
        """The real images, if there are any, and every model."""
        return (*(label for label in self._files if label == REAL), *self.models)

    def images(self, label: str, *, split: str | None = None) -> np.ndarray | list[np.ndarray]:
        """Images of one class: all of them, or those of a split; `InputError` if there is none."""
        if split is None:
            return _decoded(self._found(label))
        check_choice("split", split, HELD_OUT_SHARE)
        start, stop = HELD_OUT_SHARE[split]
        place = {path: int(files.settings_hash(path.stem), 16) / 16**12 for path in self._found(label)}
        chosen = [path for path in place if start <= place[path] < stop]
        if not chosen:
            raise InputError(f"{self.name}: {label} has no image in the split {split}; add images to its folder")
        return _decoded(chosen)

    def preview(self, label: str, n: int) -> np.ndarray | list[np.ndarray]:
        """At most n images of a class, in the order of their names."""
        _check_count(n)
        return _decoded(self._found(label)[:n])

    def _found(self, label: str) -> list[Path]:
        if label != REAL or REAL not in self._files:
            self._record(label)
        return self._files[label]


def _decoded(found: Sequence[Path]) -> np.ndarray | list[np.ndarray]:
    return _stacked([np.asarray(pictures.decode(path).convert("RGB")).transpose(2, 0, 1) for path in found])


def _check_count(n: int) -> None:
    if not isinstance(n, int | np.integer) or n < 1:
        raise InputError(f"n: {n!r} images; a whole number from 1 on expected")


def draw(pools: dict[str, np.ndarray], n_per_class: int | None, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many rows of each class, without replacement; None for as many as the smallest class has.

    They are rows `(n_classes * n_per_class, …)`, or a list if their shapes differ, and their classes, str
    `(n_classes * n_per_class,)`. `InputError` if a class has fewer.
    """
    smallest = min(pools, key=lambda label: len(pools[label]))
    n = len(pools[smallest]) if n_per_class is None else n_per_class
    if not isinstance(n, int | np.integer) or not 1 <= n <= len(pools[smallest]):
        expected = f"a whole number from 1 to {len(pools[smallest])}, the size of class {smallest!r}, expected"
        raise InputError(f"n_per_class: {n!r} images a class; {expected}")
    rng = np.random.default_rng(seed)
    rows = [pool[index] for pool in pools.values() for index in rng.permutation(len(pool))[:n]]
    return _stacked(rows), np.repeat(list(pools), n)


def _stacked(rows: list[np.ndarray]) -> np.ndarray | list[np.ndarray]:
    """Stack arrays of one shape; leave others in their list."""
    return np.stack(rows) if len({row.shape for row in rows}) == 1 else rows


def load_gm(name: str | Path) -> GMDataset:
    """Read a GM dataset by its name, with the models that ship and those of ``manifpt zoo train``, or by its folder.

    A folder without a manifest is a `FolderDataset`: a sub-folder of images a class. The name ``real-<set>`` means the
    folder of that set below the one that the environment variable ``MANIFPT_REAL_GENERATORS`` names.

    Raises
    ------
    InputError
        No such dataset; a manifest that is malformed; a sub-folder without images.

    Examples
    --------
    >>> gm = load_gm("gm-fashion")
    >>> gm.real, len(gm.models), gm.models["dcgan"]["family"]
    ('fashion-mnist', 17, 'GAN')
    >>> gm.preview("dcgan", 4).shape
    (4, 1, 32, 32)
    """
    if not isinstance(name, str | Path) or not str(name):
        raise InputError(f"GM dataset {name!r}: a name or a folder expected")
    homes = paths.data(), paths.home() / "gm"
    named = not isinstance(name, Path) and len(Path(name).parts) == 1
    folders = [home / name for home in homes] if named else [Path(name)]
    if found := [folder for folder in folders if (folder / "manifest.json").is_file()]:
        return GMDataset(*found)
    root = os.environ.get(REAL_GENERATORS)
    sets = {f"real-{path.name}": path for path in sorted(Path(root).glob("[!.]*"))} if root else {}
    if named and name in sets:
        return FolderDataset(sets[name], name)
    if Path(name).is_dir():
        return FolderDataset(Path(name), Path(name).name)
    manifests = [path for home in homes for path in home.glob("gm-*/manifest.json")]
    known = ", ".join([*sorted({path.parent.name for path in manifests}), *sets]) or "none"
    more = f"; {REAL_GENERATORS} names the folder of the sets real-…" if str(name).startswith("real-") else ""
    raise InputError(f"GM dataset {str(name)!r}: no folder with a manifest.json; those that are here: {known}{more}")


def _checked(folder: Path, record: dict) -> Path:
    """Path of a file of a GM dataset; `InputError` unless its checksum is that of the record."""
    path = folder / record["file"]
    files.check_sha256(path, record["sha256"])
    return path


def read_manifest(folder: Path) -> dict:
    """The manifest of a GM dataset's folder; `InputError` if it is missing or malformed, or names a file outside."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        entries = manifest["models"].values()
        records = [entry["samples"]["file"] for entry in entries]
        records += [entry["checkpoint"]["file"] for entry in entries if "network" not in entry]
        records += [manifest["reals"]["file"]] if "reals" in manifest else []
        manifest["name"], manifest["real"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not the manifest of a GM dataset ({error!r})") from error
    for record in records:
        if not (folder / record).resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{path}: names {record}, which is outside its folder")
    return manifest
