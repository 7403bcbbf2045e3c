r"""The fingerprint extractor: a ResNet that reads spectra and never saw a generator but synthetic ones.

.. math:: L = \mathrm{CE}(W f, \text{category}) + \frac1n \sum_a \max\Big(0,\;
   \max_{p:\,m_p = m_a} \|f_a - f_p\| - \min_{q:\,m_q \ne m_a} \|f_a - f_q\| + 0.3\Big)

with the feature f of an image and its model m (batch-hard triplets of Hermans et al.; distances are not normalised).
AdamW, rate annealed by cosine with warm restarts after 15 of 40 epochs, down to a tenth, gradients clipped to norm 1.

Differences to the released code: a small ResNet without ImageNet weights in place of ResNet50, beside a linear map that
has most of the features; an epoch is a fortieth of the steps, and the rate is higher, as there are few steps; of a
spectrum the half that is not the other's mirror is read, its root, brought to one length; where a batch of real images
is grey, so are the images that synthetic models make of it; the feature is the moving average's. Not copied: gradients
that are never set to zero, clipping before the gradients are there, an encoder that runs twice a step.

Root, length, linear map and simulator were chosen by how models of gm-photo and gm-fashion are identified; those of
gm-cifar10 had no part in it. The one that ships was shown what 576 trained models make of photographs and of garments:

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
from torch import Tensor, nn
from torch.nn import functional as F

from manifpt.nn import pretrained, training
from manifpt.nn.barlow_twins import Backbone
from manifpt.nn.training import Training
from manifpt.synthesis.simulators import Simulator
from manifpt.synthesis.spectrum import check_scale, residuals, spectrum
from manifpt.utils import files, paths
from manifpt.utils.arrays import as_images
from manifpt.utils.compute import autocast, seeded
from manifpt.utils.errors import InputError

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
        A step takes models * each images; `each` of every model (PK sampling), or, with each = 1, every image of a
        model drawn from all (as released; the released batch has 200).
    scale
        On which the spectrum is read; see `manifpt.synthesis.spectrum`.
    denoiser, real
        Whose residual; see `manifpt.synthesis.spectrum.residuals`.
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
        check_scale(self.scale)
        if self.steps < 1 or self.each < 1 or self.models < 2:
            raise InputError(
                f"steps, each, models: {self.steps}, {self.each}, {self.models}; at least 1, 1 and 2 expected"
            )


class Encoder(nn.Module):
    """Spectra `(n, 3, 32, 32)` to features `(n, 896)`: 768 by a linear map, 128 by a ResNet.

    A spectrum is first brought to one length: how strong a residual is says more of a picture than of its model. The
    linear map starts as a random projection, so that cosines of features are at first about those of spectra; training
    bends them. It knows at which frequency something was, which the mean over space at the end of the ResNet forgets.
    What the ResNet reads and gives is standardised, and comes in with a factor that is small at first.
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
        """As the class says."""
        rows = spectra[..., : SIZE // 2 + 1].flatten(1)  # (n, 3 * 32 * 17)
        rows = F.normalize(rows) * math.sqrt(rows.shape[1])  # entries of about 1
        images = self.standardise(rows).unflatten(1, self.half).contiguous(memory_format=torch.channels_last)
        return torch.cat([self.linear(rows), self.gain * self.resnet(images)], 1)


def triplet_loss(features: Tensor, model: Tensor, *, margin: float = MARGIN) -> Tensor:
    """The batch-hard triplet loss of features `(n, d)` and the model `(n,)` of each; an image is its own positive.

    An anchor without a negative, which is every one where all images are of one model, adds 0.
    """
    squares = features.square().sum(1)
    distances = (squares[:, None] + squares - 2 * features @ features.T).clamp(min=1e-12).sqrt()  # (n, n)
    same = model[:, None] == model
    positive = distances.masked_fill(~same, 0).amax(1)
    negative = distances.masked_fill(same, math.inf).amin(1)
    return F.relu(positive - negative + margin).mean()


def rate_at(step: int, steps: int, rate: float) -> float:
    """The learning rate of a step: warm restarts, constant within each fortieth of the steps, down to a tenth."""
    epoch, cycle = EPOCHS * step // steps, FIRST_CYCLE
    while epoch >= cycle:
        epoch, cycle = epoch - cycle, 2 * cycle
    return rate / 10 + 0.9 * rate * (1 + math.cos(math.pi * epoch / cycle)) / 2


def degradation() -> nn.Sequential:
    """What robust training does to float32 images in [0, 1], each with probability 0.3: JPEG, blur, cut and resize."""
    return nn.Sequential(
        K.RandomResizedCrop((SIZE, SIZE), scale=(0.55, 1.0), ratio=(1.0, 1.0), p=0.3),
        K.RandomGaussianBlur((3, 3), (0.3, 1.0), p=0.3),
        K.RandomJPEG((50.0, 95.0), p=0.3),
    )


def train(
    simulator: Simulator,
    reals: Sequence[np.ndarray],
    recipe: ExtractorConfig | None = None,
    *,
    name: str,
    folder: Path | None = None,
) -> Path:
    """Train an extractor on the processor; interrupted training continues. Returns its checkpoint, below 10 MB.

    Parameters
    ----------
    reals
        Real sets, uint8 `(n, c, 32, 32)` each, c 1 or 3; one of them, drawn anew for each step, is what the simulator's
        models are shown.
    name
        The checkpoint is ``<folder>/extractor-<name>.safetensors``, by default below ``paths.home() / "networks"``.

    Raises
    ------
    InputError
        Images of another shape; a denoiser that is not there; more models in a batch than the simulator has.
    """
    recipe = recipe or ExtractorConfig()
    reals = [as_images(images, "reals") for images in reals]
    for images in reals:
        if images.shape[2:] != (SIZE, SIZE):
            raise InputError(f"reals: shape {images.shape}; images of {SIZE}x{SIZE} pixels expected")
    task, size = _task(simulator, recipe), recipe.models * recipe.each
    settings = {
        "recipe": asdict(recipe),
        "reals": [*map(pretrained.checksum, reals)],
        "categories": simulator.categories,
    }
    settings |= simulator.settings
    draws = [training.random_batches(torch.from_numpy(images), size) for images in reals]
    seconds = training.train(
        task,
        lambda step: draws[int(torch.randint(len(draws), ()))](step),
        steps=recipe.steps,
        seed=recipe.seed,
        settings=settings,
        folder=paths.runs() / "extractor" / name,
    )
    path = (folder or paths.home() / "networks") / f"extractor-{name}.safetensors"
    files.save_network(path, task.average.module, settings | {"seconds": round(seconds, 1)})
    return path


def _task(simulator: Simulator, recipe: ExtractorConfig) -> Training:
    with seeded(recipe.seed):
        encoder, head = Encoder(), nn.Linear(FEATURES, simulator.categories)
    weights = [*encoder.parameters(), *head.parameters()]
    optimiser = torch.optim.AdamW(weights, recipe.rate, betas=(0.9, 0.999), weight_decay=0.01)
    residual, degrade = residuals(recipe.denoiser, real=recipe.real), degradation()

    def update(images: Tensor, step: int) -> dict[str, float]:
        made = simulator.draw(images.expand(-1, 3, -1, -1), each=recipe.each)
        if images.shape[1] == 1:
            made.images = made.images.float().mean(1, keepdim=True).round().to(torch.uint8).expand(-1, 3, -1, -1)
        if recipe.robust:
            degraded = degrade(made.images.float() / 255)
            made.images = degraded.mul(255).round().clamp(0, 255).to(torch.uint8)
        spectra = torch.from_numpy(spectrum(residual(made.images.numpy()), recipe.scale))
        with autocast(spectra.device):
            features = encoder(spectra)
        features = features.float()
        entropy = F.cross_entropy(head(features), made.category)
        triplet = triplet_loss(features, made.model)
        optimiser.param_groups[0]["lr"] = rate_at(step, recipe.steps, recipe.rate)
        optimiser.zero_grad(set_to_none=True)
        (entropy + triplet).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        return {"entropy": entropy.item(), "triplet": triplet.item()}

    return Training({"encoder": encoder, "head": head}, {"adamw": optimiser}, update, "encoder", decay=0.99)


class Extractor:
    """A trained extractor.

    Parameters
    ----------
    path
        Checkpoint; see `train`.

    Raises
    ------
    InputError
        The file is missing or not an extractor; its denoiser is not there.
    """

    def __init__(self, path: Path | str):
        tensors, self.settings = files.load_tensors(path)
        self.network = Encoder()
        try:
            self.network.load_state_dict(tensors)
            recipe = ExtractorConfig(**self.settings["recipe"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path}: not a fingerprint extractor; `manifpt synthesis train` makes one") from error
        self.network.eval()
        self.scale, self.residual = recipe.scale, residuals(recipe.denoiser, real=recipe.real)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images of 32x32 pixels (`as_images`), float32 `(n, 896)`; `InputError` for others."""
        images = as_images(images)
        if images.shape[2:] != (SIZE, SIZE):
            raise InputError(f"images: {SIZE}x{SIZE} pixels expected, not {images.shape[3]}x{images.shape[2]}")
        blocks = (images[start : start + BLOCK] for start in range(0, len(images), BLOCK))
        spectra = (torch.from_numpy(spectrum(self.residual(block), self.scale)) for block in blocks)
        return np.concatenate([self.network(some).numpy() for some in spectra])


def find(name: str = "photos") -> Path:
    """The checkpoint of an extractor: one trained at home, else the one that ships; `InputError` if there is none."""
    folders = (paths.home() / "networks", paths.data() / "networks")
    for folder in folders:
        if (path := folder / f"extractor-{name}.safetensors").exists():
            return path
    raise InputError(f"extractor {name!r}: not trained yet; `manifpt synthesis train` makes it")


def shipped() -> list[str]:
    """Names of the extractors that ship."""
    return [
        path.stem.removeprefix("extractor-") for path in sorted(paths.data().glob("networks/extractor-*.safetensors"))
    ]
