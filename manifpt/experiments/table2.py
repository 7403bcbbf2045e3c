"""Table 2: how often each method names the model of an image, from 10 to 1,000 training images a class.

Tasks: ``all`` models and held-out reals, and the levels of difficulty L1, L2, L3 of `manifpt.zoo.models`, which are
models alone.
"""

from collections.abc import Mapping, Sequence
from functools import partial

import pandas as pd

from manifpt.experiments.rows import RESNET50, ROWS, shown
from manifpt.experiments.runner import MIDDLE, POOL, VAL, Budget, Setting, run
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset
from manifpt.zoo.models import LEVELS

SIZES = (10, 50, 200, 1000)
EVERYTHING = {"all": SIZES} | dict.fromkeys(LEVELS, (MIDDLE,))
PLAN: dict[str, Mapping[str, Sequence[int]]] = {  # GM dataset: task to training images a class
    "gm-fashion": EVERYTHING,
    "gm-cifar10": EVERYTHING,
    "gm-photo": {"all": (MIDDLE,)},
}


def table2(
    gm: GMDataset,
    plan: Mapping[str, Sequence[int]] | None = None,
    *,
    methods: Sequence[str] = ROWS,
    **budget,
) -> pd.DataFrame:
    """Train and test each method; rows already at the budget's path are kept.

    Parameters
    ----------
    plan
        Task to training images a class; None for the dataset's own in `PLAN`.
    **budget
        Fields of `manifpt.experiments.runner.Budget`.

    Returns
    -------
    Tidy frame: ``accuracy`` (0 to 1) on `n` test images, and ``fdr`` of the task ``all`` at 200 images a class;
    ``seconds`` is training and testing, what the classifier is shown having been worked out before.

    Raises
    ------
    InputError
        Before any training: an unknown method or task, models of a level that are not there. More images a class than
        there are.
    """
    plan, budget = PLAN[gm.name] if plan is None else plan, Budget(**budget)
    classes = {task: _classes(gm, task) for task in plan}
    reference = gm.reference()[: budget.n_reference]
    most = {"train": POOL * max(map(max, plan.values())), "val": VAL, "test": budget.n_test}
    images = {split: {label: pool[:n] for label, pool in gm.pools(split).items()} for split, n in most.items()}
    gm.check_splits()

    def views(method: str):
        show = shown(method, real=gm.real, reference=reference)
        return show, {"": show}

    return run(Setting((gm,), plan, classes, images, views), methods, budget)


resnet50 = partial(table2, plan={"all": (1000,)}, methods=RESNET50)  # the check with the paper's network


def _classes(gm: GMDataset, task: str) -> tuple[str, ...]:
    """Labels of a task; `InputError` for an unknown one, or for a level whose models are not all there."""
    if task == "all":
        return gm.classes
    if task not in LEVELS:
        raise InputError(f"task {task!r} is unknown; choose one of all, {', '.join(LEVELS)}")
    if missing := [label for label in LEVELS[task] if label not in gm.models]:
        raise InputError(f"task {task!r}: {gm.name} has no {', '.join(missing)}; train them first")
    return LEVELS[task]
