r"""Who made this image, if nobody trained for its maker? Identification, verification and the open set, by method.

=======================  ===============================================================================================
method                   feature of an image, and the score
=======================  ===============================================================================================
``psd-plda``             ours: power spectrum, whitened by real images; PLDA whose makers are synthetic models
``control-no-makers``    the same, but every direction is equally likely for a maker: no synthetic model
``psd-gaussian``         power spectrum, whitened; all that follow are scored by the cosine
``psd``                  power spectrum less the mean of real images, not whitened
``extractor``            the paper's: a network trained on synthetic models alone (`manifpt.synthesis.extractor`)
``control-untrained``    the same network before training, but for how it standardises what it reads
``spectrum``             magnitudes of the spectrum of the noise residual, as released
``marra19``              noise residual less its mean: the cosine is the normalised correlation
``control-sl``           ImageNet features without projection
``control-raw``          pixels
=======================  ===============================================================================================

Every maker has the first 100 images of its training split, and so have held-out real images, which are a class like any
other; pictures larger than 128 pixels are cropped to their middle. Real images that whiten are the dataset's own
reference, or photographs. Tasks: ``identification`` of all makers and of each level of difficulty; ``verification`` of
two sets of as many images; ``open set``, where half of the makers, drawn by the seed, have no gallery; ``lineage``: the
networks that others trained, from a published one's weights or anew, have no gallery; is an image of theirs given to
the family of that network? Of all such networks, and of those of SPAN. Likelihood ratios of verification are calibrated
on half of the makers, drawn by the seed, and judged on the others; where there are fewer than six, they are calibrated
on gm-upscaled.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pandas as pd
import torch
from sklearn.utils import gen_batches

from manifpt.baselines.marra19 import normalised
from manifpt.data.real import REAL, load_real
from manifpt.embeddings import embed
from manifpt.experiments.run import Budget, measure
from manifpt.experiments.store import Key, Scores
from manifpt.plda import PLDA, Calibration
from manifpt.synthesis import extractor, protocol
from manifpt.synthesis.metric import Metric
from manifpt.synthesis.spectrum import residuals, spectrum
from manifpt.utils import files
from manifpt.utils.errors import check_choice
from manifpt.zoo.dataset import PUBLISHED, FolderDataset, GMDataset, load_gm

METHODS = (
    *("psd-plda", "control-no-makers", "psd-gaussian", "psd"),
    *("extractor", "control-untrained", "spectrum", "marra19", "control-sl", "control-raw"),
)
IDENTIFICATION, VERIFICATION, OPEN_SET, LINEAGE = "identification", "verification", "open set", "lineage"
SHOTS = 10  # gallery images a maker, as in the paper
SIZES = (SHOTS, 1, 50)
CALIBRATED = (1, 3, 10)  # images of a set in the pairs that calibrate a metric
FEWEST = 6  # makers that can be split in two halves
SIDE = 128  # of the middle of larger pictures
BLOCK = 64  # images whose residuals are computed at a time
DEFAULTS = {"seeds": (0, 1, 2, 3, 4), "n_test": 100, "n_reference": 5000}


def zero_shot(
    gm: GMDataset, *, methods: Sequence[str] = METHODS, shots: Sequence[int] | None = None, **budget
) -> pd.DataFrame:
    """All tasks of a dataset, by default in five splits of 100 images a maker; `methods` are those of the table.

    `shots` are images a maker in the gallery; None for 10, 1 and 50, where every maker has more. The levels, the open
    set and the lineage have the first of them alone. In verification ``n_per_class`` is the number of images of either
    side: the first of `shots`, and 1.

    Tidy frame, `n` queries or pairs: ``accuracy``, ``macro_f1``, ``chance``; the metrics of
    `manifpt.synthesis.protocol.verification`; ``auroc`` and ``fpr95``. `InputError` for an unknown method, and a maker
    with too few images.
    """
    budget = Budget(**DEFAULTS | budget)
    for method in methods:
        check_choice("method", method, METHODS)
    most = min(budget.n_test, *(record["samples"]["n"] for record in gm.models.values()))
    shots = [n for n in SIZES if n < most] if shots is None else shots
    tasks = [(IDENTIFICATION, n) for n in shots] + [(VERIFICATION, n) for n in dict.fromkeys((shots[0], 1))]
    tasks += [(f"{IDENTIFICATION} {level}", shots[0]) for level in levels(gm)] + [(OPEN_SET, shots[0])]
    tasks += [(f"{LINEAGE}{of}", shots[0]) for of in ("", " SPAN") if gm.name == PUBLISHED]
    grid = [[Key(gm.name, task, one, n, seed) for task, n in tasks for seed in budget.seeds] for one in methods]
    settings = {"samples": [samples_of(gm)], "n_test": budget.n_test, "n_reference": budget.n_reference}
    network = {"extractor": files.sha256(extractor.find(_extractor(gm)))[:12]}

    def judged(keys: Sequence[Key]) -> Iterator[Scores]:
        zoo = Makers(gm, keys[0].method, budget.n_test, budget.n_reference)
        return (Scores(key, *_judge(zoo, key)) for key in keys)

    def settings_of(key: Key) -> dict:
        return settings | (network if key.method in ("extractor", "control-untrained") else {})

    return measure(grid, judged, settings_of, budget, code=__name__)


def asked(makers: int, images: int, task: str, n: int, seed: int) -> np.ndarray:
    """Which images the answers of a run are about, counted over as many images of every maker.

    Of identification with `n` gallery images: int64 `(q,)`; of the pairs of single images in verification: `(p, 2)`.
    """
    labels = np.repeat(np.arange(makers), images)
    if task == IDENTIFICATION:
        return protocol.split(labels, n, seed=seed)[1]
    judged = np.random.default_rng(seed).permutation(makers)[::2] if makers >= FEWEST else np.arange(makers)
    index = np.flatnonzero(np.isin(labels, judged))
    sets, pairs, _ = protocol.trials(labels[index], n, seed=seed)
    return index[sets[pairs][..., 0]]


def levels(gm: GMDataset) -> dict[str, tuple[str, ...]]:
    """The levels of difficulty whose makers are all there, and the first two together where networks are published."""
    both = {"L1 + L2": tuple(sorted({*gm.levels["L1"], *gm.levels["L2"]}))} if gm.name == PUBLISHED else {}
    return {name: some for name, some in (gm.levels | both).items() if {*some} <= {*gm.models}}


class Makers:
    """A dataset as one method sees it: ``features`` `(n, d)` of images, their ``labels`` `(n,)`, and a ``scorer``."""

    def __init__(self, gm: GMDataset, method: str, n: int, n_reference: int | None):
        self.gm, self.method, self.scorer = gm, method, protocol.Cosine()
        if method in ("psd-plda", "control-no-makers"):
            self.scorer = PLDA(_metric(_real(gm), n_reference).makers if method == "psd-plda" else None)
        function, rows = _function(gm, method, n_reference), {}
        for label, images in images_of(gm, n).items():
            rows[label] = np.concatenate([function(images[some]) for some in gen_batches(len(images), BLOCK)])
        self.features = np.concatenate([*rows.values()])
        self.labels = np.repeat(list(rows), [len(some) for some in rows.values()])

    def of(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Features and labels of some makers."""
        mine = np.isin(self.labels, labels)
        return self.features[mine], self.labels[mine]


