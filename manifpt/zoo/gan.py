r"""GANs that share one generator network, so that only the loss differs.

==========  =========================================================================  =======================
name        discriminator loss                                                         source
==========  =========================================================================  =======================
`dcgan`     :math:`-\log D(x) - \log(1 - D(G(z)))`                                     Radford 2016
`wgan-gp`   :math:`D(G(z)) - D(x) + 10 (\|\nabla D(\hat x)\|_2 - 1)^2`                  Gulrajani 2017
==========  =========================================================================  =======================
"""

import contextlib
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.compute import autocast
from manifpt.training import Task
from manifpt.zoo.recipe import Recipe

LATENT = 100
WIDTH = 48


class Generator(nn.Sequential):
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
    """Strided 4x4 convolutions, leaky ReLU: images to logits `(n,)`. Batch norm only where the loss allows."""

    def __init__(self, channels: int, *, batch_norm: bool, width: int = WIDTH):
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, 2, 1), nn.LeakyReLU(0.2, inplace=True)]
        for inner, outer in ((width, 2 * width), (2 * width, 4 * width)):
            layers += [nn.Conv2d(inner, outer, 4, 2, 1, bias=not batch_norm)]
            layers += [nn.BatchNorm2d(outer)] if batch_norm else []
            layers += [nn.LeakyReLU(0.2, inplace=True)]
        super().__init__(*layers, nn.Conv2d(4 * width, 1, 4), nn.Flatten(0))
        self.apply(_dcgan_init)


def _dcgan_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def sample(generator: nn.Module, n: int) -> Tensor:
    """n images from standard normal latents."""
    return generator(torch.randn(n, LATENT, device=next(generator.parameters()).device))


def dcgan(channels: int, device: torch.device) -> Recipe:
    """Non-saturating GAN loss, one discriminator step a generator step; Adam 2e-4, betas (0.5, 0.999)."""
    generator, discriminator, g_optimiser, d_optimiser = _players(channels, device, True, (0.5, 0.999))

    def update(real: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            fake = generator(torch.randn(len(real), LATENT, device=device))
            d_loss = F.softplus(-discriminator(real)).mean() + F.softplus(discriminator(fake.detach())).mean()
        _descend(d_optimiser, d_loss)
        with autocast(device), frozen(discriminator):
            g_loss = F.softplus(-discriminator(fake)).mean()
        _descend(g_optimiser, g_loss)
        return {"D": d_loss.item(), "G": g_loss.item()}

    return _recipe(generator, discriminator, g_optimiser, d_optimiser, update)


def wgan_gp(channels: int, device: torch.device, *, penalty: float = 10.0, critic_steps: int = 2) -> Recipe:
    """Wasserstein loss, two-sided gradient penalty; a generator step every second critic step; Adam 2e-4, (0, 0.9)."""
    generator, critic, g_optimiser, d_optimiser = _players(channels, device, False, (0.0, 0.9))

    def update(real: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            fake = generator(torch.randn(len(real), LATENT, device=device))
            wasserstein = critic(real).float().mean() - critic(fake.detach()).float().mean()
            mix = torch.rand(len(real), 1, 1, 1, device=device)
            between = (mix * real + (1 - mix) * fake.detach()).requires_grad_()
            (slope,) = torch.autograd.grad(critic(between).sum(), between, create_graph=True)
        d_loss = -wasserstein + penalty * (slope.float().flatten(1).norm(dim=1) - 1).square().mean()
        _descend(d_optimiser, d_loss)
        if step % critic_steps == 0:
            with autocast(device), frozen(critic):
                g_loss = -critic(fake).float().mean()
            _descend(g_optimiser, g_loss)
        return {"W": wasserstein.item(), "D": d_loss.item()}

    return _recipe(generator, critic, g_optimiser, d_optimiser, update)


def _players(channels: int, device: torch.device, batch_norm: bool, betas: tuple[float, float]) -> tuple:
    """Generator, discriminator, and an Adam optimiser of each."""
    players = Generator(channels), Discriminator(channels, batch_norm=batch_norm)
    players = [network.to(device, memory_format=torch.channels_last) for network in players]
    return *players, *(torch.optim.Adam(network.parameters(), 2e-4, betas) for network in players)


@contextlib.contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Build no gradients for the network's own weights inside the block."""
    network.requires_grad_(False)
    yield
    network.requires_grad_(True)


def _descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    optimiser.step()


def _recipe(generator, discriminator, g_optimiser, d_optimiser, update) -> Recipe:
    modules = {"generator": generator, "discriminator": discriminator}
    return Recipe(Task(modules, {"G": g_optimiser, "D": d_optimiser}, update, "generator"), sample)
