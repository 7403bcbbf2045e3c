"""Latent fingerprints measured: which keys are read, what they cost, what attacks leave of them, who is claimed.

Four tables. The column ``task`` is a `Point`: model, key length, shift, sigma; ``method`` is who reads, or which
attack, or whose images; ``n_per_class`` is the number of images, n, of one seed, which draws content, keys and starts.
Options of all four are ``seeds``, ``path``, ``jobs``, ``progress`` of `manifpt.experiments.run.Budget`.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from manifpt.embeddings import embed
from manifpt.experiments.run import Budget, each, measure
from manifpt.experiments.store import Key, Scores
from manifpt.latent.adam import AdamEstimator, Estimate
from manifpt.latent.attacks import ATTACKS, NOISE, attacked
from manifpt.latent.attribute import NOT_OURS, attribute
from manifpt.latent.fingerprinter import LatentFingerprinter, to_bytes, to_float
from manifpt.latent.generators import load_generator
from manifpt.latent.keys import Registry, random_keys
from manifpt.latent.newton import SEARCH, NewtonEstimator
from manifpt.latent.shallow import ShallowFingerprinter
from manifpt.latent.theory import ROUNDING, jacobian, predict_reading
from manifpt.latent.warm import train_warm_start
from manifpt.metrics import frechet_distance
from manifpt.nn.perceptual import Perceptual
from manifpt.zoo.dataset import GMDataset

CONTENTS = 3  # where the generator is linearised, for a prediction
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
        label, sigma = ("stylegan2", 1.0) if self.model == "shallow" else (self.model, self.sigma)
        content, repeat = ("sample", 3) if self.model == "ldm" else ("gaussian", 1)
        options = {"key_length": self.key_length, "shift": self.shift, "repeat": repeat, "content": content}
        return LatentFingerprinter(load_generator(label, dataset=dataset), sigma=sigma, **options)


def points(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with the parts of its tasks as columns: model, key_length, shift, sigma."""
    kinds = {"key_length": int, "shift": int, "sigma": float}
    return frame.assign(**frame["task"].str.extract(TASK).astype(kinds))


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
        visible = point.model == "shallow"
        self.shallow = ShallowFingerprinter(self.fingerprinter, sigma=point.sigma) if visible else None
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


def _warmed(fingerprinter: LatentFingerprinter, *, steps: int) -> NewtonEstimator:
    return NewtonEstimator(fingerprinter, warm_start=train_warm_start(fingerprinter), steps=steps)


READERS: dict[str, Callable] = {
    "newton": NewtonEstimator,
    "newton-warm": partial(_warmed, steps=60),
    "warm": partial(_warmed, steps=0),
    "adam": lambda fingerprinter: AdamEstimator(fingerprinter, starts=4, steps=500, units="whitened"),
}


def latent_keys(
    gm: GMDataset, *, sweep: Sequence[Point] = SWEEP, readers: Sequence[str] = tuple(READERS), n: int = 34, **options
) -> pd.DataFrame:
    """Read keys at every point by Gauss-Newton, at two of them by the other readers, too.

    Tidy frame; metrics ``key_accuracy``, ``bit_accuracy``, ``residual``, and of the linearisation
    ``predicted_bit_accuracy``, ``predicted_key_accuracy``, ``separation``, and ``ranking``: Spearman's correlation
    over the bits of a key of separation and accuracy.
    """
    runs = [(point, FILTER if point.model == "shallow" else "newton") for point in sweep]
    runs += [(point, name) for point in (DEFAULT, LONG) for name in readers if name != "newton"]
    return _of_readings(gm, runs, _keys, search=SEARCH, n=n, **options)


def _keys(reading: Reading, method: str) -> dict[str, float]:
    scores, right = reading.read(reading.images, method)
    return scores | reading.predict(right) if method == "newton" else scores


