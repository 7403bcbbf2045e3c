r"""Classifiers of artifacts: standardise, a body that ends in features, one linear layer.

`cifar-resnet` is the network of the authors' released script, `resnet8` the same with one block a stage instead of
three: better with a short training, and twice as fast. `resnet50` is the one the paper names (ManiFPT, Fig. 3), `mlp`
one hidden layer for vectors, whose way into a "ResNet50-based" network the paper leaves open. `xception` and `yu`
are those of two baselines in small.
"""

from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

NETWORKS = ("resnet8", "cifar-resnet", "resnet50", "mlp", "xception", "yu")
HIDDEN = 512  # units of the mlp


class Classifier(nn.Module):
    """Logits of float32 artifacts.

    Parameters
    ----------
    body : nn.Module
        Standardised artifacts to features `(n, width)`: the penultimate layer.
    width, classes : int
    mean, sd : float32 tensors of shape (c, 1, 1) or (d,)
        Taken off and divided by, for each channel of an image or each entry of a vector; saved with the weights.
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
        self.residual = nn.Sequential(
            *_convolution(channels, width, stride),
            nn.ReLU(inplace=True),
            *_convolution(width, width, 1),
        )
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


def build(
    name: str, *, classes: int, mean: np.ndarray, sd: np.ndarray, weights: str | None = None, seed: int = 0
) -> Classifier:
    """A classifier, its initial weights drawn from `seed` without touching torch's global generators.

    Parameters
    ----------
    name : {"resnet8", "cifar-resnet", "resnet50", "mlp", "xception", "yu"}
    classes
        Number of logits.
    mean, sd : arrays of shape (c, 1, 1) or (d,)
        Of the training artifacts; their shape tells the number of channels or of entries.
    weights : {"imagenet", None}
        ImageNet weights for the body of ``resnet50``, by torchvision; None draws them at random. For other than three
        channels the first filters are their mean over the colours, times 3 / c, so that activations keep their scale.

    Raises
    ------
    InputError
        The ImageNet weights are neither in torch's folder of downloads nor to be had.
    """
    bodies = {
        "resnet8": (partial(_cifar_resnet, blocks=1), 64),
        "cifar-resnet": (_cifar_resnet, 64),
        "resnet50": (_resnet50, 2048),
        "mlp": (_mlp, HIDDEN),
        "xception": (_xception, 128),
        "yu": (_yu, 128),
    }
    body, width = bodies[name]
    tensors = {"mean": torch.as_tensor(mean, dtype=torch.float32), "sd": torch.as_tensor(sd, dtype=torch.float32)}
    with seeded(seed):
        body = body(len(mean), weights) if name == "resnet50" else body(len(mean))
        network = Classifier(body, width=width, classes=classes, **tensors)
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


def _mlp(entries: int) -> nn.Module:
    return nn.Sequential(nn.Linear(entries, HIDDEN), nn.ReLU())


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


def _resnet50(channels: int, weights: str | None) -> nn.Module:
    from torchvision.models import resnet50

    network = resnet50()
    if weights == "imagenet":
        network.load_state_dict(_imagenet())
    network.fc = nn.Identity()
    if channels != 3:
        first = network.conv1
        network.conv1 = nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
        colourless = first.weight.detach().mean(1, keepdim=True) * 3 / channels
        if weights == "imagenet":
            network.conv1.weight = nn.Parameter(colourless.repeat(1, channels, 1, 1))  # (64, c, 7, 7)
        else:
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network


def _imagenet() -> dict[str, Tensor]:
    from torchvision.models import ResNet50_Weights

    weights = ResNet50_Weights.IMAGENET1K_V2
    try:
        return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"weights='imagenet': {weights.url} cannot be had ({error}); put the file into "
            f"{torch.hub.get_dir()}/checkpoints, or train from random weights with weights=None"
        ) from error
