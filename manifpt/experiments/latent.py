"""Latent fingerprints measured: what is read of keys, what keys cost, what attacks leave of them.

Three tables. Their column ``task`` is a `Point`: model, key length, shift, sigma; ``method`` is who reads, or which
attack; ``n_per_class`` the images of one seed. A seed draws content, keys and starts. Several `jobs` are processes, see
`manifpt.utils.compute.spread`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from tqdm.auto import tqdm

from manifpt.embeddings import embed
from manifpt.experiments.results import Results
from manifpt.latent.adam import AdamEstimator, Estimate
from manifpt.latent.attacks import ATTACKS, NOISE, attacked
from manifpt.latent.fingerprinter import LatentFingerprinter, to_bytes, to_float
from manifpt.latent.generators import load_generator
from manifpt.latent.keys import random_keys
from manifpt.latent.newton import SEARCH, NewtonEstimator
from manifpt.latent.shallow import ShallowFingerprinter
from manifpt.latent.theory import ROUNDING, jacobian, predict_reading
from manifpt.latent.warm import train_warm_start
from manifpt.metrics import frechet_distance
from manifpt.nn.perceptual import Perceptual
from manifpt.utils.compute import spread
from manifpt.zoo.dataset import GMDataset

RUN = ("dataset", "task", "method", "n_per_class", "seed")
CONTENTS = 3  # where the generator is linearised, for a prediction
REPEAT = {"ldm": 3}  # components a bit
TASK = r"(?P<model>\S+), (?P<key_length>\d+) bits, shift (?P<shift>\d+), sigma (?P<sigma>\S+)"


@dataclass(frozen=True)
class Point:
    """One setting of a fingerprint; the model ``shallow`` is the visible pattern on images of ``stylegan2``."""

    model: str = "stylegan2"
    key_length: int = 16
    shift: int = 240
    sigma: float = 2.0

    def __str__(self) -> str:
        return f"{self.model}, {self.key_length} bits, shift {self.shift}, sigma {self.sigma:g}"

    def fingerprinter(self, dataset: str) -> LatentFingerprinter:
        """Of the latent code; of ``shallow``, that of the images under the pattern."""
        repeat = REPEAT.get(self.model, 1)
        options = {"key_length": self.key_length, "shift": self.shift, "repeat": repeat}
        content = "sample" if self.model == "ldm" else "gaussian"
        label = "stylegan2" if self.model == "shallow" else self.model
        sigma = 1.0 if self.model == "shallow" else self.sigma
        generator = load_generator(label, dataset=dataset)
        return LatentFingerprinter(generator, sigma=sigma, content=content, **options)


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the parts of its tasks as columns: model, key_length, shift, sigma."""
    parts = frame["task"].str.extract(TASK)
    kinds = {"key_length": int, "shift": int, "sigma": float}
    return frame.assign(**parts.astype(kinds))


FILTER = "filter"  # who reads the visible pattern
DEFAULT = Point()  # the weakest strength of which 95 % of the keys come back
LONG = Point(key_length=64, shift=192, sigma=1.0)
SWEEP = (
    *(Point(sigma=sigma) for sigma in (4.0, 2.0, 1.0, 0.5)),
    *(Point(shift=shift, sigma=0.5) for shift in (0, 128)),
    Point(key_length=32, shift=224),
    LONG,
    *(Point("ldm", shift=128, sigma=sigma) for sigma in (1.0, 2.0)),
    *(Point("shallow", sigma=sigma) for sigma in (0.003, 0.004, 0.005, 0.01, 0.02)),
)


