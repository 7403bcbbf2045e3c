"""Train and test methods of attribution, over tasks, sizes and seeds: what Tables 2 and 4 have in common.

Each repetition (seed) draws other training images, from three times as many if there are so many, and other initial
weights; the test images are the same for all, so that two methods can be compared image by image.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt import metrics
from manifpt.attribution import AUTO
from manifpt.baselines.base import Classifier
from manifpt.experiments.answers import Answers
from manifpt.experiments.results import Results
from manifpt.experiments.rows import classifier, recipe
from manifpt.nn.classifiers import SCHEDULES
from manifpt.zoo.dataset import GMDataset, draw

MIDDLE = 200  # training images a class where there is one size only, and where the FDR of the task `all` is measured
POOL = 3  # training images a class that seeds draw from, for each that they draw
VAL = 20  # images a class at most, to choose the epoch

Pools = Mapping[str, np.ndarray]  # label: images, or what a classifier is shown of them
Show = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Budget:
    """How much of an experiment is computed, and where its rows go.

    Attributes
    ----------
    seeds
        One repetition each.
    n_reference, n_test
        Reference images, and test images a class; None for all.
    epochs
        Of each training; None for the full budget.
    path
        CSV file that takes each row at once and lets an interrupted run go on; None keeps the rows in memory.
    progress
        Show a progress bar.
    """

    seeds: Sequence[int] = (0, 1, 2)
    n_reference: int | None = None
    n_test: int | None = 250
    epochs: int | None = None
    path: Path | None = None
    progress: bool = False

    def results(self, *gms: GMDataset, recipe: str | None = "short", **more) -> Results:
        """The table at `path`, for rows that depend on the models' samples, the limits, `more`, and how one trains.

        Parameters
        ----------
        recipe
            Of `manifpt.nn.classifiers`; None for rows of which nothing is trained.
        """
        samples = [{label: record["samples"]["sha256"][:12] for label, record in gm.models.items()} for gm in gms]
        settings = {"samples": samples, "n_reference": self.n_reference} | more
        if recipe:
            settings |= {"recipe": asdict(SCHEDULES[recipe]), "networks": AUTO, "val": VAL}
            settings |= {"n_test": self.n_test, "epochs": self.epochs}
        return Results(self.path, settings)


@dataclass(frozen=True)
class Setting:
    """What a table is made of.

    Attributes
    ----------
    gms
        The dataset, or that of training and that of test. Their names are the table's first column.
    plan
        Task to training images a class.
    classes
        Task to labels.
    images
        Split (``train``, ``val``, ``test``) to pools of uint8 images.
    views
        Method to what its classifier is shown of images in training, and in test, the latter by an ending that the
        task's name gets.
    """

    gms: tuple[GMDataset, ...]
    plan: Mapping[str, Sequence[int]]
    classes: Mapping[str, Sequence[str]]
    images: Mapping[str, Pools]
    views: Callable[[str], tuple[Show, Mapping[str, Show]]]

    @property
    def name(self) -> str:
        """Of the dataset or of the pair."""
        return " > ".join(gm.name for gm in self.gms)

    @property
    def real(self) -> str:
        """Name of the real set whose networks the methods use: that of training."""
        return self.gms[0].real


def run(setting: Setting, methods: Sequence[str], budget: Budget) -> pd.DataFrame:
    """Rows of all methods, tidy; those already at the budget's path are kept.

    Which test images were named rightly is kept beside them, see `manifpt.experiments.answers`. `InputError` for an
    unknown method.
    """
    for method in methods:
        classifier(method, real=setting.real)
    tables = {name: budget.results(*setting.gms, recipe=name) for name in map(recipe, methods)}
    answers = Answers(budget.path)
    runs = [(task, n, seed) for task, sizes in setting.plan.items() for n in sizes for seed in budget.seeds]
    for method in tqdm(methods, desc=setting.name, unit="method", disable=not budget.progress):
        results = tables[recipe(method)]
        keys = [{"dataset": setting.name, "task": t, "method": method, "n_per_class": n, "seed": s} for t, n, s in runs]
        todo = [key for key in keys if not results.has(**key)]
        if not todo:
            continue
        show, tests = setting.views(method)
        pools = {split: _map(show, setting.images[split]) for split in ("train", "val")}
        tested = {ending: _map(tests[ending], setting.images["test"]) for ending in sorted(tests, reverse=True)}
        for key in tqdm(todo, desc=method, unit="run", leave=False, disable=not budget.progress):
            learner = classifier(method, real=setting.real, seed=key["seed"], epochs=budget.epochs)
            labels = setting.classes[key["task"]]
            for ending, right, scores, seconds in _one(learner, pools, tested, labels, key):
                one = key | {"task": key["task"] + ending}
                answers.add(right, **one, settings=results.settings)
                results.add(scores, n=len(right), seconds=seconds, **one)
    return pd.concat([table.of(dataset=setting.name, methods=methods) for table in tables.values()], ignore_index=True)


def _map(show: Show, pools: Pools) -> dict[str, np.ndarray]:
    return {label: show(pool) for label, pool in pools.items()}


def _one(
    learner: Classifier, pools: Mapping[str, Pools], tested: Mapping[str, Pools], labels: Sequence[str], key: dict
) -> Iterator[tuple[str, np.ndarray, dict[str, float], float]]:
    """Train once; yield for each test its ending, the answers `(n,)`, scores, and seconds of training and testing.

    The plain test comes last: its row tells that a run is whole.
    """
    started = time.perf_counter()
    n, seed = key["n_per_class"], key["seed"]
    train, val = ({label: pools[split][label] for label in labels} for split in ("train", "val"))
    few = min(n, *map(len, val.values()))
    learner.fit(*draw(train, n, seed=seed), val=draw(val, few, seed=seed))
    trained = time.perf_counter() - started
    for ending, test in tested.items():
        started = time.perf_counter()
        rows, truth = draw({label: test[label] for label in labels}, None)
        right = learner.predict(rows) == truth
        seconds = trained + time.perf_counter() - started
        scores = {"accuracy": right.mean()}
        if key["task"] == "all" and n == MIDDLE and not ending:
            scores["fdr"] = metrics.fd_ratio(learner.features(rows), truth, seed=seed)
        yield ending, right, scores, seconds
