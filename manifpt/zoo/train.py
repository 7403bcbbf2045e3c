"""Train one model of the zoo and write its checkpoint."""

import logging
from importlib.metadata import version
from pathlib import Path

import torch

from manifpt.data.real import load_real
from manifpt.nn.train import random_batches, run_training, state_path
from manifpt.utils import files, paths
from manifpt.utils.cache import array_checksum
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError
from manifpt.zoo import models
from manifpt.zoo.dataset import read_manifest

log = logging.getLogger("manifpt")


def train(
    name: str, *, dataset: str, seed: int = 0, steps: int | None = None, out: Path | None = None, device: str = "auto"
) -> Path:
    """Train a model on the reference images of a GM dataset's real set, unless its checkpoint is there already.

    An interrupted run is continued; a checkpoint that is damaged or has other settings is replaced, with a warning.

    Parameters
    ----------
    name, dataset
        Keys of `registry.MODELS` and `registry.DATASETS`.
    seed
        Of initialisation, data order and noise.
    steps
        Of training; by default the model's own.
    out
        Folder of GM datasets, by default ``paths.home() / "gm"``. The checkpoint is
        ``<out>/<dataset>/checkpoints/<name>.safetensors`` (``<name>-s<seed>`` for a seed other than 0): the averaged
        network in half precision, its settings in the header.

    Returns
    -------
    Path of the checkpoint.
    """
    entry, real = models.entry(name), models.real_set(dataset)
    if steps is not None and steps < 1:
        raise InputError(f"steps must be at least 1, not {steps}")
    reference = load_real(real)
    settings = {"model": name, "dataset": dataset, "seed": seed, "steps": steps or models.steps(name, dataset)}
    settings |= {"reference": array_checksum(reference), "version": version("manifpt")}
    path = checkpoint_path(out or paths.home() / "gm", dataset, label(name, seed))
    files.check_writable(path)
    if path.exists():
        if (other := _difference(path, settings)) is None:
            return path
        log.warning("%s: will be replaced, %s", path, other)
    images = torch.from_numpy(reference)
    where = pick_device(device)
    with seeded(seed):
        recipe = entry.make(images.shape[1], where)
    draw = random_batches(images, recipe.batch_size)

    def batch(step: int) -> torch.Tensor:
        return draw(step).to(where, memory_format=torch.channels_last)

    state = state_path(paths.runs() / "zoo" / f"{dataset}-{label(name, seed)}", settings, recipe.task)
    seconds = run_training(recipe.task, batch, steps=settings["steps"], seed=seed, path=state)
    network = recipe.task.average.module
    header = settings | {
        "seconds": round(seconds, 1),
        "threads": torch.get_num_threads(),
        "channels": images.shape[1],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    files.save_network(path, network, header)
    state.unlink()
    return path


def _difference(path: Path, settings: dict) -> str | None:
    """In what a checkpoint is not the one wanted: how it was trained, or its bytes are not those of the manifest."""
    try:
        header = files.load_tensors(path)[1]
    except InputError as error:
        return f"it is damaged ({error})"
    if other := [f"{key} {header.get(key)!r}" for key, value in settings.items() if header.get(key) != value]:
        return f"it has {', '.join(other)}"
    folder = path.parent.parent
    models = read_manifest(folder)["models"] if (folder / "manifest.json").exists() else {}
    record = models.get(path.stem, {})
    same = all(record.get(key) == header[key] for key in ("steps", "seconds"))  # else it was not published yet
    return "it is damaged" if same and record["checkpoint"]["sha256"] != files.sha256(path) else None


def label(name: str, seed: int) -> str:
    """What a trained model is called: its name, and its seed unless that is 0."""
    return name if seed == 0 else f"{name}-s{seed}"


def checkpoint_path(out: Path, dataset: str, label: str) -> Path:
    """Where a checkpoint lies below a folder of GM datasets."""
    return out / dataset / "checkpoints" / f"{label}.safetensors"