class Reading:
    """One point's keys and images of one seed, and those who read them."""

    def __init__(self, dataset: str, point: Point, n: int, seed: int):
        self.point, self.seed, self.n = point, seed, n
        self.fingerprinter = point.fingerprinter(dataset)
        self.keys = random_keys(n, point.key_length, np.random.default_rng(seed))
        self.shallow = None
        if point.model == "shallow":
            self.shallow = ShallowFingerprinter(self.fingerprinter, sigma=point.sigma)
        self.images = (self.shallow or self.fingerprinter).embed(self.keys, n, seed + 1)
        self.plain = self.fingerprinter.embed(None, n, seed + 1)

    def read(self, images: np.ndarray, reader: str = "newton", **options) -> tuple[dict[str, float], np.ndarray]:
        """Share of whole keys and of bits, of latent ones the residual that is left; and which bits are right."""
        if self.shallow:
            bits, scores = self.shallow.read(images), {}
        else:
            found = READERS[reader](self.fingerprinter, **options).estimate(images, seed=self.seed)
            bits, scores = found.bits, {"residual": float(found.loss.mean())}
        right = bits == self.keys
        return {"key_accuracy": right.all(1).mean(), "bit_accuracy": right.mean()} | scores, right

    def predict(self, right: np.ndarray, noise: float = ROUNDING) -> dict[str, float]:
        """What the linearisation at some of the contents says, and how it ranks directions where they differ."""
        codes = self.fingerprinter.compose(
            self.fingerprinter.contents(CONTENTS, seed=self.seed + 1),
            self.fingerprinter.mean_.new_full((CONTENTS, self.point.key_length), 0.5),
        )
        derivatives = [jacobian(self.fingerprinter.generator, code) for code in codes]
        found = [predict_reading(self.fingerprinter, derivative, noise=noise, prior=True) for derivative in derivatives]
        separation = np.stack([one.separation for one in found])  # (contents, key_length)
        scores = {
            "predicted_bit_accuracy": 1 - np.mean([one.bit_error.mean() for one in found]),
            "predicted_key_accuracy": np.mean([np.prod(1 - one.bit_error) for one in found]),
            "separation": np.median(separation.min(1)),
        }
        if np.ptp(accuracy := right.mean(0)) > 0:
            scores["ranking"] = spearmanr(separation.mean(0), accuracy).statistic
        return scores


def _warmed(steps: int, **options) -> Callable:
    def reader(fingerprinter: LatentFingerprinter):
        return NewtonEstimator(fingerprinter, warm_start=train_warm_start(fingerprinter), steps=steps, **options)

    return reader


READERS: dict[str, Callable] = {
    "newton": NewtonEstimator,
    "newton-warm": _warmed(60),
    "warm": _warmed(0),
    "adam": lambda fingerprinter: AdamEstimator(fingerprinter, starts=4, steps=500, units="whitened"),
}


