r"""Score models; U-Net and scheduler from diffusers.

`ddpm` (Ho 2020) minimises :math:`\|\varepsilon - \varepsilon_\theta(\sqrt{\bar\alpha_t}\,x + \sqrt{1 -
\bar\alpha_t}\,\varepsilon, t)\|^2` over 1,000 noise levels and is sampled by DDIM (Song 2021) with a subset of them.
"""

import torch
from diffusers import DDIMScheduler, UNet2DModel
from torch import Tensor, nn

from manifpt.compute import autocast
from manifpt.training import Task
from manifpt.zoo.recipe import Recipe

SAMPLING_STEPS = 50


def unet(channels: int, size: int = 32) -> UNet2DModel:
    """A small U-Net: three resolutions, group norm, swish, strided convolutions down, nearest upsampling."""
    return UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        layers_per_block=1,
        block_out_channels=(24, 48, 96),
        down_block_types=("DownBlock2D",) * 3,
        up_block_types=("UpBlock2D",) * 3,
        norm_num_groups=8,
        add_attention=False,
    )


def ddpm(channels: int, device: torch.device) -> Recipe:
    """Noise prediction with a squared-cosine schedule; AdamW 1e-3, sampled in 50 DDIM steps with eta 1."""
    network = unet(channels).to(device, memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    scheduler = DDIMScheduler(num_train_timesteps=1000, beta_schedule="squaredcos_cap_v2")

    def update(images: Tensor, step: int) -> dict[str, float]:
        noise = torch.randn_like(images)
        times = torch.randint(0, 1000, (len(images),), device=device)
        with autocast(device):
            predicted = network(scheduler.add_noise(images, noise, times), times).sample
        loss = (predicted.float() - noise).square().mean()
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        return {"loss": loss.item()}

    def sample(network: nn.Module, n: int) -> Tensor:
        scheduler.set_timesteps(SAMPLING_STEPS)
        images = torch.randn(n, channels, 32, 32, device=device)
        for time in scheduler.timesteps:
            with autocast(device):
                predicted = network(images, time).sample
            images = scheduler.step(predicted.float(), time, images, eta=1.0).prev_sample
        return images

    task = Task({"unet": network}, {"adam": optimiser}, update, "unet", decay=0.995)
    return Recipe(task, sample, batch_size=32)
