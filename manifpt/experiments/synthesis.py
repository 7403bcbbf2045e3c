"""Are models told apart that nobody trained on? Identification and verification, the extractor beside the others.

Every split draws other galleries, other pairs and another half of the models. Rows tell in ``settings.json`` which
models they are about, so that they are computed anew when there are more.
"""

import time
from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt.experiments.answers import Answers
from manifpt.experiments.runner import Budget
from manifpt.experiments.zero_shot import N_IMAGES, SHOTS, SPLITS, TRAINED, UNTRAINED, Features, unseen
from manifpt.synthesis import extractor, protocol
from manifpt.zoo.dataset import GMDataset

SIZES = (SHOTS, 1, 50)  # gallery images a model; only the first of them in all but the first task of a method
Measure = Callable[..., tuple[dict[str, float], np.ndarray]]


def identification(
    gm: GMDataset, *, methods: Sequence[str] | None = None, shots: Sequence[int] = SIZES, **budget
) -> pd.DataFrame:
    """1:N identification; rows already at the budget's path are kept.

    Parameters
    ----------
    methods
        See `manifpt.experiments.zero_shot`; None for the extractors that ship and all others.
    shots
        Images a model in the gallery; only the first of them outside the first task that a method can be asked for.
    **budget
        Fields of `manifpt.experiments.runner.Budget`; by default five seeds and 100 images a model.

    Returns
    -------
    Tidy frame: ``accuracy``, ``macro_f1`` and ``chance`` of `n` queries, with `n_per_class` images in the gallery. In
    the task ``family`` they are means over families, weighted by their number of queries.

    Raises
    ------
    InputError
        An unknown method; an extractor that is not trained; a model with too few images.
    """

    def measure(features: np.ndarray, labels: np.ndarray, few: int, seed: int) -> tuple[dict[str, float], np.ndarray]:
        return protocol.identification(features, labels, shots=few, seed=seed)

    return _run(gm, measure, methods, shots, budget)


def verification(
    gm: GMDataset, *, methods: Sequence[str] | None = None, n_pairs: int = protocol.N_PAIRS, **budget
) -> pd.DataFrame:
    """1:1 verification, as `identification`: ``auc``, ``accuracy``, ``accuracy_oracle``, ``threshold`` of `n` pairs.

    Half of each model's images, drawn by the seed, only serve to choose the threshold.
    """

    def measure(features: np.ndarray, labels: np.ndarray, few: int, seed: int) -> tuple[dict[str, float], np.ndarray]:
        return protocol.verification(features, labels, held_out=_held_out(labels, seed), seed=seed, n_pairs=n_pairs)

    return _run(gm, measure, methods, (1,), budget, pairs=n_pairs)


def asked(gm: GMDataset, table: str, task: str, few: int, seed: int) -> np.ndarray:
    """Which images the answers of a run with the usual numbers are about, counted over all models.

    Parameters
    ----------
    table
        ``synthesis_identification`` or ``synthesis_verification``.
    few
        Images a model in the gallery.

    Returns
    -------
    int64 `(n,)`, or `(n, 2)` for pairs.
    """
    found = []
    for group in unseen(gm, task, seed):
        labels = np.repeat(group, N_IMAGES)
        numbers = np.concatenate([N_IMAGES * list(gm.models).index(label) + np.arange(N_IMAGES) for label in group])
        if table == "synthesis_identification":
            found.append(numbers[protocol.split(labels, few, seed=seed)[1]])
        else:
            judged = ~_held_out(labels, seed)
            found.append(numbers[judged][protocol.pairs(labels[judged], protocol.N_PAIRS, seed=seed)[0]])
    return np.concatenate(found)


def _held_out(labels: np.ndarray, seed: int) -> np.ndarray:
    """Half of each model's images, as many for all models: bool `(n,)`."""
    models = len(np.unique(labels))
    halves = np.tile(np.arange(len(labels) // models) % 2, (models, 1))
    return np.random.default_rng(seed).permuted(halves, axis=1).ravel() == 1


def _run(
    gm: GMDataset,
    measure: Measure,
    methods: Sequence[str] | None,
    sizes: Sequence[int],
    budget: dict,
    **more,
) -> pd.DataFrame:
    budget = Budget(**({"seeds": SPLITS, "n_test": N_IMAGES} | budget))
    if methods is None:
        methods = (*(f"synthesis-{name}" for name in extractor.shipped()), *UNTRAINED, *TRAINED)
    everything = [Features(method, gm, budget, **more) for method in methods]
    answers, frames = Answers(budget.path), []
    for features in tqdm(everything, desc=gm.name, unit="method", disable=not budget.progress):
        results = features.results()
        shots = dict.fromkeys(features.tasks, sizes[:1]) | {features.tasks[0]: sizes}
        runs = [(task, n, seed) for task in features.tasks for n in shots[task] for seed in budget.seeds]
        for task, n, seed in runs:
            key = {"dataset": gm.name, "task": task, "method": features.method, "n_per_class": n, "seed": seed}
            groups = unseen(gm, task, seed)
            if not groups or results.has(**key):
                continue
            started = time.perf_counter()
            measured = [measure(*features.of(group), n, seed) for group in groups]
            right = np.concatenate([answer for _, answer in measured])
            weights = [len(answer) / len(right) for _, answer in measured]
            scores = {name: float(np.dot(weights, [one[name] for one, _ in measured])) for name in measured[0][0]}
            answers.add(right, **key, settings=results.settings)
            results.add(scores, n=len(right), seconds=time.perf_counter() - started, **key)
        frames.append(results.of(dataset=gm.name, methods=[features.method]))
    return pd.concat(frames, ignore_index=True)
