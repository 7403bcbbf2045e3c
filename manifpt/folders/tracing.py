"""Which of the models behind folders made an image: train on folders, keep all that is needed, predict on others.

A classifier is a folder: ``attributor.safetensors``, ``reference.npy`` (the real images), ``report.html``, and
``settings.json`` with their checksums and its own, which is written last: without it the folder is no classifier.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.attribution import Attributor
from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import HELD_OUT_SHARE
from manifpt.folders import report
from manifpt.folders.own import check_neighbours, manifold
from manifpt.folders.rules import TRAITS, Rule
from manifpt.folders.survey import Folders, Stream, look_at
from manifpt.manifold import Manifold
from manifpt.utils import files, paths
from manifpt.utils.arrays import chunks, take
from manifpt.utils.errors import InputError

FEWEST = 4  # images of a class, so that train, val and test each have one
PARTS = ("attributor.safetensors", "reference.npy", "report.html")
SHOWN = 200  # test images a class, at most, behind a spectrum


@dataclass(frozen=True)
class Split:
    """The pictures of one split, their labels, and how many images each becomes."""

    pictures: list[Picture]
    labels: np.ndarray
    counts: np.ndarray

    def image_labels(self) -> np.ndarray:
        """The label of each image, `(sum of counts,)`."""
        return np.repeat(self.labels, self.counts)


def split(folders: Folders) -> dict[str, Split]:
    """``train``, ``val`` and ``test``, classes in turn, so that any beginning of a split is balanced."""
    found = {}
    for name, (start, stop) in HELD_OUT_SHARE.items():
        cut = {
            label: [(label, picture) for picture in some[round(start * len(some)) : round(stop * len(some))]]
            for label, some in folders.classes.items()
        }
        pairs = [pair for pair in chain(*zip_longest(*cut.values())) if pair]
        counts = [folders.stream.rule.count(picture) for _, picture in pairs]
        found[name] = Split([p for _, p in pairs], np.array([label for label, _ in pairs]), np.array(counts))
    return found


def check_free(out: Path) -> None:
    """Raise `InputError` unless `out` can become the folder of a classifier and holds nothing that would be lost."""
    if (out / "settings.json").exists():
        raise InputError(f"{out}: holds a classifier already; name another folder, or remove this one")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; the name of a folder expected")
    there = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.exists() else set()
    if other := sorted(there - set(PARTS)):
        raise InputError(f"{out}: holds {other[0]}; a new or empty folder expected")
    files.check_writable(out / "settings.json")


def train(
    folders: Folders, chosen: Manifold, out: Path | str, *, epochs: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Train an `Attributor` on the artifacts of all classes, test it, and write the classifier's folder.

    Interrupted training goes on at its last epoch. Test images are seen once, by each network, at the end.

    Parameters
    ----------
    chosen
        Of `manifpt.folders.own.manifold`, not fitted.
    out
        A folder that is not there, is empty, or was left unfinished.
    epochs, seed
        Of `Attributor`.

    Returns
    -------
    Frame with a row a training: input (artifact, or ``control: the image itself``), n (training images), accuracy.

    Raises
    ------
    InputError
        Before any work: `out` is taken, a class has too few images, too few reference images for k.
    """
    out = files.as_path("out", out)
    check_free(out)
    check_neighbours(folders, chosen)
    for label, some in folders.classes.items():
        if len(some) < FEWEST:
            raise InputError(f"{label}: {len(some)} images; {FEWEST} at least for train, val and test, add some")
    options = {"epochs": epochs, "seed": seed}
    Attributor(**options).check()
    see, key = folders.fit(chosen)
    splits = split(folders)
    rows = {name: folders.stream.rows(part.pictures, see, key) for name, part in splits.items()}
    raw = {name: folders.stream.rows(part.pictures, lambda block: block) for name, part in splits.items()}
    n = len(splits["train"].pictures)
    trainings = [("control: the image itself", raw, n)]
    trainings += [("artifact", rows, max(n // part, len(folders.classes))) for part in (4, 2, 1)]
    curve = []
    for seen, arrays, most in trainings:
        attributor = _fitted(arrays, splits, most, options, progress=folders.stream.progress)
        right = _named(attributor, arrays["test"], splits["test"]) == splits["test"].labels
        curve.append((seen, most, right.mean()))
    frame = pd.DataFrame(curve, columns=["input", "n", "accuracy"])
    attributor.save(out / PARTS[0])
    files.save_rows(out / PARTS[1], chunks(chosen.reference_), len(chosen.reference_))
    files.write_text(out / PARTS[2], _report(folders, attributor, splits["test"], rows["test"], raw["test"], frame))
    settings = {"rule": asdict(folders.stream.rule), "traits": _traits(chain(*folders.classes.values()))}
    settings["manifold"] = {"space": chosen.space, "estimator": chosen.estimator, "k": chosen.n_neighbors}
    settings["sha256"] = {part: files.sha256(out / part) for part in PARTS}
    settings["checksum"] = files.settings_hash(settings)
    files.write_text(out / "settings.json", json.dumps(settings, indent=1) + "\n")
    return frame


def predict(
    classifier: Path | str, images: Path | str, csv: Path | str, *, workers: int = 1, progress: bool = False
) -> list[str]:
    """Write label and probability of each picture: columns file, label, probability, and ``p(<class>)`` for each.

    A picture that became several images has the mean of their probabilities.

    Parameters
    ----------
    classifier
        The folder of `train`.
    images
        A picture, or a folder of them with its sub-folders.

    Returns
    -------
    Warnings: native traits of the images that none had in training.

    Raises
    ------
    InputError
        Before any work: a classifier that is damaged or none, an image that cannot be read, a `csv` not writable.
    """
    folder = files.as_path("classifier", classifier)
    settings = _settings(folder)
    files.check_writable(csv, ending=".csv")
    images = files.as_path("images", images)
    found = [images] if images.is_file() else pictures.find(images)
    some = look_at({"": found}, workers=workers, progress=progress)[""]
    stream = Stream(Rule(**settings["rule"]), workers, progress)
    for picture in some:
        stream.rule.check(picture)
    attributor = Attributor.load(folder / PARTS[0])
    made = manifold(**settings["manifold"]).fit(np.load(folder / PARTS[1], mmap_mode="r"))
    key = [settings["manifold"], settings["sha256"]["reference.npy"]]
    rows = stream.rows(some, lambda block: made.project(block).artifact, key)
    probability = _mean_by_picture(attributor.predict_proba(rows), [stream.rule.count(picture) for picture in some])
    frame = pd.DataFrame(probability, columns=[f"p({label})" for label in attributor.classes_])
    frame.insert(0, "probability", probability.max(1))
    frame.insert(0, "label", attributor.classes_[probability.argmax(1)])
    frame.insert(0, "file", [str(path) if path == images else str(path.relative_to(images)) for path in found])
    with files.atomic(csv) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.4f")
    return _unseen(settings["traits"], some)


def _fitted(
    rows: Mapping[str, np.ndarray], splits: Mapping[str, Split], most: int, options: dict, *, progress: bool
) -> Attributor:
    """Trained on the first pictures of the training split; what it is asked then, it answers in full precision."""
    labels = {name: part.image_labels() for name, part in splits.items()}
    end = splits["train"].counts[:most].sum()
    attributor = Attributor(**options).fit(
        rows["train"][:end],
        labels["train"][:end],
        val=(rows["val"], labels["val"]),
        resume=paths.runs() / "folders",
        progress=progress,
    )
    attributor.set_params(precision="fp32")  # so that no label depends on which images are asked about together
    return attributor


def _named(attributor: Attributor, rows: np.ndarray, part: Split) -> np.ndarray:
    """The most probable label of each picture."""
    return attributor.classes_[_mean_by_picture(attributor.predict_proba(rows), part.counts).argmax(1)]


def _mean_by_picture(probability: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The mean of the rows that belong to each picture, `(pictures, C)`."""
    counts = np.asarray(counts)
    return np.add.reduceat(probability, np.cumsum(counts) - counts, axis=0) / counts[:, None]


def _report(
    folders: Folders, attributor: Attributor, part: Split, rows: np.ndarray, raw: np.ndarray, frame: pd.DataFrame
) -> str:
    """The report of a training, as HTML."""
    labels, mean, images = part.image_labels(), {}, {}
    for label in folders.classes:
        own = np.flatnonzero(labels == label)
        total = sum(take(rows, own[start : start + SHOWN]).sum(0) for start in range(0, len(own), SHOWN))
        mean[label], images[label] = total / len(own), take(raw, own[:SHOWN])
    return report.html(
        warnings=folders.warnings,
        rule=asdict(folders.stream.rule),
        curve=frame,
        truth=part.labels,
        named=_named(attributor, rows, part),
        mean=mean,
        images=images,
    )


def _settings(folder: Path) -> dict:
    """What a classifier was made with, its files checked."""
    path = folder / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        checksum, checksums = settings.pop("checksum"), {part: settings["sha256"][part] for part in PARTS[:2]}
        Rule(**settings["rule"]), manifold(**settings["manifold"]), settings["traits"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no classifier ({error}); a folder of `manifpt attribute train` expected") from error
    if files.settings_hash(settings) != checksum:
        raise InputError(f"{path}: changed since it was written; restore it, or train anew")
    for part, expected in checksums.items():
        files.check_sha256(folder / part, expected)
    return settings


def _traits(some) -> dict[str, list[str]]:
    some = list(some)
    return {trait: sorted({of(picture) for picture in some}) for trait, of in TRAITS.items()}


def _unseen(known: Mapping[str, Sequence[str]], some: Sequence[Picture]) -> list[str]:
    found = {trait: sorted(set(values) - set(known.get(trait, ()))) for trait, values in _traits(some).items()}
    return [
        f"{trait} {', '.join(values[:3])} was not in training; the labels may rest on that"
        for trait, values in found.items()
        if values
    ]
