"""A classifier of images by the model that made them: trained on surveyed folders, kept in a folder of its own.

That folder holds ``attributor.safetensors``, ``reference.npy`` (the real images), ``report.html`` and
``settings.json``, which has the checksums of the others and its own, and is written last: a folder without it holds no
classifier.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, zip_longest
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.attribution import Attributor
from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import HELD_OUT_SHARE
from manifpt.embeddings import weights_of
from manifpt.folders.fingerprint import check_manifold, describe, make_manifold
from manifpt.folders.report import report_html
from manifpt.folders.rules import TRAITS, Rule
from manifpt.folders.survey import Folders, Stream, look_at, projection
from manifpt.manifold import Manifold
from manifpt.utils import files, paths
from manifpt.utils.arrays import chunks, take
from manifpt.utils.errors import InputError

FEWEST = 4  # images of a class, so that train, val and test each have one
PARTS = ("attributor.safetensors", "reference.npy", "report.html")
SHOWN = 200  # most test images of a class whose spectra the report averages


@dataclass(frozen=True)
class Split:
    """The pictures of one split, their labels, and the number of images made of each."""

    pictures: list[Picture]
    labels: np.ndarray
    counts: np.ndarray

    def image_labels(self) -> np.ndarray:
        """The label of each image, `(sum of counts,)`."""
        return np.repeat(self.labels, self.counts)


def split_classes(folders: Folders) -> dict[str, Split]:
    """Divide classes into ``train``, ``val`` and ``test``; the beginning of a split has equally many of each class."""
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
    """Raise `InputError` unless `out` can become the folder of a classifier without loss of other files."""
    if (out / "settings.json").exists():
        raise InputError(f"{out}: holds a classifier already; name another folder, or remove this one")
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; the name of a folder expected")
    there = {path.name for path in out.iterdir() if not path.name.startswith(".")} if out.exists() else set()
    if other := sorted(there - set(PARTS)):
        raise InputError(f"{out}: holds {other[0]}; a new or empty folder expected")
    files.check_writable(out / "settings.json")


def train_classifier(
    folders: Folders, manifold: Manifold, out: Path | str, *, epochs: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Train an `Attributor` on the artifacts of all classes, test it, and write the classifier's folder.

    Interrupted training continues after the last complete epoch. Each network sees the test images once, at the end.

    Parameters
    ----------
    manifold
        Of `manifpt.folders.fingerprint.make_manifold`, not fitted.
    out
        A folder that does not exist, is empty, or was left unfinished.
    epochs, seed
        Of `Attributor`.

    Returns
    -------
    Frame with one row a training: input (artifact, or ``control: the image itself``), n (training images), accuracy.

    Raises
    ------
    InputError
        Before any work: `out` is taken, a class has too few images, a manifold that does not fit the folders.
    """
    out = files.as_path("out", out)
    check_free(out)
    check_manifold(folders, manifold)
    for label, some in folders.classes.items():
        if len(some) < FEWEST:
            raise InputError(f"{label}: {len(some)} images; {FEWEST} at least for train, val and test, add some")
    options = {"epochs": epochs, "seed": seed}
    Attributor(**options).check()
    project, key = folders.fit(manifold)
    splits = split_classes(folders)
    artifacts = {name: folders.stream.rows(part.pictures, project, key) for name, part in splits.items()}
    images = {name: folders.stream.images(part.pictures) for name, part in splits.items()}
    n = len(splits["train"].pictures)
    trainings = [("control: the image itself", images, n)]
    trainings += [("artifact", artifacts, max(n // part, len(folders.classes))) for part in (4, 2, 1)]
    curve = []
    for seen, rows, most in trainings:
        attributor = _fitted(rows, splits, most, options, progress=folders.stream.progress)
        named = _labels(attributor, rows["test"], splits["test"].counts)
        curve.append((seen, most, (named == splits["test"].labels).mean()))
    frame = pd.DataFrame(curve, columns=["input", "n", "accuracy"])
    attributor.save(out / PARTS[0])
    files.save_rows(out / PARTS[1], chunks(manifold.reference_), len(manifold.reference_))
    means, shown = _summary(splits["test"].image_labels(), artifacts["test"], images["test"], folders.classes)
    rule, truth = asdict(folders.stream.rule), splits["test"].labels
    page = report_html(
        warnings=folders.warnings, rule=rule, curve=frame, truth=truth, named=named, mean=means, images=shown
    )
    files.write_text(out / PARTS[2], page)
    settings = {"rule": rule, "traits": _traits(chain(*folders.classes.values())), "manifold": describe(manifold)}
    settings["weights"] = [files.sha256(path) for path in manifold.weights_]
    settings["sha256"] = {part: files.sha256(out / part) for part in PARTS}
    settings["checksum"] = files.settings_hash(settings)
    files.write_text(out / "settings.json", json.dumps(settings, indent=1) + "\n")
    return frame


def predict_models(
    classifier: Path | str, images: Path | str, csv: Path | str, *, workers: int = 1, progress: bool = False
) -> list[str]:
    """Write a table of pictures: columns file, label, probability, and ``p(<class>)`` for each class.

    The probabilities of a picture are the mean of those of its images, where the rule makes several.

    Parameters
    ----------
    classifier
        The folder of `train_classifier`.
    images
        A picture, or a folder whose pictures, also in sub-folders, are read.
    workers
        Number of threads that decode.

    Returns
    -------
    Warnings: native traits of the pictures that no picture had in training.

    Raises
    ------
    InputError
        Before any work: no classifier, a damaged one or one of another network, a picture that cannot be read, a `csv`
        that cannot be written.
    """
    folder = files.as_path("classifier", classifier)
    settings, attributor, reference = _load(folder)
    files.check_writable(csv, ending=".csv")
    images = files.as_path("images", images)
    found = [images] if images.is_file() else pictures.find(images)
    some = look_at({"": found}, workers=workers, progress=progress)[""]
    stream = Stream(Rule(**settings["rule"]), workers, progress)
    for picture in some:
        stream.rule.check(picture)
    rows = stream.rows(some, *projection(make_manifold(**settings["manifold"]).fit(reference)))
    probability = _mean_by_picture(attributor.predict_proba(rows), [stream.rule.count(picture) for picture in some])
    frame = pd.DataFrame(probability, columns=[f"p({label})" for label in attributor.classes_])
    frame.insert(0, "probability", probability.max(1))
    frame.insert(0, "label", attributor.classes_[probability.argmax(1)])
    frame.insert(0, "file", [str(path) if path == images else str(path.relative_to(images)) for path in found])
    with files.atomic(csv) as temporary:
        frame.to_csv(temporary, index=False, float_format="%.4f")
    return [
        f"{trait} {', '.join(new[:3])} was not in training; the labels may rest on that"
        for trait, values in _traits(some).items()
        if (new := sorted(set(values) - set(settings["traits"].get(trait, ()))))
    ]


def _fitted(
    rows: Mapping[str, np.ndarray], splits: Mapping[str, Split], most: int, options: dict, *, progress: bool
) -> Attributor:
    """Trained on the first `most` pictures of the training split; its predictions are made in full precision."""
    labels = {name: part.image_labels() for name, part in splits.items()}
    end = splits["train"].counts[:most].sum()
    attributor = Attributor(**options).fit(
        rows["train"][:end],
        labels["train"][:end],
        val=(rows["val"], labels["val"]),
        resume=paths.runs() / "folders",
        progress=progress,
    )
    return attributor.set_params(precision="fp32")  # so that no label depends on which images share a batch


def _labels(attributor: Attributor, rows: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The most probable label of each picture."""
    return attributor.classes_[_mean_by_picture(attributor.predict_proba(rows), counts).argmax(1)]


def _mean_by_picture(probability: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The mean of the rows that belong to each picture, `(pictures, C)`."""
    counts = np.asarray(counts)
    return np.add.reduceat(probability, np.cumsum(counts) - counts, axis=0) / counts[:, None]


def _summary(
    labels: np.ndarray, artifacts: np.ndarray, images: np.ndarray, classes: Iterable[str]
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Mean artifact and first images of each class; `labels` `(n,)` are those of artifacts and images."""
    means, shown = {}, {}
    for label in classes:
        own = np.flatnonzero(labels == label)
        total = sum(take(artifacts, own[start : start + SHOWN]).sum(0) for start in range(0, len(own), SHOWN))
        means[label], shown[label] = total / len(own), take(images, own[:SHOWN])
    return means, shown


def _load(folder: Path) -> tuple[dict, Attributor, np.ndarray]:
    """Settings, network and real images of a classifier; `InputError` unless all is as it was in training."""
    path = folder / "settings.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        checksum, trained, space = settings.pop("checksum"), settings["weights"], settings["manifold"]["space"]
        checksums = {part: settings["sha256"][part] for part in PARTS[:2]}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: no classifier ({error}); a folder of `manifpt attribute train` expected") from error
    if files.settings_hash(settings) != checksum:
        raise InputError(f"{path}: changed since it was written; restore it, or train anew")
    for part, expected in checksums.items():
        files.check_sha256(folder / part, expected)
    if [files.sha256(weights) for weights in weights_of(space)] != trained:
        raise InputError(f"{folder}: space {space!r} has another network than in training; restore it, or train anew")
    return settings, Attributor.load(folder / PARTS[0]), np.load(folder / PARTS[1], mmap_mode="r")


def _traits(some: Iterable[Picture]) -> dict[str, list[str]]:
    some = list(some)
    return {trait: sorted({of(picture) for picture in some}) for trait, of in TRAITS.items()}
