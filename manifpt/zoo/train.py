"""Train models of the zoo, and publish them: samples, checksums and quality in the manifest of their GM dataset."""

import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from manifpt.data import mosaics
from manifpt.data.real import load_real
from manifpt.nn.train import random_batches, run_training, state_path
from manifpt.utils import files, paths
from manifpt.utils.cache import array_checksum, code_checksum
from manifpt.utils.compute import pick_device, seeded, spread
from manifpt.utils.errors import InputError
from manifpt.zoo import models
from manifpt.zoo.dataset import read_manifest
from manifpt.zoo.quality import quality, yardsticks
from manifpt.zoo.sample import sample_images

log = logging.getLogger("manifpt")
SAMPLES = 2000
SHIPPED = {"gm-fashion": 2000}  # of the samples; of colour images fewer, the rest is made where it is needed
SHIPPED_OTHERWISE = 300
DOWNLOADED = {"gm-cifar10"}  # whose reals are not everywhere, so some ship to be looked at


def train_generators(
    todo: Sequence[tuple[str, str, int]], *, steps: int | None = None, out: Path | None = None, jobs: int = 1
) -> Iterator[tuple[str, dict]]:
    """Train and publish each (dataset, model, seed) that is not there yet; yield its name and quality when it is.

    `steps` and `out` are those of `train_generator`, `jobs` that of `manifpt.utils.compute.spread`.
    """
    for dataset, name, _ in todo:
        models.entry(name), models.real_set(dataset)
    yield from spread(partial(_train_and_publish, steps=steps, out=out), todo, jobs)


def _train_and_publish(task: tuple[str, str, int], *, steps: int | None, out: Path | None) -> tuple[str, dict]:
    dataset, name, seed = task
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    checkpoint = train_generator(name, dataset=dataset, seed=seed, steps=steps, out=out)
    return f"{dataset} {checkpoint.stem}", publish(checkpoint)["quality"]


def train_generator(
    name: str, *, dataset: str, seed: int = 0, steps: int | None = None, out: Path | None = None, device: str = "auto"
) -> Path:
    """Train a model on the reference images of a GM dataset's real set, unless its checkpoint is there already.

    An interrupted run goes on, or begins anew if the code has changed since. A checkpoint that is damaged or has other
    settings is replaced, with a warning; one that other code trained is kept, also with a warning.

    Parameters
    ----------
    name, dataset
        Keys of `models.MODELS` and `models.DATASETS`.
    seed
        Seed of initialisation, data order and noise.
    steps
        Number of training steps; by default the model's own.
    out
        Folder of GM datasets, by default ``paths.home() / "gm"``. The checkpoint is
        ``<out>/<dataset>/checkpoints/<name>.safetensors`` (``<name>-s<seed>`` for a seed other than 0): the averaged
        network in half precision, its settings in the header.

    Returns
    -------
    Path of the checkpoint.

    Raises
    ------
    InputError
        Unknown model, dataset or device; no step; a negative seed; a folder that cannot be written.
    """
    entry, real, label = models.entry(name), models.real_set(dataset), models.label(name, seed)
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}")
    reference = load_real(real)
    settings = {"model": name, "dataset": dataset, "seed": seed, "steps": steps or models.steps(name, dataset)}
    settings["reference"] = array_checksum(reference)
    code = {"code": code_checksum(__name__)}
    path = (out or paths.home() / "gm") / dataset / "checkpoints" / f"{label}.safetensors"
    files.check_writable(path)
    if path.exists() and _is_finished(path, settings, code):
        return path
    images, where = torch.from_numpy(reference), pick_device(device)
    with seeded(seed):
        generator = entry.make(images.shape[1], where)
    draw = random_batches(images, generator.batch_size)

    def batch(step: int) -> torch.Tensor:
        return draw(step).to(where, memory_format=torch.channels_last)

    state = state_path(paths.runs() / "zoo" / f"{dataset}-{label}", settings | code, generator)
    seconds = run_training(generator, batch, steps=settings["steps"], seed=seed, path=state)
    network = generator.average.module
    about = {"version": version("manifpt"), "seconds": round(seconds, 1), "threads": torch.get_num_threads()}
    about |= {"channels": images.shape[1], "parameters": sum(p.numel() for p in network.parameters())}
    files.save_network(path, network, settings | code | about)
    state.unlink()
    return path


