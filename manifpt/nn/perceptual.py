"""Distances of images by features of networks, for losses and for reading latents back."""

import warnings

import torch
from torch import Tensor, nn

from manifpt.nn.pretrained import LITE, supervised_network
from manifpt.utils.errors import InputError

BLOCKS = 3  # after the stem; with it, features at a half, a half, a quarter and an eighth of the resolution


class Perceptual(nn.Module):
    """Mean squared distance of features, summed over the stem and the first blocks of EfficientNet-Lite0.

    Features of each layer are scaled to unit length over channels, as in LPIPS (Zhang 2018), but layers have no learned
    weights. Images are float `(n, c, h, w)` in [-1, 1], c 1 or 3. Nothing is trained.
    """

    def __init__(self):
        super().__init__()
        network = supervised_network()
        stem = nn.Sequential(network.conv_stem, network.bn1)
        self.layers = nn.ModuleList([stem, *network.blocks[:BLOCKS]]).eval().requires_grad_(False)
        mean, sd = (torch.tensor(values).view(-1, 1, 1) for values in LITE)
        self.register_buffer("mean", mean)
        self.register_buffer("sd", sd)

    def train(self, mode: bool = True) -> "Perceptual":
        """Stay in evaluation mode."""
        return super().train(False)

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-length features of each layer."""
        x = (((images + 1) / 2).expand(-1, 3, -1, -1) - self.mean) / self.sd
        return [_unit(x := layer(x)) for layer in self.layers]

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance of each pair of images, `(n,)`."""
        with torch.no_grad():
            wanted = self.features(others)
        return self.to_features(images, wanted)

    def to_features(self, images: Tensor, wanted: list[Tensor]) -> Tensor:
        """Distance of images to others whose `features` are known, `(n,)`."""
        pairs = zip(self.features(images), wanted, strict=True)
        return sum((a.float() - b.float()).square().sum(1).mean((1, 2)) for a, b in pairs)


class Lpips(nn.Module):
    """LPIPS of VGG16 with its learned weights of layers (Zhang 2018), by the package ``lpips``; used as `Perceptual`.

    `InputError` where the weights of VGG16 are neither in torch's folder of downloads nor to be had.
    """

    def __init__(self):
        from lpips import LPIPS

        super().__init__()
        try:
            with warnings.catch_warnings():  # the package asks torchvision for weights in an older way
                warnings.simplefilter("ignore", UserWarning)
                self.network = LPIPS(net="vgg", verbose=False).requires_grad_(False)
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"lpips: the weights of VGG16 are not on this machine and not downloadable ({error}); go online once, "
                "copy them into torch.hub.get_dir(), or use 'perceptual', whose weights ship in a package"
            ) from error

    def features(self, images: Tensor) -> list[Tensor]:
        """Unit-length features of each layer."""
        layers = self.network.net(self.network.scaling_layer(images.expand(-1, 3, -1, -1)))
        return [_unit(x) for x in layers]

    def to_features(self, images: Tensor, wanted: list[Tensor]) -> Tensor:
        """Distance of images to others whose `features` are known, `(n,)`."""
        layers = zip(self.network.lins, self.features(images), wanted, strict=True)
        return sum(weigh((a - b).square()).mean((1, 2, 3)) for weigh, a, b in layers)


def _unit(x: Tensor) -> Tensor:
    """Features `(n, c, h, w)` of length one over channels."""
    return x * (x.float().square().sum(1, keepdim=True) + 1e-8).rsqrt().to(x.dtype)
