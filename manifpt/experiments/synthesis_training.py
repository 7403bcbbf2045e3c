"""How is an extractor best trained? Each way for the same few steps, and the identification that it gives.

====================  ==================================================================================================
method                what is changed
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

import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt.data.pictures import jpeg
from manifpt.data.real import load_real
from manifpt.experiments.runner import Budget
from manifpt.experiments.zero_shot import N_IMAGES, SHOTS, identified
from manifpt.synthesis import extractor
from manifpt.synthesis.simulators import FreshModels, Simulator, TrainedModels
from manifpt.synthesis.train import folder_of
from manifpt.utils import paths
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

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


def synthesis_training(
    gm: GMDataset,
    *,
    ways: Sequence[str] = tuple(WAYS),
    recipe: extractor.ExtractorConfig = RECIPE,
    checkpoints: Sequence[Path] | None = None,
    **budget,
) -> pd.DataFrame:
    """Train an extractor in each way and identify a dataset's models; rows already at the budget's path are kept.

    Parameters
    ----------
    ways
        Of `WAYS`.
    recipe
        What the ways change something of; the seed is the row's.
    checkpoints
        Trained synthetic models; by default those that `manifpt synthesis train-models` made.
    **budget
        Fields of `manifpt.experiments.runner.Budget`; by default 100 images a model.

    Returns
    -------
    Tidy frame: ``accuracy`` of identification with 10 images a model in the gallery, mean over five galleries,
    ``accuracy_jpeg`` where all images were stored as JPEG of quality 75, and ``chance``.

    Raises
    ------
    InputError
        An unknown way; no synthetic models for one that wants trained ones.
    """
    if unknown := [way for way in ways if way not in WAYS]:
        raise InputError(f"way {unknown[0]!r} is unknown; choose one of {', '.join(WAYS)}")
    budget = Budget(**({"n_test": N_IMAGES} | budget))
    checkpoints = sorted(folder_of(REAL).glob("*.safetensors")) if checkpoints is None else list(checkpoints)
    simulators = {way: _simulator(way, checkpoints) for way in ways}
    tables = {}
    for way, simulator in simulators.items():
        tables[way] = budget.results(gm, extractor=asdict(_recipe(recipe, way)), simulator=simulator.settings)
    runs = [(way, seed) for way in ways for seed in budget.seeds]
    for way, seed in tqdm(runs, desc=f"{gm.name}, training", unit="extractor", disable=not budget.progress):
        key = {"dataset": gm.name, "task": "all", "method": way, "n_per_class": SHOTS, "seed": seed}
        if tables[way].has(**key):
            continue
        started = time.perf_counter()
        one = replace(_recipe(recipe, way), seed=seed)
        path = extractor.train_extractor(
            simulators[way], [load_real(REAL)], one, name=f"{way}-s{seed}", folder=paths.runs() / "ways"
        )
        extract = extractor.Extractor(path)
        scores = identified(gm, extract, budget.n_test)
        scores["accuracy_jpeg"] = identified(gm, partial(_stored, extract), budget.n_test)["accuracy"]
        n = len(gm.models) * (budget.n_test - SHOTS)
        tables[way].add(scores, n=n, seconds=time.perf_counter() - started, **key)
    return pd.concat([table.of(dataset=gm.name, methods=[way]) for way, table in tables.items()], ignore_index=True)


def _stored(extract: extractor.Extractor, images: np.ndarray) -> np.ndarray:
    """Features of images that were stored as JPEG."""
    return extract(np.stack([jpeg(image, QUALITY) for image in images]))


def _recipe(recipe: extractor.ExtractorConfig, way: str) -> extractor.ExtractorConfig:
    return replace(recipe, **WAYS[way])


def _simulator(way: str, checkpoints: Sequence[Path]) -> Simulator:
    return TrainedModels(checkpoints) if way.startswith("trained") else FreshModels()
