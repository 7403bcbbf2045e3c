r"""Are the fingerprints of two models different, and of two halves of one model the same?

Kernel two-sample test (Gretton et al., JMLR 2012) on artifacts, with a Gaussian kernel whose bandwidth is the median
distance, and the permutation distribution of

.. math:: \mathrm{MMD}^2 = \frac1{n^2} \sum_{i,j} k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j).
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from manifpt.experiments.run import Budget, measure, shown
from manifpt.experiments.statistics import LEVEL, holm
from manifpt.experiments.store import Key, Scores
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset

METHODS = ("manifpt-rgb-nearest", "manifpt-rgb-tangent", "control-raw")
PERMUTATIONS = 10_000  # with 153 pairs, fewer than 3,060 could not give a p below 0.05 after Holm's method


def mmd_test(x: np.ndarray, y: np.ndarray, *, n_permutations: int = PERMUTATIONS, seed: int = 0) -> tuple[float, float]:
    """MMD² of two samples, float `(n, d)` each with n > 1, and its permutation p-value in (0, 1].

    `InputError` for samples of other shapes.
    """
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2:
        raise InputError(f"samples of shapes {x.shape} and {y.shape}; one shape (n, d) with n > 1 expected")
    points = np.concatenate([x, y]).astype(np.float64)
    squared = cdist(points, points, "sqeuclidean")
    scale = np.median(squared[np.triu_indices(len(points), 1)])
    kernel = np.exp(-squared / (scale or 1.0))
    signs = np.repeat([1.0, -1.0], len(x))
    rng = np.random.default_rng(seed)
    dealt = np.concatenate([signs[None], rng.permuted(np.tile(signs, (n_permutations, 1)), axis=1)])
    statistic = ((dealt @ kernel) * dealt).sum(1) / len(x) ** 2
    return float(statistic[0]), float((statistic[1:] >= statistic[0] - 1e-12).sum() + 1) / (n_permutations + 1)


def halves(
    gm: GMDataset, method: str, *, n: int, n_reference: int | None = None, seed: int = 0
) -> dict[str, np.ndarray]:
    """Class to what `method` shows of 2 n of its test images, `(2 n, d)`; n for each sample of a test.

    Raises `InputError` for fewer than 2 n test images a class, and for an unknown method.
    """
    show = shown(method, real=gm.real, reference=gm.reference()[:n_reference])
    images, labels = gm.task(2 * n, split="test", seed=seed)
    return {label: show(images[labels == label]).reshape(2 * n, -1) for label in gm.classes}


def pairwise(rows: Mapping[str, np.ndarray], *, n_permutations: int = PERMUTATIONS, seed: int = 0) -> pd.DataFrame:
    """Test every pair of classes, and two halves of each, in rows as `halves` gives them.

    Columns ``first``, ``second`` (equal for two halves of one class), ``mmd2``, ``p``.
    """
    pairs, n = list(combinations_with_replacement(rows, 2)), len(next(iter(rows.values()))) // 2
    options = [{"n_permutations": n_permutations, "seed": seed + number} for number in range(len(pairs))]
    found = [mmd_test(rows[a][:n], rows[b][n:], **some) for (a, b), some in zip(pairs, options, strict=True)]
    return pd.DataFrame(pairs, columns=["first", "second"]).assign(**pd.DataFrame(found, columns=["mmd2", "p"]))


def adjusted(frame: pd.DataFrame) -> pd.Series:
    """p of `pairwise` by Holm's method over all pairs of classes; missing for halves, of which nothing is claimed."""
    between = frame["first"] != frame["second"]
    return pd.Series(holm(frame.loc[between, "p"]), index=frame.index[between]).reindex(frame.index)


def two_sample(
    gm: GMDataset, *, methods: Sequence[str] = METHODS, n: int = 200, n_permutations: int = PERMUTATIONS, **budget
) -> pd.DataFrame:
    """`pairwise` of what each method shows of 2 n test images of each class, drawn by the seed.

    Tidy frame: metrics ``mmd2`` and ``p``, task ``first | second``, see `pairs_of`; seconds are those of a whole
    repetition.
    """
    budget, pairs = Budget(**budget), [f"{a} | {b}" for a, b in combinations_with_replacement(gm.classes, 2)]

    def tested(keys: Sequence[Key]) -> Iterator[Scores]:
        method, seed = keys[0].method, keys[0].seed
        rows = halves(gm, method, n=n, n_reference=budget.n_reference, seed=seed)
        found = pairwise(rows, n_permutations=n_permutations, seed=seed)
        scores = dict(zip(pairs, found[["mmd2", "p"]].to_dict("records"), strict=True))
        return (Scores(key, scores[key.task], 2 * n) for key in keys)

    grid = [[Key(gm.name, pair, method, n, seed) for pair in pairs] for seed in budget.seeds for method in methods]
    settings = budget.settings(gm, schedule=None, permutations=n_permutations)
    return measure(grid, tested, settings, budget, code=__name__)


def pairs_of(frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of one method and seed of `two_sample` in the form of `pairwise`."""
    wide = frame.pivot_table("value", "task", "metric", sort=False).reset_index()
    wide[["first", "second"]] = wide["task"].str.split(" | ", regex=False, expand=True)
    return wide[["first", "second", "mmd2", "p"]]


def told_apart(frame: pd.DataFrame) -> pd.DataFrame:
    """How often the tests of `two_sample` say "different", at the level of `manifpt.experiments.statistics`.

    A row a dataset, method and seed: ``pairs`` and ``halves``, how many there are; ``pairs told apart``, the share
    after Holm's method over the pairs; ``halves told apart``, the number, to be set beside the level times ``halves``.
    """
    rows = {}
    for key, part in frame.groupby(["dataset", "method", "seed"], sort=False):
        pairs = pairs_of(part)
        between = pairs["first"] != pairs["second"]
        rows[key] = {
            "pairs": between.sum(),
            "pairs told apart": (adjusted(pairs)[between] < LEVEL).mean(),
            "halves": (~between).sum(),
            "halves told apart": (pairs.loc[~between, "p"] < LEVEL).sum(),
        }
    return pd.DataFrame(rows).T.rename_axis(["dataset", "method", "seed"])
