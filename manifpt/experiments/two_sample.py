r"""Are the fingerprints of two models different, and of two halves of one model the same?

Kernel two-sample test (Gretton et al., JMLR 2012) on artifacts, with a Gaussian kernel whose bandwidth is the median
distance, and the permutation distribution of

.. math:: \mathrm{MMD}^2 = \frac1{n^2} \sum_{i,j} k(x_i, x_j) + k(y_i, y_j) - 2 k(x_i, y_j).
"""

from itertools import combinations_with_replacement

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist

from manifpt.errors import InputError
from manifpt.experiments.rows import shown
from manifpt.experiments.verdicts import holm
from manifpt.gm import GMDataset


def mmd_test(x: np.ndarray, y: np.ndarray, *, n_permutations: int = 1000, seed: int = 0) -> tuple[float, float]:
    """MMD² of two samples and its permutation p-value in (0, 1].

    Parameters
    ----------
    x, y
        float `(n, d)` each, two rows at least.

    Raises
    ------
    InputError
        Samples of other shapes.
    """
    if x.shape != y.shape or x.ndim != 2 or len(x) < 2:
        raise InputError(f"samples of shapes {x.shape} and {y.shape}; one shape (n, d) with n > 1 expected")
    points = np.concatenate([x, y]).astype(np.float64)
    squared = cdist(points, points, "sqeuclidean")
    scale = np.median(squared[np.triu_indices(len(points), 1)])
    kernel = np.exp(-squared / (scale or 1.0))
    signs = np.repeat([1.0, -1.0], len(x))
    rng = np.random.default_rng(seed)
    dealt = np.stack([signs, *(rng.permutation(signs) for _ in range(n_permutations))])
    statistic = ((dealt @ kernel) * dealt).sum(1) / len(x) ** 2
    return float(statistic[0]), float((statistic[1:] >= statistic[0] - 1e-12).sum() + 1) / (n_permutations + 1)


def two_sample(
    gm: GMDataset,
    method: str = "manifpt-rgb-nearest",
    *,
    n: int = 200,
    n_reference: int | None = None,
    n_permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Test every pair of classes, held-out reals among them, and two halves of each.

    Parameters
    ----------
    method
        A row of `manifpt.experiments.rows`: what is compared.
    n
        Images of each of the two samples; a class gives 2 n of its test split.

    Returns
    -------
    Columns ``first``, ``second`` (equal for two halves of one class), ``mmd2``, ``p`` and ``p_holm``: p adjusted by
    Holm's method over all pairs of classes, missing for halves, of which nothing is claimed.

    Raises
    ------
    InputError
        Fewer than 2 n test images a class.
    """
    show = shown(method, real=gm.real, reference=gm.reference()[:n_reference])
    rows = {}
    for label in gm.classes:
        images = gm.images(label, split="test")[: 2 * n]
        if len(images) < 2 * n:
            raise InputError(f"n: {n}; {label} has {len(images)} test images, {2 * n} are needed")
        rows[label] = show(images).reshape(2 * n, -1)
    pairs = list(combinations_with_replacement(gm.classes, 2))
    tests = [
        mmd_test(rows[a][:n], rows[b][n:], n_permutations=n_permutations, seed=seed + number)
        for number, (a, b) in enumerate(pairs)
    ]
    frame = pd.DataFrame(pairs, columns=["first", "second"])
    frame[["mmd2", "p"]] = tests
    between = frame["first"] != frame["second"]
    frame.loc[between, "p_holm"] = holm(frame.loc[between, "p"])
    return frame
