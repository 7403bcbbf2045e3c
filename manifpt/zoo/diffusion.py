r"""Score models; their U-Nets, auto-encoder and schedulers are those of diffusers.

`ddpm` (Ho 2020) minimises :math:`\|\varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\,x + \sqrt{1 -
\bar\alpha_t}\,\varepsilon, t)\|^2` over 1,000 noise levels, spaced by a squared cosine (Nichol 2021), and is sampled by
DDIM (Song 2021) in 25 of them.

`ldm` (Rombach 2022) does the same in the latent space of an auto-encoder, trained before it, here without the
adversarial part of its loss.

`rve` (Kim 2022) adds noise of standard deviation

.. math:: \sigma(t) = \sigma_\max (\sigma_\min / \sigma_\max)^{(1/t - 1) / (1/\epsilon - 1)}, \quad t \in [\epsilon, 1],

draws times with uniform 1/t and is sampled by a second-order multistep solver (Lu 2022) in 25 steps, which clips the
image that it predicts. Its network is like NCSN++ (Song 2021): Fourier features of log σ, residual blocks that change
the resolution, shortcuts times 1/√2.
"""

import math

import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, EDMDPMSolverMultistepScheduler, UNet2DModel
from torch import Tensor, nn

from manifpt.nn.perceptual import Perceptual
from manifpt.nn.train import descend
from manifpt.utils.compute import autocast
from manifpt.zoo.base import Generator

WIDTHS = (24, 48, 96)  # of the U-Nets of pixels
SAMPLING_STEPS = 25
SIGMAS = (0.01, 50.0)  # of rve, the smallest and the largest
SPREAD = 0.6  # standard deviation of images that rve assumes
LATENT = 4  # channels of ldm, at 8x8
AUTOENCODER_STEPS = 1200  # of ldm's training
SCHEDULE = {"num_train_timesteps": 1000, "beta_schedule": "squaredcos_cap_v2"}
NOISE = DDPMScheduler(**SCHEDULE)


def unet(channels: int, *widths: int, layers: int = 1, block: str = "{}Block2D", **options) -> UNet2DModel:
    """A small U-Net with one resolution a width: group norm, swish, strided convolutions down, nearest upsampling.

    `block` names the blocks, with ``Down`` and ``Up`` in the place of the braces.
    """
    network = UNet2DModel(
        in_channels=channels,
        out_channels=channels,
        layers_per_block=layers,
        block_out_channels=widths,
        down_block_types=(block.format("Down"),) * len(widths),
        up_block_types=(block.format("Up"),) * len(widths),
        norm_num_groups=8,
        add_attention=False,
        **options,
    )
    for module in network.modules():
        if isinstance(module, nn.GroupNorm):  # slow in bf16 on a CPU
            module.register_forward_pre_hook(lambda _, inputs: inputs[0].float())
    return network


def _predict(network: nn.Module, noisy: Tensor, times: Tensor) -> Tensor:
    """The U-Net's output in float32."""
    with autocast(noisy.device):
        return network(noisy.contiguous(memory_format=torch.channels_last), times).sample.float()


def _noise_error(network: nn.Module, clean: Tensor) -> Tensor:
    """Mean squared error of the predicted noise, at random times."""
    noise = torch.randn_like(clean)
    times = torch.randint(0, 1000, (len(clean),), device=clean.device)
    return (_predict(network, NOISE.add_noise(clean, noise, times), times) - noise).square().mean()


def ddim(network: nn.Module, noise: Tensor, bound: float) -> Tensor:
    """Run the reverse process from noise, deterministically; the image that it predicts is clipped to ±bound."""
    scheduler, x = DDIMScheduler(**SCHEDULE, clip_sample_range=bound), noise
    scheduler.set_timesteps(SAMPLING_STEPS)
    for time in scheduler.timesteps:
        x = scheduler.step(_predict(network, x, time), time, x).prev_sample
    return x


def ddpm(channels: int, device: torch.device) -> Generator:
    """Diffusion of pixels, trained by AdamW 1e-3."""
    network = unet(channels, *WIDTHS).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)

    def update(images: Tensor, step: int) -> dict[str, float]:
        return {"loss": descend(optimiser, _noise_error(network, images), clip=1.0)}

    def sample(network: nn.Module, n: int) -> Tensor:
        return ddim(network, torch.randn(n, channels, 32, 32, device=device), 1.0)

    return Generator({"unet": network}, {"adam": optimiser}, update, "unet", sample=sample, decay=0.995)


