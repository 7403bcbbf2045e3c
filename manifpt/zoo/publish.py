"""Enter a trained model into the manifest of its GM dataset: samples, checksums, quality."""

import json
import logging
from pathlib import Path

from manifpt.data import mosaics
from manifpt.data.real import load_real
from manifpt.utils import files
from manifpt.zoo import models
from manifpt.zoo.dataset import read_manifest
from manifpt.zoo.quality import quality, yardsticks
from manifpt.zoo.sample import sample

log = logging.getLogger("manifpt")
SAMPLES = 2000
SHIPPED = {"gm-fashion": 2000}  # of the samples; of colour images fewer, the rest is made where it is needed
SHIPPED_OTHERWISE = 300
DOWNLOADED = {"gm-cifar10"}  # whose reals are not everywhere, so some ship to be looked at


def publish(checkpoint: Path, *, n: int = SAMPLES, seed: int = 0) -> dict:
    """Draw samples of a checkpoint that lies in a GM dataset's folder, measure them, and record both in its manifest.

    What the manifest says of the same checkpoint and number of samples is kept, if the samples are there.

    Returns
    -------
    The model's entry: model, family, citation, design, parameters, steps, seconds, threads, seed, checkpoint, samples,
    quality, and a note where the registry has one.
    """
    folder, label = checkpoint.parent.parent, checkpoint.stem
    path = folder / "manifest.json"
    record = _manifest(path)["models"].get(label)
    made_of = {"file": f"checkpoints/{checkpoint.name}", "sha256": files.sha256(checkpoint)}
    if record is None or not _stands(folder, record, made_of, n, seed):
        record = _measure(checkpoint, n, seed) | {"checkpoint": made_of}
    _, settings = files.load_tensors(checkpoint)
    dataset, real = settings["dataset"], models.real_set(settings["dataset"])
    if note := models.NOTES.get((dataset, label)):
        record["note"] = note
    with files.locked(path):  # others may publish as well
        old = _manifest(path)
        manifest = {"name": dataset, "real": real, "yardsticks": old.get("yardsticks") or yardsticks(real)}
        if dataset in DOWNLOADED:
            manifest["reals"] = old.get("reals") or _reals(folder, real)
        manifest["models"] = dict(sorted((old["models"] | {label: record}).items()))
        files.write_text(path, json.dumps(manifest, indent=1) + "\n")
    return record


def _stands(folder: Path, record: dict, made_of: dict, n: int, seed: int) -> bool:
    """Whether an entry is of this checkpoint and number of samples, and its samples are as it says."""
    samples = record["samples"]
    mosaic = folder / samples["file"]
    same = record["checkpoint"] == made_of and (samples["n"], samples["seed"]) == (n, seed)
    return same and mosaic.exists() and files.sha256(mosaic) == samples["sha256"]


def _measure(checkpoint: Path, n: int, seed: int) -> dict:
    """Write samples of a checkpoint beside it; its entry for the manifest."""
    _, settings = files.load_tensors(checkpoint)
    log.info("%s: %d samples are drawn and measured", checkpoint.stem, n)
    images = sample(checkpoint, n, seed=seed)
    shipped = min(n, SHIPPED.get(settings["dataset"], SHIPPED_OTHERWISE))
    mosaic = checkpoint.parent.parent / "samples" / f"{checkpoint.stem}.png"
    mosaics.save_mosaic(mosaic, images[:shipped])
    record = {"model": settings["model"]} | models.entry(settings["model"]).describe()
    record |= {key: settings[key] for key in ("parameters", "steps", "seconds", "threads", "seed")}
    record["samples"] = {"file": f"samples/{mosaic.name}", "sha256": files.sha256(mosaic), "shipped": shipped}
    record["samples"] |= {"n": n, "seed": seed}
    return record | {"quality": quality(images, models.real_set(settings["dataset"]))}


def _reals(folder: Path, real: str) -> dict:
    """Write some held-out reals beside the samples, to be looked at where the real set is not; their entry."""
    mosaic = folder / "samples" / "real.png"
    images = load_real(real, split="test")[:SHIPPED_OTHERWISE]
    mosaics.save_mosaic(mosaic, images)
    return {"file": f"samples/{mosaic.name}", "sha256": files.sha256(mosaic), "shipped": len(images)}


def _manifest(path: Path) -> dict:
    return read_manifest(path.parent) if path.exists() else {"models": {}}