def latent_quality(gm: GMDataset, *, sweep: Sequence[Point] = SWEEP, n: int = 1000, **options) -> pd.DataFrame:
    """What a key costs: Fréchet distance of images with and without keys, and the distance between twins.

    Tidy frame; metrics ``fd`` in ``sl`` space of n images with keys to n others without, ``fd_floor`` of those to n
    more without, ``perceptual`` and ``rms`` (images from -1 to 1) between twins.
    """
    return _of_readings(gm, [(point, "twins") for point in sweep], _quality, n=n, **options)


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
    n: int = 8,
    **options,
) -> pd.DataFrame:
    """Read keys after attacks that the estimator does not know of, or knows (method ``… known``), from one start.

    Tidy frame; metrics as `latent_keys`, of noise with its prediction, and ``rms`` from the image before.
    """
    methods = [(point, f"{attack}{known}") for point in sweep for attack in attacks for known in _known(point, attack)]
    return _of_readings(gm, methods, _attacked, search=SEARCH, n=n, **options)


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


def _of_readings(
    gm: GMDataset,
    runs: Sequence[tuple[Point, str]],
    scores_of: Callable[[Reading, str], dict[str, float]],
    *,
    n: int,
    search: dict | None = None,
    **options,
) -> pd.DataFrame:
    """Rows of every run, seed by seed; they depend on the checkpoint and, if a generator is searched, on how."""
    budget, named = Budget(**options), {str(point): point for point, _ in runs}

    def scored(key: Key) -> Scores:
        return Scores(key, scores_of(_reading(key.dataset, named[key.task], n, key.seed), key.method), n)

    settings = {model: depends_on(gm, model) for model in {point.model for point in named.values()}}
    if search:
        settings = {model: own if model == "shallow" else own | {"search": search} for model, own in settings.items()}
    grid = [[Key(gm.name, str(point), method, n, seed)] for seed in budget.seeds for point, method in runs]
    return measure(grid, each(scored), lambda key: settings[named[key.task].model], budget, code=__name__)


@lru_cache(maxsize=1)
def _reading(dataset: str, point: Point, n: int, seed: int) -> Reading:
    """For methods in a row that share it."""
    return Reading(dataset, point, n, seed)


def depends_on(gm: GMDataset, model: str) -> dict:
    """Settings of rows about a model of a `Point`: the checksum of its weights."""
    label = "stylegan2" if model == "shallow" else model
    return {"generators": {model: load_generator(label, dataset=gm.name).checksum[:12]}}


OWN = "own"
POINT = Point(key_length=32, shift=224)  # 16 bits can never support a claim


def latent_claims(
    gm: GMDataset, *, point: Point = POINT, users: int = 20, n: int = 21, steps: int = 60, **options
) -> pd.DataFrame:
    """Is an image of someone else ever claimed? Users' own (method ``own``) and those of all classes are read alike.

    Of the generator's own samples, which carry no key either, n are among the classes. A seed draws users' keys and
    images; each is read from one start.

    Tidy frame; metrics ``claimed`` (share of images), ``wrong`` (share claimed by someone who is not the user),
    ``nearest`` (smallest distance to any key, in bits), ``residual``.
    """

    def claimed(key: Key) -> Scores:
        return Scores(key, _claims(gm, point, key, users, steps), n)

    budget, settings = Budget(**options), depends_on(gm, point.model)
    settings |= {"users": users, "steps": steps, "search": SEARCH}
    grid = [[Key(gm.name, str(point), method, n, seed)] for seed in budget.seeds for method in (OWN, *gm.classes)]
    return measure(grid, each(claimed), settings, budget, code=__name__)


def _claims(gm: GMDataset, point: Point, key: Key, users: int, steps: int) -> dict[str, float]:
    fingerprinter, n, seed = point.fingerprinter(gm.name), key.n_per_class, key.seed
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry.create(Path(folder) / "users.json", fingerprinter.settings)
        for number in range(users):
            registry.add(f"user {number}", seed=1000 * seed + number)
        names = np.array(list(registry.users))[np.arange(n) % users]
        if key.method == OWN:
            images = fingerprinter.embed(np.stack([registry.users[name] for name in names]), n, seed + 1)
        else:
            images = gm.images(key.method, split="test")[seed * n : (seed + 1) * n]
        claims = attribute(images, NewtonEstimator(fingerprinter, starts=1, steps=steps), registry, seed=seed)
    claimed = claims.decision != NOT_OURS
    wrong = claimed & (claims.decision != names) if key.method == OWN else claimed
    nearest, residual = float(claims.distances.min()), float(claims.loss.mean())
    return {"claimed": claimed.mean(), "wrong": wrong.mean(), "nearest": nearest, "residual": residual}
