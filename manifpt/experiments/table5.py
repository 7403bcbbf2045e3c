"""Table 5: do clusters of fingerprints follow how the generators were built? And can a design choice be read off them?

An attributor is trained to tell the models apart (no reals); its penultimate features of test images are clustered, for
each design variable into as many clusters as it has values: images by k-means, models by Ward's method on their mean
features. NMI with the variable is set beside its distribution when the values are dealt out to the *models* at random.

Choices go together: `confounding` says how much. One step further goes `manifpt.experiments.held_out`.
"""

import time
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from scipy.stats.contingency import association
from sklearn.cluster import AgglomerativeClustering, KMeans
from tqdm.auto import tqdm

from manifpt.baselines.base import Classifier
from manifpt.experiments.rows import SPACES, classifier, shown
from manifpt.experiments.runner import MIDDLE, VAL, Budget
from manifpt.metrics import nmi_permutation
from manifpt.zoo.dataset import GMDataset, draw

METHODS = (*(f"manifpt-{space}-{e}" for space in SPACES for e in ("nearest", "tangent")), "control-raw")
PERMUTATIONS = 1000


def designs(gm: GMDataset) -> pd.DataFrame:
    """Design choices, a row a model, a column a variable, as the manifest has them."""
    return pd.DataFrame({label: record["design"] for label, record in gm.models.items()}).T


def confounding(design: pd.DataFrame) -> pd.DataFrame:
    """Cramér's V between the variables over models, in [0, 1]; 1 where one tells the other."""
    return pd.DataFrame(
        [[association(pd.crosstab(design[a], design[b]), method="cramer") for b in design] for a in design],
        index=design.columns,
        columns=design.columns,
    )


def clusters(
    features: np.ndarray, labels: np.ndarray, design: pd.DataFrame, *, seed: int, n_permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """How well clusters follow each variable that has two values at least.

    Parameters
    ----------
    features, labels
        float `(n, d)`, and the model of each, `(n,)`.
    design
        See `designs`.

    Returns
    -------
    Index (algorithm, variable), columns as `manifpt.metrics.nmi_permutation`: nmi, null_mean, null_sd, p_value,
    adjusted.
    """
    models = design.index.to_numpy()
    means = np.stack([features[labels == model].mean(0) for model in models])
    rows = {}
    for variable in design:
        values = design[variable]
        if (k := values.nunique()) < 2:
            continue
        options = {"n_permutations": n_permutations, "seed": seed}
        found = KMeans(k, n_init=10, random_state=seed).fit_predict(features)
        of_images = values.loc[labels].to_numpy()
        rows["k-means", variable] = nmi_permutation(of_images, found, groups=labels, **options)
        rows["Ward", variable] = nmi_permutation(
            values.to_numpy(), AgglomerativeClustering(k).fit_predict(means), **options
        )
    return pd.DataFrame(rows).T.rename_axis(["algorithm", "variable"])


def parts_of(
    gm: GMDataset, method: str, budget: Budget, *, seed: int, n_per_class: int
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """What a method's classifier is shown of ``train``, ``val`` and ``test`` images of all models, and their models."""
    show = shown(method, real=gm.real, reference=gm.reference()[: budget.n_reference])
    wanted = {"train": (None, n_per_class), "val": (None, min(VAL, n_per_class)), "test": (budget.n_test, None)}
    parts = {}
    for split, (limit, n) in wanted.items():
        images, labels = draw({label: gm.images(label, split=split)[:limit] for label in gm.models}, n, seed=seed)
        parts[split] = show(images), labels
    return parts


def features_of(
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]], learner: Classifier, *, without: Sequence[str] = ()
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Penultimate features and models of ``train`` and ``test``, by a classifier that is trained here.

    Parameters
    ----------
    parts
        See `parts_of`.
    without
        Models that the classifier does not see; their features are given all the same.
    """

    def seen(split: str) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = parts[split]
        kept = ~np.isin(labels, without)
        return rows[kept], labels[kept]

    learner.fit(*seen("train"), val=seen("val"))
    return {split: (learner.features(rows), labels) for split, (rows, labels) in parts.items() if split != "val"}


def table5(
    gm: GMDataset,
    *,
    methods: Sequence[str] = METHODS,
    n_per_class: int = MIDDLE,
    **budget,
) -> pd.DataFrame:
    """`clusters` of each method's features; rows already at the budget's path are kept.

    Parameters
    ----------
    n_per_class
        Training images a class.
    **budget
        Fields of `manifpt.experiments.runner.Budget`.

    Returns
    -------
    Tidy frame: task ``k-means`` or ``Ward``, metric ``nmi``, ``null_mean``, ``null_sd``, ``p_value`` or ``adjusted`` of
    a variable, as in ``nmi up``; `n` images of `gm.models`.
    """
    gm.check_splits()
    design, budget = designs(gm), Budget(**budget)
    results = budget.results(gm, permutations=PERMUTATIONS)
    runs = [(method, seed) for method in methods for seed in budget.seeds]
    for method, seed in tqdm(runs, desc=f"{gm.name}, clusters", unit="run", disable=not budget.progress):
        key = {"dataset": gm.name, "method": method, "n_per_class": n_per_class, "seed": seed}
        if results.has(**key, task="Ward"):
            continue
        started = time.perf_counter()
        learner = classifier(method, real=gm.real, seed=seed, epochs=budget.epochs)
        parts = parts_of(gm, method, budget, seed=seed, n_per_class=n_per_class)
        features, labels = features_of(parts, learner)["test"]
        found = clusters(features, labels, design, seed=seed, n_permutations=PERMUTATIONS)
        seconds = time.perf_counter() - started
        for algorithm in ("k-means", "Ward"):
            table = found.loc[algorithm]
            scores = {f"{score} {variable}": table.loc[variable, score] for variable in table.index for score in table}
            results.add(scores, n=len(labels), seconds=seconds, task=algorithm, **key)
    return results.of(dataset=gm.name, methods=methods)
