"""Fingerprints of the models behind folders of images, in one file.

In ``rgb`` the reference images stay on disk, so that memory is bounded whatever their number and size; other spaces
hold a float32 vector of each.
"""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.embeddings import weights_of
from manifpt.fingerprints import Fingerprint, calibrated
from manifpt.folders.survey import Folders
from manifpt.manifold import Manifold
from manifpt.utils import files
from manifpt.utils.arrays import chunks
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import REAL

ESTIMATORS = ("nearest", "tangent")


def manifold(space: str, estimator: str, k: int) -> Manifold:
    """A manifold for images that no network was trained on; `InputError`, before any work, if it cannot be had."""
    if estimator not in ESTIMATORS:
        raise InputError(f"estimator {estimator!r}: choose one of {', '.join(ESTIMATORS)}, which need no training")
    weights_of(space)
    made = Manifold(space, estimator=estimator, n_neighbors=k)
    made.check()
    return made


def check_neighbours(folders: Folders, chosen: Manifold) -> None:
    """Raise `InputError` if the manifold wants more neighbours than the reference will have images."""
    n, k = sum(map(folders.stream.rule.count, folders.reference)), chosen.n_neighbors
    if chosen.estimator == "tangent" and k > n:
        raise InputError(f"k: {k} neighbours, but the reference set has {n} images; lower k or add real images")


def fingerprint(folders: Folders, chosen: Manifold, out: Path | str) -> pd.DataFrame:
    """Project every class and write all artifacts to one ``.npz`` file, streaming; see `load_fingerprints`.

    Returns
    -------
    Frame with a row a class: class, images, mean (artifact norm), auc (that an artifact is longer than that of a
    held-out real image; 0.5 cannot be told from real by length).
    """
    check_neighbours(folders, chosen)
    if chosen.space in ("rgb", "freq"):  # artifacts have the shape of images
        rule = folders.stream.rule
        n = sum(rule.count(picture) for some in folders.classes.values() for picture in some)
        files.check_room(out, n * rule.channels * rule.size**2 * np.float32().itemsize)
    see, key = folders.fit(chosen)
    artifacts = {label: folders.stream.rows(some, see, key) for label, some in folders.classes.items()}
    settings = {"space": chosen.space, "estimator": chosen.estimator, "k": chosen.n_neighbors}
    settings |= asdict(folders.stream.rule)
    settings["files"] = {label: [p.path.name for p in some] for label, some in folders.classes.items()}
    with files.atomic(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(zipfile.ZipInfo("settings.npy"), "w") as member:
            np.lib.format.write_array(member, np.array(json.dumps(settings)))
        for label, rows in artifacts.items():
            with archive.open(zipfile.ZipInfo(f"artifacts/{label}.npy"), "w", force_zip64=True) as member:
                files.write_rows(member, chunks(rows), len(rows))
    norms = {label: _norms(rows) for label, rows in artifacts.items()}
    told = {label: calibrated(some, norms[REAL]) for label, some in norms.items()}
    rows = [(label, len(norms[label]), t["mean_generated"], t["auc"]) for label, t in told.items()]
    return pd.DataFrame(rows, columns=["class", "images", "mean", "auc"])


def load_fingerprints(path: Path | str) -> dict[str, Fingerprint]:
    """Class to `Fingerprint`, as written by `fingerprint`; `InputError` for anything else, pickles included."""
    try:
        with np.load(files.as_path("fingerprints", path), allow_pickle=False) as file:
            settings = json.loads(str(file["settings"]))
            made = settings["space"], settings["estimator"]
            return {label: Fingerprint(label, *made, file[f"artifacts/{label}"]) for label in settings["files"]}
    except InputError:
        raise
    except Exception as error:  # a damaged archive may raise anything
        raise InputError(f"{path}: no fingerprints ({error}); a file of `manifpt fingerprint` expected") from error


def _norms(artifacts: np.ndarray) -> np.ndarray:
    """Euclidean norm of each row, float64 `(n,)`."""
    return np.concatenate([np.linalg.norm(rows.reshape(len(rows), -1), axis=1) for rows in chunks(artifacts)])
