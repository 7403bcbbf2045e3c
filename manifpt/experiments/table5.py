"""Table 5: do clusters of fingerprints follow how the generators were built? And can a design choice be read off them?

An attributor is trained to tell the models apart (no reals); its penultimate features of test images are clustered, for
each design variable into as many clusters as it has values: images by k-means, models by Ward's method on their mean
features. NMI with the variable is set beside its distribution when the values are dealt out to the *models* at random.

Choices go together (`confounding`), so one step further: leave a model out of training and name its design choice by
logistic regression on the features of the others, by majority over its test images. Left out is the model alone, or
every model with the same generator network, lest a twin gives the answer.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats.contingency import association
from sklearn.cluster import AgglomerativeClustering, KMeans
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manifpt.experiments.rows import classifier, shown
from manifpt.experiments.runner import MIDDLE, VAL
from manifpt.gm import GMDataset, draw
from manifpt.metrics import nmi_permutation

METHODS = tuple(f"manifpt-{space}-{e}" for space in ("rgb", "freq", "sl", "ssl") for e in ("nearest", "tangent"))
NETWORK = ("up", "nonlinearity", "norm", "down", "skip")  # the variables of the generator network; `loss` is the other


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
    features: np.ndarray, labels: np.ndarray, design: pd.DataFrame, *, seed: int, n_permutations: int = 1000
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


def features_of(
    gm: GMDataset,
    method: str,
    *,
    without: Sequence[str] = (),
    seed: int = 0,
    n_per_class: int = MIDDLE,
    n_reference: int | None = None,
    n_test: int | None = None,
    epochs: int | None = None,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Penultimate features and models of ``train`` and ``test`` images of all models, by a classifier trained on them.

    Parameters
    ----------
    without
        Models that the classifier does not see; their features are given all the same.
    """
    show = shown(method, real=gm.real, reference=gm.reference()[:n_reference])
    most = {"train": n_per_class, "val": min(VAL, n_per_class), "test": n_test}
    pools = {s: {label: show(gm.images(label, split=s)[:n]) for label in gm.models} for s, n in most.items()}
    seen = {s: {label: pool for label, pool in of.items() if label not in without} for s, of in pools.items()}
    learner = classifier(method, real=gm.real, seed=seed, epochs=epochs)
    learner.fit(*draw(seen["train"], None, seed=seed), val=draw(seen["val"], None, seed=seed))
    drawn = {split: draw(pools[split], None, seed=seed) for split in ("train", "test")}
    return {split: (learner.features(rows), labels) for split, (rows, labels) in drawn.items()}


def twins(design: pd.DataFrame, model: str) -> list[str]:
    """The models with the generator network of `model`, itself among them."""
    network = design[list(NETWORK)]
    return design.index[(network == network.loc[model]).all(axis=1)].tolist()


def predicted(
    parts: dict[str, tuple[np.ndarray, np.ndarray]], design: pd.DataFrame, model: str, without: Sequence[str]
) -> pd.DataFrame:
    """A held-out model's design choices, as logistic regression on the features of the others names them.

    Returns
    -------
    Index variable; columns ``true``, ``predicted`` (most frequent over the model's test images), ``majority`` (most
    frequent value among the others), ``possible`` (whether any of the others has the true value).
    """
    (train, train_labels), (test, test_labels) = parts["train"], parts["test"]
    kept = ~np.isin(train_labels, without)
    rows = {}
    for variable in design:
        others = design[variable].drop(index=list(without))
        value, majority = design.loc[model, variable], others.mode()[0]
        if others.nunique() < 2:
            named = majority
        else:
            regression = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
            regression.fit(train[kept], design.loc[train_labels[kept], variable].to_numpy())
            names, counts = np.unique(regression.predict(test[test_labels == model]), return_counts=True)
            named = names[counts.argmax()]
        rows[variable] = {"true": value, "predicted": named, "majority": majority, "possible": value in set(others)}
    return pd.DataFrame(rows).T.rename_axis("variable")