def _is_finished(path: Path, settings: dict, code: dict) -> bool:
    """Whether a checkpoint has these settings and is whole; a warning says why it is not, or that its code is old."""
    try:
        header = files.load_tensors(path)[1]
    except InputError as error:
        fault = f"it is damaged ({error})"
    else:
        other = [f"{key} {header.get(key)!r}" for key, value in settings.items() if header.get(key) != value]
        fault = f"it has {', '.join(other)}" if other else "it is damaged" if _is_damaged(path, header) else None
    if fault:
        log.warning("%s: will be replaced, %s", path, fault)
    elif not code.items() <= header.items():
        log.warning("%s: is kept, although other code trained it; to train it anew, delete it first", path)
    return fault is None


def _is_damaged(path: Path, header: dict) -> bool:
    """Whether a checkpoint's bytes are not those of the manifest, if this is the checkpoint that was published."""
    record = _manifest(path.parent.parent)["models"].get(path.stem, {})
    published = all(record.get(key) == header[key] for key in ("steps", "seconds"))
    return published and record["checkpoint"]["sha256"] != files.sha256(path)


def publish(checkpoint: Path, *, n: int = SAMPLES, seed: int = 0) -> dict:
    """Draw samples of a checkpoint that lies in a GM dataset's folder, measure them, and record both in its manifest.

    What the manifest says of the same checkpoint and number of samples is kept, if the samples are there.

    Returns
    -------
    The model's entry: model, family, citation, design, parameters, steps, seconds, threads, seed, samples, quality,
    checkpoint, and the note that the entry has had, which says why a collapsed model is kept.
    """
    folder, label = checkpoint.parent.parent, checkpoint.stem
    path, (_, settings) = folder / "manifest.json", files.load_tensors(checkpoint)
    dataset, real = settings["dataset"], models.real_set(settings["dataset"])
    made_of = {"file": f"checkpoints/{checkpoint.name}", "sha256": files.sha256(checkpoint)}
    record, images = _manifest(folder)["models"].get(label, {}), None
    if not _stands(folder, record, made_of, n, seed):
        log.info("%s: %d samples are drawn and measured", label, n)
        images, note = sample_images(checkpoint, n, seed=seed), {k: v for k, v in record.items() if k == "note"}
        record = {"model": settings["model"]} | models.entry(settings["model"]).describe()
        record |= {key: settings[key] for key in ("parameters", "steps", "seconds", "threads", "seed")}
        record |= {"samples": {}, "quality": quality(images, real), "checkpoint": made_of} | note
    with files.locked(path):  # others may publish into this folder at the same time
        manifest = {"name": dataset, "real": real} | _manifest(folder)
        if images is not None:
            shipped = images[: SHIPPED.get(dataset, SHIPPED_OTHERWISE)]
            record["samples"] = _ship(folder, label, shipped) | {"n": n, "seed": seed}
        if "yardsticks" not in manifest:
            manifest["yardsticks"] = yardsticks(real)
        if "reals" not in manifest and dataset in DOWNLOADED:
            manifest["reals"] = _ship(folder, "real", load_real(real, split="test")[:SHIPPED_OTHERWISE])
        manifest["models"] = dict(sorted((manifest["models"] | {label: record}).items()))
        files.write_text(path, json.dumps(manifest, indent=1) + "\n")
    return record


def _stands(folder: Path, record: dict, made_of: dict, n: int, seed: int) -> bool:
    """Whether an entry is of this checkpoint and number of samples, and its samples are as it says."""
    if record.get("checkpoint") != made_of or not {"n": n, "seed": seed}.items() <= record["samples"].items():
        return False
    mosaic = folder / record["samples"]["file"]
    return mosaic.exists() and files.sha256(mosaic) == record["samples"]["sha256"]


def _ship(folder: Path, label: str, images: np.ndarray) -> dict:
    """Write images of a class into the folder of a GM dataset; their entry in the manifest."""
    path = folder / "samples" / f"{label}.png"
    mosaics.save_mosaic(path, images)
    return {"file": f"samples/{path.name}", "sha256": files.sha256(path), "shipped": len(images)}


def _manifest(folder: Path) -> dict:
    return read_manifest(folder) if (folder / "manifest.json").exists() else {"models": {}}
