"""Table 5: do clusters of fingerprints follow how the generators were built? Can a design choice be read off them?

`table5`: an attributor is trained to tell the models apart (no reals); its penultimate features of test images are
clustered, for each design variable into as many clusters as it has values: images by k-means, models by Ward's method
on their mean features. NMI with the variable is set beside its distribution when the values are dealt out to the
*models* at random.

Choices go together: `confounding` says how much.

`held_out` goes one step further: a model is left out of the training of an attributor, and its design choice named by
logistic regression on the features of the others, by majority over its test images. Left out is the model alone
(``held-out model``), or every model with the same generator network (``held-out network``), lest a twin gives the
answer. Beside it stands the most frequent value among the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.stats.contingency import association
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifpt.baselines.base import Classifier
from manifpt.experiments.run import MIDDLE, SPACES, VAL, Budget, classifier, measure, shown
from manifpt.experiments.store import Key, Scores
from manifpt.metrics import nmi_permutation
from manifpt.utils.errors import check_choice
from manifpt.zoo.dataset import GMDataset, draw

METHODS = (*(f"manifpt-{space}-{e}" for space in SPACES for e in ("nearest", "tangent")), "control-raw")
ALGORITHMS = ("k-means", "Ward")
PERMUTATIONS = 1000
HELD_OUT_METHODS = ("control-raw", "manifpt-rgb-nearest", "manifpt-rgb-tangent")
HELD_OUT_TASKS = ("held-out model", "held-out network")
NETWORK = ("up", "nonlinearity", "norm", "down", "skip")  # the variables of the generator network; `loss` is the other
Parts = Mapping[str, tuple[np.ndarray, np.ndarray]]  # split: what is shown, or its features, `(n, …)`; models `(n,)`


def designs(gm: GMDataset) -> pd.DataFrame:
    """Design choices, a row a model, a column a variable, as the manifest has them."""
    return pd.DataFrame({label: record["design"] for label, record in gm.models.items()}).T


def confounding(design: pd.DataFrame) -> pd.DataFrame:
    """Cramér's V between the variables over models, in [0, 1]; 1 where one tells the other."""
    return pd.DataFrame(
        {a: {b: association(pd.crosstab(design[a], design[b]), method="cramer") for b in design} for a in design}
    )


def clusters(
    features: np.ndarray, labels: np.ndarray, design: pd.DataFrame, *, seed: int, n_permutations: int = PERMUTATIONS
) -> pd.DataFrame:
    """How well clusters of features, float `(n, d)`, of models `(n,)` follow each variable with two values at least.

    Index (algorithm, variable), columns as `manifpt.metrics.nmi_permutation`: nmi, null_mean, null_sd, p_value,
    adjusted. The design is that of `designs`.
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
        found = AgglomerativeClustering(k).fit_predict(means)
        rows["Ward", variable] = nmi_permutation(values.to_numpy(), found, **options)
    return pd.DataFrame(rows).T.rename_axis(["algorithm", "variable"])


def parts_of(gm: GMDataset, method: str, budget: Budget, *, seed: int, n_per_class: int) -> Parts:
    """What a method's classifier is shown of ``train``, ``val`` and ``test`` images of all models, and their models."""
    show = shown(method, real=gm.real, reference=gm.reference()[: budget.n_reference])
    wanted = {"train": (None, n_per_class), "val": (None, min(VAL, n_per_class)), "test": (budget.n_test, None)}
    parts = {}
    for split, (limit, n) in wanted.items():
        images, labels = draw({label: gm.images(label, split=split)[:limit] for label in gm.models}, n, seed=seed)
        parts[split] = show(images), labels
    return parts


def features_of(parts: Parts, learner: Classifier, *, without: Sequence[str] = ()) -> Parts:
    """Penultimate features and models of ``train`` and ``test``, by a classifier that is trained here.

    It does not see models of `without`; their features are given all the same.
    """

    def seen(split: str) -> tuple[np.ndarray, np.ndarray]:
        rows, labels = parts[split]
        kept = ~np.isin(labels, without)
        return rows[kept], labels[kept]

    learner.fit(*seen("train"), val=seen("val"))
    return {split: (learner.features(rows), labels) for split, (rows, labels) in parts.items() if split != "val"}


