"""The one training loop: seeded step by step, and resumed after a kill to the same result, bit for bit.

Every step draws its random numbers from a generator seeded by ``(seed, step)`` alone. The state of a training is one
``.safetensors`` file, replaced atomically; its name is a hash of the settings, the data and the code, so that changed
code never continues an old state.
"""

import logging
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from tqdm.auto import tqdm

from manifpt.utils import files
from manifpt.utils.cache import cache_key
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

log = logging.getLogger("manifpt")
SAVE_EVERY = 60.0  # seconds


def linear_decay(step: int, steps: int) -> float:
    """The factor of a learning rate that falls linearly to zero."""
    return 1 - step / steps


def late_decay(step: int, steps: int) -> float:
    """The factor of a learning rate that falls linearly to zero in the second half of training."""
    return min(1.0, 2 * linear_decay(step, steps))


@dataclass
class Training:
    """What is trained, and how one step changes it.

    Attributes
    ----------
    modules
        Everything that has weights, by name.
    optimisers
        By name; their hyper-parameters belong to the code, their state is saved.
    update
        ``update(batch, step)`` takes one step and returns losses to log. It may draw from torch's default generator.
    averaged
        Name of the module whose exponential moving average, ``average.module``, is the result; None for no average.
    decay
        Of that average.
    factor
        ``factor(step, steps)`` is what the optimisers' first learning rates are multiplied by; see `late_decay`.
    record
        Further state, as JSON.
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    update: Callable[[Any, int], dict[str, float]]
    averaged: str | None = None
    decay: float = 0.999
    factor: Callable[[int, int], float] = lambda step, steps: 1.0
    record: dict = field(default_factory=dict)
    average: AveragedModel | None = field(init=False, default=None)

    def __post_init__(self):
        if self.averaged:
            network = self.modules[self.averaged]
            self.average = AveragedModel(network, multi_avg_fn=self._move_average, use_buffers=True)
            self.modules = self.modules | {"average": self.average}

    @torch.no_grad()
    def _move_average(self, averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        """Lower the decay at first, so that the initial weights do not linger in a short training."""
        decay = min(self.decay, (1 + int(updates)) / (10 + int(updates)))
        get_ema_multi_avg_fn(decay)(averages, weights, updates)

    def state(self) -> dict[str, Tensor]:
        """Copies of all tensors, by name."""
        tensors = nn.ModuleDict(self.modules).state_dict(prefix="module.")
        for name, optimiser in self.optimisers.items():
            for index, entry in optimiser.state_dict()["state"].items():
                tensors |= {f"optimiser.{name}.{index}.{key}": value for key, value in entry.items()}
        return {key: torch.as_tensor(value).clone() for key, value in tensors.items() if value is not None}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of `state`, moments in the memory layout of their weights, as fused optimisers need."""
        nn.ModuleDict(self.modules).load_state_dict(_below(state, "module."))
        for name, optimiser in self.optimisers.items():
            weights = [weight for group in optimiser.param_groups for weight in group["params"]]
            entries = {index: {} for index in range(len(weights))}
            for key, tensor in _below(state, f"optimiser.{name}.").items():
                index, _, what = key.partition(".")
                if tensor.shape == (weight := weights[int(index)]).shape:
                    tensor = torch.empty_like(weight).copy_(tensor)
                entries[int(index)][what] = tensor
            optimiser.load_state_dict(optimiser.state_dict() | {"state": entries})


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def state_path(folder: Path, settings: object, training: Training) -> Path:
    """The file in `folder` for the state of a training, named by its settings and by the code of its steps."""
    return folder / f"{cache_key(settings, code=training.update.__module__)}.safetensors"


def run_training(
    training: Training, batch: Callable, *, steps: int, seed: int, path: Path | None = None, progress: bool = False
) -> float:
    """Train, from the step on that a state at `path` has reached; return the seconds spent, over all interruptions.

    Parameters
    ----------
    batch
        ``batch(step)`` gives what a step is taken on; its random numbers are the step's own.
    path
        Where the state is saved once a minute and at the end; see `state_path`. A damaged file is put aside, with a
        warning, and the training starts anew. None saves nothing.
    progress
        Show a bar.
    """
    first, spent = _resumed(training, path) if path and path.exists() else (0, 0.0)
    schedulers = []
    for optimiser in training.optimisers.values():
        for group in optimiser.param_groups:
            group["initial_lr"] = group["lr"]
        schedulers.append(LambdaLR(optimiser, partial(training.factor, steps=steps), first - 1))
    started = saved = time.monotonic()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Detected call of")  # torch warns where an optimiser rests at first
        for step in tqdm(range(first, steps), "training", unit="step", disable=not progress):
            with seeded(seed, step):
                losses = training.update(batch(step), step)
            for scheduler in schedulers:
                scheduler.step()
            if training.average:
                training.average.update_parameters(training.modules[training.averaged])
            if path and (time.monotonic() - saved > SAVE_EVERY or step == steps - 1):
                saved = time.monotonic()
                header = {"step": step + 1, "seconds": spent + saved - started, "record": training.record}
                files.save_tensors(path, training.state(), header)
                shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
                log.info("%s: step %d of %d, %s", path.parent.name, step + 1, steps, shown)
    return spent + time.monotonic() - started


def _resumed(training: Training, path: Path) -> tuple[int, float]:
    """Take over the state in a file: the number of steps behind it, and their seconds; 0 where it is damaged."""
    try:
        tensors, header = files.load_tensors(path)
    except InputError as error:
        log.warning("%s; kept as %s, the training starts anew", error, path.replace(path.with_suffix(".damaged")).name)
        return 0, 0.0
    training.load_state(tensors)
    training.record.update(header["record"])
    return header["step"], header["seconds"]


def descend(optimiser: torch.optim.Optimizer, loss: Tensor, *, clip: float | None = None) -> float:
    """Take one step of the optimiser, with the norm of the gradient limited to `clip`; return the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    if clip is not None:
        nn.utils.clip_grad_norm_([weight for group in optimiser.param_groups for weight in group["params"]], clip)
    optimiser.step()
    return loss.item()


def random_batches(images: Tensor, batch_size: int) -> Callable[[int], Tensor]:
    """Batches drawn uniformly from uint8 `(n, c, h, w)` images: float32 in [-1, 1]."""

    def batch(step: int) -> Tensor:
        chosen = images[torch.randint(len(images), (batch_size,))]
        return chosen.to(torch.float32).div_(127.5).sub_(1.0)

    return batch
