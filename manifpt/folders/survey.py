"""Folders of other people's images: surveyed in full before any work, then streamed through a manifold to disk.

The sub-folders of one folder are the models, the other folder holds the real images. Five sixths of the real ones, by a
fixed permutation, are the reference set; the rest is the class ``real``. Results depend on the pictures and their
sorted names alone: not on workers, on the size of blocks, or on the order in which a disk lists files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import FEWEST
from manifpt.folders.rules import Rule, check_rule, common_size, differences
from manifpt.manifold import Manifold
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import REAL

BLOCK = 2**25  # numbers of the images that are worked on at a time
PART = 500  # pictures after which what was made of them is kept, so that an interrupted run goes on there


@dataclass(frozen=True)
class Stream:
    """How pictures become rows on disk: the rule, threads that decode, and whether a bar is shown."""

    rule: Rule
    workers: int = 1
    progress: bool = False

    def rows(self, some: Sequence[Picture], see: Callable[[np.ndarray], np.ndarray], *key) -> np.ndarray:
        """What `see` makes of the images of pictures, one block after the other, mapped from a file of the cache.

        Parameters
        ----------
        see
            uint8 images `(m, c, size, size)` to rows `(m, …)`.
        *key
            What `see` depends on, as JSON; with rule, pictures and version it names the file. Parts of many pictures
            have files of their own until all are there, so that an interrupted run finds what it had finished.

        Returns
        -------
        Array `(n, …)`, n = `sum(rule.count(picture))`, in the order of the pictures.
        """
        path, parts = self._path(some, key), [some[start : start + PART] for start in range(0, len(some), PART)]
        try:
            rows = np.load(path, mmap_mode="r")
        except (OSError, ValueError, EOFError):  # not there, or damaged: made anew
            whole = len(parts) == 1
            made = map(see, self._blocks(some)) if whole else (self.rows(part, see, *key) for part in parts)
            rows = files.save_rows(path, made, sum(map(self.rule.count, some)))
        if len(parts) > 1:
            for part in parts:
                self._path(part, key).unlink(missing_ok=True)
        return rows

    def _path(self, some: Sequence[Picture], key: Sequence) -> Path:
        what = [version("manifpt"), asdict(self.rule), [picture.digest for picture in some], *key]
        return paths.cache() / "folders" / f"{files.settings_hash(what)}.npy"

    def _blocks(self, some: Sequence[Picture]) -> Iterator[np.ndarray]:
        """The images of pictures in order, uint8 `(m, c, size, size)` with m as near to a full block as they allow."""
        waiting = []
        decoded = pictures.each(self.rule.images, [picture.path for picture in some], workers=self.workers)
        for images in tqdm(decoded, total=len(some), unit="image", disable=None if self.progress else True):
            waiting.append(images)
            if sum(part.size for part in waiting) >= BLOCK:
                yield np.concatenate(waiting)
                waiting = []
        if waiting:
            yield np.concatenate(waiting)


@dataclass(frozen=True)
class Folders:
    """Real images and those of models, surveyed.

    Attributes
    ----------
    reference
        The real pictures that stand for the manifold.
    classes
        Held-out reals (``real``) and each model: label to its pictures, in a fixed random order.
    stream
        How they become images.
    warnings
        What a user must know before trusting a result: native differences, copies left out.
    """

    reference: list[Picture]
    classes: dict[str, list[Picture]]
    stream: Stream
    warnings: list[str] = field(default_factory=list)

    def fit(self, manifold: Manifold) -> tuple[Callable[[np.ndarray], np.ndarray], list]:
        """Fit a manifold to the reference; what it sees of images, and the key of that for `Stream.rows`."""
        images = self.stream.rows(self.reference, lambda block: block)
        manifold.fit(images, progress=self.stream.progress)
        made = [manifold.space, manifold.estimator, manifold.n_neighbors, manifold.ridge, manifold.seed]
        return lambda block: manifold.project(block).artifact, [made, [picture.digest for picture in self.reference]]


def survey(
    real: Path | str,
    generated: Path | str,
    *,
    rule: str = "centre-crop",
    size: int | None = None,
    equalise: bool = False,
    workers: int = 1,
    progress: bool = False,
) -> Folders:
    """Read every picture once, refuse what cannot be worked on, and say in what the models differ by origin.

    Parameters
    ----------
    real
        Folder of real images, with its sub-folders: 24 different ones at least.
    generated
        Folder whose sub-folders are the models.
    rule, size, equalise
        See `manifpt.folders.rules`; size None: the smallest side, 64 at most.
    workers
        Threads that decode.

    Raises
    ------
    InputError
        Whatever is wrong with a folder or a file, by name; a picture that is in two classes.
    """
    check_rule(rule, size)
    files.check_writable(paths.cache() / "folders" / "rows.npy")
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: {workers!r}; a whole number from 1 on expected")
    named = {REAL: pictures.find(real)} | models(generated)
    if Path(real).resolve() in (Path(generated).resolve(), *Path(generated).resolve().parents):
        raise InputError(f"{generated}: lies in {real}, the folder of real images; keep the two apart")
    found, copies = _distinct(look_at(named, workers=workers, progress=progress))
    if len(found[REAL]) < FEWEST:
        raise InputError(f"{real}: {len(found[REAL])} different images; {FEWEST} at least are needed as real images")
    everything = [picture for some in found.values() for picture in some]
    channels = 1 if all(picture.grey for picture in everything) else 3
    stream = Stream(Rule(rule, size or common_size(everything), channels, equalise), workers, progress)
    for picture in everything:
        stream.rule.check(picture)
    warnings = differences(found)
    if warnings and not equalise and not all("size" in line for line in warnings):
        warnings.append("--equalise re-encodes all images alike; it hides the last compression, not earlier ones")
    warnings += [f"{label}: copies left out, {n} in all" for label, n in copies.items() if n]
    mixed = {label: shuffled(some) for label, some in found.items()}
    cut = len(mixed[REAL]) * 5 // 6
    return Folders(mixed[REAL][:cut], mixed | {REAL: mixed[REAL][cut:]}, stream, warnings)


def models(generated: Path | str) -> dict[str, list[Path]]:
    """The sub-folders of a folder as models: name to files, sorted; `InputError` for any other arrangement."""
    folder = pictures.check_folder(generated)
    entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith("."))
    if loose := [entry for entry in entries if not entry.is_dir() and pictures.is_picture(entry.name)]:
        raise InputError(f"{loose[0]}: beside the models' folders; move it into the folder of the model that made it")
    named = {entry.name: entry for entry in entries if entry.is_dir()}
    if not named:
        raise InputError(f"{folder}: has no sub-folders; put the images of each model into one of its name")
    if REAL in named:
        raise InputError(f"{named[REAL]}: the name 'real' is that of the real images; give the model another one")
    return {label: pictures.find(entry) for label, entry in named.items()}


def look_at(named: Mapping[str, Sequence[Path]], *, workers: int, progress: bool) -> dict[str, list[Picture]]:
    """Every file of every class decoded once and described; `InputError` for the first that cannot be."""
    described = pictures.each(pictures.look, (path for some in named.values() for path in some), workers=workers)
    total = sum(map(len, named.values()))
    watched = iter(tqdm(described, "survey", total, unit="image", disable=None if progress else True))
    return {label: [next(watched) for _ in some] for label, some in named.items()}


def shuffled(some: Sequence[Picture]) -> list[Picture]:
    """The pictures in an order that depends on their number alone."""
    return [some[index] for index in np.random.default_rng(0).permutation(len(some))]


def _distinct(classes: Mapping[str, Sequence[Picture]]) -> tuple[dict[str, list[Picture]], dict[str, int]]:
    """Each class without copies, and how many those were; `InputError` for a picture in two classes."""
    owner: dict[str, tuple[str, Path]] = {}
    for label, some in classes.items():
        for picture in some:
            first, path = owner.setdefault(picture.digest, (label, picture.path))
            if first != label:
                raise InputError(f"{picture.path}: the same image as {path}; one class only may have it, remove one")
    kept = {label: list({p.digest: p for p in reversed(some)}.values())[::-1] for label, some in classes.items()}
    return kept, {label: len(classes[label]) - len(some) for label, some in kept.items()}
