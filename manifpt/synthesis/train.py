r"""Training of synthetic models: each learns to reconstruct real images, up to the traces of its layers.

.. math:: L = \max\big(\mathrm{MSE}(x, A(x)),\; \eta\big), \qquad \eta = 0.005, \text{ pixels in } [-1, 1]

At η the gradient vanishes, so training ends there. On photographs none of 576 models reaches it (best 0.007, median
0.034): K halvings lose detail for good, an instance norm at the end fixes mean and contrast of each image, tanh and
sigmoid do not reach black and white. All of them end at a plateau, after 100 to 475 steps, 230 on average: the MSE on
64 images, checked every 25 steps, has not fallen by a tenth in 75 steps. A checkpoint says why its training ended.

The source does not give optimiser, rate and batch; ours are chosen for 4 seconds a model on two cores, in bf16 where
that is faster. Models are trained one by one: seeds stacked by vmap take 1.7 times as long each in fp32 (median of 6
architectures, 8 seeds, one thread; ``tests/benchmarks/synthesis.py``).
"""

import time
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from manifpt.data.real import load_real
from manifpt.nn.train import descend, random_batches
from manifpt.synthesis.models import Architecture, SyntheticModel, architectures, build_synthetic_model, parse
from manifpt.utils import files, paths
from manifpt.utils.arrays import to_uint8
from manifpt.utils.cache import array_checksum
from manifpt.utils.compute import autocast, seeded, spread
from manifpt.utils.errors import InputError

ETA = 0.005
STEPS, BATCH, RATE = 1000, 16, 3e-3
CHECK, CHECKED = 25, 64  # steps between two checks of the MSE, and the images of each
PATIENCE, BETTER = 3, 0.9  # a plateau: the last 3 checks are all above 0.9 times the best of those before them


def train_synthetic_model(
    architecture: Architecture, images: np.ndarray, *, seed: int, steps: int = STEPS
) -> tuple[SyntheticModel, dict]:
    """Train one model on the CPU, on real images, uint8 `(n, 3, h, w)`, h and w multiples of 4; others: `InputError`.

    The seed draws the weights and the order of images. Returns the model in evaluation mode, and a record: ``mse`` at
    the last check, ``steps``, ``stopped`` ("eta", "plateau" or "steps"), ``seconds`` of processor time.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[1] != 3 or any(s % 4 for s in images.shape[2:]):
        raise InputError(f"images: {images.dtype} {images.shape}; uint8 (n, 3, h, w), h and w multiples of 4, expected")
    started, checks, stopped, step = time.process_time(), [], None, 0
    model = build_synthetic_model(architecture, seed=seed).to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(model.parameters(), RATE)
    pool = torch.from_numpy(images)
    draw = random_batches(pool, BATCH)
    checked = pool[:: max(1, len(pool) // CHECKED)][:CHECKED].float() / 127.5 - 1
    while stopped is None:
        with seeded(seed, int(architecture.name), step):
            batch = draw(step)
        descend(optimiser, _mse(model, batch).clamp(min=ETA))
        step += 1
        if step % CHECK == 0 or step == steps:
            model.eval()
            with torch.no_grad():
                checks.append(_mse(model, checked).item())
            model.train()
            stopped = _reason_to_stop(checks) or ("steps" if step == steps else None)
    record = {"mse": checks[-1], "steps": step, "stopped": stopped}
    return model.eval(), record | {"seconds": round(time.process_time() - started, 2)}


def _mse(model: SyntheticModel, images: Tensor) -> Tensor:
    images = images.to(memory_format=torch.channels_last)
    with autocast(images.device):
        given = model(images)
    return (given.float() - images).square().mean()


def _reason_to_stop(checks: list[float]) -> str | None:
    if checks[-1] <= ETA:
        return "eta"
    before, last = checks[:-PATIENCE], checks[-PATIENCE:]
    return "plateau" if before and min(last) > BETTER * min(before) else None


def train_synthetic_models(
    *,
    dataset: str = "photos",
    seeds: int = 2,
    chosen: tuple[Architecture, ...] | None = None,
    steps: int = STEPS,
    jobs: int = 1,
    out: Path | None = None,
) -> Iterator[dict]:
    """Train each architecture with the seeds 0 to seeds - 1, unless its checkpoint is there; yield their headers.

    `InputError`, before any training, for no seed, step or job, and for an unknown real set, or a grey one.

    Parameters
    ----------
    dataset
        Real set in colour; the models learn its reference images.
    chosen
        Some of the architectures; None for all 288.
    jobs
        Number of processes.
    out
        Folder of the checkpoints, in half precision; by default `folder_of` the real set.
    """
    if min(seeds, steps, jobs) < 1:
        raise InputError(f"seeds, steps, jobs: {seeds}, {steps}, {jobs}; at least 1 of each expected")
    _images(dataset)
    todo = [(one.name, seed) for seed in range(seeds) for one in chosen or architectures()]
    return spread(partial(_one, dataset=dataset, steps=steps, out=out or folder_of(dataset)), todo, jobs)


def _one(task: tuple[str, int], *, dataset: str, steps: int, out: Path) -> dict:
    name, seed = task
    images, reference = _images(dataset)
    settings = {"architecture": name, "seed": seed, "dataset": dataset, "reference": reference, "max_steps": steps}
    path = out / f"{name}-s{seed}.safetensors"
    if path.exists():
        header = files.load_tensors(path)[1]
        if settings.items() <= header.items():
            return header
    model, record = train_synthetic_model(parse(name), images, seed=seed, steps=steps)
    files.save_network(path, model, settings | record)
    return settings | record


@cache
def _images(dataset: str) -> tuple[np.ndarray, str]:
    """The reference images of a real set in colour, and their checksum."""
    images = load_real(dataset)
    if images.shape[1] != 3:
        raise InputError(f"{dataset}: images are grey; synthetic models learn a set in colour: photos, cifar10, celeba")
    return images, array_checksum(images)


def folder_of(dataset: str) -> Path:
    """The folder of the synthetic models of a real set."""
    return paths.home() / "synthesis" / dataset


def load_synthetic_model(path: Path) -> tuple[SyntheticModel, dict]:
    """A trained model in evaluation mode, and the header of its checkpoint; `InputError` for any other file."""
    tensors, settings = files.load_tensors(path)
    try:
        model = build_synthetic_model(parse(settings["architecture"]), seed=0)
        model.load_state_dict(tensors)
    except (KeyError, RuntimeError) as error:
        raise InputError(f"{path}: not the checkpoint of a synthetic model; train it anew") from error
    return model.eval(), settings


def to_pixels(images: Tensor) -> Tensor:
    """Images around [-1, 1] as uint8, rounded and clipped."""
    return to_uint8(images.float(), low=-1)
