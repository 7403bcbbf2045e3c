r"""GANs. Six of them share one generator network and differ in the loss; `gan` has no convolutions.

The discriminator has layer norm where there is a penalty, else batch norm. For Wasserstein, Adam has no momentum
(Gulrajani 2017), and the discriminator learns faster than the generator (Heusel 2017).

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

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifpt.nn.train import descend
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator, stack, strided, transposed

LATENT = 100
WIDTH = 48
PENALTY = 10.0
Pairwise = Callable[[Tensor, Tensor], Tensor]  # of real and generated images, or of the logits of both


LOSSES: dict[str, tuple[Pairwise, Callable[[Tensor], Tensor]]] = {  # of the discriminator, of the generator
    "logistic": (lambda r, f: F.softplus(-r).mean() + F.softplus(f).mean(), lambda f: F.softplus(-f).mean()),
    "least squares": (lambda r, f: (r - 1).square().mean() + f.square().mean(), lambda f: (f - 1).square().mean()),
    "wasserstein": (lambda r, f: f.mean() - r.mean(), lambda f: -f.mean()),
}
PENALTIES = {"gp": lambda slope: (slope - 1).square(), "lp": lambda slope: (slope - 1).relu().square()}


def between(real: Tensor, fake: Tensor) -> Tensor:
    """A random point between each real image and a generated one."""
    return torch.lerp(fake, real, torch.rand(len(real), 1, 1, 1, device=real.device))


def around(real: Tensor, fake: Tensor) -> Tensor:
    """A random point between each real image and itself plus noise, uniform from 0 to half the batch's deviation."""
    noise = 0.5 * real.std() * torch.rand_like(real)
    return real + noise * torch.rand(len(real), 1, 1, 1, device=real.device)


def input_gradient(discriminator: nn.Module, images: Tensor) -> Tensor:
    """Gradient of the discriminator's logit at each image, of the images' shape, itself differentiable."""
    images = images.detach().requires_grad_()
    with autocast(images.device):
        (gradient,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    return gradient.float()


def adversarial(
    players: tuple[nn.Module, nn.Module],
    device: torch.device,
    loss: str,
    *,
    penalty: Callable[[nn.Module, Tensor, Tensor, int], Tensor | float] = lambda *_: 0.0,
    latent: int = LATENT,
    rates: tuple[float, float] = (2e-4, 2e-4),
    betas: tuple[float, float] = (0.5, 0.99),
    batch_size: int = 32,
    fused: bool = False,
) -> Generator:
    """Train two players, generator and discriminator, against each other by Adam, one step of each in turn.

    Parameters
    ----------
    loss
        Key of `LOSSES`.
    penalty
        Added to the discriminator's loss, from the discriminator, real images, generated ones and the step's number.
    rates
        Learning rates of generator and discriminator.
    fused
        Use the fused kernel of Adam, which is faster for large linear layers.
    """
    d_loss_of, g_loss_of = LOSSES[loss]
    generator, discriminator = (player.to(device, memory_format=torch.channels_last) for player in players)
    g_optimiser, d_optimiser = (
        torch.optim.Adam(player.parameters(), rate, betas, fused=fused)
        for player, rate in zip(players, rates, strict=True)
    )

    def update(real: Tensor, step: int) -> dict[str, float]:
        with autocast(device):
            fake = generator(torch.randn(len(real), latent, device=device))
            d_loss = d_loss_of(discriminator(real).float(), discriminator(fake.detach()).float())
        d_loss = descend(d_optimiser, d_loss + penalty(discriminator, real, fake.detach().float(), step))
        discriminator.requires_grad_(False)  # the generator's loss needs no gradients of its weights
        with autocast(device):
            g_loss = g_loss_of(discriminator(fake).float())
        discriminator.requires_grad_(True)
        return {"D": d_loss, "G": descend(g_optimiser, g_loss)}

    def sample(generator: nn.Module, n: int) -> Tensor:
        return generator(torch.randn(n, latent, device=device))

    modules = {"generator": generator, "discriminator": discriminator}
    optimisers = {"G": g_optimiser, "D": d_optimiser}
    return Generator(modules, optimisers, update, "generator", sample=sample, batch_size=batch_size)


def gan(channels: int, device: torch.device) -> Generator:
    """The first GAN: perceptrons of three and two hidden layers, narrower in colour.

    Most weights sit between the widest layer and the pixels: so there are about as many of them as in grey.
    """
    pixels, width = channels * 32 * 32, 480 if channels == 1 else 240
    hidden = stack(
        [LATENT, width // 2, width, width],
        lambda inner, outer: (nn.Linear(inner, outer, bias=False), nn.BatchNorm1d(outer), nn.ReLU(inplace=True)),
    )
    generator = nn.Sequential(*hidden, nn.Linear(width, pixels), nn.Tanh(), nn.Unflatten(1, (channels, 32, 32)))
    hidden = stack(
        [pixels, width, width // 2],
        lambda inner, outer: (nn.Linear(inner, outer), nn.LeakyReLU(0.2, inplace=True), nn.Dropout(0.3)),
    )
    discriminator = nn.Sequential(nn.Flatten(), *hidden, nn.Linear(width // 2, 1), nn.Flatten(0))
    return adversarial((generator, discriminator), device, "logistic", batch_size=64, fused=True)


def _convolutional(channels: int, device: torch.device, loss: str, **options) -> Generator:
    """One of the six: latents `(n, 100)` to images, and a discriminator of images, with logits `(n,)`.

    The discriminator has batch norm; layer norm where the loss has a penalty on each image's own gradient.
    """
    start = nn.Unflatten(1, (LATENT, 1, 1)), nn.ConvTranspose2d(LATENT, 4 * WIDTH, 4, bias=False)
    generator = nn.Sequential(*start, *transposed([4 * WIDTH, 2 * WIDTH, WIDTH, channels]), nn.Tanh())
    generator.apply(_dcgan_init)
    leaky, norm = partial(nn.LeakyReLU, 0.2), partial(nn.GroupNorm, 1) if "penalty" in options else nn.BatchNorm2d
    layers = strided([channels, WIDTH], None, leaky) + strided([WIDTH, 2 * WIDTH, 4 * WIDTH], norm, leaky)
    discriminator = nn.Sequential(*layers, nn.Conv2d(4 * WIDTH, 1, 4), nn.Flatten(0))
    if "penalty" not in options:
        discriminator.apply(_dcgan_init)
    return adversarial((generator, discriminator), device, loss, **options)


def _dcgan_init(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)


def _penalty(kind: str, where: Pairwise) -> Callable:
    """A penalty of `adversarial` on the norm of the gradient at points near the images."""

    def penalty(discriminator: nn.Module, real: Tensor, fake: Tensor, step: int) -> Tensor:
        slope = input_gradient(discriminator, where(real, fake)).flatten(1).norm(dim=1)
        return PENALTY * PENALTIES[kind](slope).mean()

    return penalty


dcgan = partial(_convolutional, loss="logistic")
lsgan = partial(_convolutional, loss="least squares")
_wasserstein = partial(_convolutional, loss="wasserstein", rates=(2e-4, 5e-4), betas=(0.0, 0.9))
wgan_gp = partial(_wasserstein, penalty=_penalty("gp", between))
wgan_lp = partial(_wasserstein, penalty=_penalty("lp", between))
dragan_gp = partial(dcgan, penalty=_penalty("gp", around))
dragan_lp = partial(dcgan, penalty=_penalty("lp", around))
