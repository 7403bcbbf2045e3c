r"""What carries zero-shot attribution? One part changed at a time: the metric, the space, the gallery, the files.

Identification as in `manifpt.experiments.zero_shot`, of all makers with ten gallery images, by the cosine
(``psd-gaussian``) and by PLDA (``psd-plda``). The task names what is changed:

==============================  ========================================================================================
task                            what
==============================  ========================================================================================
``none``                        nothing
``metric: identity``, …         artifacts are not whitened; by deviations alone (``diagonal``); by the covariance within
                                25 or 288 synthetic models; by that and the reals', each over its trace (``both``)
``point: nearest``, …           the paper's nearest real image is subtracted, then whitened or (``, identity``) not
``window: 8``, …                side of a window, with half of it as the step; ``residual``: second differences
``photographs: 1``, …           so many photographs behind the metric, all of their 15 crops or more
``crops: 10``, …                so many crops, of all photographs
``shots: 1``, …                 so many gallery images
``whole pictures``              where they are larger than 128 pixels
``jpeg 75, queries``, …         queries alone, or gallery and queries (``both``), are compressed or resized
==============================  ========================================================================================
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.covariance import shrunk_covariance
from sklearn.metrics import pairwise_distances_argmin

from manifpt.data.pictures import jpeg
from manifpt.data.real import load_real
from manifpt.embeddings import embed
from manifpt.experiments.run import Budget, measure
from manifpt.experiments.store import Key, Scores
from manifpt.experiments.zero_shot import DEFAULTS, SHOTS, images_of, samples_of
from manifpt.plda import PLDA
from manifpt.psd import PowerSpectrum
from manifpt.search.estimators import inverse_root
from manifpt.synthesis import protocol
from manifpt.synthesis.metric import EACH, SIDE
from manifpt.synthesis.solved import synthesise
from manifpt.utils import paths
from manifpt.utils.errors import check_choice
from manifpt.zoo.dataset import FolderDataset, GMDataset

METHODS = ("psd-plda", "psd-gaussian")
SHRINKAGE = 0.003  # of every covariance, as of `manifpt.manifold.Manifold`
SCALE = 0.75  # of what is resized
LARGE = 15  # crops of a photograph that may be the only one, at least


@dataclass(frozen=True)
class Variant:
    """What one task changes; see the table of the module."""

    space: PowerSpectrum = PowerSpectrum()  # noqa: RUF009  # frozen
    metric: str = "reals"
    point: str = "mean"
    photographs: int | None = None
    crops: int | None = None
    shots: int = SHOTS
    whole: bool = False
    gallery: str = ""  # what befalls the files: "", "jpeg 75", "resized"
    queries: str = ""

    @property
    def drawn(self) -> bool:
        """Whether its metric rests on something drawn by the seed."""
        return bool(self.photographs or self.crops or self.metric.isdecimal())


FILES = ("jpeg 95", "jpeg 90", "jpeg 75", "resized")
VARIANTS = {
    "none": Variant(),
    **{f"metric: {name}": Variant(metric=name) for name in ("identity", "diagonal", "25", "288", "both")},
    "point: nearest": Variant(point="nearest"),
    "point: nearest, identity": Variant(point="nearest", metric="identity"),
    **{f"window: {side}": Variant(PowerSpectrum(side, side // 2)) for side in (8, 32)},
    "residual": Variant(PowerSpectrum(residual=True)),
    **{f"photographs: {n}": Variant(photographs=n) for n in (1, 2, 5, 10)},
    **{f"crops: {n}": Variant(crops=n) for n in (10, 30, 100)},
    **{f"shots: {n}": Variant(shots=n) for n in (1, 2, 5, 20)},
    "whole pictures": Variant(whole=True),
    **{f"{name}, queries": Variant(queries=name) for name in FILES},
    **{f"{name}, both": Variant(gallery=name, queries=name) for name in FILES},
}


def zero_shot_ablation(gm: GMDataset, *, tasks: Sequence[str] = tuple(VARIANTS), **budget) -> pd.DataFrame:
    """Accuracy of identification by what is changed, by default in five splits; tidy frame as `zero_shot`.

    `tasks` are those of the module's table; `InputError` for an unknown one. Whole pictures have rows in folders alone.
    """
    budget = Budget(**DEFAULTS | {"n_test": 60} | budget)
    for task in tasks:
        check_choice("task", task, VARIANTS)
    tasks = [task for task in tasks if not VARIANTS[task].whole or isinstance(gm, FolderDataset)]
    grid = [
        [Key(gm.name, task, method, VARIANTS[task].shots, seed) for seed in budget.seeds for method in METHODS]
        for task in tasks
    ]
    crops = lru_cache(maxsize=1)(lambda: images_of(gm, budget.n_test))

    def judged(keys: Sequence[Key]) -> Iterator[Scores]:
        variant = VARIANTS[keys[0].task]
        images = {label: list(gm.images(label)) for label in gm.classes} if variant.whole else crops()
        labels = np.repeat(list(images), [len(some) for some in images.values()])
        every = [image for some in images.values() for image in some]
        vectors = {what: embed(_after(what, every), variant.space) for what in (variant.gallery, variant.queries)}
        known = lru_cache(maxsize=1)(lambda seed: _artifacts(variant, vectors, seed))
        for key in keys:
            artifacts, makers = known(key.seed if variant.drawn else 0)
            gallery, queries = protocol.split(labels, key.n_per_class, seed=key.seed)
            scorer = PLDA(makers) if key.method == "psd-plda" else protocol.Cosine()
            scorer.fit(artifacts[variant.gallery][gallery], labels[gallery])
            scores = scorer.decision_function(artifacts[variant.queries][queries])
            right = scorer.classes_[scores.argmax(1)] == labels[queries]
            yield Scores(key, {"accuracy": right.mean()}, len(right), right)

    settings = {"samples": [samples_of(gm)], "n_test": budget.n_test}
    return measure(grid, judged, settings, budget, code=__name__)


def _after(what: str, images: list[np.ndarray]) -> list[np.ndarray]:
    """Images after what befalls their files."""
    kind, _, quality = what.partition(" ")
    if kind == "jpeg":
        return [jpeg(image, int(quality)) for image in images]
    return [_resized(image) for image in images] if kind == "resized" else images


def _resized(image: np.ndarray) -> np.ndarray:
    size = [round(SCALE * side) for side in image.shape[:0:-1]]
    picture = Image.fromarray(image.transpose(1, 2, 0)).resize(size, Image.Resampling.LANCZOS)
    return np.asarray(picture).transpose(2, 0, 1)


def _artifacts(variant: Variant, vectors: dict[str, np.ndarray], seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Whitened artifacts of vectors, and those of synthetic makers, by the metric that a variant asks for."""
    reals, (moved, scattered) = _reals(variant, seed), _synthetic(variant.space)
    real, d = np.cov(reals, rowvar=False), reals.shape[1]
    if variant.metric.isdecimal() or variant.metric == "both":
        models = np.random.default_rng(seed).permutation(len(scattered))
        chosen = scattered[models[: int(variant.metric)] if variant.metric.isdecimal() else models]
        within = np.einsum("mnd,mne->de", chosen, chosen)
        real = within if variant.metric.isdecimal() else real / np.trace(real) + within / np.trace(within)
    covariance = {"identity": np.eye(d), "diagonal": np.diag(np.diag(real))}.get(variant.metric, real)
    whitening = inverse_root(shrunk_covariance(covariance, SHRINKAGE))
    found = {}
    for what, rows in vectors.items():
        nearest = variant.point == "nearest"
        target = reals[pairwise_distances_argmin(rows, reals)] if nearest else reals.mean(0)
        artifacts = (rows - target) @ whitening
        found[what] = artifacts / np.sqrt(
            np.square((reals - reals.mean(0)) @ whitening).mean()
        )  # reals have unit power
    return found, moved @ whitening