def rve(channels: int, device: torch.device) -> Generator:
    """Score matching over noise levels, trained by AdamW 1e-3.

    Input and target have unit variance at every noise level (Karras 2022).
    """
    options = {"time_embedding_type": "fourier", "mid_block_scale_factor": math.sqrt(2)}
    network = unet(channels, *WIDTHS, block="Resnet{}sampleBlock2D", **options)
    network.to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    solver = EDMDPMSolverMultistepScheduler(*SIGMAS, SPREAD, sigma_schedule="exponential", thresholding=True)
    low, high = map(math.log, SIGMAS)

    def output(network: nn.Module, noisy: Tensor, sigma: Tensor) -> Tensor:
        scaled = solver.precondition_inputs(noisy, sigma)
        return sigma * _predict(network, scaled, sigma.flatten())  # the U-Net divides its output by sigma

    def update(images: Tensor, step: int) -> dict[str, float]:
        sigma = (low + (high - low) * torch.rand(len(images), 1, 1, 1, device=device)).exp()  # uniform 1/t and log σ
        noisy = images + sigma * torch.randn_like(images)
        error = solver.precondition_outputs(noisy, output(network, noisy, sigma), sigma) - images
        weight = solver.precondition_outputs(0.0, 1.0, sigma)  # of the network's output in the denoised image
        return {"loss": descend(optimiser, (error / weight).square().mean(), clip=1.0)}

    def sample(network: nn.Module, n: int) -> Tensor:
        solver.set_timesteps(SAMPLING_STEPS)
        x = solver.sigmas[0] * torch.randn(n, channels, 32, 32, device=device)
        for time, sigma in zip(solver.timesteps, solver.sigmas[:-1], strict=True):
            x = solver.step(output(network, x, sigma.to(device).expand(n, 1, 1, 1)), time, x).prev_sample
        return x

    return Generator({"unet": network}, {"adam": optimiser}, update, "unet", sample=sample, decay=0.995)


class LatentDiffusion(nn.Module):
    """Auto-encoder of images `(n, c, 32, 32)` to latents `(n, 4, 8, 8)`, and a U-Net on these."""

    def __init__(self, channels: int):
        super().__init__()
        self.autoencoder = AutoencoderKL(
            in_channels=channels,
            out_channels=channels,
            down_block_types=("DownEncoderBlock2D",) * 3,
            up_block_types=("UpDecoderBlock2D",) * 3,
            block_out_channels=(16, 32, 48),
            latent_channels=LATENT,
            norm_num_groups=8,
            mid_block_add_attention=False,
        )
        self.unet = unet(LATENT, 48, 72, layers=2)
        self.scale = nn.Buffer(torch.ones(()))

    def encode(self, images: Tensor) -> Tensor:
        """Mean latents of images, times `scale`."""
        with autocast(images.device):
            return self.scale * self.autoencoder.encode(images).latent_dist.mean.float()

    def decode(self, latents: Tensor) -> Tensor:
        """Images of scaled latents."""
        with autocast(latents.device):
            return self.autoencoder.decode(latents / self.scale).sample.float()


def ldm(channels: int, device: torch.device) -> Generator:
    """Latent diffusion, trained by AdamW 1e-3.

    First the auto-encoder learns (L1, perceptual distance, a little KL), from 32 images a step; then the diffusion of
    its latents, from 64.
    """
    model = LatentDiffusion(channels).to(device, memory_format=torch.channels_last)
    perceptual = Perceptual().to(device)
    optimisers = {
        "autoencoder": torch.optim.AdamW(model.autoencoder.parameters(), 1e-3),
        "unet": torch.optim.AdamW(model.unet.parameters(), 1e-3),
    }

    def update(images: Tensor, step: int) -> dict[str, float]:
        if step < AUTOENCODER_STEPS:
            images = images[: len(images) // 2]
            with autocast(device):
                posterior = model.autoencoder.encode(images).latent_dist
                decoded = model.autoencoder.decode(posterior.sample()).sample.float()
            distance = perceptual(decoded, images).mean()
            error, kl = (decoded - images).abs().mean(), posterior.kl().mean() / posterior.mean[0].numel()
            descend(optimisers["autoencoder"], error + distance + 1e-2 * kl, clip=1.0)
            return {"L1": error.item(), "perceptual": distance.item(), "KL": kl.item()}
        with torch.no_grad():
            if step == AUTOENCODER_STEPS:
                model.scale.copy_(1 / model.encode(images).std())  # unit variance, as the noise schedule expects
            latents = model.encode(images)
        return {"loss": descend(optimisers["unet"], _noise_error(model.unet, latents), clip=1.0)}

    def sample(model: LatentDiffusion, n: int) -> Tensor:
        return model.decode(ddim(model.unet, torch.randn(n, LATENT, 8, 8, device=device), 3.0))

    return Generator({"model": model}, optimisers, update, "model", sample=sample, decay=0.995, batch_size=64)
