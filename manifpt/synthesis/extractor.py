r"""The fingerprint extractor: a network that reads spectra and was trained on synthetic models alone.

.. math:: L = \mathrm{CE}(W f, \text{category}) + \frac1n \sum_a \max\Big(0,\;
   \max_{p:\,m_p = m_a} \|f_a - f_p\| - \min_{q:\,m_q \ne m_a} \|f_a - f_q\| + 0.3\Big)

with the feature f of an image and its model m (batch-hard triplets of Hermans et al.; distances are not normalised).
AdamW; the rate follows a cosine down to a tenth, with a warm restart after 15 of 40 epochs; gradients are clipped to
norm 1.

Deviations from the released code: a linear map, which gives most of the features, and a small ResNet without ImageNet
weights replace ResNet50; an epoch is a fortieth of the steps, and the rate is higher, as there are few steps; the
network reads the root of that half of a spectrum which does not mirror the other, scaled to unit length; where real
images are grey, so are the images that synthetic models make of them; the weights are a moving average. Not copied:
gradients that are never set to zero, clipping before the gradients are there, an encoder that runs twice a step.

Root, length, linear map and simulator were chosen by the identification of the models of gm-photo and gm-fashion, not
by those of gm-cifar10. The extractor that ships was trained on what 576 models make of photographs and of garments:

    manifpt synthesis train-models --seeds 2 --jobs 2
    manifpt synthesis train photos --dataset photos --dataset fashion-mnist
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import kornia.augmentation as K
import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.nn.barlow_twins import Backbone
from manifpt.nn.train import Training, descend, random_batches, run_training, state_path
from manifpt.synthesis.simulators import Simulator
from manifpt.synthesis.spectrum import SCALES, residuals, spectrum
from manifpt.utils import files, paths
from manifpt.utils.arrays import as_images, to_uint8
from manifpt.utils.cache import array_checksum
from manifpt.utils.compute import autocast, seeded
from manifpt.utils.errors import InputError, check_choice

WIDTHS = (16, 32, 64, 128)  # of the ResNet
LINEAR = 768
FEATURES = LINEAR + WIDTHS[-1]
MARGIN = 0.3
EPOCHS, FIRST_CYCLE = 40, 15  # cycles double: epochs 0 to 14, then 15 to 39 of 30
SIZE = 32
BLOCK = 256


@dataclass(frozen=True)
class ExtractorConfig:
    """How an extractor is trained.

    Attributes
    ----------
    steps, models, each
        A step takes models * each images: `each` of every model (PK sampling), or, with each = 1, every image of a
        model drawn from all (as released, where a batch has 200 images).
    scale
        Of the spectrum; see `manifpt.synthesis.spectrum`.
    denoiser, real
        Which denoiser leaves the residual, and the real set that it was trained on; see
        `manifpt.synthesis.spectrum.residuals`.
    robust
        Compress, blur and resize synthetic images at random before their spectrum is taken.
    rate
        First learning rate; 1e-4 in the source, for far more steps.
    """

    steps: int = 300
    models: int = 12
    each: int = 5
    scale: str = "root"
    denoiser: str = "dncnn"
    real: str = "photos"
    robust: bool = False
    rate: float = 5e-4
    seed: int = 0

    def __post_init__(self):
        check_choice("scale", self.scale, SCALES)
        if self.steps < 1 or self.each < 1 or self.models < 2:
            raise InputError(
                f"steps, each, models: {self.steps}, {self.each}, {self.models}; at least 1, 1 and 2 expected"
            )


class SpectrumEncoder(nn.Module):
    """Map spectra `(n, 3, 32, 32)` to features `(n, 896)`: 768 by a linear map, 128 by a ResNet.

    A spectrum is first scaled to unit length, as the strength of a residual depends on the picture more than on the
    model. The linear map starts as a random projection, which keeps the cosines of spectra approximately, and keeps
    frequencies apart, over which the ResNet takes a mean in the end. The ResNet's inputs and outputs are standardised,
    and a learned gain, small at first, scales its features.
    """

    def __init__(self):
        super().__init__()
        self.half = (3, SIZE, SIZE // 2 + 1)  # the other columns mirror these
        self.linear = nn.Linear(math.prod(self.half), LINEAR, bias=False)
        nn.init.orthogonal_(self.linear.weight)
        self.standardise = nn.BatchNorm1d(math.prod(self.half), affine=False)
        self.resnet = nn.Sequential(Backbone(3, WIDTHS, pool=True), nn.BatchNorm1d(WIDTHS[-1], affine=False))
        self.gain = nn.Parameter(torch.tensor(0.3))

    def forward(self, spectra: Tensor) -> Tensor:
        rows = spectra[..., : SIZE // 2 + 1].flatten(1)  # (n, 3 * 32 * 17)
        rows = F.normalize(rows) * math.sqrt(rows.shape[1])  # entries of about 1
        images = self.standardise(rows).unflatten(1, self.half).contiguous(memory_format=torch.channels_last)
        return torch.cat([self.linear(rows), self.gain * self.resnet(images)], 1)


def triplet_loss(features: Tensor, model: Tensor, *, margin: float = MARGIN) -> Tensor:
    """The batch-hard triplet loss of features `(n, d)` and the model `(n,)` of each; an image is its own positive.

    An anchor without a negative, as where all images are of one model, adds 0.
    """
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=1e-12).sqrt()  # (n, n)
    same = model[:, None] == model
    positive = distances.masked_fill(~same, 0).amax(1)
    negative = distances.masked_fill(same, math.inf).amin(1)
    return F.relu(positive - negative + margin).mean()


def warm_restarts(step: int, steps: int) -> float:
    """The factor of the learning rate, constant within an epoch: cosines from 1 to 0.1, each twice as long."""
    epoch, cycle = EPOCHS * step // steps, FIRST_CYCLE
    while epoch >= cycle:
        epoch, cycle = epoch - cycle, 2 * cycle
    return 0.1 + 0.9 * (1 + math.cos(math.pi * epoch / cycle)) / 2


def degradation() -> nn.Sequential:
    """Crop and resize, blur, and compress float32 images in [0, 1], each with probability 0.3."""
    return nn.Sequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.55, 1.0), ratio=(1.0, 1.0), p=0.3),
        K.RandomGaussianBlur((3, 3), (0.3, 1.0), p=0.3),
        K.RandomJPEG((50.0, 95.0), p=0.3),
    )


def train_extractor(
    simulator: Simulator,
    reals: Sequence[np.ndarray],
    config: ExtractorConfig | None = None,
    *,
    name: str,
    folder: Path | None = None,
) -> Path:
    """Train an extractor on the CPU; interrupted training continues. Returns its checkpoint, below 10 MB.

    Real sets are uint8 `(n, c, 32, 32)` each, c 1 or 3; each step takes the simulator's input from one, at random. The
    checkpoint is ``<folder>/extractor-<name>.safetensors``, by default in ``paths.home() / "networks"``. `InputError`
    for images of another shape, a denoiser that is not there, and more models in a batch than the simulator has.
    """
    config = config or ExtractorConfig()
    reals = [_sized(images, "reals") for images in reals]
    training = _training(simulator, config)
    settings = {"recipe": asdict(config), "reals": [*map(array_checksum, reals)]}
    settings |= {"categories": simulator.categories, **simulator.settings}
    draws = [random_batches(torch.from_numpy(images), config.models * config.each) for images in reals]

    def batch(step: int) -> Tensor:
        return draws[int(torch.randint(len(draws), ()))](step)

    state = state_path(paths.runs() / "extractor" / name, settings, training)
    seconds = run_training(training, batch, steps=config.steps, seed=config.seed, path=state)
    path = (folder or paths.home() / "networks") / f"extractor-{name}.safetensors"
    files.save_network(path, training.average.module, settings | {"seconds": round(seconds, 1)})
    return path


def _training(simulator: Simulator, config: ExtractorConfig) -> Training:
    with seeded(config.seed):
        encoder, head = SpectrumEncoder(), nn.Linear(FEATURES, simulator.categories)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], config.rate, weight_decay=0.01)
    residual, degrade = residuals(config.denoiser, real=config.real), degradation()

    def update(images: Tensor, step: int) -> dict[str, float]:
        made = simulator.draw(images.expand(-1, 3, -1, -1), each=config.each)
        if images.shape[1] == 1:
            made.images = made.images.float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1)
        if config.robust:
            made.images = to_uint8(degrade(made.images.float() / 255))
        spectra = torch.from_numpy(spectrum(residual(made.images.numpy()), config.scale))
        with autocast(spectra.device):
            features = encoder(spectra)
        features = features.float()
        entropy = F.cross_entropy(head(features), made.category)
        triplet = triplet_loss(features, made.model)
        descend(optimiser, entropy + triplet, clip=1.0)
        return {"entropy": entropy.item(), "triplet": triplet.item()}

    modules = {"encoder": encoder, "head": head}
    return Training(modules, {"adamw": optimiser}, update, "encoder", decay=0.99, factor=warm_restarts)


class Extractor:
    """The trained extractor in a checkpoint; `InputError` for any other file, or where its denoiser is not there."""

    def __init__(self, path: Path | str):
        tensors, self.settings = files.load_tensors(path)
        self.network = SpectrumEncoder()
        try:
            self.network.load_state_dict(tensors)
            config = ExtractorConfig(**self.settings["recipe"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path}: not a fingerprint extractor; `manifpt synthesis train` makes one") from error
        self.network.eval()
        self.scale, self.residual = config.scale, residuals(config.denoiser, real=config.real)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images of 32x32 pixels, see `as_images`: float32 `(n, 896)`; `InputError` for others."""
        images = _sized(images, "images")
        blocks = (images[some] for some in gen_batches(len(images), BLOCK))
        spectra = (torch.from_numpy(spectrum(self.residual(block), self.scale)) for block in blocks)
        return np.concatenate([self.network(some).numpy() for some in spectra])


def _sized(images, name: str) -> np.ndarray:
    """Images as uint8 `(n, c, 32, 32)`; `InputError` for others."""
    images = as_images(images, name)
    if images.shape[2:] != (SIZE, SIZE):
        raise InputError(f"{name}: {SIZE}x{SIZE} pixels expected, not {images.shape[3]}x{images.shape[2]}")
    return images


def find(name: str = "photos") -> Path:
    """The checkpoint of an extractor: the user's own, else the one that ships; `InputError` if there is none."""
    for folder in (paths.home(), paths.data()):
        if (path := folder / "networks" / f"extractor-{name}.safetensors").exists():
            return path
    raise InputError(f"extractor {name!r}: not trained yet; `manifpt synthesis train` makes it")


def shipped() -> list[str]:
    """Names of the extractors that ship."""
    there = sorted(paths.data().glob("networks/extractor-*.safetensors"))
    return [path.stem.removeprefix("extractor-") for path in there]