def _judge(zoo: Makers, key: Key) -> tuple[dict[str, float], int, np.ndarray | None]:
    """Metrics, the number of answers, and which of them are right, of one row."""
    makers, some = np.unique(zoo.labels), {"shots": key.n_per_class, "seed": key.seed}
    drawn = np.random.default_rng(key.seed).permutation(makers)
    if key.task == VERIFICATION:
        return _verified(zoo, key, drawn)
    if key.task.startswith(IDENTIFICATION):
        members = levels(zoo.gm).get(key.task.removeprefix(f"{IDENTIFICATION} "), makers)
        scores, right = protocol.identification(zoo.scorer, *zoo.of(members), **some)
        return scores, len(right), right
    gallery, queries = protocol.split(zoo.labels, **some)
    if key.task == OPEN_SET:
        scores = _scores(zoo, gallery[np.isin(zoo.labels[gallery], drawn[::2])], queries)[1].max(1)
        known = np.isin(zoo.labels[queries], drawn[::2])
        return protocol.open_set(scores[known], scores[~known]), len(queries), None
    family = {label: record["family"] for label, record in zoo.gm.models.items()} | {REAL: REAL}
    children = {child: parent for parent, some in zoo.gm.lineage.items() for child in some}
    asked = [child for child in children if key.task.removeprefix(LINEAGE).strip() in family[child]]
    queries = queries[np.isin(zoo.labels[queries], asked)]
    known, scores = _scores(zoo, gallery[~np.isin(zoo.labels[gallery], list(children))], queries)
    kin = np.array([[family[one] == family[children[own]] for one in known] for own in zoo.labels[queries]])
    right = kin[np.arange(len(kin)), scores.argmax(1)]
    return {"accuracy": right.mean(), "chance": kin.mean()}, len(right), right


