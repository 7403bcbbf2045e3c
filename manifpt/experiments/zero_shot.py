r"""Features by which models are told apart that nobody trained on, and which models those are.

==============================  ========================================================================================
method                          feature of an image
==============================  ========================================================================================
``synthesis-<name>``            of an extractor trained on synthetic models alone (`manifpt.synthesis.extractor`)
``control-untrained``           of the shipped one before training, but for how its ResNet standardises what it reads
``control-sl``, ``control-ssl`` embedding without projection
``spectrum``                    magnitudes of the spectrum of the noise residual, as released
``spectrum-log``                its logarithm, less the mean of that of real images
``marra19``                     noise residual less its mean: the cosine is the normalised correlation
``manifpt-rgb-nearest``, …      penultimate features of an attributor trained on artifacts of *other* models
``control-raw``                 the same, trained on images: a closed-set classifier of other models
==============================  ========================================================================================

Tasks: ``all`` models are to be told apart; those of each ``family``, by features that never saw the family; a random
``half``, by features that may have seen the other half. The last two are there for methods that have to be trained.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np

from manifpt.attribution import Attributor
from manifpt.baselines import marra19
from manifpt.embeddings import embed
from manifpt.experiments.results import Results
from manifpt.experiments.rows import shown
from manifpt.experiments.runner import MIDDLE, VAL, Budget
from manifpt.synthesis import extractor, protocol
from manifpt.synthesis.spectrum import residuals, spectrum
from manifpt.utils import files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

UNTRAINED = ("control-untrained", "control-sl", "control-ssl", "spectrum", "spectrum-log", "marra19")
TRAINED = {"manifpt-rgb-nearest": "family", "manifpt-rgb-tangent": "family", "control-raw": "half"}  # and their task
TASKS = ("all", "family", "half")
SPLITS = (0, 1, 2, 3, 4)
SHOTS = 10  # gallery images a model, as in the paper
N_IMAGES = 100  # of each model, the first that ship
N_REAL = 1000  # images behind the mean spectrum of reals


def unseen(gm: GMDataset, task: str, seed: int) -> list[tuple[str, ...]]:
    """Groups of models to be told apart, two at least each; a task may have none where there are too few models."""
    labels = list(gm.models)
    if task == "all":
        groups = [labels]
    elif task == "half":
        groups = [sorted(np.random.default_rng(seed).permutation(labels)[: len(labels) // 2].tolist())]
    else:
        families = [record["family"] for record in gm.models.values()]
        of = {name: [x for x, family in zip(labels, families, strict=True) if family == name] for name in families}
        groups = [group for group in of.values() if len(labels) - len(group) >= 2]
    return [tuple(group) for group in groups if len(group) >= 2]


def identified(gm: GMDataset, features: Callable[[np.ndarray], np.ndarray], n: int) -> dict[str, float]:
    """``accuracy`` of identification from n images of each model, of which `SHOTS` are in the gallery, and ``chance``.

    Means over `SPLITS`; `features` maps uint8 images `(m, c, h, w)` to `(m, d)`.
    """
    rows = features(np.concatenate([gm.preview(label, n) for label in gm.models]))
    labels = np.repeat(list(gm.models), n)
    scores = [protocol.identification(rows, labels, shots=SHOTS, seed=split)[0] for split in SPLITS]
    return {name: float(np.mean([one[name] for one in scores])) for name in ("accuracy", "chance")}


class Features:
    """Features of the models of a dataset by one method; networks are trained when they are asked for, and kept.

    Parameters
    ----------
    method
        See the module's table.
    budget
        ``n_test`` images of each model; reference images and epochs of what is trained.
    **settings
        What the rows depend on beyond the dataset and the features.

    Attributes
    ----------
    tasks
        Those that the method can be asked for.
    settings
        What its features depend on beyond the dataset.

    Raises
    ------
    InputError
        An unknown method; an extractor that is not trained yet.
    """

    def __init__(self, method: str, gm: GMDataset, budget: Budget, **settings):
        self.method, self.gm, self.budget, self.settings = method, gm, budget, settings
        self.tasks = (TRAINED[method],) if method in TRAINED else TASKS
        self._known: dict[tuple[str, ...], np.ndarray] = {}
        if (name := _extractor(method)) is not None:
            self.settings = settings | {"extractor": files.sha256(extractor.find(name))[:12]}
        elif method not in (*UNTRAINED, *TRAINED):
            known = ", ".join((*UNTRAINED, *TRAINED))
            raise InputError(f"method {method!r} is unknown; choose one of synthesis-<extractor>, {known}")

    def of(self, group: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Features `(n, d)` and model `(n,)` of the images of a group that the method never saw."""
        labels = np.repeat(group, self.budget.n_test)
        if self.method in TRAINED:
            if group not in self._known:
                self._known[group] = self._attributor(group)(self._images(group))
            return self._known[group], labels
        if not self._known:
            models = list(self.gm.models)
            self._known = dict(zip(models, np.split(self.function(self._images(models)), len(models)), strict=True))
        return np.concatenate([self._known[label] for label in group]), labels

    @cached_property
    def function(self) -> Callable[[np.ndarray], np.ndarray]:
        """Of a method that is not trained on models: uint8 images `(n, c, h, w)` to features `(n, d)`."""
        return _function(self.method, self.gm)

    def results(self) -> Results:
        """The table at the budget's path, for rows of this method."""
        return self.budget.results(self.gm, **self.settings)

    def _images(self, models: Sequence[str]) -> np.ndarray:
        return np.concatenate([self.gm.preview(label, self.budget.n_test) for label in models])

    def _attributor(self, group: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
        """Penultimate features of a classifier trained on all models but those of a group."""
        reference = self.gm.reference()[: self.budget.n_reference]
        show = shown(self.method, real=self.gm.real, reference=reference)
        others = [label for label in self.gm.models if label not in group]
        images = [self.gm.preview(label, MIDDLE + VAL) for label in others]
        train, val = (
            show(np.concatenate([some[part] for some in images])) for part in (slice(MIDDLE), slice(-VAL, None))
        )
        network = Attributor(seed=0, epochs=self.budget.epochs)
        network.fit(
            train, np.repeat(others, MIDDLE), val=(val, np.repeat(others, VAL)), resume=paths.runs() / "zero_shot"
        )
        return lambda some: network.features(show(some))


def _extractor(method: str) -> str | None:
    """Name of the extractor that a method is, or the shipped one whose untrained self it is; None for other methods."""
    if method == "control-untrained":
        return "photos"
    return method.removeprefix("synthesis-") if method.startswith("synthesis-") else None


def _function(method: str, gm: GMDataset) -> Callable[[np.ndarray], np.ndarray]:
    if (name := _extractor(method)) is not None:
        one = extractor.Extractor(extractor.find(name))
        if method == "control-untrained":
            with seeded(0):
                network = extractor.SpectrumEncoder()
            network.standardise = one.network.standardise
            one.network = network.eval()
        return one
    if method.startswith("control-"):
        space = method.removeprefix("control-")
        return lambda images: embed(images, f"ssl:{gm.real}" if space == "ssl" else space)
    if method == "marra19":
        represent = marra19.baseline(real=gm.real).represent
        return lambda images: marra19.normalised(represent(images))
    residual, scale = residuals(), "log" if method == "spectrum-log" else "linear"

    def rows(images: np.ndarray) -> np.ndarray:
        return spectrum(residual(images), scale).reshape(len(images), -1)

    centre = rows(gm.reference()[:N_REAL]).mean(0) if scale == "log" else 0
    return lambda images: rows(images) - centre
