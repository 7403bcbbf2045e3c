"""Fingerprints of the models behind folders of images, written to one file.

In ``rgb`` the reference images stay on disk, so that memory is bounded whatever their number and size; other spaces
hold a float32 vector of each in memory.
"""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.data.real import REAL
from manifpt.embeddings import weights_of
from manifpt.fingerprints import Fingerprint, calibrated
from manifpt.folders.survey import Folders, restored
from manifpt.manifold import Manifold
from manifpt.psd import PowerSpectrum
from manifpt.utils import files
from manifpt.utils.arrays import chunks
from manifpt.utils.errors import InputError

ESTIMATORS = ("nearest", "tangent", "gaussian")


def make_manifold(space: str, estimator: str | None, k: int) -> Manifold:
    """A manifold that needs no network trained on the reference; `InputError`, before any work, if it is impossible.

    Without an estimator, it is ``gaussian`` in ``psd``, which has no other, and ``nearest`` elsewhere.
    """
    estimator = estimator or ("gaussian" if space == "psd" else "nearest")
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator {estimator!r}: choose one of {', '.join(ESTIMATORS)}, which need no training")
    weights_of(space)
    if (space == "psd") != (estimator == "gaussian"):
        raise InputError(f"space {space!r}, estimator {estimator!r}: of folders, gaussian goes with psd, others do not")
    manifold = Manifold(space, estimator=estimator, n_neighbors=k)
    manifold.check()
    return manifold


def describe(manifold: Manifold) -> dict:
    """The arguments with which `make_manifold` gives the same manifold, as JSON."""
    return {"space": manifold.space, "estimator": manifold.estimator, "k": manifold.n_neighbors}


def check_manifold(folders: Folders, manifold: Manifold) -> None:
    """Raise `InputError` if the space has no name, or does not take such images, or not so many neighbours exist."""
    if not isinstance(manifold.space, str):
        raise InputError(f"manifold: its space is {manifold.space!r}; one that has a name expected, such as 'rgb'")
    rule = folders.stream.rule
    if rule.name == "whole" and manifold.space != "psd":
        raise InputError(f"rule 'whole': space {manifold.space!r} takes images of one size; choose another, or psd")
    if manifold.space == "psd" and rule.size < (least := PowerSpectrum().window):
        raise InputError(f"size: {rule.size} pixels; {least} at least expected for space 'psd'")
    n, k = sum(map(rule.count, folders.reference)), manifold.n_neighbors
    if manifold.estimator == "tangent" and k > n:
        raise InputError(f"k: {k} neighbours, but the reference set has {n} images; lower k or add real images")


def write_fingerprints(folders: Folders, manifold: Manifold, out: Path | str) -> pd.DataFrame:
    """Project the images of every class and stream all artifacts to one ``.npz`` file; see `load_fingerprints`.

    The manifold is not fitted yet. `InputError`, before any work, if it does not fit the folders, or the file has no
    room. Returns a frame with one row a class: class, images, mean (norm of artifacts) and auc (probability that an
    artifact is longer than that of a held-out real image; 0.5 if lengths do not tell the class from real images).
    """
    check_manifold(folders, manifold)
    rule = folders.stream.rule
    if manifold.space in ("rgb", "freq"):  # artifacts have the shape of images
        n = sum(rule.count(picture) for some in folders.classes.values() for picture in some)
        files.check_room(out, n * rule.channels * rule.size**2 * np.float32().itemsize)
    project, key = restored(manifold, folders.learn(manifold), progress=folders.stream.progress)
    artifacts = {label: folders.stream.rows(some, project, key) for label, some in folders.classes.items()}
    settings = describe(manifold) | asdict(rule)
    settings["files"] = {label: [p.path.name for p in some] for label, some in folders.classes.items()}
    with files.atomic(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(zipfile.ZipInfo("settings.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(json.dumps(settings)))
        for label, rows in artifacts.items():
            with archive.open(zipfile.ZipInfo(f"artifacts/{label}.npy"), "w", force_zip64=True) as member:
                files.write_rows(member, chunks(rows), len(rows))
    norms = {
        label: np.concatenate([np.linalg.norm(some.reshape(len(some), -1), axis=1) for some in chunks(rows)])
        for label, rows in artifacts.items()
    }
    lengths = {label: calibrated(some, norms[REAL]) for label, some in norms.items()}
    table = [(label, len(norms[label]), found["mean_generated"], found["auc"]) for label, found in lengths.items()]
    return pd.DataFrame(table, columns=["class", "images", "mean", "auc"])


def load_fingerprints(path: Path | str) -> dict[str, Fingerprint]:
    """Class to `Fingerprint`, from a file of `write_fingerprints`; `InputError` for any other, pickles included."""
    try:
        with np.load(files.as_path("fingerprints", path), allow_pickle=False) as file:
            settings = json.loads(str(file["settings"]))
            made = settings["space"], settings["estimator"]
            return {label: Fingerprint(label, *made, file[f"artifacts/{label}"]) for label in settings["files"]}
    except InputError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise InputError(f"{path}: no fingerprints ({error}); a file of `manifpt fingerprint` expected") from error
