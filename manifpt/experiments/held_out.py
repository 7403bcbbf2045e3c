"""Can a design choice be read off the fingerprint of a model that was never seen?

A model is left out of the training of an attributor, and its design choice named by logistic regression on the features
of the others, by majority over its test images. Left out is the model alone (``held-out model``), or every model with
the same generator network (``held-out network``), lest a twin gives the answer. Beside it stands the most frequent
value among the others.
"""

import time
from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from tqdm.auto import tqdm

from manifpt.experiments.rows import classifier
from manifpt.experiments.runner import MIDDLE, Budget
from manifpt.experiments.table5 import designs, features_of, parts_of
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

METHODS = ("control-raw", "manifpt-rgb-nearest", "manifpt-rgb-tangent")
NETWORK = ("up", "nonlinearity", "norm", "down", "skip")  # the variables of the generator network; `loss` is the other
TASKS = ("held-out model", "held-out network")


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


def shares(tables: Mapping[str, pd.DataFrame]) -> dict[str, float]:
    """Of how many models, each with its `predicted`, a value is named rightly; metrics as of `held_out`."""
    everything = pd.concat(tables)  # (model, variable) by column
    right = everything[["predicted", "majority"]].eq(everything["true"], axis=0)
    found = right.assign(possible=everything["possible"].astype(bool)).groupby(level="variable").mean()
    return {f"{score} {variable}": found.loc[variable, score] for variable in found.index for score in found}


def held_out(
    gm: GMDataset,
    *,
    methods: Sequence[str] = METHODS,
    tasks: Sequence[str] = TASKS,
    n_per_class: int = MIDDLE,
    **budget,
) -> pd.DataFrame:
    """Name every model's design choices without having seen it; rows already at the budget's path are kept.

    Parameters
    ----------
    tasks
        Of `TASKS`.
    n_per_class
        Training images a class.
    **budget
        Fields of `manifpt.experiments.runner.Budget`.

    Returns
    -------
    Tidy frame, metrics ``predicted up`` and so on: the share of the `n` models whose value is named rightly;
    ``majority up``: by the most frequent value; ``possible up``: at best, since a value that no other model has cannot
    be named.

    Raises
    ------
    InputError
        An unknown task.
    """
    if unknown := set(tasks) - set(TASKS):
        raise InputError(f"task {unknown.pop()!r} is unknown; choose one of {', '.join(TASKS)}")
    gm.check_splits()
    design, budget = designs(gm), Budget(**budget)
    results = budget.results(gm)

    @lru_cache(maxsize=1)
    def parts(method: str, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        return parts_of(gm, method, budget, seed=seed, n_per_class=n_per_class)

    @lru_cache(maxsize=2 * len(design))  # a model that has no twin is left out alone in both tasks
    def features(method: str, group: tuple[str, ...], seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        learner = classifier(method, real=gm.real, seed=seed, epochs=budget.epochs)
        return features_of(parts(method, seed), learner, without=group)

    runs = [(method, seed, task) for method in methods for seed in budget.seeds for task in tasks]
    for method, seed, task in tqdm(runs, desc=f"{gm.name}, held out", unit="run", disable=not budget.progress):
        key = {"dataset": gm.name, "task": task, "method": method, "n_per_class": n_per_class, "seed": seed}
        if results.has(**key):
            continue
        started, tables = time.perf_counter(), {}
        groups = {tuple([model] if task == TASKS[0] else twins(design, model)) for model in design.index}
        for group in sorted(groups):
            found = features(method, group, seed)
            tables |= {model: predicted(found, design, model, group) for model in group}
        results.add(shares(tables), n=len(tables), seconds=time.perf_counter() - started, **key)
    return results.of(dataset=gm.name, methods=methods)
