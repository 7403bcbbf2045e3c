r"""One loop for everything that is trained here: resumable at any kill, seeded per step, with a moving average.

Every step draws its random numbers from a generator seeded by ``(seed, step)`` alone, so a run that was killed and
resumed takes the same steps as one that was not. The state on disk is one ``.safetensors`` file, replaced atomically.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from manifpt.utils import files
from manifpt.utils.compute import seeded

log = logging.getLogger("manifpt")
SAVE_EVERY = 60.0  # seconds


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
        One step on a batch of images; returns losses to log. It may draw from torch's default generator.
    averaged
        Name of the module whose exponential moving average is kept and returned.
    decay
        Of that average.
    anneal
        Lower the learning rates linearly to zero in the second half of training.
    """

    modules: dict[str, nn.Module]
    optimisers: dict[str, torch.optim.Optimizer]
    update: Callable[[Tensor, int], dict[str, float]]
    averaged: str
    decay: float = 0.999
    anneal: bool = False
    average: AveragedModel = field(init=False)

    def __post_init__(self):
        network = self.modules[self.averaged]
        self._rates = [[group["lr"] for group in optimiser.param_groups] for optimiser in self.optimisers.values()]
        self.average = AveragedModel(network, multi_avg_fn=self._move_average, use_buffers=True)

    def set_rates(self, factor: float) -> None:
        """Let the optimisers' learning rates be their first ones times a factor."""
        for optimiser, rates in zip(self.optimisers.values(), self._rates, strict=True):
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = factor * rate

    @torch.no_grad()
    def _move_average(self, averages: list[Tensor], weights: list[Tensor], updates: Tensor) -> None:
        """Lower the decay at first, so that the initial weights do not linger in a short training."""
        decay = min(self.decay, (1 + int(updates)) / (10 + int(updates)))
        get_ema_multi_avg_fn(decay)(averages, weights, updates)

    def state(self) -> dict[str, Tensor]:
        """All tensors of the task, flat and named."""
        modules = {f"module.{m}.{k}": t for m, module in self.modules.items() for k, t in module.state_dict().items()}
        average = {f"average.{k}": t for k, t in self.average.state_dict().items()}
        optimisers = {
            f"optimiser.{name}.{index}.{key}": torch.as_tensor(value)
            for name, optimiser in self.optimisers.items()
            for index, entry in optimiser.state_dict()["state"].items()
            for key, value in entry.items()
            if value is not None
        }
        return {k: t.clone() for k, t in (modules | average | optimisers).items()}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        for name, module in self.modules.items():
            module.load_state_dict(_below(state, f"module.{name}."))
        self.average.load_state_dict(_below(state, "average."))
        for name, optimiser in self.optimisers.items():
            entries: dict[int, dict[str, Tensor]] = {}
            for key, tensor in _below(state, f"optimiser.{name}.").items():
                index, _, what = key.partition(".")
                entries.setdefault(int(index), {})[what] = tensor
            optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})


def _below(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}


def train(
    task: Training, batch: Callable[[int], Tensor], *, steps: int, seed: int, settings: dict, folder: Path
) -> float:
    """Train `task` for `steps` steps; a state in `folder` with the same `settings` is continued.

    Parameters
    ----------
    batch
        Step number to a batch of images; called inside the step's seeded block.
    settings
        Everything that the result depends on; its hash names the state file.
    folder
        Where the state is kept.

    Returns
    -------
    Seconds spent in steps, over all parts of an interrupted run. The result is ``task.average.module``.
    """
    path = _state_path(folder, settings)
    first, spent = 0, 0.0
    if path.exists():
        tensors, header = files.load_tensors(path)
        task.load_state(tensors)
        first, spent = header["step"], header["seconds"]
        log.info("%s: resumed at step %d of %d", path.parent.name, first, steps)
    started = saved = time.monotonic()

    def seconds() -> float:
        return spent + time.monotonic() - started

    for step in range(first, steps):
        task.set_rates(min(1.0, 2 * (1 - step / steps)) if task.anneal else 1.0)
        with seeded(seed, step):
            images = batch(step)
            losses = task.update(images, step)
        task.average.update_parameters(task.modules[task.averaged])
        if time.monotonic() - saved > SAVE_EVERY or step == steps - 1:
            files.save_tensors(path, task.state(), {"step": step + 1, "seconds": seconds(), "settings": settings})
            saved = time.monotonic()
            log.info(
                "%s: %s",
                path.parent.name,
                _progress(step + 1 - first, steps - first, len(images), saved - started, losses),
            )
    return seconds()


def discard(folder: Path, settings: dict) -> None:
    """Remove the state that `train` kept in `folder` with these settings, and the folder if nothing else is in it."""
    _state_path(folder, settings).unlink(missing_ok=True)
    if not any(folder.iterdir()):
        folder.rmdir()


def _state_path(folder: Path, settings: dict) -> Path:
    return folder / f"{files.settings_hash(settings)}.safetensors"


def _progress(done: int, todo: int, batch_size: int, elapsed: float, losses: dict[str, float]) -> str:
    rate, remaining = done / elapsed, (todo - done) * elapsed / done
    shown = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
    return f"step {done}/{todo}, {rate * batch_size:.0f} images/s, {shown}, {remaining:.0f} s left"


def random_batches(images: Tensor, batch_size: int) -> Callable[[int], Tensor]:
    """Batches drawn uniformly from uint8 `(n, c, h, w)` images: float32 in [-1, 1]."""

    def batch(step: int) -> Tensor:
        chosen = images[torch.randint(len(images), (batch_size,))]
        return chosen.to(torch.float32).div_(127.5).sub_(1.0)

    return batch
