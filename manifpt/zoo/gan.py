r"""GANs. Six of them share one generator network and differ in the loss; `gan` is the one before convolutions.

With the loss go the discriminator's norm (layer norm where there is a penalty) and, for Wasserstein, the optimisers:
Adam without momentum (Gulrajani 2017), the discriminator faster than the generator (Heusel 2017).

=====================  ============================================================================  =================
name                   discriminator loss                                                            source
=====================  ============================================================================  =================
`gan`, `dcgan`         :math:`-\log D(x) - \log(1 - D(G(z)))`                                        Goodfellow 2014,
                                                                                                     Radford 2016
`lsgan`                :math:`(D(x) - 1)^2 + D(G(z))^2`                                              Mao 2017
`wgan-gp`              :math:`D(G(z)) - D(x) + 10 (\|\nabla D(\hat x)\| - 1)^2`                       Gulrajani 2017
`wgan-lp`              the same with :math:`\max(0, \|\nabla D(\hat x)\| - 1)^2`                      Petzka 2018
`dragan-gp`, `-lp`     as `dcgan`, plus either penalty around real images                            Kodali 2017
=====================  ============================================================================  =================

:math:`\hat x` lies between a real and a generated image for WGAN, between a real image and a noisy one for DRAGAN.
"""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.train import Training, late_decay
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator

LATENT = 100
WIDTH = 48
PENALTY = 10.0


class ConvolutionalGenerator(nn.Sequential):
    """DCGAN generator: z `(n, 100)` to images `(n, c, 32, 32)`; transposed 4x4 convolutions, batch norm, ReLU, tanh."""

    def __init__(self, channels: int, latent: int = LATENT, width: int = WIDTH):
        widths = [4 * width, 2 * width, width]
        layers = [nn.Unflatten(1, (latent, 1, 1)), nn.ConvTranspose2d(latent, widths[0], 4, bias=False)]
        for inner, outer in zip(widths, [*widths[1:], None], strict=True):
            layers += [nn.BatchNorm2d(inner), nn.ReLU(inplace=True)]
            layers += [nn.ConvTranspose2d(inner, outer or channels, 4, 2, 1, bias=outer is None)]
        super().__init__(*layers, nn.Tanh())
        self.apply(_dcgan_init)


class Discriminator(nn.Sequential):
    """Strided 4x4 convolutions, leaky ReLU: images to logits `(n,)`.

    Batch norm; layer norm where the loss has a penalty on each image's own gradient.
    """

    def __init__(self, channels: int, *, penalised: bool, width: int = WIDTH):
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for inner, outer in ((width, 2 * width), (2 * width, 4 * width)):
            norm = nn.GroupNorm(1, outer) if penalised else nn.BatchNorm2d(outer)
            layers += [nn.Conv2d(inner, outer, 4, 2, 1, bias=False), norm, nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten(0))
        if not penalised:
            self.apply(_dcgan_init)


def _dcgan_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def multilayer(channels: int) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator without convolutions, of three and two hidden layers; narrower in colour.

    Most weights sit between the widest layer and the pixels: so there are about as many of them as in grey.
    """
    pixels, width = channels * 32 * 32, 480 if channels == 1 else 240
    widths = [LATENT, width // 2, width, width]
    hidden = [
        layer
        for inner, outer in itertools.pairwise(widths)
        for layer in (nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU(inplace=True))
    ]
    generator = nn.Sequential(*hidden, nn.Linear(width, pixels), nn.Tanh(), nn.Unflatten(1, (channels, 32, 32)))
    widths = [pixels, width, width // 2]
    hidden = [
        layer
        for inner, outer in itertools.pairwise(widths)
        for layer in (nn.Linear(inner, outer), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.3))
    ]
    return generator, nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width // 2, 1), nn.Flatten(0))


def logistic(real: Tensor, fake: Tensor) -> Tensor:
    """Cross-entropy of the discriminator's logits."""
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def least_squares(real: Tensor, fake: Tensor) -> Tensor:
    """Squared distance to 1 for real images, to 0 for generated ones."""
    return (real - 1).square().mean() + fake.square().mean()


def wasserstein(real: Tensor, fake: Tensor) -> Tensor:
    """Negative estimate of the Wasserstein distance."""
    return fake.mean() - real.mean()


