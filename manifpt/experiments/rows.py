"""The rows of the paper's attribution tables, by name: baselines, ManiFPT, and the controls that the paper lacks.

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
layer, all with one budget. Three rows exist once more with the paper's ResNet50, from random weights, which needs the
recipe ``deep``: ``…+resnet50``.
"""

from collections.abc import Callable

import numpy as np

from manifpt import baselines
from manifpt.attribution import Attributor
from manifpt.baselines.base import Classifier
from manifpt.embeddings import embed
from manifpt.manifold import Manifold, Projection
from manifpt.utils.errors import InputError

SPACES = ("rgb", "freq", "sl", "ssl")
PROJECTED = (
    *(f"manifpt-{space}-{estimator}" for space in SPACES for estimator in ("nearest", "tangent")),
    "manifpt-rgb-denoiser",
    "manifpt-rgb-stacked",
)
CONTROLS = ("control-raw", *(f"control-{space}" for space in SPACES[1:]), "control-random-rgb", "control-target-rgb")
ROWS = (*baselines.BASELINES, *PROJECTED, *CONTROLS)
RESNET50 = tuple(f"{name}+resnet50" for name in ("control-raw", "manifpt-rgb-nearest", "manifpt-rgb-tangent"))


def recipe(name: str) -> str:
    """By which of `the schedules in `manifpt.nn.classifiers`` the network of a row is trained."""
    return "deep" if name in RESNET50 else "short"


def classifier(name: str, *, real: str, seed: int = 0, epochs: int | None = None) -> Classifier:
    """The classifier of a row, untrained; epochs None for the full budget. `InputError` for an unknown row."""
    _check(name)
    if name in baselines.BASELINES:
        return baselines.build(name, real=real, seed=seed, epochs=epochs).classifier
    return Attributor(name.partition("+")[2] or "auto", recipe=recipe(name), seed=seed, epochs=epochs)


def shown(name: str, *, real: str, reference: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """What the classifier of a row is shown, as a function of uint8 images `(n, c, h, w)`.

    Parameters
    ----------
    name
        One of `ROWS` or `RESNET50`; `InputError` for another.
    real, reference
        Name of the real set, and its images that stand for the manifold: uint8 `(m, c, h, w)`.
    """
    _check(name)
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
        return lambda images: np.concatenate([embed_as_images(images, "rgb"), tangent(images).artifact], axis=1)
    if name in ("control-random-rgb", "control-target-rgb"):
        project = projection("rgb", "random" if space == "random" else "nearest")
        return lambda images: getattr(project(images), "artifact" if space == "random" else "target")
    if kind == "control":
        return lambda images: embed_as_images(images, f"ssl:{real}" if space == "ssl" else space)
    project = projection(space, estimator)
    return lambda images: project(images).artifact


def embed_as_images(images: np.ndarray, space: str) -> np.ndarray:
    """`embed`, with the shape of images where the space keeps it: float32 `(n, c, h, w)` or `(n, d)`."""
    rows = embed(images, space)
    return rows.reshape(images.shape) if space in ("rgb", "freq") else rows


def _check(name: str) -> None:
    if name not in (*ROWS, *RESNET50):
        raise InputError(f"method {name!r} is unknown; choose one of {', '.join((*ROWS, *RESNET50))}")
