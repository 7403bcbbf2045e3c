"""Which synthetic models make a good extractor, and how is it best trained?

An extractor is trained for the same few steps on each set of models, or in each way, and identifies the models of a GM
dataset, none of which it saw.

Sets: ``full``; one for each option that is left out, fixed to its plainest value (the source's ablation); ``one seed``;
and for the growth curve, random draws of 36, 72, … models.

====================  ==================================================================================================
way (the method)      what is changed
====================  ==================================================================================================
``fresh``             nothing: models made afresh for every batch, PK sampling, root of the spectrum
``fresh-released``    sampling: a model of its own for every image
``trained``           simulator: trained models (`manifpt.synthesis.train`)
``trained-released``  both; every image draws its model from all
``fresh-linear``      the magnitude itself is read, as released
``fresh-log``         its logarithm is read
``fresh-wavelet``     the denoiser
``fresh-robust``      training images are compressed, blurred and resized at random
====================  ==================================================================================================
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from manifpt.data.pictures import jpeg
from manifpt.data.real import load_real
from manifpt.experiments.run import Budget, each, measure
from manifpt.experiments.store import Key, Scores
from manifpt.experiments.synthesis import DEFAULTS, N_IMAGES, SHOTS
from manifpt.synthesis import extractor, protocol
from manifpt.synthesis.models import architectures
from manifpt.synthesis.simulators import FreshModels, Simulator, TrainedModels
from manifpt.synthesis.spectrum import residuals
from manifpt.synthesis.train import folder_of, load_synthetic_model, to_pixels
from manifpt.synthesis.validation import diversity, ffd, spectrum_vector
from manifpt.utils import files, paths
from manifpt.utils.errors import check_choice
from manifpt.zoo.dataset import GMDataset

PLAINEST = {
    "no K": {"blocks": 1},
    "no L": {"layers": 1},
    "no S": {"order": "post"},
    "no U": {"upsample": "bilinear"},
    "no A": {"activation": "none"},
    "no N": {"norm": "none"},
}
GROWTH = (36, 72, 144, 288, 576)
SETS = ("full", *PLAINEST, "one seed", *map(str, GROWTH))
RECIPE = extractor.ExtractorConfig(steps=150)
RELEASED = {"models": RECIPE.models * RECIPE.each, "each": 1}
WAYS: dict[str, dict] = {
    "fresh": {},
    "fresh-released": RELEASED,
    "trained": {},
    "trained-released": RELEASED,
    "fresh-linear": {"scale": "linear"},
    "fresh-log": {"scale": "log"},
    "fresh-wavelet": {"denoiser": "wavelet"},
    "fresh-robust": {"robust": True},
}
REAL = "photos"  # what the synthetic models are shown
QUALITY = 75  # of the JPEG files that robustness is measured on


def synthesis_sets(
    gm: GMDataset,
    *,
    sets: Sequence[str] = SETS,
    recipe: extractor.ExtractorConfig = RECIPE,
    checkpoints: Sequence[Path] | None = None,
    **budget,
) -> pd.DataFrame:
    """Judge sets of synthetic models by their fidelity, their diversity, and the extractor that each set gives.

    The sets are some of `SETS`, of the models in `checkpoints`, by default those that `manifpt synthesis train-models`
    made. Draws of more models than there are have no rows. The recipe is that of each extractor's training; the seed is
    the row's.

    Tidy frame: ``models`` in the set, ``ffd``, ``distance`` and ``trace`` (`manifpt.synthesis.validation`), and the
    scores of `identified`. `InputError` for an unknown set, and fewer than two synthetic models.
    """
    budget, checkpoints = Budget(**{"n_test": N_IMAGES} | budget), _checkpoints(checkpoints)
    synthetic = TrainedModels(checkpoints).settings["models"]

    def judged(key: Key) -> Scores:
        chosen = members(checkpoints, key.task, seed=key.seed)
        vectors = synthetic_vectors(checkpoints, budget.n_test)[[checkpoints.index(path) for path in chosen]]
        config = replace(recipe, models=min(recipe.models, len(chosen)))
        name = f"set-{files.settings_hash([path.stem for path in chosen])}"
        scores = {"models": len(chosen), "ffd": ffd(real_vectors(gm, budget.n_test), vectors), **diversity(vectors)}
        return _scores(gm, key, _trained(TrainedModels(chosen), config, key.seed, name, "sets"), budget.n_test, scores)

    runs = [(name, seed) for seed in budget.seeds for name in sets if members(checkpoints, name, seed=seed)]
    grid = [[Key(gm.name, name, "trained models", SHOTS, seed)] for name, seed in runs]
    settings = budget.settings(gm, extractor=asdict(recipe), synthetic=synthetic)
    return measure(grid, each(judged), settings, budget, code=__name__)


def synthesis_training(
    gm: GMDataset,
    *,
    ways: Sequence[str] = tuple(WAYS),
    recipe: extractor.ExtractorConfig = RECIPE,
    checkpoints: Sequence[Path] | None = None,
    **budget,
) -> pd.DataFrame:
    """Train an extractor in each of some `WAYS` and identify a dataset's models; options as those of `synthesis_sets`.

    Tidy frame: the scores of `identified`, and ``accuracy_jpeg`` where all images were stored as JPEG of quality 75.
    `InputError` for an unknown way, and if there are no synthetic models for one that wants trained ones.
    """
    for way in ways:
        check_choice("way", way, WAYS)
    budget, checkpoints = Budget(**{"n_test": N_IMAGES} | budget), _checkpoints(checkpoints)
    configs = {way: replace(recipe, **WAYS[way]) for way in ways}
    simulators = {way: TrainedModels(checkpoints) if way.startswith("trained") else FreshModels() for way in ways}

    def judged(key: Key) -> Scores:
        way, name = key.method, f"{key.method}-s{key.seed}"
        extract = _trained(simulators[way], configs[way], key.seed, name, "ways")

        def stored(images: np.ndarray) -> np.ndarray:
            return extract(np.stack([jpeg(image, QUALITY) for image in images]))

        more = {"accuracy_jpeg": identified(gm, stored, budget.n_test)["accuracy"]}
        return _scores(gm, key, extract, budget.n_test, more)

    def settings(key: Key) -> dict:
        way = key.method
        return budget.settings(gm, extractor=asdict(configs[way]), simulator=simulators[way].settings)

    grid = [[Key(gm.name, "all", way, SHOTS, seed)] for seed in budget.seeds for way in ways]
    return measure(grid, each(judged), settings, budget, code=__name__)


def _scores(gm: GMDataset, key: Key, extract: extractor.Extractor, n: int, more: dict[str, float]) -> Scores:
    return Scores(key, more | identified(gm, extract, n), len(gm.models) * (n - SHOTS))


def identified(gm: GMDataset, features: Callable[[np.ndarray], np.ndarray], n: int) -> dict[str, float]:
    """``accuracy`` of identification from n images of each model, of which `SHOTS` are in the gallery, and ``chance``.

    Means over five galleries; `features` maps uint8 images `(m, c, h, w)` to `(m, d)`.
    """
    rows = features(np.concatenate([gm.preview(label, n) for label in gm.models]))
    labels = np.repeat(list(gm.models), n)
    scores = [protocol.identification(rows, labels, shots=SHOTS, seed=split)[0] for split in DEFAULTS["seeds"]]
    return {name: float(np.mean([one[name] for one in scores])) for name in ("accuracy", "chance")}


def _checkpoints(given: Sequence[Path] | None) -> tuple[Path, ...]:
    return tuple(sorted(folder_of(REAL).glob("*.safetensors")) if given is None else given)


def _trained(simulator: Simulator, config: extractor.ExtractorConfig, seed: int, name: str, folder: str):
    """A trained extractor; the state of its training is kept, so it is trained once for all GM datasets."""
    config, folder = replace(config, seed=seed), paths.runs() / folder
    return extractor.Extractor(
        extractor.train_extractor(simulator, [load_real(REAL)], config, name=name, folder=folder)
    )


def members(checkpoints: Sequence[Path], name: str, *, seed: int) -> list[Path]:
    """The checkpoints, named ``<architecture>-s<seed>``, of one of `SETS`; empty for a draw of more than there are.

    The seed is that of a random draw; `InputError` for an unknown set.
    """
    check_choice("set", name, SETS)
    if name.isdecimal():
        order = np.random.default_rng(seed).permutation(len(checkpoints))
        return [checkpoints[i] for i in sorted(order[: int(name)])] if int(name) <= len(checkpoints) else []
    if name == "one seed":
        return [path for path in checkpoints if path.stem.endswith("-s0")]
    allowed = {architecture.name for architecture in architectures(**PLAINEST.get(name, {}))}
    return [path for path in checkpoints if path.stem.partition("-")[0] in allowed]


@lru_cache(maxsize=1)
def real_vectors(gm: GMDataset, n: int) -> np.ndarray:
    """Spectrum vectors `(models, rings)` of the models of a GM dataset, from n images each."""
    residual = residuals(real=REAL)
    return np.stack([spectrum_vector(residual(gm.preview(label, n))) for label in gm.models])


@cache  # the same for all GM datasets
@torch.inference_mode()
def synthetic_vectors(checkpoints: tuple[Path, ...], n: int) -> np.ndarray:
    """Spectrum vectors `(models, rings)` of synthetic models that gave n held-out real images back."""
    residual, images = residuals(real=REAL), load_real(REAL, split="test")[:n]
    batch = torch.from_numpy(images).float() / 127.5 - 1
    made = (to_pixels(load_synthetic_model(path)[0](batch)).numpy() for path in checkpoints)
    return np.stack([spectrum_vector(residual(images)) for images in made])