def latent_keys(
    gm: GMDataset,
    *,
    sweep: Sequence[Point] = SWEEP,
    readers: Sequence[str] = tuple(READERS),
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 34,
    path: Path | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Read keys at every point by Gauss-Newton, at two of them by the other readers, too; rows at `path` are kept.

    Returns
    -------
    Tidy frame; metrics ``key_accuracy``, ``bit_accuracy``, ``residual``, and of the linearisation
    ``predicted_bit_accuracy``, ``predicted_key_accuracy``, ``separation``, and ``ranking``: Spearman's correlation
    over the bits of a key of separation and accuracy.
    """
    runs = [(point, FILTER if point.model == "shallow" else "newton") for point in sweep]
    runs += [(point, name) for point in (DEFAULT, LONG) for name in readers if name != "newton"]
    options = {"seeds": seeds, "n": n, "path": path, "jobs": jobs, "progress": progress}
    return _table(gm, runs, _keys, search=SEARCH, **options)


def _keys(reading: Reading, method: str) -> dict[str, float]:
    scores, right = reading.read(reading.images, method)
    return scores | reading.predict(right) if method == "newton" else scores


def latent_quality(
    gm: GMDataset,
    *,
    sweep: Sequence[Point] = SWEEP,
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 1000,
    path: Path | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """What a key costs: Fréchet distance of images with and without keys, and the distance between twins.

    Returns
    -------
    Tidy frame; metrics ``fd`` in ``sl`` space of n images with keys to n others without, ``fd_floor`` of those to n
    more without, ``perceptual`` and ``rms`` (images from -1 to 1) between twins.
    """
    options = {"seeds": seeds, "n": n, "path": path, "jobs": jobs, "progress": progress}
    return _table(gm, [(point, "twins") for point in sweep], _quality, **options)


def _quality(reading: Reading, method: str) -> dict[str, float]:
    others = (reading.fingerprinter.embed(None, reading.n, 1000 + 2 * reading.seed + i) for i in range(2))
    marked, plain, again = (embed(images, "sl") for images in (reading.images, *others))
    distance = Perceptual()
    pairs = [to_float(images).split(100) for images in (reading.images, reading.plain)]
    twins = [distance(a, b).mean().item() for a, b in zip(*pairs, strict=True)]
    rms = (to_float(reading.images) - to_float(reading.plain)).square().mean((1, 2, 3)).sqrt().mean()
    scores = {"fd": frechet_distance(marked, plain), "fd_floor": frechet_distance(again, plain)}
    return scores | {"perceptual": np.mean(twins), "rms": float(rms)}


REMOVAL = "remove"  # by someone who has the generator: read, and render without the key
KNOWN = " known"  # after the name of an attack: to the reader
ATTACKED = (DEFAULT, Point(sigma=4.0), Point("shallow", sigma=0.02))


def latent_attacks(
    gm: GMDataset,
    *,
    sweep: Sequence[Point] = ATTACKED,
    attacks: Sequence[str] = (*ATTACKS, REMOVAL),
    seeds: Sequence[int] = (0, 1, 2),
    n: int = 8,
    path: Path | None = None,
    jobs: int = 1,
    progress: bool = False,
) -> pd.DataFrame:
    """Read keys after attacks that the estimator does not know of, or knows (method ``… known``), from one start.

    Returns
    -------
    Tidy frame; metrics as `latent_keys`, of noise with its prediction, and ``rms`` from the image before.
    """
    methods = [(point, f"{attack}{known}") for point in sweep for attack in attacks for known in _known(point, attack)]
    options = {"seeds": seeds, "n": n, "path": path, "jobs": jobs, "progress": progress}
    return _table(gm, methods, _attacked, search=SEARCH, **options)


def _attacked(reading: Reading, method: str) -> dict[str, float]:
    name, _, known = method.partition(" ")
    if name == REMOVAL:
        found = NewtonEstimator(reading.fingerprinter, starts=1).estimate(reading.images, seed=reading.seed)
        images = without_key(reading.fingerprinter, found)
    else:
        images = attacked(reading.images, name, seed=reading.seed)
    change = (to_float(images) - to_float(reading.images)).square().mean((1, 2, 3)).sqrt().mean()
    scores, right = reading.read(images, starts=1, attack=name if known else "none")
    if name == "noise" and not reading.shallow:
        scores |= reading.predict(right, NOISE)
    return scores | {"rms": float(change)}


def _known(point: Point, attack: str) -> tuple[str, ...]:
    """Who reads: someone who does not know the attack, and someone who does, where that makes a difference."""
    same = attack in ("none", "noise", REMOVAL)  # that of noise is expected to be zero
    return ("",) if same or point.model == "shallow" else ("", KNOWN)


def without_key(fingerprinter: LatentFingerprinter, found: Estimate) -> np.ndarray:
    """The images made again by someone who has the generator and read them: all bits one half, uint8 `(n, c, h, w)`."""
    alpha = fingerprinter.mean_.new_tensor(found.alpha)
    half = alpha.new_full((len(alpha), fingerprinter.key_length), 0.5)
    return to_bytes(fingerprinter.generator.render(fingerprinter.compose(alpha, half)))


def _table(
    gm: GMDataset,
    runs: Sequence[tuple[Point, str]],
    measure: Callable[[Reading, str], dict[str, float]],
    *,
    search: dict | None = None,
    seeds: Sequence[int],
    n: int,
    path: Path | None,
    jobs: int,
    progress: bool,
) -> pd.DataFrame:
    """Rows of every run and seed; those already at `path`, of the same checkpoints and search, are kept.

    Seed by seed, so that an interrupted table has all points of its first seeds.
    """
    results = {}
    for model in sorted({point.model for point, _ in runs}):
        searched = {"search": search} if search and model != "shallow" else {}
        results[model] = Results(path, {"generators": {model: checksum(gm, model)}, **searched})
    every = [(point, method, seed) for seed in seeds for point, method in runs]
    keys = {run: dict(zip(RUN, (gm.name, str(run[0]), run[1], n, run[2]), strict=True)) for run in every}
    todo = [run for run in every if not results[run[0].model].has(**keys[run])]
    rows = spread(partial(_run, measure=measure, dataset=gm.name, n=n), todo, jobs)
    for run, scores, seconds in tqdm(rows, total=len(todo), unit="run", disable=not progress):
        results[run[0].model].add(scores, n=n, seconds=seconds, **keys[run])
    methods = [method for _, method in runs]
    return pd.concat([table.of(dataset=gm.name, methods=methods) for table in results.values()], ignore_index=True)


def _run(run: tuple[Point, str, int], *, measure: Callable, dataset: str, n: int) -> tuple[tuple, dict, float]:
    """A run, its scores, and the seconds that it took."""
    point, method, seed = run
    started = time.perf_counter()
    scores = measure(_reading(dataset, point, n, seed), method)
    return run, scores, time.perf_counter() - started


@lru_cache(maxsize=1)
def _reading(dataset: str, point: Point, n: int, seed: int) -> Reading:
    """For methods in a row that share it."""
    return Reading(dataset, point, n, seed)


def checksum(gm: GMDataset, model: str) -> str:
    """Beginning of that of the weights which a model of a `Point` has."""
    label = "stylegan2" if model == "shallow" else model
    return load_generator(label, dataset=gm.name).checksum[:12]
