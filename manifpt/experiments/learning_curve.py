"""Attribution accuracy against the number of images a class: artifacts beside their controls.

Every input is classified by the same network with the same budget. Each repetition draws other training and validation
images (as many validation as training images, up to what the split has) and other initial weights; the test images are
the same for all.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt.attribution import Attributor
from manifpt.errors import InputError
from manifpt.gm import GMDataset, draw
from manifpt.manifold import Manifold
from manifpt.real import check_disjoint
from manifpt.recipes import RECIPES
from manifpt.results import Results

INPUTS = {  # method: estimator in rgb, None for the image itself
    "manifpt-rgb-nearest": "nearest",
    "manifpt-rgb-tangent": "tangent",
    "manifpt-rgb-denoiser": "denoiser",
    "control-raw": None,
    "control-random-rgb": "random",
}


def network_input(gm: GMDataset, method: str, reference: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What the network of `method` sees of uint8 images: their artifacts, or themselves in [0, 1]; float32."""
    if method not in INPUTS:
        raise InputError(f"method {method!r} is unknown; choose one of {', '.join(INPUTS)}")
    if INPUTS[method] is None:
        return lambda images: images.astype(np.float32) / np.float32(255)
    manifold = Manifold("rgb", estimator=INPUTS[method], dataset=gm.real).fit(reference)
    return lambda images: manifold.project(images).artifact


def learning_curve(
    gm: GMDataset,
    *,
    sizes: Sequence[int] = (10, 50, 200, 1000),
    seeds: Sequence[int] = (0, 1, 2),
    methods: Sequence[str] = tuple(INPUTS),
    n_reference: int | None = None,
    n_test: int | None = None,
    epochs: int | None = None,
    path: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train and test an attributor for each method, size and seed; rows already at `path` are kept.

    Parameters
    ----------
    sizes
        Training images a class.
    n_reference, n_test
        Reference images, and test images a class; None for all.
    epochs
        Of each training; None for the attributor's own.
    path
        CSV file that takes each row at once and lets an interrupted run go on.
    progress
        Show a progress bar.

    Returns
    -------
    Tidy frame, metric ``accuracy`` (0 to 1) on `n` test images; ``seconds`` is training and testing.
    """
    reference = gm.reference()[:n_reference]
    settings = {"attributor": Attributor(epochs=epochs).settings, "recipe": asdict(RECIPES["short"])}
    settings |= {"n_reference": len(reference), "n_test": n_test}
    settings |= {"samples": {label: record["samples"]["sha256"][:12] for label, record in gm.models.items()}}
    results = Results(path, settings)
    images = {
        split: {label: pool[:most] for label, pool in gm.pools(split).items()}
        for split, most in (("train", max(sizes)), ("val", max(sizes)), ("test", n_test))
    }
    check_disjoint(reference=reference, **{split: np.concatenate([*pools.values()]) for split, pools in images.items()})
    for method in tqdm(methods, desc="learning curve", unit="method", disable=not progress):
        todo = [(n, seed) for n in sizes for seed in seeds if not results.has(**_key(gm, method, n, seed))]
        if not todo:
            continue
        see = network_input(gm, method, reference)
        train, val, test = ({label: see(pool) for label, pool in images[split].items()} for split in images)
        for n, seed in todo:
            started = time.perf_counter()
            network = Attributor(epochs=epochs, seed=seed).fit(
                *draw(train, n, seed=seed), val=draw(val, min(n, _least(val)), seed=seed)
            )
            accuracy = network.score(*draw(test, None))
            seconds = time.perf_counter() - started
            size = _least(test) * len(test)
            results.add({"accuracy": accuracy}, n=size, seconds=seconds, **_key(gm, method, n, seed))
    frame = results.frame
    return frame[
        (frame["settings"] == results.settings) & frame["method"].isin(methods) & (frame["dataset"] == gm.name)
    ]


def _key(gm: GMDataset, method: str, n: int, seed: int) -> dict:
    return {"dataset": gm.name, "task": gm.selection, "method": method, "n_per_class": n, "seed": seed}


def _least(pools: dict[str, np.ndarray]) -> int:
    return min(map(len, pools.values()))
