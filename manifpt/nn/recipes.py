r"""How a classifier is trained: three recipes and one loop, resumable at each epoch's end.

The released recipe is that of the authors' training script: SGD, momentum 0.9, weight decay 1e-4, 180 passes over the
data in batches of 36, learning rate 0.1 and a tenth of it after 5/9 and again after 5/6 of training (epochs 100, 150).
The short one is this project's choice for a laptop: AdamW, a warm-up for a fifth of training, cosine decay to zero, and
a fixed number of steps, so that 10 and 1,000 images a class are trained equally long. The deep one is the same with a
fifth of the learning rate and three times the steps: a ResNet50 learns nothing in the short one.

Batches are always full. An epoch's rows come from fresh shuffles, by a generator seeded with (seed, epoch) alone.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from manifpt.utils import files


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train; `steps` an epoch, None for one pass over the data."""

    epochs: int
    batch_size: int
    learning_rate: float
    steps: int | None = None

    def factor(self, share: float) -> float:
        """What the learning rate is multiplied by after a `share` of all steps, 0 to 1."""
        if self.steps is None:
            return 0.1 ** ((share > 5 / 9) + (share > 5 / 6))
        return share / 0.2 if share < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.2) / 0.8)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """In its fused form, which reads and writes the weights once a step.

        On a CPU it pairs weights, gradients and moments by their place in memory: weights stay in the default layout.
        """
        if self.steps is None:
            return torch.optim.SGD(network.parameters(), momentum=0.9, weight_decay=1e-4, fused=True)
        return torch.optim.AdamW(network.parameters(), weight_decay=0.01, fused=True)

    def rows(self, n: int, *, seed: int, epoch: int) -> np.ndarray:
        """Which of `n` rows each step of an epoch sees: integers `(steps, batch_size)`."""
        steps = self.steps or math.ceil(n / self.batch_size)
        rng = np.random.default_rng([seed, epoch])
        shuffles = [rng.permutation(n) for _ in range(math.ceil(steps * self.batch_size / n))]
        return np.concatenate(shuffles)[: steps * self.batch_size].reshape(steps, -1)  # (step, row of the batch)


RECIPES = {
    "short": Schedule(epochs=10, batch_size=32, learning_rate=5e-3, steps=60),
    "deep": Schedule(epochs=10, batch_size=32, learning_rate=1e-3, steps=180),
    "released": Schedule(epochs=180, batch_size=36, learning_rate=0.1),
}


def train(
    network: nn.Module,
    recipe: Schedule,
    n: int,
    loss: Callable[[np.ndarray], Tensor],
    evaluate: Callable[[], tuple[float, float]] | None,
    *,
    seed: int,
    path: Path | None = None,
    progress: bool = False,
) -> tuple[list[dict], int]:
    """Train `network` in place and leave it with the weights of the best epoch.

    Parameters
    ----------
    n
        Number of training rows.
    loss
        Scalar loss of the given rows.
    evaluate
        Loss and accuracy on validation data; None keeps the last epoch.
    path
        Where the state is kept at each epoch's end and, if it is there, taken up.

    Returns
    -------
    The history, one dict an epoch (epoch, loss, val_loss, val_accuracy), and the best epoch: that of highest accuracy,
    the earliest of equals. Epochs count from 1.

    Raises
    ------
    FloatingPointError
        The loss is no longer finite.
    """
    optimiser = recipe.optimiser(network)
    best, history, best_epoch = _copy(network), [], 0
    if path is not None and path.exists():
        tensors, header = files.load_tensors(path)
        best, history, best_epoch = _unpack(tensors, network, optimiser), header["history"], header["best_epoch"]
    for epoch in tqdm(range(len(history) + 1, recipe.epochs + 1), "training", unit="epoch", disable=not progress):
        mean_loss = _epoch(network, recipe, optimiser, loss, recipe.rows(n, seed=seed, epoch=epoch), epoch)
        val_loss, val_accuracy = evaluate() if evaluate else (None, None)
        if evaluate is None or not history or val_accuracy > history[best_epoch - 1]["val_accuracy"]:
            best, best_epoch = _copy(network), epoch
        history.append({"epoch": epoch, "loss": mean_loss, "val_loss": val_loss, "val_accuracy": val_accuracy})
        if path is not None:
            files.save_tensors(path, _pack(network, best, optimiser), {"history": history, "best_epoch": best_epoch})
    network.load_state_dict(best)
    return history, best_epoch


def _epoch(
    network: nn.Module,
    recipe: Schedule,
    optimiser: torch.optim.Optimizer,
    loss: Callable[[np.ndarray], Tensor],
    rows: np.ndarray,
    epoch: int,
) -> float:
    """Train for one epoch; the mean loss of its batches."""
    network.train()
    losses = []
    for step, some in enumerate(rows):
        share = ((epoch - 1) * len(rows) + step + 0.5) / (recipe.epochs * len(rows))
        optimiser.param_groups[0]["lr"] = recipe.learning_rate * recipe.factor(share)
        optimiser.zero_grad()
        value = loss(some)
        value.backward()
        optimiser.step()
        losses.append(value.detach())
    mean = float(torch.stack(losses).mean())
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"training diverged in epoch {epoch}; a lower learning_rate than {recipe.learning_rate} may help"
        )
    return mean


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def _pack(network: nn.Module, best: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """All that the next epoch depends on, flat and named."""
    state = {f"network/{name}": tensor for name, tensor in network.state_dict().items()}
    state |= {f"best/{name}": tensor for name, tensor in best.items()}
    for index, entry in optimiser.state_dict()["state"].items():
        state |= {f"optimiser/{index}/{name}": tensor for name, tensor in entry.items()}
    return state


def _unpack(state: dict[str, Tensor], network: nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Put a packed state back, the optimiser's moments in the weights' memory layout; the best weights."""
    parts: dict[str, dict[str, Tensor]] = {"network": {}, "best": {}, "optimiser": {}}
    for key, tensor in state.items():
        part, _, name = key.partition("/")
        parts[part][name] = tensor
    network.load_state_dict(parts["network"])
    parameters = list(network.parameters())
    entries: dict[int, dict[str, Tensor]] = {}
    for key, tensor in parts["optimiser"].items():
        index, _, name = key.partition("/")
        like = parameters[int(index)]
        laid_out = torch.empty_like(like).copy_(tensor) if tensor.shape == like.shape else tensor
        entries.setdefault(int(index), {})[name] = laid_out.detach()
    optimiser.load_state_dict({"state": entries, "param_groups": optimiser.state_dict()["param_groups"]})
    return parts["best"]
