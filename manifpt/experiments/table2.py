"""Table 2: how often each method names the model of an image, from 10 to 1,000 training images a class.

Tasks: ``all`` models and held-out reals, and the dataset's levels of difficulty L1, L2, L3, which are models
alone.
"""

from collections.abc import Mapping, Sequence

import pandas as pd

from manifpt.experiments.run import MIDDLE, ROWS, Budget, attribution, shown
from manifpt.utils.errors import InputError, check_choice
from manifpt.zoo.dataset import LEVELS, GMDataset

SIZES = (10, 50, 200, 1000)
EVERYTHING = {"all": SIZES} | dict.fromkeys(LEVELS, (MIDDLE,))
PLAN: dict[str, Mapping[str, Sequence[int]]] = {  # GM dataset: task to training images a class
    "gm-fashion": EVERYTHING,
    "gm-cifar10": EVERYTHING,
    "gm-photo": {"all": (MIDDLE,)},
}


def table2(
    gm: GMDataset, plan: Mapping[str, Sequence[int]] | None = None, *, methods: Sequence[str] = ROWS, **budget
) -> pd.DataFrame:
    """Train and test each method.

    Parameters
    ----------
    plan
        Task to training images a class; None for the dataset's own in `PLAN`.

    Tidy frame: ``accuracy`` (0 to 1) on `n` test images, and ``fdr`` of the task ``all`` at 200 images a class;
    ``seconds`` is training and testing, what the classifier is shown having been worked out before. `InputError`,
    before any training, for an unknown method or task, or models of a level that are not there; later, for more images
    a class than there are.
    """
    plan, budget = PLAN[gm.name] if plan is None else plan, Budget(**budget)
    classes = {task: _classes(gm, task) for task in plan}

    def views(method: str):
        show = shown(method, real=gm.real, reference=gm.reference()[: budget.n_reference])
        return show, {"": show}

    return attribution((gm,), plan, methods, budget, code=__name__, classes=classes, views=views)


def _classes(gm: GMDataset, task: str) -> tuple[str, ...]:
    """Labels of a task; `InputError` for an unknown one, or for a level whose models are not all there."""
    check_choice("task", task, ("all", *gm.levels))
    if task == "all":
        return gm.classes
    if missing := [label for label in gm.levels[task] if label not in gm.models]:
        raise InputError(f"task {task!r}: {gm.name} has no {', '.join(missing)}; train them first")
    return gm.levels[task]
