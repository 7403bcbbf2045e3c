"""Train and publish several models, some at a time."""

import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from manifpt.utils.compute import spread
from manifpt.zoo import models
from manifpt.zoo.publish import publish
from manifpt.zoo.train import train


def train_all(
    todo: Sequence[tuple[str, str, int]], *, steps: int | None = None, out: Path | None = None, jobs: int = 1
) -> Iterator[tuple[str, dict]]:
    """Train each (dataset, model, seed), as far as it is not there, and yield its path and quality when it is done.

    Several `jobs` are processes, see `manifpt.utils.compute.spread`.
    """
    for dataset, name, _ in todo:
        models.entry(name), models.real_set(dataset)
    yield from spread(partial(_one, steps=steps, out=out), todo, jobs)


def _one(task: tuple[str, str, int], *, steps: int | None, out: Path | None) -> tuple[str, dict]:
    dataset, name, seed = task
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    checkpoint = train(name, dataset=dataset, seed=seed, steps=steps, out=out)
    return f"{dataset} {checkpoint.stem}", publish(checkpoint)["quality"]
