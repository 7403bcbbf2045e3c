"""Table 2: how often each method names the model of an image, from 10 to 1,000 training images a class.

Each repetition (seed) draws other training and validation images and other initial weights; the test images are the
same for all, so that two methods can be compared image by image. Tasks: ``all`` models and held-out reals, and the
levels of difficulty L1, L2, L3 of `manifpt.zoo.registry`, which are models alone.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt import metrics
from manifpt.answers import Answers
from manifpt.errors import InputError
from manifpt.experiments.rows import ROWS, classifier, shown
from manifpt.gm import GMDataset, draw
from manifpt.methods import Classifier
from manifpt.real import check_disjoint
from manifpt.recipes import RECIPES
from manifpt.results import Results
from manifpt.zoo.registry import LEVELS

SIZES = (10, 50, 200, 1000)
MIDDLE = 200  # images a class where FDR is measured, and where there is one size only
VAL = 50  # images a class at most, to choose the epoch
LEVELS_TOO = {"all": SIZES} | dict.fromkeys(LEVELS, (MIDDLE,))
PLAN: dict[str, Mapping[str, Sequence[int]]] = {  # GM dataset: task to training images a class
    "gm-fashion": LEVELS_TOO,
    "gm-cifar10": LEVELS_TOO,
    "gm-photo": {"all": (MIDDLE,)},
}


def table2(
    gm: GMDataset,
    plan: Mapping[str, Sequence[int]] | None = None,
    *,
    methods: Sequence[str] = ROWS,
    seeds: Sequence[int] = (0, 1, 2),
    n_reference: int | None = None,
    n_test: int | None = None,
    epochs: int | None = None,
    path: Path | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Train and test each method; rows already at `path` are kept.

    Parameters
    ----------
    plan
        Task to training images a class; None for the dataset's own in `PLAN`.
    n_reference, n_test
        Reference images, and test images a class; None for all.
    epochs
        Of each training; None for the full budget.
    path
        CSV file that takes each row at once and lets an interrupted run go on. Beside it, in ``<name>.npz``, stands
        which test images were named rightly.
    progress
        Show a progress bar.

    Returns
    -------
    Tidy frame: ``accuracy`` (0 to 1) on `n` test images, and ``fdr`` of the task ``all`` at 200 images a class;
    ``seconds`` is training and testing, what the classifier is shown having been worked out before.

    Raises
    ------
    InputError
        Before any training: an unknown method or task, more images a class than there are.
    """
    plan = PLAN[gm.name] if plan is None else plan
    classes = {task: _classes(gm, task) for task in plan}
    for method in methods:
        classifier(method, real=gm.real)
    reference = gm.reference()[:n_reference]
    settings = {"recipe": asdict(RECIPES["short"]), "epochs": epochs, "n_reference": len(reference), "n_test": n_test}
    settings |= {"samples": {label: record["samples"]["sha256"][:12] for label, record in gm.models.items()}}
    results, answers = Results(path, settings), Answers(path)
    most = {"train": max(map(max, plan.values())), "val": VAL, "test": n_test}
    images = {split: {label: pool[:n] for label, pool in gm.pools(split).items()} for split, n in most.items()}
    check_disjoint(reference=reference, **{split: np.concatenate([*pools.values()]) for split, pools in images.items()})
    runs = [(task, n, seed) for task, sizes in plan.items() for n in sizes for seed in seeds]
    for method in tqdm(methods, desc="table 2", unit="method", disable=not progress):
        keys = [{"dataset": gm.name, "task": t, "method": method, "n_per_class": n, "seed": s} for t, n, s in runs]
        todo = [key for key in keys if not results.has(**key)]
        if not todo:
            continue
        show = shown(method, real=gm.real, reference=reference)
        rows = {split: {label: show(pool) for label, pool in pools.items()} for split, pools in images.items()}
        for key in tqdm(todo, desc=method, unit="run", leave=False, disable=not progress):
            pools = {split: {label: rows[split][label] for label in classes[key["task"]]} for split in rows}
            learner = classifier(method, real=gm.real, seed=key["seed"], epochs=epochs)
            scores, right, seconds = _run(learner, pools, key)
            answers.add(right, **key, settings=results.settings)
            results.add(scores, n=len(right), seconds=seconds, **key)
    frame = results.frame
    wanted = (frame["settings"] == results.settings) & (frame["dataset"] == gm.name)
    return frame[wanted & frame["method"].isin(methods) & frame["task"].isin(plan)]


def _classes(gm: GMDataset, task: str) -> tuple[str, ...]:
    """Labels of a task; `InputError` for an unknown one, or for a level whose models are not all there."""
    if task == "all":
        return gm.classes
    if task not in LEVELS:
        raise InputError(f"task {task!r} is unknown; choose one of all, {', '.join(LEVELS)}")
    if missing := [label for label in LEVELS[task] if label not in gm.models]:
        raise InputError(f"task {task!r}: {gm.name} has no {', '.join(missing)}; train them first")
    return LEVELS[task]


def _run(
    learner: Classifier, pools: Mapping[str, Mapping[str, np.ndarray]], key: dict
) -> tuple[dict, np.ndarray, float]:
    """Scores of one training, which test images were named rightly `(n,)`, and seconds."""
    started = time.perf_counter()
    n, seed = key["n_per_class"], key["seed"]
    val = draw(pools["val"], min(n, *map(len, pools["val"].values())), seed=seed)
    learner.fit(*draw(pools["train"], n, seed=seed), val=val)
    rows, labels = draw(pools["test"], None)
    right = learner.predict(rows) == labels
    seconds = time.perf_counter() - started
    scores = {"accuracy": right.mean()}
    if key["task"] == "all" and n == MIDDLE:
        scores["fdr"] = metrics.fd_ratio(learner.features(rows), labels, seed=seed)
    return scores, right, seconds
