"""The models of the zoo, by name.

To add one: write a function ``make(channels, device) -> Generator`` in its family's file, and one `Entry` here.
Training, sampling, the manifest and the tables take it from there.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from functools import partial

import pandas as pd
import torch

from manifpt.utils.errors import InputError, check_choice
from manifpt.zoo import diffusion, flow, gan, nvae, stylegan, vae
from manifpt.zoo.base import Generator

DATASETS = {"gm-fashion": "fashion-mnist", "gm-photo": "photos", "gm-cifar10": "cifar10"}  # GM dataset: its real set
CHANNELS = {"fashion-mnist": 1, "photos": 3, "cifar10": 3}


@dataclass(frozen=True)
class Design:
    """Design choices of a generator: the variables of the paper's clustering analysis."""

    up: str
    nonlinearity: str
    norm: str
    down: str
    skip: str
    loss: str


@dataclass(frozen=True)
class Entry:
    """One model: the function that makes it, its number of training steps, its family, its source and its design."""

    make: Callable[[int, torch.device], Generator]
    steps: int
    family: str
    citation: str
    design: Design

    def describe(self) -> dict:
        """Family, citation and design choices, as the manifest records them."""
        return {"family": self.family, "citation": self.citation, "design": asdict(self.design)}


_DCGAN = partial(Design, "transposed conv", "ReLU", "batch", "strided conv", "none")
_UNET = partial(Design, "nearest", "swish", "group", "strided conv", "U-Net")
_MLP = Design("none", "ReLU", "batch", "none", "none", "non-saturating")
_STYLE = Design("FIR", "leaky ReLU", "demodulation", "FIR", "output skips", "non-saturating + R1")
_NVAE = Design("nearest", "swish", "batch", "strided conv", "residual", "ELBO")
_GLOW = Design("unsqueeze", "ReLU", "actnorm", "squeeze", "none", "likelihood")
_NCSN = Design("nearest in residual", "swish", "group", "average pool in residual", "U-Net", "score matching")

MODELS = {
    "gan": Entry(gan.gan, 10000, "GAN", "Goodfellow et al., NeurIPS 2014", _MLP),
    "dcgan": Entry(gan.dcgan, 4000, "GAN", "Radford et al., ICLR 2016", _DCGAN("non-saturating")),
    "lsgan": Entry(gan.lsgan, 4000, "GAN", "Mao et al., ICCV 2017", _DCGAN("least squares")),
    "wgan-gp": Entry(gan.wgan_gp, 2600, "GAN", "Gulrajani et al., NeurIPS 2017", _DCGAN("Wasserstein + GP")),
    "wgan-lp": Entry(gan.wgan_lp, 2600, "GAN", "Petzka et al., ICLR 2018", _DCGAN("Wasserstein + LP")),
    "dragan-gp": Entry(gan.dragan_gp, 2600, "GAN", "Kodali et al., 2017", _DCGAN("non-saturating + GP")),
    "dragan-lp": Entry(gan.dragan_lp, 2600, "GAN", "Petzka et al., ICLR 2018", _DCGAN("non-saturating + LP")),
    "stylegan2": Entry(stylegan.stylegan2, 1800, "GAN", "Karras et al., CVPR 2020", _STYLE),
    "beta-vae": Entry(vae.beta_vae, 2000, "VAE", "Higgins et al., ICLR 2017", _DCGAN("ELBO")),
    "dfc-vae": Entry(vae.dfc_vae, 1200, "VAE", "Hou et al., WACV 2017", _DCGAN("perceptual + KL")),
    "nvae": Entry(nvae.nvae, 2400, "VAE", "Vahdat and Kautz, NeurIPS 2020", _NVAE),
    "glow": Entry(flow.glow, 5000, "Flow", "Kingma and Dhariwal, NeurIPS 2018", _GLOW),
    "ddpm": Entry(diffusion.ddpm, 1550, "Score", "Ho et al., NeurIPS 2020", _UNET("noise MSE")),
    "rve": Entry(diffusion.rve, 1800, "Score", "Kim et al., ICML 2022", _NCSN),
    "ldm": Entry(diffusion.ldm, 2500, "Score", "Rombach et al., CVPR 2022", _UNET("noise MSE in latents")),
}
SEEDS = {"dcgan": (0, 1, 2)}  # other models are trained with seed 0 alone
LONGER = {"gm-cifar10": 1.7}  # factor of the number of steps, for more varied images


def entry(name: str) -> Entry:
    """The entry of a model; `InputError` for an unknown name."""
    if name not in MODELS:
        raise InputError(f"model {name!r} is not in the zoo; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def real_set(dataset: str) -> str:
    """The real set of a GM dataset; `InputError` for an unknown one."""
    check_choice("GM dataset", dataset, DATASETS)
    return DATASETS[dataset]


def steps(name: str, dataset: str) -> int:
    """The number of training steps of a model on a GM dataset."""
    return round(entry(name).steps * LONGER.get(dataset, 1))


def label(name: str, seed: int) -> str:
    """The name of a trained model in its GM dataset: the model's, with the seed unless that is 0."""
    return name if seed == 0 else f"{name}-s{seed}"


def plan(datasets: Iterable[str]) -> list[tuple[str, str, int]]:
    """(dataset, model, seed) of everything that belongs to the given GM datasets."""
    return [(dataset, name, seed) for dataset in datasets for name in MODELS for seed in SEEDS.get(name, (0,))]


def table() -> pd.DataFrame:
    """Model, family, design choices and citation, one row a model."""
    rows = (
        {"model": name, "family": e.family, **asdict(e.design), "citation": e.citation} for name, e in MODELS.items()
    )
    return pd.DataFrame(rows)
