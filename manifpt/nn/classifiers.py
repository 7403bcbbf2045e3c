r"""Classifiers of artifacts, and how they are trained: standardise, a body that ends in features, one linear layer.

`cifar-resnet` is the network of the authors' released script; `resnet8` has one block a stage instead of three, and is
better with a short training and twice as fast. `resnet50` is the one that the paper names (ManiFPT, Fig. 3); `mlp`, for
vectors, has one hidden layer, as the paper leaves open how vectors enter its "ResNet50-based" network. `xception` and
`yu` are the networks of two baselines in small.

They are trained on one of three schedules. ``released`` is that of the authors' script: SGD, momentum 0.9, weight decay
1e-4, 180 passes over the data in batches of 36, learning rate 0.1 and a tenth of it after 5/9 and again after 5/6 of
training (epochs 100, 150). ``short`` is this project's choice for a laptop: AdamW, a warm-up for a fifth of training,
cosine decay to zero, and a fixed number of steps, so that 10 and 1,000 images a class are trained equally long.
``deep`` has a fifth of its learning rate and three times its steps, as a ResNet50 learns nothing in the short one.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.nn.train import Training, descend, run_training
from manifpt.utils.compute import seeded

HIDDEN = 512  # units of the mlp


class Classifier(nn.Module):
    """Map float32 artifacts to logits; `body` maps standardised artifacts to features `(n, width)`.

    `mean` and `sd`, of each channel `(c, 1, 1)` or each entry of a vector `(d,)`, standardise artifacts, and are saved
    with the weights.
    """

    def __init__(self, body: nn.Module, *, width: int, classes: int, mean: Tensor, sd: Tensor):
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)
        self.body = body
        self.head = nn.Linear(width, classes)

    def features(self, artifacts: Tensor) -> Tensor:
        """Features `(n, width)` of artifacts `(n, c, h, w)` or `(n, d)`."""
        return self.body((artifacts - self.mean) / self.sd)

    def forward(self, artifacts: Tensor) -> Tensor:
        """Logits `(n, classes)`, float32."""
        return self.head(self.features(artifacts)).float()


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut; the shortcut of a strided block is a 1x1 convolution, as released."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        first, second = _convolution(channels, width, stride), _convolution(width, width, 1)
        self.residual = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        self.shortcut = nn.Identity() if stride == 1 else nn.Conv2d(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class Separable(nn.Module):
    """Two depthwise separable convolutions and a shortcut, as in Xception (Chollet 2017); a stride pools."""

    def __init__(self, channels: int, width: int, stride: int):
        super().__init__()
        layers: list[nn.Module] = []
        for inner, outer in ((channels, width), (width, width)):
            layers += [nn.ReLU(), nn.Conv2d(inner, inner, 3, padding=1, groups=inner, bias=False)]
            layers += [nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer)]
        self.residual = nn.Sequential(*layers, nn.MaxPool2d(3, stride, 1) if stride > 1 else nn.Identity())
        same = stride == 1 and channels == width
        self.shortcut = nn.Identity() if same else nn.Conv2d(channels, width, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.residual(x) + self.shortcut(x)


class Pointwise(nn.Conv2d):
    """A 1x1 convolution as one matrix product: the same numbers, and several times faster where images are small."""

    def forward(self, x: Tensor) -> Tensor:
        rows = x.permute(0, 2, 3, 1)[:, :: self.stride[0], :: self.stride[1]]  # (n, h, w, c), and so are gradients
        return F.linear(rows, self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)  # (n, c, h, w)


def build_classifier(name: str, *, classes: int, mean: np.ndarray, sd: np.ndarray, seed: int = 0) -> Classifier:
    """A classifier, its initial weights drawn from `seed` without touching torch's global generators.

    The name is one of `NETWORKS`; mean and sd are those of the training artifacts, `(c, 1, 1)` or `(d,)`, whose shape
    tells the number of channels or of entries.
    """
    make, width = BODIES[name]
    tensors = {"mean": torch.as_tensor(mean, dtype=torch.float32), "sd": torch.as_tensor(sd, dtype=torch.float32)}
    with seeded(seed):
        network = Classifier(make(len(mean)), width=width, classes=classes, **tensors)
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.__class__ = Pointwise
    return network.to(memory_format=torch.channels_last)


def _convolution(channels: int, width: int, stride: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)


def _cifar_resnet(channels: int, blocks: int = 3) -> nn.Module:
    """3 stages of blocks, widths 16, 32, 64; Kaiming-normal weights (272,638 of them for 3 channels, 14 classes)."""
    layers = [*_convolution(channels, 16, 1), nn.ReLU(inplace=True)]
    for before, width, stride in ((16, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [Block(before, width, stride), *(Block(width, width, 1) for _ in range(blocks - 1))]
    body = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    for module in body.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return body


def _xception(channels: int) -> nn.Module:
    """Entry, middle and exit flow of Xception (Chollet 2017) at widths 32, 64, 128."""
    layers = [*_convolution(channels, 32, 1), Separable(32, 64, 2), Separable(64, 128, 2), Separable(128, 128, 1)]
    return nn.Sequential(*layers, nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _yu(channels: int) -> nn.Module:
    """Pairs of 3x3 convolutions and average pooling from 32x32 to 4x4, widths 16 to 128, then a dense layer."""
    layers: list[nn.Module] = []
    for before, width in ((channels, 16), (32, 32), (64, 64)):
        for inner, outer in ((before, width), (width, 2 * width)):
            layers += [nn.Conv2d(inner, outer, 3, padding=1, padding_mode="reflect"), nn.LeakyReLU(0.2)]
        layers += [nn.AvgPool2d(2)]
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Linear(128 * 16, 128), nn.LeakyReLU(0.2))


def _resnet50(channels: int) -> nn.Module:
    from torchvision.models import resnet50

    network = resnet50()
    network.fc = nn.Identity()
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


BODIES = {  # how each network's body is made, and the width of its features
    "resnet8": (partial(_cifar_resnet, blocks=1), 64),
    "cifar-resnet": (_cifar_resnet, 64),
    "resnet50": (_resnet50, 2048),
    "mlp": (lambda entries: nn.Sequential(nn.Linear(entries, HIDDEN), nn.ReLU()), HIDDEN),
    "xception": (_xception, 128),
    "yu": (_yu, 128),
}
NETWORKS = tuple(BODIES)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast a classifier is trained; an epoch has `steps` steps, or is one pass over the data."""

    epochs: int
    batch_size: int
    learning_rate: float
    steps: int | None = None

    def factor(self, step: int, steps: int) -> float:
        """What the learning rate is multiplied by in the middle of a step."""
        share = (step + 0.5) / steps
        if self.steps is None:
            return 0.1 ** ((share > 5 / 9) + (share > 5 / 6))
        return share / 0.2 if share < 0.2 else 0.5 + 0.5 * math.cos(math.pi * (share - 0.2) / 0.8)

    def optimiser(self, network: nn.Module) -> torch.optim.Optimizer:
        """A new optimiser in its fused form, which reads and writes the weights once a step."""
        options = {"lr": self.learning_rate, "fused": True}
        if self.steps is None:
            return torch.optim.SGD(network.parameters(), momentum=0.9, weight_decay=1e-4, **options)
        return torch.optim.AdamW(network.parameters(), weight_decay=0.01, **options)

    def rows(self, n: int, *, seed: int, epoch: int) -> np.ndarray:
        """Which of `n` rows each step of an epoch sees: integers `(steps, batch_size)`, from fresh shuffles."""
        steps, rng = self.steps or math.ceil(n / self.batch_size), np.random.default_rng([seed, epoch])
        shuffles = [rng.permutation(n) for _ in range(math.ceil(steps * self.batch_size / n))]
        return np.concatenate(shuffles)[: steps * self.batch_size].reshape(steps, -1)  # (step, row of the batch)