FOOLED: dict[Callable, Callable[[Tensor], Tensor]] = {  # discriminator's loss: the generator's
    logistic: lambda fake: F.softplus(-fake).mean(),
    least_squares: lambda fake: (fake - 1).square().mean(),
    wasserstein: lambda fake: -fake.mean(),
}


def two_sided(slope: Tensor) -> Tensor:
    """GP: the gradient's norm should be 1."""
    return (slope - 1).square()


def one_sided(slope: Tensor) -> Tensor:
    """LP: the gradient's norm should be at most 1."""
    return (slope - 1).relu().square()


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A random point between each real image and a generated one."""
    return torch.lerp(fake, real, torch.rand(len(real), 1, 1, 1, device=real.device))


def around(real: Tensor, fake: Tensor) -> Tensor:
    """A random point between each real image and itself plus noise, uniform from 0 to half the batch's deviation."""
    noise = 0.5 * real.std() * torch.rand_like(real)
    return real + noise * torch.rand(len(real), 1, 1, 1, device=real.device)


def sample(generator: nn.Module, n: int) -> Tensor:
    """n images from standard normal latents."""
    return generator(torch.randn(n, LATENT, device=next(generator.parameters()).device))


def _adversarial(
    players: tuple[nn.Module, nn.Module],
    device: torch.device,
    loss: Callable[[Tensor, Tensor], Tensor],
    *,
    penalty: Callable[[Tensor], Tensor] | None = None,
    where: Callable[[Tensor, Tensor], Tensor] = between,
    rates: tuple[float, float] = (2e-4, 2e-4),
    betas: tuple[float, float] = (0.5, 0.99),
    batch_size: int = 32,
    fused: bool = False,
) -> Generator:
    """Train generator and discriminator against each other, a step of either in turn.

    Fused, Adam pairs weights and moments by their place in memory, so weights of convolutions, whose layout differs
    from that of a state read from disk, must not be among them.
    """
    generator, discriminator = (player.to(device, memory_format=torch.channels_last) for player in players)
    g_optimiser, d_optimiser = (
        torch.optim.Adam(player.parameters(), rate, betas, fused=fused)
        for player, rate in zip(players, rates, strict=True)
    )

    def update(real: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            fake = generator(torch.randn(len(real), LATENT, device=device))
            d_loss = loss(discriminator(real).float(), discriminator(fake.detach()).float())
        if penalty is not None:
            slope = _slope(discriminator, where(real, fake.detach().float()))
            d_loss = d_loss + PENALTY * penalty(slope).mean()
        descend(d_optimiser, d_loss)
        with autocast(device), frozen(discriminator):
            g_loss = FOOLED[loss](discriminator(fake).float())
        descend(g_optimiser, g_loss)
        return {"D": d_loss.item(), "G": g_loss.item()}

    modules = {"generator": generator, "discriminator": discriminator}
    task = Training(modules, {"G": g_optimiser, "D": d_optimiser}, update, "generator", decay=0.998, factor=late_decay)
    return Generator(task, sample, batch_size)


def _slope(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Norm of the discriminator's gradient at each image `(n,)`, itself differentiable."""
    images = images.requires_grad_()
    with autocast(images.device):
        logits = discriminator(images)
        (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.float().flatten(1).norm(dim=1)


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Build no gradients for the network's own weights inside the block."""
    network.requires_grad_(False)
    yield
    network.requires_grad_(True)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimiser down the loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _convolutional(channels: int, device: torch.device, loss: Callable, **options) -> Generator:
    players = ConvolutionalGenerator(channels), Discriminator(channels, penalised="penalty" in options)
    return _adversarial(players, device, loss, **options)


def gan(channels: int, device: torch.device) -> Generator:
    """The first GAN: multilayer perceptrons."""
    return _adversarial(multilayer(channels), device, logistic, batch_size=64, fused=True)


dcgan = partial(_convolutional, loss=logistic)
lsgan = partial(_convolutional, loss=least_squares)
_wasserstein = partial(_convolutional, loss=wasserstein, rates=(2e-4, 5e-4), betas=(0.0, 0.9))
wgan_gp = partial(_wasserstein, penalty=two_sided)
wgan_lp = partial(_wasserstein, penalty=one_sided)
dragan_gp = partial(_convolutional, loss=logistic, penalty=two_sided, where=around)
dragan_lp = partial(_convolutional, loss=logistic, penalty=one_sided, where=around)
