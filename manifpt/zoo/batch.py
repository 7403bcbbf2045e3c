"""Train and publish several models, some at a time."""

import logging
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path

import torch

from manifpt.zoo import registry
from manifpt.zoo.publish import publish
from manifpt.zoo.train import train


def train_all(
    todo: Sequence[tuple[str, str, int]], *, steps: int | None = None, out: Path | None = None, jobs: int = 1
) -> Iterator[tuple[str, dict]]:
    """Train each (dataset, model, seed), as far as it is not there, and yield its path and quality when it is done.

    With several `jobs`, each model has its share of the threads: on a few cores that is faster than one model after
    another, each with all of them.
    """
    for dataset, name, _ in todo:
        registry.entry(name), registry.real_set(dataset)
    one = partial(_one, steps=steps, out=out, threads=max(1, torch.get_num_threads() // jobs))
    if jobs == 1:
        yield from map(one, todo)
        return
    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(one, task) for task in todo]):
            yield future.result()


def _one(task: tuple[str, str, int], *, steps: int | None, out: Path | None, threads: int) -> tuple[str, dict]:
    dataset, name, seed = task
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    torch.set_num_threads(threads)
    checkpoint = train(name, dataset=dataset, seed=seed, steps=steps, out=out)
    return f"{dataset} {checkpoint.stem}", publish(checkpoint)["quality"]
