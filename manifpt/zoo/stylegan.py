r"""StyleGAN2 (Karras 2020) in small.

A mapping network turns z into w; each convolution is modulated by a style, an affine function of w, and demodulated;
each resolution adds its image to the upsampled one below (skip outputs). The discriminator is residual. Non-saturating
loss with a lazy R1 penalty :math:`\frac\gamma2 \|\nabla D(x)\|^2` on real images. Left out: path-length penalty, style
mixing.
"""

import itertools
import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.zoo.base import Generator
from manifpt.zoo.gan import adversarial, input_gradient

LATENT = 256  # of z and of w
WIDTHS = {4: 96, 8: 64, 16: 32, 32: 16}  # resolution: channels
GAMMA = 1.0
R1_EVERY = 16  # steps


class Linear(nn.Module):
    """Linear layer `(n, inner)` to `(n, outer)`, with equalised learning rate.

    Its weights have standard deviation 1/rate and are scaled by rate/√inputs when they are used.
    """

    def __init__(self, inner: int, outer: int, *, bias: float = 0.0, rate: float = 1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner) / rate)
        self.bias = nn.Parameter(torch.full((outer,), bias / rate))
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * (self.rate / math.sqrt(self.weight.shape[1])), self.bias * self.rate)


class Conv(nn.Module):
    """Convolution `(n, inner, h, w)` to `(n, outer, h, w)` with equalised learning rate."""

    def __init__(self, inner: int, outer: int, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner, size, size))
        self.bias = nn.Parameter(torch.zeros(outer))

    def scaled(self) -> Tensor:
        """The weights as they are used."""
        return self.weight / math.sqrt(self.weight[0].numel())

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.scaled(), self.bias, padding=self.weight.shape[-1] // 2)


