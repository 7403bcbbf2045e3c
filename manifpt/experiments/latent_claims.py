"""Is an image of someone else ever claimed? Users' own images, those of other models, and real ones, read alike."""

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt.experiments.latent import RUN, Point, checksum
from manifpt.experiments.results import Results
from manifpt.latent.attribute import NOT_OURS, attribute
from manifpt.latent.keys import Registry
from manifpt.latent.newton import SEARCH, NewtonEstimator
from manifpt.utils.compute import spread
from manifpt.zoo.dataset import GMDataset

OWN = "own"
POINT = Point(key_length=32, shift=224)  # 16 bits can never support a claim


def latent_claims(
    gm: GMDataset,
    *,
    point: Point = POINT,
    users: int = 20,
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 21,
    steps: int = 60,
    path: Path | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Attribute n images of each class of the dataset (the method), and n of each of the method ``own``.

    Of the generator's own samples, which carry no key either, n are among the classes. A seed draws users' keys and
    images; each is read from one start. Rows at `path` are kept.

    Returns
    -------
    Tidy frame; metrics ``claimed`` (share of images), ``wrong`` (share claimed by someone who is not the user),
    ``nearest`` (smallest distance to any key, in bits), ``residual``.
    """
    settings = {
        "generators": {point.model: checksum(gm, point.model)},
        "users": users,
        "steps": steps,
        "search": SEARCH,
    }
    results = Results(path, settings)
    every = [(method, seed) for seed in seeds for method in (OWN, *gm.classes)]
    keys = {run: dict(zip(RUN, (gm.name, str(point), run[0], n, run[1]), strict=True)) for run in every}
    todo = [run for run in every if not results.has(**keys[run])]
    rows = spread(partial(_measure, gm=gm, point=point, users=users, n=n, steps=steps), todo, jobs)
    for run, scores, seconds in tqdm(rows, total=len(todo), unit="run", disable=not progress):
        results.add(scores, n=n, seconds=seconds, **keys[run])
    return results.of(dataset=gm.name, methods=[OWN, *gm.classes])


def _measure(
    run: tuple[str, int], *, gm: GMDataset, point: Point, users: int, n: int, steps: int
) -> tuple[tuple, dict[str, float], float]:
    """A run, its scores, and the seconds that it took."""
    method, seed = run
    started = time.perf_counter()
    fingerprinter = point.fingerprinter(gm.name)
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.create(Path(folder) / "users.json", fingerprinter.settings)
        for number in range(users):
            registry.add(f"user {number}", seed=1000 * seed + number)
        names = np.array(list(registry.users))[np.arange(n) % users]
        if method == OWN:
            images = fingerprinter.embed(np.stack([registry.users[name] for name in names]), n, seed + 1)
        else:
            images = gm.images(method, split="test")[seed * n : (seed + 1) * n]
        claims = attribute(images, NewtonEstimator(fingerprinter, starts=1, steps=steps), registry, seed=seed)
    claimed = claims.decision != NOT_OURS
    wrong = claimed & (claims.decision != names) if method == OWN else claimed
    nearest, residual = float(claims.distances.min()), float(claims.loss.mean())
    scores = {"claimed": claimed.mean(), "wrong": wrong.mean(), "nearest": nearest, "residual": residual}
    return run, scores, time.perf_counter() - started
