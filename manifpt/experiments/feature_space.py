"""Which classes lie apart in the features that a method decides by? Does the answer depend on the number of images?

Features are the penultimate layer of a classifier trained to name all models and held-out reals, or what a hand-crafted
method computes, of test images; see `manifpt.metrics.fd_ratio`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from manifpt import metrics
from manifpt.embeddings import embed
from manifpt.experiments.run import MIDDLE, VAL, Budget, classifier, measure, shown
from manifpt.experiments.store import Key, Scores
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

UNTRAINED = ("pixels", "sl")  # the paper's panels (a) and (b): nothing is trained to tell models apart
METHODS = (*UNTRAINED, "dzanic20", "durall20", "wang20", "manifpt-rgb-nearest")
COUNTS = (20, 50, 100, 200, 400, 700)  # test images a class
PERPLEXITY = 30
COMPONENTS = 50


def features(
    gm: GMDataset, method: str, *, seed: int = 0, n_per_class: int = MIDDLE, n_test: int | None = None, **budget
) -> tuple[np.ndarray, np.ndarray]:
    """Features of test images, n_test a class, and their classes: float32 `(n, d)`, `(n,)`.

    The method is ``pixels``, ``sl`` (ImageNet features), or one of `manifpt.experiments.run`, trained on `n_per_class`
    images; `InputError` for another.
    """
    images, labels = gm.task(n_test, split="test")
    if method in UNTRAINED:
        return embed(images, "rgb" if method == "pixels" else method).reshape(len(images), -1), labels
    budget = Budget(**budget)
    show = shown(method, real=gm.real, reference=gm.reference()[: budget.n_reference])
    learner = classifier(method, real=gm.real, seed=seed, epochs=budget.epochs)
    train, val = (gm.task(n, split=split, seed=seed) for split, n in (("train", n_per_class), ("val", VAL)))
    learner.fit(show(train[0]), train[1], val=(show(val[0]), val[1]))
    return learner.features(show(images)), labels


def plane(rows: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """t-SNE of the `components` of rows `(n, d)`: float32 `(n, 2)`."""
    tsne = TSNE(perplexity=min(PERPLEXITY, (len(rows) - 1) / 3), init="pca", random_state=seed)
    return tsne.fit_transform(components(rows, seed=seed))


def components(rows: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """Rows `(n, d)`, standardised, on their first 50 principal components at most: `(n, min(n, d, 50))`."""
    spread = rows.std(0)
    rows = (rows - rows.mean(0)) / np.where(spread > 0, spread, 1)
    return PCA(min(COMPONENTS, *rows.shape), random_state=seed).fit_transform(rows)


def feature_space(
    gm: GMDataset,
    *,
    methods: Sequence[str] = METHODS,
    counts: Sequence[int] = COUNTS,
    n_per_class: int = MIDDLE,
    **budget,
) -> pd.DataFrame:
    """FD ratio of each method's features on more and more test images.

    Features are brought to 50 dimensions at most, see `components`, of the most images, so that methods of other
    dimensions compare. The counts are test images a class, the column ``n_per_class`` of the table; `InputError`,
    before any training, if there are fewer.

    Tidy frame: task ``all``, metric ``fdr`` on `n` test images.
    """
    budget, most = Budget(**budget), max(counts)
    limits = {"n_reference": budget.n_reference, "epochs": budget.epochs, "n_per_class": n_per_class}

    def check() -> None:
        there = min(map(len, gm.pools("test").values()))
        if most > there:
            raise InputError(f"counts: {most} test images a class, but {gm.name} has {there}")
        gm.check_splits()

    def ratios(keys: Sequence[Key]) -> Iterator[Scores]:
        seed = keys[0].seed
        rows, labels = features(gm, keys[0].method, seed=seed, n_test=most, **limits)
        rows = components(rows, seed=seed)
        for key in keys:
            few = np.concatenate([np.flatnonzero(labels == label)[: key.n_per_class] for label in gm.classes])
            score = metrics.fd_ratio(rows[few], labels[few], seed=seed, covariance="ledoit-wolf")
            yield Scores(key, {"fdr": score}, len(few))

    grid = [[Key(gm.name, "all", method, n, seed) for n in counts] for seed in budget.seeds for method in methods]
    settings = budget.settings(gm, trained_on=n_per_class, components_of=most)
    return measure(grid, ratios, settings, budget, code=__name__, check=check)
