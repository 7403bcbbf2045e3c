"""Distance of images in the first layers of the ``sl`` network, for losses and for reading latents back."""

import torch
from torch import Tensor, nn

from manifpt.embeddings import LITE, supervised_network

BLOCKS = 3  # after the stem; with it, features at a half, a half, a quarter and an eighth of the resolution


class Perceptual(nn.Module):
    r"""Mean squared distance of features, summed over the stem and the first blocks of EfficientNet-Lite0.

    Features of each layer are scaled to unit length over channels, as LPIPS does (Zhang 2018). No layer's weight is
    learned. Images are float `(n, c, h, w)` in [-1, 1], c 1 or 3; nothing in here is trained.
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
        x = ((images + 1) / 2).expand(-1, 3, -1, -1)
        x, features = (x - self.mean) / self.sd, []
        for layer in self.layers:
            x = layer(x)
            features.append(x * (x.float().square().sum(1, keepdim=True) + 1e-8).rsqrt().to(x.dtype))
        return features

    def forward(self, images: Tensor, others: Tensor) -> Tensor:
        """Distance of each pair of images, `(n,)`."""
        with torch.no_grad():
            wanted = self.features(others)
        return self.to_features(images, wanted)

    def to_features(self, images: Tensor, wanted: list[Tensor]) -> Tensor:
        """Distance of images to others whose `features` are known, `(n,)`."""
        pairs = zip(self.features(images), wanted, strict=True)
        return sum((a.float() - b.float()).square().sum(1).mean((1, 2)) for a, b in pairs)