def _scores(zoo: Makers, gallery: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The makers in a gallery, and the scores of queries; both are given by their indices."""
    zoo.scorer.fit(zoo.features[gallery], zoo.labels[gallery])
    return zoo.scorer.classes_, zoo.scorer.decision_function(zoo.features[queries])


def _verified(zoo: Makers, key: Key, drawn: np.ndarray) -> tuple[dict[str, float], int, np.ndarray]:
    """Scores of pairs, calibrated on pairs of other makers."""
    if len(drawn) >= FEWEST:
        judged, others = zoo.of(drawn[::2]), zoo.of(drawn[1::2])
    else:
        other = _published(zoo.method)
        judged, others = (zoo.features, zoo.labels), (other.features, other.labels)
    found = []
    for features, labels in (others, judged):
        sets, pairs, same = protocol.trials(labels, key.n_per_class, seed=key.seed)
        found.append((protocol.scored(zoo.scorer, features, sets, pairs), same))
    (known, truth), (scores, same) = found
    ratios = Calibration.fit(known, truth)(scores)
    return protocol.verification(ratios, same), len(same), (ratios > 0) == same


def images_of(gm: GMDataset, n: int) -> dict[str, np.ndarray]:
    """The first n images of every class, uint8 `(n, c, side, side)`."""
    if isinstance(gm, FolderDataset):
        return {label: np.stack([_middle(image) for image in gm.images(label)[:n]]) for label in gm.classes}
    split = "train" if gm.name == PUBLISHED else "test"
    made = {label: gm.sample(label, n) if gm.name == PUBLISHED else gm.preview(label, n) for label in gm.models}
    return {REAL: load_real(gm.real, split=split)[:n]} | made


def _middle(image: np.ndarray) -> np.ndarray:
    """The middle of an image `(c, h, w)`, 128 pixels a side, at a multiple of 8 as the blocks of a JPEG are."""
    top, left = (max(0, side - SIDE) // 16 * 8 for side in image.shape[1:])
    return image[:, top : top + SIDE, left : left + SIDE]


@lru_cache(maxsize=1)
def _published(method: str) -> Makers:
    """The makers by which a method's likelihood ratios are calibrated where a dataset has too few of its own."""
    return Makers(load_gm(PUBLISHED), method, DEFAULTS["n_test"], DEFAULTS["n_reference"])


def _real(gm: GMDataset) -> str:
    """The real set that artifacts of a dataset are whitened by."""
    return "photographs" if isinstance(gm, FolderDataset) else gm.real


@lru_cache(maxsize=1)
def _metric(real: str, n: int | None) -> Metric:
    return Metric.learn(load_real(real)[:n])


def samples_of(gm: GMDataset) -> dict[str, str]:
    """What the images of each maker are known by."""
    samples = {label: record["samples"] for label, record in gm.models.items()}
    return {label: str(some.get("sha256", some["n"]))[:12] for label, some in samples.items()}


def _extractor(gm: GMDataset) -> str:
    return str(SIDE if gm.name == PUBLISHED or isinstance(gm, FolderDataset) else 32)


def _function(gm: GMDataset, method: str, n_reference: int | None) -> Callable[[np.ndarray], np.ndarray]:
    """A method's map from uint8 images `(n, c, h, w)` to features `(n, d)`."""
    if method in ("psd-plda", "control-no-makers", "psd-gaussian"):
        return _metric(_real(gm), n_reference).artifacts
    if method == "psd":
        mean = embed(load_real(_real(gm))[:n_reference], "psd").mean(0)
        return lambda images: embed(images, "psd") - mean
    if method in ("extractor", "control-untrained"):
        return extractor.Extractor(extractor.find(_extractor(gm)), trained=method == "extractor")
    if method in ("control-sl", "control-raw"):
        return lambda images: embed(images, method.removeprefix("control-").replace("raw", "rgb"))
    residual = residuals()

    def rows(images: np.ndarray) -> np.ndarray:
        left = residual(torch.from_numpy(images))
        return normalised(left.flatten(1).numpy()) if method == "marra19" else spectrum(left).flatten(1).numpy()

    return rows


def calibrated(metric: Metric, gm: GMDataset, *, n: int = DEFAULTS["n_test"], seed: int = 0) -> Metric:
    """The metric with the calibration that n images of each maker of a dataset give, alone and in sets of 3 and 10."""
    rows = {label: metric.artifacts(images) for label, images in images_of(gm, n).items()}
    features, labels = np.concatenate([*rows.values()]), np.repeat(list(rows), [len(some) for some in rows.values()])
    found = []
    for size in CALIBRATED:
        sets, pairs, same = protocol.trials(labels, size, seed=seed)
        found.append((protocol.scored(PLDA(metric.makers), features, sets, pairs), same))
    scores, same = map(np.concatenate, zip(*found, strict=True))
    return replace(metric, calibration=Calibration.fit(scores, same))
