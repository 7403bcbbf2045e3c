r"""Are models told apart that nobody trained on? Identification and verification, the extractor beside the others.

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
Every split (seed) draws other galleries, other pairs and another half of the models.
"""

from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import pandas as pd

from manifpt.attribution import Attributor
from manifpt.baselines import marra19
from manifpt.embeddings import embed
from manifpt.experiments.run import MIDDLE, VAL, Budget, each, measure, shown
from manifpt.experiments.store import Key, Scores
from manifpt.synthesis import extractor, protocol
from manifpt.synthesis.spectrum import residuals, spectrum
from manifpt.utils import files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

UNTRAINED = ("control-untrained", "control-sl", "control-ssl", "spectrum", "spectrum-log", "marra19")
TRAINED = {"manifpt-rgb-nearest": "family", "manifpt-rgb-tangent": "family", "control-raw": "half"}  # and their task
TASKS = ("all", "family", "half")
SHOTS = 10  # gallery images a model, as in the paper
SIZES = (SHOTS, 1, 50)
N_IMAGES = 100  # of each model, the first that ship
N_REAL = 1000  # images behind the mean spectrum of reals
DEFAULTS = {"seeds": (0, 1, 2, 3, 4), "n_test": N_IMAGES}
Protocol = Callable[..., tuple[dict[str, float], np.ndarray]]


def identification(
    gm: GMDataset, *, methods: Sequence[str] | None = None, shots: Sequence[int] = SIZES, **budget
) -> pd.DataFrame:
    """1:N identification, by default in five splits of 100 images a model.

    Methods are those of the module's table, None for the extractors that ship and all others; `shots` are images a
    model in the gallery, only the first of them outside the first task that a method can be asked for.

    Tidy frame: ``accuracy``, ``macro_f1`` and ``chance`` of `n` queries, with `n_per_class` images in the gallery. In
    the task ``family`` they are means over families, weighted by their number of queries. `InputError` for an unknown
    method, an extractor that is not trained, a model with too few images.
    """

    def protocol_of(features: np.ndarray, labels: np.ndarray, key: Key):
        return protocol.identification(features, labels, shots=key.n_per_class, seed=key.seed)

    return _judged(gm, protocol_of, methods, shots, budget)


def verification(
    gm: GMDataset, *, methods: Sequence[str] | None = None, n_pairs: int = protocol.N_PAIRS, **budget
) -> pd.DataFrame:
    """1:1 verification, as `identification`: ``auc``, ``accuracy``, ``accuracy_oracle``, ``threshold`` of `n` pairs.

    Half of each model's images, drawn by the seed, only serve to choose the threshold.
    """

    def protocol_of(features: np.ndarray, labels: np.ndarray, key: Key):
        half = _held_out(labels, key.seed)
        return protocol.verification(features, labels, held_out=half, seed=key.seed, n_pairs=n_pairs)

    return _judged(gm, protocol_of, methods, (1,), budget, pairs=n_pairs)


def _judged(
    gm: GMDataset, protocol_of: Protocol, methods: Sequence[str] | None, sizes: Sequence[int], budget: dict, **more
) -> pd.DataFrame:
    budget = Budget(**DEFAULTS | budget)
    if methods is None:
        methods = (*(f"synthesis-{name}" for name in extractor.shipped()), *UNTRAINED, *TRAINED)
    features = {method: Features(method, gm, budget) for method in methods}

    def scored(key: Key) -> Scores:
        groups = unseen(gm, key.task, key.seed)
        found = [protocol_of(*features[key.method].of(group), key) for group in groups]
        right = np.concatenate([answers for _, answers in found])
        weights = [len(answers) / len(right) for _, answers in found]
        scores = {name: float(np.dot(weights, [one[name] for one, _ in found])) for name in found[0][0]}
        return Scores(key, scores, len(right), right)

    grid = [
        [Key(gm.name, task, method, n, seed)]
        for method, known in features.items()
        for task in known.tasks
        for n in (sizes if task == known.tasks[0] else sizes[:1])
        for seed in budget.seeds
        if unseen(gm, task, seed)
    ]
    settings = {method: budget.settings(gm, **known.settings, **more) for method, known in features.items()}
    return measure(grid, each(scored), lambda key: settings[key.method], budget, code=__name__)


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


def asked(gm: GMDataset, table: str, task: str, few: int, seed: int) -> np.ndarray:
    """Which images the answers of a run with the usual numbers are about, counted over all models.

    Of ``synthesis_identification`` with `few` images a model in the gallery: int64 `(n,)`; of the pairs of
    ``synthesis_verification``: int64 `(n, 2)`.
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


class Features:
    """Features of the models of a dataset by one method; networks are trained when they are asked for, and kept.

    A budget has ``n_test`` images of each model, and reference images and epochs of what is trained. `tasks` are those
    that the method can be asked for, `settings` what its features depend on beyond the dataset. `InputError` for an
    unknown method, and for an extractor that is not trained yet.
    """

    def __init__(self, method: str, gm: GMDataset, budget: Budget):
        self.method, self.gm, self.budget, self.settings = method, gm, budget, {}
        self.tasks = (TRAINED[method],) if method in TRAINED else TASKS
        self._known: dict[tuple[str, ...], np.ndarray] = {}
        if method.startswith("synthesis-") or method == "control-untrained":
            name = "photos" if method == "control-untrained" else method.removeprefix("synthesis-")
            self._extractor = extractor.find(name)
            self.settings = {"extractor": files.sha256(self._extractor)[:12]}
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
        if self.method in ("spectrum", "spectrum-log"):
            return self._spectrum()
        if self.method == "marra19":
            represent = marra19.baseline(real=self.gm.real).represent
            return lambda images: marra19.normalised(represent(images))
        if self.method in ("control-sl", "control-ssl"):
            space = "sl" if self.method == "control-sl" else f"ssl:{self.gm.real}"
            return lambda images: embed(images, space)
        one = extractor.Extractor(self._extractor)
        if self.method == "control-untrained":
            with seeded(0):
                network = extractor.SpectrumEncoder()
            network.standardise = one.network.standardise
            one.network = network.eval()
        return one

    def _spectrum(self) -> Callable[[np.ndarray], np.ndarray]:
        residual, scale = residuals(), "log" if self.method == "spectrum-log" else "linear"

        def rows(images: np.ndarray) -> np.ndarray:
            return spectrum(residual(images), scale).reshape(len(images), -1)

        centre = rows(self.gm.reference()[:N_REAL]).mean(0) if scale == "log" else 0
        return lambda images: rows(images) - centre

    def _images(self, models: Sequence[str]) -> np.ndarray:
        return np.concatenate([self.gm.preview(label, self.budget.n_test) for label in models])

    def _attributor(self, group: Sequence[str]) -> Callable[[np.ndarray], np.ndarray]:
        """Penultimate features of a classifier trained on all models but those of a group."""
        show = shown(self.method, real=self.gm.real, reference=self.gm.reference()[: self.budget.n_reference])
        others = [label for label in self.gm.models if label not in group]
        images = [self.gm.preview(label, MIDDLE + VAL) for label in others]
        train, val = (show(np.concatenate([some[part] for some in images])) for part in (np.s_[:MIDDLE], np.s_[-VAL:]))
        network, state = Attributor(seed=0, epochs=self.budget.epochs), paths.runs() / "zero_shot"
        network.fit(train, np.repeat(others, MIDDLE), val=(val, np.repeat(others, VAL)), resume=state)
        return lambda some: network.features(show(some))
