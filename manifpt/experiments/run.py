"""Compute what a table lacks, and train and test methods of attribution: what the experiments have in common.

The methods of the paper's attribution tables, by name: baselines, ManiFPT, and the controls that the paper lacks.

=====================================  ================================================================================
name                                   what the classifier is shown
=====================================  ================================================================================
``mccloskey18`` … ``yu19``             see `manifpt.baselines`
``manifpt-<space>-<estimator>``        the artifact in ``rgb``, ``freq``, ``sl``, ``ssl`` by ``nearest`` (the paper) or
                                       ``tangent`` (ours); in ``rgb`` also by ``denoiser``
``manifpt-rgb-stacked``                the image and its tangent artifact, one above the other as channels
``control-raw``                        the image
``control-<space>``                    the embedding without projection
``control-random-rgb``                 the image minus a random real one
``control-target-rgb``                 the nearest real image alone
=====================================  ================================================================================

Images are classified by one small ResNet, that of the authors' code with a third of its blocks, vectors by one hidden
layer, all with one budget. Three methods exist once more with the paper's ResNet50, from random weights, which needs
the schedule ``deep``: ``…+resnet50``.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from manifpt import baselines, metrics
from manifpt.attribution import AUTO, Attributor
from manifpt.baselines.base import Classifier
from manifpt.embeddings import embed
from manifpt.experiments.store import Key, Results, Scores
from manifpt.manifold import Manifold, Projection
from manifpt.nn.classifiers import SCHEDULES
from manifpt.utils.compute import single_precision, spread
from manifpt.utils.errors import check_choice
from manifpt.zoo.dataset import GMDataset, draw

SPACES = ("rgb", "freq", "sl", "ssl")
PROJECTED = (
    *(f"manifpt-{space}-{estimator}" for space in SPACES for estimator in ("nearest", "tangent")),
    "manifpt-rgb-denoiser",
    "manifpt-rgb-stacked",
)
CONTROLS = ("control-raw", *(f"control-{space}" for space in SPACES[1:]), "control-random-rgb", "control-target-rgb")
ROWS = (*baselines.BASELINES, *PROJECTED, *CONTROLS)
RESNET50 = tuple(f"{name}+resnet50" for name in ("control-raw", "manifpt-rgb-nearest", "manifpt-rgb-tangent"))
MIDDLE = 200  # training images a class where there is one size only, and where the FDR of the task `all` is measured
POOL = 3  # training images a class that seeds draw from, for each that they draw
VAL = 20  # images a class at most, to choose the epoch

Show = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Budget:
    """How much of an experiment is computed, and where its rows go."""

    seeds: Sequence[int] = (0, 1, 2)  # one repetition each
    n_reference: int | None = None  # reference images, None for all
    n_test: int | None = 250  # test images a class, None for all
    epochs: int | None = None  # of each training, None for the full budget
    path: Path | None = None  # CSV file that takes rows at once and lets an interrupted run go on; None: memory alone
    jobs: int = 1  # processes, where an experiment can be spread over several
    progress: bool = False  # show a bar

    def settings(self, *gms: GMDataset, schedule: str | None = "short", **more) -> dict:
        """What rows depend on beside their key: the models' samples, the limits, `more`, and the schedule of training.

        The schedule is one of `manifpt.nn.classifiers`, None for rows of which nothing is trained.
        """
        samples = [{label: record["samples"]["sha256"][:12] for label, record in gm.models.items()} for gm in gms]
        settings = {"samples": samples, "n_reference": self.n_reference} | more
        if schedule:
            settings |= {"recipe": asdict(SCHEDULES[schedule]), "networks": AUTO, "val": VAL}
            settings |= {"n_test": self.n_test, "epochs": self.epochs}
        return settings


def measure(
    grid: Iterable[Sequence[Key]],
    function: Callable[[Sequence[Key]], Iterable[Scores]],
    settings: Callable[[Key], dict] | dict,
    budget: Budget,
    *,
    code: str,
    check: Callable[[], object] | None = None,
) -> pd.DataFrame:
    """Compute the rows of a grid that a table lacks, in fp32 on every processor; return all rows of the grid.

    Parameters
    ----------
    grid
        Keys in groups, whose rows come out of one computation, in the order of computation.
    function
        From those keys of a group that have no rows yet to their scores, in any order; pickled for several jobs.
    settings
        What else the rows depend on, or a function from a key to it.
    code
        Name of the module that computes them, that is its ``__name__``.
    check
        Called before the first computation, if there is one, to raise `InputError` for what takes long to find.
    """
    groups = [list(group) for group in grid]
    results = Results(budget.path, settings if callable(settings) else lambda _: settings, code=code)
    todo = results.missing(groups)
    if todo and check:
        check()
    found = spread(partial(_timed, function), todo, budget.jobs)
    name = f"{groups[0][0].dataset}, {code.rpartition('.')[2]}" if groups else ""
    for scores in tqdm(found, total=len(todo), desc=name, unit="run", disable=not budget.progress):
        results.add(scores)
    return results.of([key for group in groups for key in group])


def each(function: Callable[[Key], Scores]) -> Callable[[Sequence[Key]], Iterator[Scores]]:
    """A function for `measure`, from one of single keys."""
    return lambda keys: map(function, keys)


def _timed(function: Callable[[Sequence[Key]], Iterable[Scores]], keys: Sequence[Key]) -> list[Scores]:
    started, scores = time.perf_counter(), []
    with single_precision():
        for one in function(keys):
            seconds = time.perf_counter() - started if one.seconds is None else one.seconds
            scores.append(one._replace(seconds=seconds))
    return scores


def attribution(
    gms: Sequence[GMDataset],
    plan: Mapping[str, Sequence[int]],
    methods: Sequence[str],
    budget: Budget,
    *,
    code: str,
    classes: Mapping[str, Sequence[str]],
    views: Callable[[str], tuple[Show, Mapping[str, Show]]],
    endings: Callable[[str], Sequence[str]] = lambda method: ("",),
    adapt: Show = lambda images: images,
) -> pd.DataFrame:
    """Train and test methods over tasks, sizes and seeds: what Tables 2 and 4 have in common.

    Each repetition (seed) draws other training images, from three times as many as the plan's largest size if there are
    so many, and other initial weights; the test images are the same for all, so that two methods can be compared image
    by image. Which of them were named rightly is kept, see `manifpt.experiments.store.Answers`. `InputError` for an
    unknown method, at once.

    Parameters
    ----------
    gms
        Where the methods are trained, and where they are tested. The names are the table's first column.
    plan, classes
        Task to training images a class, and to labels.
    views, endings
        From a method to what its classifier is shown of images in training, and in test, the latter by an ending that
        the task's name gets; and to these endings.
    adapt
        What becomes of images first, uint8 `(n, c, h, w)`.
    """
    settings = {method: budget.settings(*gms, schedule=schedule_of(method)) for method in methods}
    most = {"train": POOL * max(map(max, plan.values())), "val": VAL, "test": budget.n_test}
    everything = sorted(set().union(*classes.values()))

    def shown_of(split: str, show: Show) -> dict[str, np.ndarray]:
        gm = gms[-1] if split == "test" else gms[0]
        return {label: show(adapt(gm.images(label, split=split)[: most[split]])) for label in everything}

    @lru_cache(maxsize=1)
    def shown_by(method: str) -> dict[str, dict[str, np.ndarray]]:
        show, tests = views(method)
        seen = {split: shown_of(split, show) for split in ("train", "val")}
        return seen | {f"test{ending}": shown_of("test", test) for ending, test in tests.items()}

    def tested(keys: Sequence[Key]) -> Iterator[Scores]:
        method, n, seed, task = keys[0].method, keys[0].n_per_class, keys[0].seed, keys[0].task.partition(",")[0]
        pools = {part: {label: seen[label] for label in classes[task]} for part, seen in shown_by(method).items()}
        started = time.perf_counter()
        learner = classifier(method, real=gms[0].real, seed=seed, epochs=budget.epochs)
        few = min(n, *map(len, pools["val"].values()))
        learner.fit(*draw(pools["train"], n, seed=seed), val=draw(pools["val"], few, seed=seed))
        for key in keys:
            rows, truth = draw(pools["test" + key.task.removeprefix(task)], None)
            right = learner.predict(rows) == truth
            seconds, scores = time.perf_counter() - started, {"accuracy": right.mean()}
            if key.task == "all" and n == MIDDLE:
                scores["fdr"] = metrics.fd_ratio(learner.features(rows), truth, seed=seed)
            yield Scores(key, scores, len(right), right, seconds)

    name = " > ".join(gm.name for gm in gms)
    runs = [(task, n, seed) for task, sizes in plan.items() for n in sizes for seed in budget.seeds]
    grid = [
        [Key(name, task + ending, method, n, seed) for ending in endings(method)]
        for method in methods
        for task, n, seed in runs
    ]

    def check() -> None:
        for gm in gms:
            gm.check_splits()

    return measure(grid, tested, lambda key: settings[key.method], budget, code=code, check=check)


def schedule_of(name: str) -> str:
    """By which of `manifpt.nn.classifiers` the network of a method is trained; `InputError` for an unknown method."""
    check_choice("method", name, (*ROWS, *RESNET50))
    return "deep" if name in RESNET50 else "short"


def classifier(name: str, *, real: str, seed: int = 0, epochs: int | None = None) -> Classifier:
    """The classifier of a method, untrained; epochs None for the full budget. `InputError` for an unknown method."""
    if name in baselines.BASELINES:
        return baselines.build(name, real=real, seed=seed, epochs=epochs).classifier
    return Attributor(schedule=schedule_of(name), network=name.partition("+")[2] or "auto", seed=seed, epochs=epochs)


def shown(name: str, *, real: str, reference: np.ndarray) -> Show:
    """What the classifier of a method is shown, as a function of uint8 images `(n, c, h, w)`.

    `real` names the real set, and `reference` are its images that stand for the manifold, uint8 `(m, c, h, w)`.
    `InputError` for an unknown method.
    """
    check_choice("method", name, (*ROWS, *RESNET50))
    name = name.partition("+")[0]
    if name in baselines.BASELINES:
        return baselines.build(name, real=real).represent

    def projection(space: str, estimator: str) -> Callable[[np.ndarray], Projection]:
        return Manifold(space, estimator=estimator, dataset=real).fit(reference).project

    kind, space, estimator = (*name.split("-"), "")[:3]
    if name == "control-raw":
        return lambda images: images
    if name == "manifpt-rgb-stacked":
        tangent = projection("rgb", "tangent")
        return lambda images: np.concatenate([_embedded(images, "rgb"), tangent(images).artifact], axis=1)
    if name in ("control-random-rgb", "control-target-rgb"):
        project = projection("rgb", "random" if space == "random" else "nearest")
        return lambda images: getattr(project(images), "artifact" if space == "random" else "target")
    if kind == "control":
        return lambda images: _embedded(images, f"ssl:{real}" if space == "ssl" else space)
    project = projection(space, estimator)
    return lambda images: project(images).artifact


def _embedded(images: np.ndarray, space: str) -> np.ndarray:
    """`embed`, with the shape of images where the space keeps it: float32 `(n, c, h, w)` or `(n, d)`."""
    rows = embed(images, space)
    return rows.reshape(images.shape) if space in ("rgb", "freq") else rows
