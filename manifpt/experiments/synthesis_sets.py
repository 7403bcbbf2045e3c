"""Which synthetic models make a good extractor? Fidelity and diversity of sets, and the identification each set gives.

Sets: ``full``; one for each option that is left out, fixed to its plainest value (the source's ablation); ``one seed``;
and for the growth curve, random draws of 36, 72, … models. On each set an extractor is trained for the same few steps,
and identifies the models of a GM dataset, none of which it saw.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from manifpt.data.real import load_real
from manifpt.experiments.runner import Budget
from manifpt.experiments.zero_shot import N_IMAGES, SHOTS, identified
from manifpt.synthesis import extractor
from manifpt.synthesis.models import architectures
from manifpt.synthesis.simulators import TrainedModels
from manifpt.synthesis.spectrum import residuals
from manifpt.synthesis.train import folder_of, load_synthetic_model, to_pixels
from manifpt.synthesis.validation import diversity, ffd, spectrum_vector
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError
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
REAL = "photos"  # what the synthetic models learnt


def members(checkpoints: Sequence[Path], name: str, *, seed: int) -> list[Path]:
    """The checkpoints, named ``<architecture>-s<seed>``, of a set; empty for a draw of more than there are.

    Parameters
    ----------
    name
        One of `SETS`; `InputError` for another.
    seed
        Of a random draw.
    """
    if name not in SETS:
        raise InputError(f"set {name!r} is unknown; choose one of {', '.join(SETS)}")
    if name.isdecimal():
        order = np.random.default_rng(seed).permutation(len(checkpoints))
        return [checkpoints[i] for i in sorted(order[: int(name)])] if int(name) <= len(checkpoints) else []
    if name == "one seed":
        return [path for path in checkpoints if path.stem.endswith("-s0")]
    allowed = {architecture.name for architecture in architectures(**PLAINEST.get(name, {}))}
    return [path for path in checkpoints if path.stem.partition("-")[0] in allowed]


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


def synthesis_sets(
    gm: GMDataset,
    *,
    sets: Sequence[str] = SETS,
    recipe: extractor.ExtractorConfig = RECIPE,
    checkpoints: Sequence[Path] | None = None,
    **budget,
) -> pd.DataFrame:
    """Judge sets of synthetic models; rows already at the budget's path are kept.

    Parameters
    ----------
    sets
        Of `SETS`; draws of more models than there are have no rows.
    recipe
        Of each extractor's training; the seed is the row's.
    checkpoints
        Synthetic models; by default those that `manifpt synthesis train-models` made.
    **budget
        Fields of `manifpt.experiments.runner.Budget`; by default 100 images a model.

    Returns
    -------
    Tidy frame: ``models`` in the set, ``ffd``, ``distance`` and ``trace`` (`manifpt.synthesis.validation`),
    ``accuracy`` of identification with 10 images a model in the gallery, mean over five galleries, and ``chance``.

    Raises
    ------
    InputError
        An unknown set; fewer than two synthetic models.
    """
    budget = Budget(**({"n_test": N_IMAGES} | budget))
    checkpoints = tuple(sorted(folder_of(REAL).glob("*.safetensors")) if checkpoints is None else checkpoints)
    TrainedModels(checkpoints[:2])  # two at least
    headers = [files.load_tensors(path)[1] for path in checkpoints]
    results = budget.results(gm, extractor=asdict(recipe), synthetic=files.settings_hash(headers))
    runs = [(name, seed) for name in sets for seed in budget.seeds]
    todo = [run for run in runs if members(checkpoints, run[0], seed=run[1]) and not results.has(**_key(gm, *run))]
    if todo:
        real, synthetic = real_vectors(gm, budget.n_test), synthetic_vectors(checkpoints, budget.n_test)
    for name, seed in tqdm(todo, desc=f"{gm.name}, sets", unit="set", disable=not budget.progress):
        started, chosen = time.perf_counter(), members(checkpoints, name, seed=seed)
        vectors = synthetic[[checkpoints.index(path) for path in chosen]]
        scores = {"models": len(chosen), "ffd": ffd(real, vectors), **diversity(vectors)}
        scores |= identified(gm, _trained(chosen, recipe, seed), budget.n_test)
        n = len(gm.models) * (budget.n_test - SHOTS)
        results.add(scores, n=n, seconds=time.perf_counter() - started, **_key(gm, name, seed))
    return results.of(dataset=gm.name, methods=["trained models"])


def _key(gm: GMDataset, name: str, seed: int) -> dict:
    return {"dataset": gm.name, "task": name, "method": "trained models", "n_per_class": SHOTS, "seed": seed}


def _trained(chosen: list[Path], recipe: extractor.ExtractorConfig, seed: int) -> extractor.Extractor:
    """An extractor of a set; the state of its training is kept, so it is trained once for all GM datasets."""
    settings = asdict(recipe) | {"seed": seed, "models": min(recipe.models, len(chosen))}
    path = extractor.train_extractor(
        TrainedModels(chosen),
        [load_real(REAL)],
        extractor.ExtractorConfig(**settings),
        name=f"set-{files.settings_hash([path.stem for path in chosen])}",
        folder=paths.runs() / "sets",
    )
    return extractor.Extractor(path)
