"""A classifier of images by the model that made them: trained on surveyed folders, kept in a folder of its own.

That folder holds ``attributor.safetensors``, ``reference.npy`` (the real images,
or their vectors in ``psd``), ``report.html`` and
``settings.json``, which has the checksums of the others and its own, and is written last: a folder without it holds no
classifier.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.attribution import Attributor
from manifpt.data import pictures
from manifpt.data.pictures import Picture
from manifpt.data.real import HELD_OUT_SHARE
from manifpt.embeddings import weights_of
from manifpt.folders.fingerprint import check_manifold, describe, make_manifold
from manifpt.folders.linear import LinearAttributor
from manifpt.folders.report import report_html
from manifpt.folders.rules import TRAITS, Rule
from manifpt.folders.survey import Folders, Stream, look_at, restored
from manifpt.manifold import Manifold
from manifpt.utils import files, paths
from manifpt.utils.arrays import chunks, take
from manifpt.utils.errors import InputError

FEWEST = 4  # images of a class, so that train, val and test each have one
PARTS = ("attributor.safetensors", "reference.npy", "report.html")
SHOWN = 200  # most test images of a class whose spectra the report averages


def split_classes(folders: Folders) -> dict[str, pd.DataFrame]:
    """``train``, ``val`` and ``test``: frames of picture, label and count of images, in which classes take turns."""
    splits = {}
    for name, (start, stop) in HELD_OUT_SHARE.items():
        rows = [
            (turn, picture, label, folders.stream.rule.count(picture))
            for label, some in folders.classes.items()
            for turn, picture in enumerate(some[round(start * len(some)) : round(stop * len(some))])
        ]
        frame = pd.DataFrame(rows, columns=["turn", "picture", "label", "count"])
        splits[name] = frame.sort_values("turn", kind="stable", ignore_index=True)
    return splits


def check_free(out: Path) -> None:
    """Raise `InputError` unless `out` can become the folder of a classifier without loss of other files."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; the name of a folder expected")
    if other := sorted({path.name for path in out.glob("[!.]*")} - set(PARTS)):
        raise InputError(f"{out}: holds {other[0]}; a new or empty folder expected")
    files.check_writable(out / "settings.json")