SCHEDULES = {
    "short": Schedule(epochs=10, batch_size=32, learning_rate=5e-3, steps=60),
    "deep": Schedule(epochs=10, batch_size=32, learning_rate=1e-3, steps=180),
    "released": Schedule(epochs=180, batch_size=36, learning_rate=0.1),
}


def train_classifier(
    network: nn.Module,
    schedule: Schedule,
    n: int,
    loss: Callable[[np.ndarray], Tensor],
    evaluate: Callable[[], tuple[float, float]] | None,
    *,
    seed: int,
    path: Path | None = None,
    progress: bool = False,
) -> tuple[list[dict], int]:
    """Train a network in place and leave it with the weights of the best epoch.

    `FloatingPointError` if the loss is no longer finite.

    Parameters
    ----------
    n
        Number of training rows.
    loss, evaluate
        Scalar loss of given rows; loss and accuracy on validation data, or None to keep the last epoch.
    path, progress
        See `manifpt.nn.train.run_training`; the name of the file has to tell all that the result depends on.

    Returns
    -------
    The history, one dict an epoch (epoch, loss, val_loss, val_accuracy), and the best epoch: that of highest accuracy,
    the earliest of equals. Epochs count from 1.
    """
    optimiser, rows = schedule.optimiser(network), lru_cache(1)(partial(schedule.rows, n, seed=seed))
    per_epoch = len(rows(epoch=1))
    modules = {"network": network.train(), "best": copy.deepcopy(network)}
    record = {"history": [], "best_epoch": 0, "losses": []}

    def update(some: np.ndarray, step: int) -> dict[str, float]:
        record["losses"].append(value := descend(optimiser, loss(some)))
        if (step + 1) % per_epoch == 0:
            end_epoch(len(record["history"]) + 1)
        return {"loss": value}

    def end_epoch(epoch: int) -> None:
        history, mean = record["history"], float(torch.tensor(record["losses"]).mean())
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"training diverged in epoch {epoch}; a lower learning_rate than {schedule.learning_rate} may help"
            )
        val_loss, val_accuracy = evaluate() if evaluate else (None, None)
        if evaluate is None or not history or val_accuracy > history[record["best_epoch"] - 1]["val_accuracy"]:
            modules["best"].load_state_dict(network.state_dict())
            record["best_epoch"] = epoch
        history.append({"epoch": epoch, "loss": mean, "val_loss": val_loss, "val_accuracy": val_accuracy})
        record["losses"].clear()
        network.train()

    def batch(step: int) -> np.ndarray:
        return rows(epoch=step // per_epoch + 1)[step % per_epoch]

    training = Training(modules, {"optimiser": optimiser}, update, factor=schedule.factor, record=record)
    run_training(training, batch, steps=schedule.epochs * per_epoch, seed=seed, path=path, progress=progress)
    network.load_state_dict(modules["best"].state_dict())
    return record["history"], record["best_epoch"]