class StyledConv(Conv):
    """Modulated, and unless it makes an image demodulated convolution, noise, leaky ReLU."""

    def __init__(self, inner: int, outer: int, size: int = 3, *, image: bool = False):
        super().__init__(inner, outer, size)
        self.style = Linear(LATENT, inner, bias=1.0)
        self.strength = None if image else nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, w: Tensor, noise: Tensor | None = None) -> Tensor:
        """`(n, inner, h, w)` and w `(n, 256)` to `(n, outer, h, w)`; noise `(1, 1, h, w)` is drawn if not given."""
        style, weight = self.style(w).float(), self.scaled()
        x = F.conv2d(x * style[:, :, None, None].to(x.dtype), weight, padding=self.weight.shape[-1] // 2)
        if self.strength is None:
            return x + self.bias[:, None, None].to(x.dtype)
        power = style.square() @ weight.square().sum((2, 3)).t()  # (n, outer)
        noise = torch.randn(len(x), 1, *x.shape[2:], device=x.device) if noise is None else noise
        x = x * (power + 1e-8).rsqrt()[:, :, None, None].to(x.dtype)
        x = x + (self.strength * noise + self.bias[:, None, None]).to(x.dtype)
        return _activate(x)


class StyleGenerator(nn.Module):
    """z `(n, 256)` to images `(n, c, 32, 32)`: `mapping` to w, then `synthesis`."""

    def __init__(self, channels: int):
        super().__init__()
        self.mapping = nn.ModuleList(Linear(LATENT, LATENT, rate=0.01) for _ in range(4))
        self.start = nn.Parameter(torch.randn(WIDTHS[4], 4, 4))
        inner = [WIDTHS[max(size // 2, 4)] for size in WIDTHS]
        outer = list(WIDTHS.values())
        self.first = nn.ModuleList(StyledConv(i, o) for i, o in zip(inner[1:], outer[1:], strict=True))
        self.second = nn.ModuleList(StyledConv(o, o) for o in outer)
        self.to_image = nn.ModuleList(StyledConv(o, channels, 1, image=True) for o in outer)

    def map(self, z: Tensor) -> Tensor:
        """z to w, both `(n, 256)`."""
        w = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.mapping:
            w = _activate(layer(w))
        return w.float()

    def synthesis(self, w: Tensor, noise: Iterable[Tensor | None] = itertools.repeat(None)) -> Tensor:
        """w `(n, 256)` to images; `noise` of each convolution in turn, by default from torch's default generator."""
        noise = iter(noise)
        x = self.second[0](self.start.expand(len(w), -1, -1, -1), w, next(noise))
        image = self.to_image[0](x, w)
        for first, second, to_image in zip(self.first, self.second[1:], self.to_image[1:], strict=True):
            x = second(first(upsample(x), w, next(noise)), w, next(noise))
            image = upsample(image) + to_image(x, w)
        return image

    def forward(self, z: Tensor) -> Tensor:
        """`synthesis` of `map`."""
        return self.synthesis(self.map(z))


class StyleDiscriminator(nn.Module):
    """Images to logits `(n,)`: residual blocks, then the batch's standard deviation as one more channel."""

    def __init__(self, channels: int):
        super().__init__()
        widths = list(WIDTHS.values())[::-1]
        self.from_image = Conv(channels, widths[0], 1)
        pairs = list(itertools.pairwise(widths))
        self.first = nn.ModuleList(Conv(inner, inner, 3) for inner, _ in pairs)
        self.second = nn.ModuleList(Conv(inner, outer, 3) for inner, outer in pairs)
        self.shortcut = nn.ModuleList(Conv(inner, outer, 1) for inner, outer in pairs)
        self.last = Conv(widths[-1] + 1, widths[-1], 3)
        self.logit = nn.Sequential(nn.Flatten(), Linear(widths[-1] * 16, 128), nn.LeakyReLU(0.2), Linear(128, 1))

    def forward(self, images: Tensor) -> Tensor:
        """`(n, c, 32, 32)` to `(n,)`."""
        x = _activate(self.from_image(images))
        for first, second, shortcut in zip(self.first, self.second, self.shortcut, strict=True):
            x = (_activate(second(downsample(_activate(first(x))))) + shortcut(downsample(x))) / math.sqrt(2)
        spread = x.float().var(0, unbiased=False).add(1e-8).sqrt().mean().to(x.dtype)
        x = torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], dim=1)
        return self.logit(_activate(self.last(x))).flatten()


def upsample(x: Tensor) -> Tensor:
    """Twice the size with the FIR filter [1, 3, 3, 1], which is bilinear interpolation."""
    return F.interpolate(x, scale_factor=2, mode="bilinear")


def downsample(x: Tensor) -> Tensor:
    """Half the size with the FIR filter [1, 3, 3, 1]; in fp32, since bf16 is slower here."""
    fir = torch.tensor([1.0, 3.0, 3.0, 1.0], device=x.device) / 8
    filters = (fir[:, None] * fir).expand(x.shape[1], 1, 4, 4)
    with torch.autocast(x.device.type, enabled=False):
        return F.conv2d(x.float(), filters, stride=2, padding=1, groups=x.shape[1]).to(x.dtype)


def _activate(x: Tensor) -> Tensor:
    return F.leaky_relu(x, 0.2) * math.sqrt(2)


def stylegan2(channels: int, device: torch.device) -> Generator:
    """StyleGAN2, trained by Adam 2e-3 with betas (0, 0.99); it samples without truncation."""

    def r1(discriminator: nn.Module, real: Tensor, fake: Tensor, step: int) -> Tensor | float:
        if step % R1_EVERY:
            return 0.0
        return R1_EVERY * GAMMA / 2 * input_gradient(discriminator, real).square().sum((1, 2, 3)).mean()

    players = StyleGenerator(channels), StyleDiscriminator(channels)
    return adversarial(players, device, "logistic", penalty=r1, latent=LATENT, rates=(2e-3, 2e-3), betas=(0.0, 0.99))
