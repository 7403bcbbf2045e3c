r"""The paper's fingerprint extractor: a network that reads spectra and was trained on synthetic models alone.

.. math:: L = \mathrm{CE}(W f, \text{model}) + \frac1n \sum_a \max\Big(0,\;
   \max_{p:\,m_p = m_a} \|f_a - f_p\| - \min_{q:\,m_q \ne m_a} \|f_a - f_q\| + 0.3\Big)

with the feature f of an image and its model m, one of 5,760 (batch-hard triplets of Hermans et al.; distances are not
normalised).

Deviations from the released code: models are solved, not trained (`manifpt.synthesis.solved`); a small ResNet from
random weights replaces the ResNet50 of ImageNet; a batch has 5 images of each of 40 models, not one each of 200; the
network reads the root of that half of a spectrum which does not mirror the other, scaled to unit length; features are
standardised, without which they collapse to a point; the learning rate falls linearly; where real images are grey, so
are the synthetic ones; the weights are a moving average. Not copied: gradients that are never set to zero, clipping
before the gradients are there, an encoder that runs twice a step.

The extractors that ship, for images of 32 and of 128 pixels, were trained on an H200 GPU in three minutes each; on two
cores it takes hours:

    manifpt synthesis train 32 --dataset photos --dataset fashion-mnist --seeds 10 --steps 9500
    manifpt synthesis train 128 --dataset photographs --steps 3400
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from manifpt.nn.barlow_twins import Backbone
from manifpt.nn.train import Training, descend, linear_decay, run_training, state_path
from manifpt.synthesis.models import architectures
from manifpt.synthesis.solved import synthesise
from manifpt.synthesis.spectrum import residuals, spectrum
from manifpt.utils import files, paths
from manifpt.utils.arrays import as_images
from manifpt.utils.cache import array_checksum
from manifpt.utils.compute import autocast, pick_device, seeded
from manifpt.utils.errors import InputError

WIDTHS = (32, 64, 128, 256)  # of the ResNet
MARGIN = 0.3
RATE = 5e-4
MODELS, EACH = 40, 5  # of a batch
BLOCK = 64  # images whose features are computed at a time


@dataclass(frozen=True)
class ExtractorConfig:
    """How an extractor is trained.

    Attributes
    ----------
    steps, seeds, each
        Steps of training; models of each of the 288 architectures; images of each model.
    real
        The real set in colour that the denoiser was trained on; see `manifpt.synthesis.spectrum.residuals`.
    """

    steps: int = 6000
    seeds: int = 20
    each: int = 10
    real: str = "photos"
    seed: int = 0

    def __post_init__(self):
        if self.steps < 1 or self.seeds < 1 or self.each < EACH:
            raise InputError(f"steps, seeds, each: {self.steps}, {self.seeds}, {self.each}; 1, 1 and {EACH} at least")


class SpectrumEncoder(nn.Module):
    """Map spectra `(n, 3, size, size)` to features `(n, 256)`: a ResNet with a mean over frequencies in the end.

    A spectrum is first scaled to unit length, as the strength of a residual depends on the picture more than on the
    model. The ResNet's inputs are standardised, frequency by frequency.
    """

    def __init__(self, size: int):
        super().__init__()
        self.half = (3, size, size // 2 + 1)  # the other columns mirror these
        self.standardise = nn.BatchNorm1d(math.prod(self.half), affine=False)
        self.resnet = nn.Sequential(Backbone(3, WIDTHS, pool=True), nn.BatchNorm1d(WIDTHS[-1], affine=False))

    def forward(self, spectra: Tensor) -> Tensor:
        rows = F.normalize(spectra.sqrt()[..., : self.half[2]].flatten(1)) * math.sqrt(math.prod(self.half))
        return self.resnet(self.standardise(rows).unflatten(1, self.half).contiguous(memory_format=torch.channels_last))


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


def train_extractor(
    reals: Sequence[np.ndarray],
    config: ExtractorConfig | None = None,
    *,
    name: str,
    folder: Path | None = None,
    device: str = "auto",
    progress: bool = False,
) -> Path:
    """Train an extractor; interrupted training continues. Returns its checkpoint, below 10 MB.

    Real sets are uint8 `(n, c, size, size)` each, c 1 or 3; the synthetic models are made of them in turn. The
    checkpoint is ``<folder>/extractor-<name>.safetensors``, by default in ``paths.home() / "networks"``. `InputError`
    for images of unequal sizes, and for a denoiser that is not there.
    """
    config, where = config or ExtractorConfig(), pick_device(device)
    reals = [as_images(images, "reals") for images in reals]
    if len(sizes := {images.shape[2:] for images in reals}) != 1 or len(set(*sizes)) > 1:
        raise InputError(f"reals: images of {sorted(sizes)} pixels; squares of one size expected")
    images = _synthetic(reals, config, where, progress)  # (models, each, 3, size, size)
    with seeded(config.seed):
        encoder = SpectrumEncoder(images.shape[-1]).to(where, memory_format=torch.channels_last)
        head = nn.Linear(WIDTHS[-1], len(images)).to(where)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], RATE, weight_decay=0.01)
    residual = residuals(real=config.real, device=device)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        chosen = torch.randperm(len(images))[:MODELS]
        some = torch.stack([torch.randperm(config.each)[:EACH] for _ in chosen])
        return images[chosen[:, None], some].flatten(0, 1), chosen.repeat_interleave(EACH).to(where)

    def update(drawn: tuple[Tensor, Tensor], step: int) -> dict[str, float]:
        made, model = drawn
        spectra = spectrum(residual(made.to(where)))
        with autocast(where):
            features = encoder(spectra)
            logits = head(features)
        entropy = F.cross_entropy(logits.float(), model)
        triplet = triplet_loss(features.float(), model)
        descend(optimiser, entropy + triplet, clip=1.0)
        return {"entropy": entropy.item(), "triplet": triplet.item()}

    modules = {"encoder": encoder, "head": head}
    training = Training(modules, {"adamw": optimiser}, update, "encoder", decay=0.99, factor=linear_decay)
    settings = {"recipe": asdict(config), "size": images.shape[-1], "reals": [*map(array_checksum, reals)]}
    state = state_path(paths.runs() / "extractor" / name, settings, training)
    seconds = run_training(training, batch, steps=config.steps, seed=config.seed, path=state, progress=progress)
    path = (folder or paths.home() / "networks") / f"extractor-{name}.safetensors"
    files.save_network(path, training.average.module, settings | {"seconds": round(seconds, 1)})
    return path


def _synthetic(reals: Sequence[np.ndarray], config: ExtractorConfig, where: torch.device, progress: bool) -> Tensor:
    """Images of all synthetic models, uint8 `(models, each, 3, size, size)`; the real sets take turns at the seeds."""
    models = len(architectures()) * config.seeds
    size = reals[0].shape[-1]
    images = torch.empty(models, config.each, 3, size, size, dtype=torch.uint8)
    shares = [len(range(number, config.seeds, len(reals))) for number in range(len(reals))]
    sources = (
        synthesise(real, each=config.each, seeds=share, seed=config.seed, device=str(where))
        for real, share in zip(reals, shares, strict=True)
        if share
    )
    made = (some for source in sources for _, some in source)
    for number, some in enumerate(tqdm(made, "synthetic models", models, disable=not progress)):
        images[number] = torch.from_numpy(some).expand(-1, 3, -1, -1)
    return images


class Extractor:
    """The trained extractor in a checkpoint; `InputError` for any other file, or where its denoiser is not there."""

    def __init__(self, path: Path | str, *, trained: bool = True, device: str = "cpu"):
        tensors, self.settings = files.load_tensors(path)
        try:
            self.size = self.settings["size"]
            with seeded(0):
                self.network = SpectrumEncoder(self.size)
            if not trained:  # but for how it standardises what it reads
                tensors = {name: tensors[name] for name in tensors if name.startswith("standardise.")}
            self.network.load_state_dict(tensors, strict=trained)
            config = ExtractorConfig(**self.settings["recipe"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(f"{path}: not a fingerprint extractor; `manifpt synthesis train` makes one") from error
        self.device = pick_device(device)
        self.network.eval().to(self.device)
        self.residual = residuals(real=config.real, device=device)

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Features of images of its size, see `as_images`: float32 `(n, 256)`; `InputError` for others."""
        images = as_images(images)
        if images.shape[2:] != (self.size, self.size):
            h, w = images.shape[2:]
            raise InputError(f"images: {w}x{h} pixels; {self.size}x{self.size} expected")
        blocks = (torch.from_numpy(images[some]).to(self.device) for some in gen_batches(len(images), BLOCK))
        return np.concatenate([self.network(spectrum(self.residual(block))).cpu().numpy() for block in blocks])


def find(name: str) -> Path:
    """The checkpoint of an extractor: the user's own, else the one that ships; `InputError` if there is none."""
    for folder in (paths.home(), paths.data()):
        if (path := folder / "networks" / f"extractor-{name}.safetensors").exists():
            return path
    raise InputError(f"extractor {name!r}: not trained yet; `manifpt synthesis train` makes it")
