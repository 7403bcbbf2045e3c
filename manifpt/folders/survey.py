"""Folders of a user's images: surveyed in full before any work, then streamed through a manifold to disk.

The sub-folders of one folder are the models; the other folder holds the real images. Five sixths of the real images, by
a fixed permutation, are the reference set; the rest are the class ``real``. Results depend on the pixels and the sorted
names of the files alone: not on the number of workers, the size of blocks, or the order in which a disk lists files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import FEWEST, REAL
from manifpt.embeddings import embed
from manifpt.folders.rules import USUAL_SIZE, WHOLE_SIZE, Rule, check_rule, differences
from manifpt.manifold import Manifold
from manifpt.search.estimators import gaussian
from manifpt.utils import files, paths
from manifpt.utils.cache import cache_key
from manifpt.utils.errors import InputError

BLOCK = 2**25  # pixel values of the images that are processed at a time
PART = 500  # pictures in a part whose rows are kept, so that an interrupted run continues after it


@dataclass(frozen=True)
class Stream:
    """How pictures become rows on disk: the rule, the number of threads that decode, and whether a bar is shown."""

    rule: Rule
    workers: int = 1
    progress: bool = False

    def images(self, some: Sequence[Picture]) -> np.ndarray:
        """The images of pictures, uint8 `(n, c, size, size)`, mapped from a file of the cache; errors as `rows`."""
        return self.rows(some, lambda block: block)

    def rows(self, some: Sequence[Picture], function: Callable[[np.ndarray], np.ndarray], key: str = "") -> np.ndarray:
        """Apply a function to the images of pictures, block by block; keep the rows in a file of the cache and map it.

        The function maps uint8 images `(m, c, size, size)` to rows `(m, …)`; the key names all that it depends on, see
        `projection`. Parts of many pictures have files of their own until all rows are there: an interrupted run
        continues after the last of them. `InputError` for a picture that cannot be read any more, or has other pixels
        than when it was surveyed.
        """
        path, parts = self._path(some, key), [some[start : start + PART] for start in range(0, len(some), PART)]
        n = sum(map(self.rule.count, some))
        try:
            if len(rows := np.load(path, mmap_mode="r")) != n:
                raise ValueError
        except (OSError, ValueError, EOFError, TypeError):  # absent or damaged: computed anew
            whole = len(parts) == 1
            blocks = map(function, self._blocks(some)) if whole else (self.rows(part, function, key) for part in parts)
            rows = files.save_rows(path, blocks, n)
        if len(parts) > 1:
            for part in parts:
                self._path(part, key).unlink(missing_ok=True)
        return rows

    def _path(self, some: Sequence[Picture], key: str) -> Path:
        name = cache_key([asdict(self.rule), key], code=__name__, data=[picture.digest for picture in some])
        return paths.cache() / "folders" / f"{name}.npy"

    def _blocks(self, some: Sequence[Picture]) -> Iterator[np.ndarray]:
        """The images of pictures in order, uint8 `(m, c, size, size)`; m is the least that fills a block.

        Whole pictures come as a list of `(c, h, w)`.
        """
        joined = (lambda parts: [part[0] for part in parts]) if self.rule.name == "whole" else np.concatenate
        waiting = []
        decoded = pictures.each(lambda one: self.rule.images(one.path, one.digest), some, workers=self.workers)
        for images in tqdm(decoded, total=len(some), unit="image", disable=None if self.progress else True):
            waiting.append(images)
            if sum(part.size for part in waiting) >= BLOCK:
                yield joined(waiting)
                waiting = []
        if waiting:
            yield joined(waiting)


def projection(manifold: Manifold) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """The map of a fitted manifold from images to artifacts, and the key of all that it depends on."""
    depends = {"data": [manifold.reference_], "weights": manifold.weights_}
    key = cache_key(manifold.settings_, code=__name__, **depends)
    return lambda block: manifold.project(block).artifact, key


def restored(
    manifold: Manifold, reference: np.ndarray, *, progress: bool = False
) -> tuple[Callable[[np.ndarray], np.ndarray], str]:
    """The `projection` of a manifold fitted to the reference that `Folders.learn` gives."""
    if manifold.space != "psd":
        return projection(manifold.fit(reference, progress=progress))
    mean, _, whitening = gaussian(reference, manifold.shrinkage)
    key = cache_key(["psd", manifold.shrinkage], code=__name__, data=[reference])
    return lambda block: ((embed(block, "psd") - mean) @ whitening).astype(np.float32), key


@dataclass(frozen=True)
class Folders:
    """Real images and those of models, surveyed.

    Attributes
    ----------
    reference
        The real pictures that stand for the manifold.
    classes
        Held-out real pictures (``real``) and those of each model: label to pictures, in a fixed random order.
    stream
        How the pictures become images.
    warnings
        What a user must know before trusting a result: native differences, copies left out.
    """

    reference: list[Picture]
    classes: dict[str, list[Picture]]
    stream: Stream
    warnings: list[str] = field(default_factory=list)

    def learn(self, manifold: Manifold) -> np.ndarray:
        """What a manifold keeps of the real images: these, or in ``psd`` their vectors, as sizes may differ."""
        if manifold.space == "psd":
            return self.stream.rows(self.reference, lambda block: embed(block, "psd"), "psd")
        return self.stream.images(self.reference)


def survey_folders(
    real: Path | str,
    generated: Path | str,
    *,
    rule: str = "centre-crop",
    size: int | None = None,
    equalise: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Folders:
    """Read every picture once, refuse what cannot be used, and report native traits that tell the models apart.

    `InputError` for a folder or file that cannot be used, by name, and for a picture that is in two classes.

    Parameters
    ----------
    real
        Folder of at least 24 different real images; sub-folders are searched too.
    generated
        Folder whose sub-folders are the models.
    rule, size, equalise
        See `manifpt.folders.rules`; without a size, the smallest side of all pictures, 64 at most; 32 if whole.
    workers
        Number of threads that decode.
    """
    check_rule(rule, size)
    files.check_writable(paths.cache() / "folders" / "rows.npy")
    named = {REAL: pictures.find(real)} | find_models(generated, beside_real=True)
    if Path(real).resolve() in (Path(generated).resolve(), *Path(generated).resolve().parents):
        raise InputError(f"{generated}: lies in {real}, the folder of real images; keep the two apart")
    found, copies = distinct(look_at(named, workers=workers, progress=progress))
    if len(found[REAL]) < FEWEST:
        raise InputError(f"{real}: {len(found[REAL])} different images; {FEWEST} at least are needed as real images")
    everything = [picture for some in found.values() for picture in some]
    channels = 1 if all(picture.grey for picture in everything) else 3
    smallest = min(min(picture.width, picture.height) for picture in everything)
    size = size or (WHOLE_SIZE if rule == "whole" else min(USUAL_SIZE, smallest))
    stream = Stream(Rule(rule, size, channels, equalise), workers, progress)
    for picture in everything:
        stream.rule.check(picture)
    warnings = differences(found)
    if warnings and not equalise and not all("size" in line for line in warnings):
        warnings.append("--equalise re-encodes all images alike; it hides the last compression, not earlier ones")
    warnings += [f"{label}: copies left out, {n} in all" for label, n in copies.items() if n]
    order = {label: np.random.default_rng(0).permutation(len(some)) for label, some in found.items()}
    mixed = {label: [found[label][index] for index in some] for label, some in order.items()}
    cut = len(mixed[REAL]) * 5 // 6
    return Folders(mixed[REAL][:cut], mixed | {REAL: mixed[REAL][cut:]}, stream, warnings)


def find_models(generated: Path | str, *, beside_real: bool = False) -> dict[str, list[Path]]:
    """The sub-folders of a folder as models, name to sorted files; `InputError` for any other arrangement.

    Beside a folder of real images, none may be called ``real``.
    """
    folder = pictures.check_folder(generated)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if loose := [entry for entry in entries if not entry.is_dir() and pictures.is_picture(entry.name)]:
        raise InputError(f"{loose[0]}: beside the models' folders; move it into the folder of the model that made it")
    named = {entry.name: entry for entry in entries if entry.is_dir()}
    if not named:
        raise InputError(f"{folder}: has no sub-folders; put the images of each model into a sub-folder of its name")
    if beside_real and REAL in named:
        raise InputError(f"{named[REAL]}: the name 'real' is that of the real images; give the model another one")
    return {label: pictures.find(entry) for label, entry in named.items()}


def look_at(named: Mapping[str, Sequence[Path]], *, workers: int, progress: bool) -> dict[str, list[Picture]]:
    """Decode and describe every file of every class; `InputError` for the first that cannot be decoded."""
    described = pictures.each(pictures.look, (path for some in named.values() for path in some), workers=workers)
    total = sum(map(len, named.values()))
    watched = iter(tqdm(described, "survey", total, unit="image", disable=None if progress else True))
    return {label: [next(watched) for _ in some] for label, some in named.items()}


def distinct(classes: Mapping[str, Sequence[Picture]]) -> tuple[dict[str, list[Picture]], dict[str, int]]:
    """Each class without copies, and their number; `InputError` for a picture in two classes."""
    owner: dict[str, tuple[str, Path]] = {}
    for label, some in classes.items():
        for picture in some:
            first, path = owner.setdefault(picture.digest, (label, picture.path))
            if first != label:
                raise InputError(f"{picture.path}: the same image as {path}; one class only may have it, remove one")
    kept = {label: list({p.digest: p for p in reversed(some)}.values())[::-1] for label, some in classes.items()}
    return kept, {label: len(classes[label]) - len(some) for label, some in kept.items()}
