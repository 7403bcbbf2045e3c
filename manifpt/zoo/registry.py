"""The models of the zoo, by name.

To add one: write a function ``make(channels, device) -> Recipe`` in its family's file, and one `Entry` here. Training,
sampling, the manifest and the tables take it from there.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from manifpt.errors import InputError
from manifpt.zoo import diffusion, gan, vae
from manifpt.zoo.recipe import Recipe

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
    """One model: its family, who proposed it, its design, how to build it, and for how many steps to train it."""

    family: str
    citation: str
    design: Design
    make: Callable[[int, torch.device], Recipe]
    steps: int

    def describe(self) -> dict:
        """Family, citation and design choices, as the manifest records them."""
        return {"family": self.family, "citation": self.citation, "design": asdict(self.design)}


def _dcgan_design(loss: str) -> Design:
    return Design("transposed conv", "ReLU", "batch", "strided conv", "none", loss)


MODELS = {
    "dcgan": Entry("GAN", "Radford et al., ICLR 2016", _dcgan_design("non-saturating"), gan.dcgan, 3000),
    "wgan-gp": Entry("GAN", "Gulrajani et al., NeurIPS 2017", _dcgan_design("Wasserstein + GP"), gan.wgan_gp, 5400),
    "beta-vae": Entry("VAE", "Higgins et al., ICLR 2017", _dcgan_design("ELBO"), vae.beta_vae, 3000),
    "ddpm": Entry(
        "Score",
        "Ho et al., NeurIPS 2020",
        Design("nearest", "swish", "group", "strided conv", "U-Net", "noise MSE"),
        diffusion.ddpm,
        3000,
    ),
}


def entry(name: str) -> Entry:
    """The entry of a model; `InputError` for an unknown name."""
    if name not in MODELS:
        raise InputError(f"model {name!r} is not in the zoo; choose one of {', '.join(MODELS)}")
    return MODELS[name]


def real_set(dataset: str) -> str:
    """The real set of a GM dataset; `InputError` for an unknown one."""
    if dataset not in DATASETS:
        raise InputError(f"GM dataset {dataset!r} is unknown; choose one of {', '.join(DATASETS)}")
    return DATASETS[dataset]