def train_classifier(
    folders: Folders, manifold: Manifold, out: Path | str, *, epochs: int | None = None, seed: int = 0
) -> pd.DataFrame:
    """Train an `Attributor` on the artifacts of all classes, test it, and write the classifier's folder.

    In ``psd`` it is a `LinearAttributor`, which takes seconds and has no control. Interrupted training continues where
    it was saved last, once a minute. Each classifier sees the test images once, at the end. `InputError`, before any
    work, if `out` is taken, a class has too few images, or the manifold does not fit the folders.

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
    """
    out = files.as_path("out", out)
    check_free(out)
    check_manifold(folders, manifold)
    for label, some in folders.classes.items():
        if len(some) < FEWEST:
            raise InputError(f"{label}: {len(some)} images; {FEWEST} at least for train, val and test, add some")
    linear, options = manifold.space == "psd", {"epochs": epochs, "seed": seed}
    if linear and epochs is not None:
        raise InputError("epochs: space 'psd' has a classifier in closed form, without any; leave them out")
    Attributor(**options).check()
    reference = folders.learn(manifold)
    project, key = restored(manifold, reference, progress=folders.stream.progress)
    splits = split_classes(folders)
    artifacts = {name: folders.stream.rows([*part["picture"]], project, key) for name, part in splits.items()}
    n, test = len(splits["train"]), splits["test"]
    fewest = len(folders.classes) * (2 if linear else 1)
    trainings = [("artifact", artifacts, max(n // part, fewest)) for part in (4, 2, 1)]
    if not linear:
        images = {name: folders.stream.images([*part["picture"]]) for name, part in splits.items()}
        trainings = [("control: the image itself", images, n), *trainings]
    curve = []
    for seen, rows, most in trainings:
        attributor = _fitted(rows, splits, most, None if linear else options, progress=folders.stream.progress)
        probability = _mean_by_picture(attributor.predict_proba(rows["test"]), test["count"])
        named = attributor.classes_[probability.argmax(1)]
        curve.append((seen, most, (named == test["label"]).mean()))
    frame = pd.DataFrame(curve, columns=["input", "n", "accuracy"])
    attributor.save(out / PARTS[0])
    files.save_rows(out / PARTS[1], chunks(reference), len(reference))
    page = _page(folders, frame, test, named, artifacts["test"])
    files.write_text(out / PARTS[2], page)
    settings = {"rule": asdict(folders.stream.rule), "traits": _traits(chain(*folders.classes.values()))}
    settings["manifold"] = describe(manifold)
    settings["weights"] = [files.sha256(path) for path in weights_of(manifold.space)]
    settings["sha256"] = {part: files.sha256(out / part) for part in PARTS}
    settings["checksum"] = files.settings_hash(settings)
    files.write_text(out / "settings.json", json.dumps(settings, indent=1) + "\n")
    return frame


def _page(
    folders: Folders,
    curve: pd.DataFrame,
    test: pd.DataFrame,
    named: np.ndarray,
    artifacts: np.ndarray,
) -> str:
    """The report of a training, from the test split, the label each picture was given, and what was classified."""
    labels = np.repeat(test["label"], test["count"])
    own = {label: np.flatnonzero(labels == label) for label in folders.classes}
    shown = {label: [*test["picture"][test["label"] == label][:SHOWN]] for label in folders.classes}
    stream = folders.stream
    if stream.rule.name == "whole":  # their middles have one size
        stream = replace(stream, rule=replace(stream.rule, name="centre-crop"))
    return report_html(
        warnings=folders.warnings,
        rule=asdict(folders.stream.rule),
        curve=curve,
        truth=test["label"].to_numpy(),
        named=named,
        mean={label: _mean(artifacts, rows) for label, rows in own.items()},
        images={label: stream.images(some)[:SHOWN] for label, some in shown.items()},
    )


def predict_models(
    classifier: Path | str, images: Path | str, csv: Path | str, *, workers: int = 1, progress: bool = False
) -> list[str]:
    """Write a table of pictures: columns file, label, probability, and ``p(<class>)`` for each class.

    The probabilities of a picture are the mean of those of its images, where the rule makes several. Returns warnings:
    native traits of the pictures that no picture had in training. `InputError`, before any work, for no classifier, a
    damaged one or one of another network, a picture that cannot be read, a `csv` that cannot be written.

    Parameters
    ----------
    classifier
        The folder of `train_classifier`.
    images
        A picture, or a folder whose pictures, also in sub-folders, are read.
    workers
        Number of threads that decode.
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
    rows = stream.rows(some, *restored(make_manifold(**settings["manifold"]), reference))
    probability = _mean_by_picture(attributor.predict_proba(rows), [stream.rule.count(picture) for picture in some])
    names = [str(path) if path == images else str(path.relative_to(images)) for path in found]
    columns = {"file": names, "label": attributor.classes_[probability.argmax(1)], "probability": probability.max(1)}
    columns |= {f"p({label})": probability[:, number] for number, label in enumerate(attributor.classes_)}
    with files.atomic(csv) as temporary:
        pd.DataFrame(columns).to_csv(temporary, index=False, float_format="%.4f")
    return [
        f"{trait} {', '.join(new[:3])} was not in training; the labels may rest on that"
        for trait, values in _traits(some).items()
        if (new := sorted(set(values) - set(settings["traits"].get(trait, ()))))
    ]


def _fitted(
    rows: Mapping[str, np.ndarray], splits: Mapping[str, pd.DataFrame], most: int, options: dict | None, progress: bool
) -> Attributor | LinearAttributor:
    """Trained on the first `most` pictures of the training split; its predictions are made in full precision.

    Without options, it is linear.
    """
    labels = {name: np.repeat(part["label"].to_numpy(str), part["count"]) for name, part in splits.items()}
    end = splits["train"]["count"][:most].sum()
    if options is None:
        return LinearAttributor().fit(rows["train"][:end], labels["train"][:end], val=(rows["val"], labels["val"]))
    attributor = Attributor(**options).fit(
        rows["train"][:end],
        labels["train"][:end],
        val=(rows["val"], labels["val"]),
        resume=paths.runs() / "folders",
        progress=progress,
    )
    return attributor.set_params(precision="fp32")  # so that no label depends on which images share a batch


def _mean_by_picture(probability: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The mean of the rows that belong to each picture, `(pictures, C)`."""
    counts = np.asarray(counts)
    return np.add.reduceat(probability, np.cumsum(counts) - counts, axis=0) / counts[:, None]


def _mean(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The mean of some rows of a mapped array, of which few are in memory at a time."""
    return sum(take(array, rows[start : start + SHOWN]).sum(0) for start in range(0, len(rows), SHOWN)) / len(rows)


def _load(folder: Path) -> tuple[dict, Attributor | LinearAttributor, np.ndarray]:
    """Settings, classifier and real images of a classifier; `InputError` unless all is as it was in training."""
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
    classifier = LinearAttributor if space == "psd" else Attributor
    return settings, classifier.load(folder / PARTS[0]), np.load(folder / PARTS[1], mmap_mode="r")


def _traits(some: Iterable[Picture]) -> dict[str, list[str]]:
    some = list(some)
    return {trait: sorted({of(picture) for picture in some}) for trait, of in TRAITS.items()}