def table5(gm: GMDataset, *, methods: Sequence[str] = METHODS, n_per_class: int = MIDDLE, **budget) -> pd.DataFrame:
    """`clusters` of each method's features.

    Tidy frame: task ``k-means`` or ``Ward``, metric ``nmi``, ``null_mean``, ``null_sd``, ``p_value`` or ``adjusted`` of
    a variable, as in ``nmi up``; `n` images of `gm.models`.
    """
    design, budget = designs(gm), Budget(**budget)

    def clustered(keys: Sequence[Key]) -> Iterator[Scores]:
        method, seed = keys[0].method, keys[0].seed
        learner = classifier(method, real=gm.real, seed=seed, epochs=budget.epochs)
        parts = parts_of(gm, method, budget, seed=seed, n_per_class=n_per_class)
        features, labels = features_of(parts, learner)["test"]
        found = clusters(features, labels, design, seed=seed, n_permutations=PERMUTATIONS)
        for key in keys:
            yield Scores(key, _flat(found.loc[key.task]), len(labels))

    grid = [
        [Key(gm.name, task, method, n_per_class, seed) for task in ALGORITHMS]
        for seed in budget.seeds
        for method in methods
    ]
    settings = budget.settings(gm, permutations=PERMUTATIONS)
    return measure(grid, clustered, settings, budget, code=__name__, check=gm.check_splits)


def _flat(table: pd.DataFrame) -> dict[str, float]:
    """Index variable, columns of scores, as metrics: ``<score> <variable>``."""
    return {f"{score} {variable}": table.loc[variable, score] for variable in table.index for score in table}


def twins(design: pd.DataFrame, model: str) -> list[str]:
    """The models with the generator network of `model`, itself among them."""
    network = design[list(NETWORK)]
    return design.index[(network == network.loc[model]).all(axis=1)].tolist()


def predicted(parts: Parts, design: pd.DataFrame, model: str, without: Sequence[str]) -> pd.DataFrame:
    """A held-out model's design choices, as logistic regression on the features of the others names them.

    Index variable; columns ``true``, ``predicted`` (most frequent over the model's test images), ``majority`` (most
    frequent value among the others), ``possible`` (whether any of the others has the true value).
    """
    (train, train_labels), (test, test_labels) = parts["train"], parts["test"]
    kept = ~np.isin(train_labels, without)
    rows = {}
    for variable in design:
        others = design[variable].drop(index=list(without))
        value, majority = design.loc[model, variable], others.mode()[0]
        named = majority
        if len(set(others)) > 1:
            regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            regression.fit(train[kept], design.loc[train_labels[kept], variable].to_numpy())
            names, counts = np.unique(regression.predict(test[test_labels == model]), return_counts=True)
            named = names[counts.argmax()]
        rows[variable] = {"true": value, "predicted": named, "majority": majority, "possible": value in set(others)}
    return pd.DataFrame(rows).T.rename_axis("variable")


def shares(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Of how many models, each with its `predicted`, a value is named rightly; metrics as of `held_out`."""
    everything = pd.concat(tables)  # (model, variable) by column
    right = everything[["predicted", "majority"]].eq(everything["true"], axis=0)
    return _flat(right.assign(possible=everything["possible"].astype(bool)).groupby(level="variable").mean())


def held_out(
    gm: GMDataset,
    *,
    methods: Sequence[str] = HELD_OUT_METHODS,
    tasks: Sequence[str] = HELD_OUT_TASKS,
    n_per_class: int = MIDDLE,
    **budget,
) -> pd.DataFrame:
    """Name every model's design choices without having seen it, by tasks of `HELD_OUT_TASKS`.

    Tidy frame, metrics ``predicted up`` and so on: the share of the `n` models whose value is named rightly;
    ``majority up``: by the most frequent value; ``possible up``: at best, since a value that no other model has cannot
    be named. `InputError` for an unknown task.
    """
    for task in tasks:
        check_choice("task", task, HELD_OUT_TASKS)
    design, budget = designs(gm), Budget(**budget)

    def named(keys: Sequence[Key]) -> Iterator[Scores]:
        method, seed = keys[0].method, keys[0].seed
        parts = parts_of(gm, method, budget, seed=seed, n_per_class=n_per_class)

        @lru_cache  # a model that has no twin is left out alone in both tasks
        def features(group: tuple[str, ...]) -> Parts:
            learner = classifier(method, real=gm.real, seed=seed, epochs=budget.epochs)
            return features_of(parts, learner, without=group)

        for key in keys:
            alone = key.task == HELD_OUT_TASKS[0]
            groups = {(model,) if alone else tuple(twins(design, model)) for model in design.index}
            pairs = [(model, group) for group in sorted(groups) for model in group]
            tables = {model: predicted(features(group), design, model, group) for model, group in pairs}
            yield Scores(key, shares(tables), len(tables))

    grid = [
        [Key(gm.name, task, method, n_per_class, seed) for task in tasks] for seed in budget.seeds for method in methods
    ]
    return measure(grid, named, budget.settings(gm), budget, code=__name__, check=gm.check_splits)
