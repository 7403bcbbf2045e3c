"""The models of the zoo, by name.

To add one: write a function ``make(channels, device) -> Generator`` in its family's file, and one `Entry` here.
Training, sampling, the manifest and the tables take it from there.
"""

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

import pandas as pd
import torch

from manifpt.utils.errors import InputError
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
    """One model: its family, who proposed it, its design, how to build it, and for how many steps at least to train."""

    family: str
    citation: str
    design: Design
    make: Callable[[int, torch.device], Generator]
    steps: int

    def describe(self) -> dict:
        """Family, citation and design choices, as the manifest records them."""
        return {"family": self.family, "citation": self.citation, "design": asdict(self.design)}


def _gan(citation: str, loss: str, make: Callable, steps: int) -> Entry:
    """One of the six that share a generator network."""
    return Entry("GAN", citation, Design("transposed conv", "ReLU", "batch", "strided conv", "none", loss), make, steps)


MODELS = {
    "gan": Entry(
        "GAN",
        "Goodfellow et al., NeurIPS 2014",
        Design("none", "ReLU", "batch", "none", "none", "non-saturating"),
        gan.gan,
        10000,
    ),
    "dcgan": _gan("Radford et al., ICLR 2016", "non-saturating", gan.dcgan, 4000),
    "lsgan": _gan("Mao et al., ICCV 2017", "least squares", gan.lsgan, 4000),
    "wgan-gp": _gan("Gulrajani et al., NeurIPS 2017", "Wasserstein + GP", gan.wgan_gp, 2600),
    "wgan-lp": _gan("Petzka et al., ICLR 2018", "Wasserstein + LP", gan.wgan_lp, 2600),
    "dragan-gp": _gan("Kodali et al., 2017", "non-saturating + GP", gan.dragan_gp, 2600),
    "dragan-lp": _gan("Petzka et al., ICLR 2018", "non-saturating + LP", gan.dragan_lp, 2600),
    "stylegan2": Entry(
        "GAN",
        "Karras et al., CVPR 2020",
        Design("FIR", "leaky ReLU", "demodulation", "FIR", "output skips", "non-saturating + R1"),
        stylegan.stylegan2,
        1800,
    ),
    "beta-vae": Entry(
        "VAE",
        "Higgins et al., ICLR 2017",
        Design("transposed conv", "ReLU", "batch", "strided conv", "none", "ELBO"),
        vae.beta_vae,
        2000,
    ),
    "dfc-vae": Entry(
        "VAE",
        "Hou et al., WACV 2017",
        Design("transposed conv", "ReLU", "batch", "strided conv", "none", "perceptual + KL"),
        vae.dfc_vae,
        1200,
    ),
    "nvae": Entry(
        "VAE",
        "Vahdat and Kautz, NeurIPS 2020",
        Design("nearest", "swish", "batch", "strided conv", "residual", "ELBO"),
        nvae.nvae,
        2400,
    ),
    "glow": Entry(
        "Flow",
        "Kingma and Dhariwal, NeurIPS 2018",
        Design("unsqueeze", "ReLU", "actnorm", "squeeze", "none", "likelihood"),
        flow.glow,
        5000,
    ),
    "ddpm": Entry(
        "Score",
        "Ho et al., NeurIPS 2020",
        Design("nearest", "swish", "group", "strided conv", "U-Net", "noise MSE"),
        diffusion.ddpm,
        1550,
    ),
    "rve": Entry(
        "Score",
        "Kim et al., ICML 2022",
        Design("nearest in residual", "swish", "group", "average pool in residual", "U-Net", "score matching"),
        diffusion.rve,
        1800,
    ),
    "ldm": Entry(
        "Score",
        "Rombach et al., CVPR 2022",
        Design("nearest", "swish", "group", "strided conv", "U-Net", "noise MSE in latents"),
        diffusion.ldm,
        2500,
    ),
}
LONGER = {"gm-cifar10": 1.7}  # times the steps, for more varied images
LEVELS = {  # of difficulty: which models an attribution task tells apart
    "L1": ("dcgan", "beta-vae", "glow", "ddpm"),  # one of each family
    "L2": (
        "dcgan",
        "lsgan",
        "wgan-gp",
        "wgan-lp",
        "dragan-gp",
        "dragan-lp",
    ),  # one generator, other losses (and what trains with them)
    "L3": ("dcgan", "dcgan-s1", "dcgan-s2"),  # the same everything, other seeds
}
_GRAIN = "A perceptron makes each pixel on its own: all kinds of colours, all grainy."
_BLUR = "All kinds of colours and shades, but no texture: blur is what its likelihood asks for."
_UPSAMPLED = "All kinds of colours and shades; its textures are those of its upsampling alone."
_NOISE = "All kinds of colours, all grainy: the budget ends before it takes off the last noise."
_OUTLINES = "Many kinds of scenes, in outline: objects are not drawn well enough to be near reals."
_SOFT = "Many colours and layouts, soft and without objects; the same recipe covers garments better."
NOTES = {  # (GM dataset, label): why a model that is flagged as collapsed is kept
    ("gm-fashion", "gan"): "A perceptron makes each pixel on its own: all kinds of garments, all grainy.",
    ("gm-photo", "beta-vae"): _BLUR,
    ("gm-photo", "dfc-vae"): _UPSAMPLED,
    ("gm-photo", "gan"): _GRAIN,
    ("gm-photo", "rve"): _NOISE,
    ("gm-cifar10", "beta-vae"): _BLUR,
    **{
        ("gm-cifar10", label): _OUTLINES
        for label in ("dcgan", "dcgan-s1", "dcgan-s2", "lsgan", "stylegan2", "wgan-gp", "wgan-lp")
    },
    ("gm-cifar10", "dfc-vae"): _UPSAMPLED,
    ("gm-cifar10", "dragan-gp"): _SOFT,
    ("gm-cifar10", "dragan-lp"): _SOFT,
    ("gm-cifar10", "gan"): _GRAIN,
    ("gm-cifar10", "glow"): "Textures in variety, most of them dark and grey, and no objects.",
    ("gm-cifar10", "ldm"): "Objects and scenes in outline, a little blurred: close to reals on average, not in detail.",
    ("gm-cifar10", "nvae"): "Colours and textures in variety, but neither layout nor objects.",
    ("gm-cifar10", "rve"): _NOISE,
}
SEEDS = {"dcgan": (0, 1, 2)}  # others are trained with seed 0 alone


def entry(name: str) -> Entry:
    """The entry of a model; `InputError` for an unknown name."""
    if name not in MODELS:
        raise InputError(f"model {name!r} is not in the zoo; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def steps(name: str, dataset: str) -> int:
    """For how many steps a model is trained on a GM dataset."""
    return round(entry(name).steps * LONGER.get(dataset, 1))


def plan(datasets: Iterable[str]) -> list[tuple[str, str, int]]:
    """(dataset, model, seed) of everything that belongs to the given GM datasets."""
    return [(dataset, name, seed) for dataset in datasets for name in MODELS for seed in SEEDS.get(name, (0,))]


def table() -> pd.DataFrame:
    """Model, family, design choices and citation, one row a model."""
    rows = [
        {"model": name, "family": e.family, **asdict(e.design), "citation": e.citation} for name, e in MODELS.items()
    ]
    return pd.DataFrame(rows)


def real_set(dataset: str) -> str:
    """The real set of a GM dataset; `InputError` for an unknown one."""
    if dataset not in DATASETS:
        raise InputError(f"GM dataset {dataset!r} is unknown; choose one of {', '.join(DATASETS)}")
    return DATASETS[dataset]