def _reals(variant: Variant, seed: int) -> np.ndarray:
    """Vectors of the real crops that a variant's metric is learnt from."""
    vectors, owner = _photographs(variant.space)
    rng = np.random.default_rng(seed)
    if variant.photographs:
        large = np.flatnonzero(np.bincount(owner) >= LARGE)
        return vectors[np.isin(owner, rng.permutation(large)[: variant.photographs])]
    return vectors[rng.permutation(len(vectors))[: variant.crops]] if variant.crops else vectors


@lru_cache
def _photographs(space: PowerSpectrum) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the reference crops, and the photograph `(n,)` of each."""
    manifest = json.loads((paths.data() / "photographs" / "manifest.json").read_text(encoding="utf-8"))
    counts = [record["n"] for record in manifest["photographs"] if record["split"] == "reference"]
    owner = np.repeat(np.arange(len(counts)), counts)
    crops = load_real("photographs")
    return embed(crops, space), owner[np.random.default_rng(0).permutation(len(crops))]  # as `load_crops` mixes them


@lru_cache
def _synthetic(space: PowerSpectrum) -> tuple[np.ndarray, np.ndarray]:
    """Of every synthetic model: how it moves a vector on average, `(m, d)`; its vectors less their mean `(m, n, d)`."""
    side = max(SIDE, space.window + 16)
    crops = load_real("photographs")[:, :, :side, :side]
    before, moved, scattered = embed(crops, space), [], []
    for index, made in synthesise(crops, each=EACH):
        vectors = embed(made, space)
        moved.append((vectors - before[index]).mean(0))
        scattered.append(vectors - vectors.mean(0))
    return np.stack(moved), np.stack(scattered)
