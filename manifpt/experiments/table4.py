"""Table 4: train on the models of one GM dataset, name the same models where they were trained on another.

Labels are the models that both have, and held-out reals (task ``all``), or one model a family (``L1``). Where one of
the two sets is grey, both are: colour images become their luma; a network that was trained on colours is then shown
grey as three equal channels, and what it gives of an image is averaged over them.

Artifacts of test images are taken against the *test* set's own reals; tasks that end in ``, source reals`` repeat the
test against those of the training set. Spaces and residuals that were learned stay those of the training set, but for
the denoiser that estimates the manifold.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from manifpt.baselines.base import intensity
from manifpt.experiments.run import MIDDLE, ROWS, Budget, Show, attribution, shown
from manifpt.utils.errors import InputError, check_choice
from manifpt.zoo.dataset import GMDataset
from manifpt.zoo.models import CHANNELS

PAIRS = tuple(
    (source, target)
    for pair in (("gm-photo", "gm-cifar10"), ("gm-fashion", "gm-photo"), ("gm-fashion", "gm-cifar10"))
    for source, target in (pair, pair[::-1])
)
TASKS = ("all", "L1")
SOURCE_REALS = ", source reals"
NETWORKS = ("marra19", "manifpt-ssl-nearest", "manifpt-ssl-tangent", "manifpt-rgb-denoiser", "control-ssl")
PROJECTING = tuple(row for row in ROWS if row.startswith(("manifpt", "control-random", "control-target")))


def table4(
    source: GMDataset,
    target: GMDataset,
    *,
    tasks: Sequence[str] = TASKS,
    methods: Sequence[str] = ROWS,
    n_per_class: int = MIDDLE,
    **budget,
) -> pd.DataFrame:
    """Train each method on `source` and test it on `target`, by tasks of `TASKS`.

    Tidy frame, ``dataset`` is ``source > target``: ``accuracy`` (0 to 1) on `n` test images of the target, and for the
    task ``all`` the ``fdr`` of their features. `InputError`, before any training, for an unknown method or task, or no
    models in common.
    """
    budget, classes = Budget(**budget), {task: _classes(source, target, task) for task in tasks}
    channels = min(CHANNELS[source.real], CHANNELS[target.real])
    return attribution(
        (source, target),
        dict.fromkeys(tasks, (n_per_class,)),
        methods,
        budget,
        code=__name__,
        classes=classes,
        views=lambda method: views(method, source, target, channels, budget.n_reference),
        endings=lambda method: ("", SOURCE_REALS) if method in PROJECTING else ("",),
        adapt=lambda images: in_channels(images, channels),
    )


def views(
    method: str, source: GMDataset, target: GMDataset, channels: int, n_reference: int | None = None
) -> tuple[Show, dict[str, Show]]:
    """What a method's classifier is shown of training images, and of test images by the ending of the task's name."""

    def view(real: str, reals: GMDataset) -> Show:
        wanted = CHANNELS[real] if method in NETWORKS else channels
        show = shown(method, real=real, reference=in_channels(reals.reference()[:n_reference], wanted))

        def adapted(images: np.ndarray) -> np.ndarray:
            rows = show(in_channels(images, wanted))
            return rows.mean(1, keepdims=True) if rows.ndim == 4 and wanted > channels else rows

        return adapted

    train = view(source.real, source)
    if method not in PROJECTING:
        return train, {"": train}
    own = target.real if method == "manifpt-rgb-denoiser" else source.real
    return train, {"": view(own, target), SOURCE_REALS: train}


def in_channels(images: np.ndarray, channels: int) -> np.ndarray:
    """uint8 images `(n, c, h, w)` with 1 or 3 channels: luma of colours, or grey three times."""
    if images.shape[1] == channels:
        return images
    if channels == 3:
        return images.repeat(3, axis=1)
    return np.rint(intensity(images)).astype(np.uint8)[:, None]


def _classes(source: GMDataset, target: GMDataset, task: str) -> tuple[str, ...]:
    """Labels of a task that both datasets have; `InputError` for an unknown task or fewer than two models."""
    check_choice("task", task, TASKS)
    wanted = source.classes if task == "all" else source.levels.get(task, ())
    common = tuple(label for label in wanted if label in source.classes and label in target.classes)
    if len(common) < 2:
        raise InputError(f"{source.name} and {target.name}: no two of {', '.join(wanted)} in common; train more")
    return common
