"""Measures of sets of features and of labels: Fréchet distance, FD ratio, precision to coverage, NMI with its null.

Every function takes arrays and returns a float or a dictionary of floats. Features of shape ``(n, …)`` are `n` points
of the flattened space, in double precision. All functions raise `InputError` for NaN, infinity, missing labels, lengths
or numbers of features that differ, and options out of their range.
"""

from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import entr
from sklearn.covariance import ledoit_wolf
from sklearn.metrics import normalized_mutual_info_score
from sklearn.metrics.cluster import contingency_matrix
from sklearn.utils import gen_batches

from manifpt.utils.arrays import as_alike_points, as_points
from manifpt.utils.errors import InputError

BLOCK = 2**24  # distances held at once: 128 MiB


def frechet_distance(a: np.ndarray, b: np.ndarray, *, ridge: float = 0.0) -> float:
    r"""Squared Fréchet (2-Wasserstein) distance of the Gaussians fitted to two samples (Heusel et al. 2017).

    .. math:: \|\mu_a - \mu_b\|^2 + \mathrm{tr}\big(\Sigma_a + \Sigma_b - 2 (\Sigma_a \Sigma_b)^{1/2}\big)

    For any factors with :math:`\Sigma = F^\top F` the trace of the root is the sum of the singular values of
    :math:`F_a F_b^\top`, which is real also if a covariance is singular, so no matrix root is ever taken.

    Parameters
    ----------
    a, b : array of shape (n_a, d) and (n_b, d)
        Features of at least two samples each.
    ridge : float
        Number ≥ 0 that is added to the diagonal of both covariances, which are divided by n − 1.

    Returns
    -------
    float
        ≥ 0, in squared units of the features. The fewer the samples, the larger its upward bias: compare only distances
        from equal sample sizes.

    Examples
    --------
    >>> a = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    >>> round(frechet_distance(a, a + 2), 6)
    8.0
    """
    a, b = as_alike_points(least=2, a=a, b=b)
    return _frechet(*_gaussian(a, ridge=ridge), *_gaussian(b, ridge=ridge))


def fd_ratio(features: np.ndarray, labels: np.ndarray, *, seed: int, covariance: str = "auto") -> float:
    r"""Fréchet distance ratio, FDR: how far classes lie apart, in units of how far two halves of one class do.

    .. math:: \mathrm{FDR} = \mathrm{mean}_{i<j}\, FD(N_i, N_j) \;/\; \mathrm{mean}_i\, FD(N_i^a, N_i^b)

    N_i^a, N_i^b is a random equal split of class i (Yu et al. 2019; ManiFPT, Table 2). Higher is better; about 1/2
    if classes do not differ, since halves have twice the bias. It grows with the class size: compare at equal n.

    Parameters
    ----------
    features : array of shape (n, d)
    labels : array of shape (n,)
        Class of each sample: at least two classes of at least four samples. An odd class leaves one out of its halves.
    seed : int
        Seed of the splits: one permutation for each class, in sorted order.
    covariance : {"auto", "empirical", "ledoit-wolf"}
        Divided by n − 1; shrunk (Ledoit and Wolf 2004); "auto" shrinks if d exceeds the smallest half.

    Returns
    -------
    float
        ≥ 0; infinite if the halves coincide and the classes do not, NaN if nothing differs.

    Examples
    --------
    >>> features = np.arange(20.0).reshape(10, 2) % 7
    >>> fd_ratio(features + np.repeat([[0.0], [50.0]], 5, axis=0), np.repeat(["dcgan", "vae"], 5), seed=0) > 100
    True
    """
    features, labels = as_points("features", features, least=2), _labels("labels", labels, len(features))
    classes = [features[labels == label] for label in np.unique(labels)]
    smallest = min(map(len, classes))
    if len(classes) < 2 or smallest < 4:
        raise InputError(f"labels: {len(classes)} classes of {smallest} or more; 2 classes of 4 or more expected")
    if covariance not in ("auto", "empirical", "ledoit-wolf"):
        raise InputError(f'covariance: {covariance!r}; "auto", "empirical" or "ledoit-wolf" expected')
    shrunk = covariance == "ledoit-wolf" or (covariance == "auto" and features.shape[1] > smallest // 2)
    whole, rng = [_gaussian(x, shrunk) for x in classes], np.random.default_rng(seed)
    halves = [[_gaussian(half, shrunk) for half in _halves(x, rng)] for x in classes]
    between, within = (np.mean([_frechet(*a, *b) for a, b in pairs]) for pairs in (combinations(whole, 2), halves))
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(between / within)


def precision_recall_density_coverage(real: np.ndarray, generated: np.ndarray, *, k: int = 5) -> dict[str, float]:
    """Fidelity and diversity of a generated sample, by balls around the points of each sample.

    The closed ball around a point reaches to its k-th neighbour in its own sample, itself not counted. Precision is the
    share of generated points in some ball of a real one, recall the share of real points in some ball of a generated
    one (Kynkäänniemi et al. 2019). Density is the mean number of real balls that hold a generated point, divided by k,
    and coverage the share of real balls that hold one (Naeem et al. 2020; their code has open balls). Distances that
    differ only by rounding count as equal. They are computed in blocks of bounded memory.

    Parameters
    ----------
    real, generated : array of shape (n, d) and (m, d)
    k : int
        1 ≤ k < min(n, m).

    Returns
    -------
    dict
        precision, recall, coverage in [0, 1]; density ≥ 0.

    Examples
    --------
    >>> real, generated = np.array([[0.0, 0.0], [1.0, 0.0], [9.0, 0.0]]), np.array([[0.5, 0.0], [5.0, 5.0]])
    >>> precision_recall_density_coverage(real, generated, k=1)
    {'precision': 1.0, 'recall': 1.0, 'density': 1.5, 'coverage': 1.0}
    """
    real, generated = as_alike_points(least=2, real=real, generated=generated)
    if not 1 <= k < min(len(real), len(generated)):
        raise InputError(f"k: {k} neighbours asked for, 1 to {min(len(real), len(generated)) - 1} possible")
    real, generated = real - real.mean(0), generated - real.mean(0)
    real_radii, generated_radii = _squared_radii(real, k), _squared_radii(generated, k)
    balls, covered, recalled = np.zeros(len(generated), int), np.zeros(len(real), bool), np.zeros(len(real), bool)
    for rows, distances in _blocks(generated, real):
        inside = distances <= real_radii
        balls[rows] = inside.sum(1)
        covered |= inside.any(0)
        recalled |= (distances <= generated_radii[rows, None]).any(0)
    scores = {"precision": balls > 0, "recall": recalled, "density": balls / k, "coverage": covered}
    return {name: float(values.mean()) for name, values in scores.items()}


def nmi(a: np.ndarray, b: np.ndarray) -> float:
    """Normalised mutual information 2 I(a; b) / (H(a) + H(b)) of two labelings (ManiFPT, Table 5).

    Parameters
    ----------
    a, b : array of shape (n,)
        Labels of one sortable kind. Two constant labelings give 1, one gives 0.

    Returns
    -------
    float
        In [0, 1], and above 0 by chance: see `nmi_permutation`.

    Examples
    --------
    >>> nmi(["gan", "gan", "vae", "vae"], [1, 1, 0, 0])
    1.0
    """
    return float(normalized_mutual_info_score(_labels("a", a, np.size(a)), _labels("b", b, np.size(a))))


def nmi_permutation(
    labels: np.ndarray, clusters: np.ndarray, *, n_permutations: int, seed: int, groups: np.ndarray | None = None
) -> dict[str, float]:
    """NMI of labels and clusters, and its distribution under random permutations of the labels.

    Parameters
    ----------
    labels, clusters : array of shape (n,)
        A design choice of each sample's model, with at least two values, and the cluster of each sample.
    n_permutations, seed : int
    groups : array of shape (n,), optional
        The model of each sample. Labels, constant within a group, are then permuted between whole models, since images
        of one model are no independent evidence on a design choice. Few models have few permutations and a large p.

    Returns
    -------
    dict
        nmi; null_mean and null_sd of the permuted NMI; p_value = (1 + #{null ≥ nmi}) / (1 + n_permutations) in (0, 1];
        adjusted = (nmi − null_mean) / (1 − null_mean): 0 at chance, 1 at best, 0 where chance already gives 1.

    Examples
    --------
    >>> scores = nmi_permutation([0] * 9 + [1] * 9, [3] * 9 + [5] * 9, n_permutations=99, seed=0)
    >>> scores["nmi"], scores["p_value"]
    (1.0, 0.01)
    """
    labels, clusters = _labels("labels", labels, np.size(labels)), _labels("clusters", clusters, np.size(labels))
    groups = np.arange(len(labels)) if groups is None else _labels("groups", groups, len(labels))
    _, first, member = np.unique(groups, return_index=True, return_inverse=True)
    if labels.max() == 0 or (labels[first][member] != labels).any():
        raise InputError("labels: two values at least expected, and one value for all samples of a group")
    if n_permutations < 1:
        raise InputError(f"n_permutations: {n_permutations}; at least 1 expected")
    rng, score, table = np.random.default_rng(seed), nmi(labels, clusters), contingency_matrix(member, clusters)
    choices = np.eye(labels.max() + 1)[labels[first]]  # (group, value)
    null = np.array([_nmi_of_table(rng.permutation(choices).T @ table) for _ in range(n_permutations)])
    mean, hits = float(null.mean()), int((null >= score - 1e-12).sum())
    adjusted = (score - mean) / (1 - mean) if mean < 1 - 1e-12 else 0.0
    null_sd, p_value = float(null.std()), (1 + hits) / (1 + n_permutations)
    return {"nmi": score, "null_mean": mean, "null_sd": null_sd, "p_value": p_value, "adjusted": adjusted}


def _labels(name: str, values: np.ndarray, n: int) -> np.ndarray:
    values = np.asarray(values)
    if values.shape != (n,) or n < 2 or pd.isna(values).any():
        raise InputError(f"{name}: shape {values.shape}; {max(n, 2)} labels, one a sample, none missing, expected")
    return np.unique(values, return_inverse=True)[1]


def _nmi_of_table(table: np.ndarray) -> float:
    joint = table / table.sum()
    entropies = entr(joint.sum(0)).sum() + entr(joint.sum(1)).sum()
    return 2 - 2 * entr(joint).sum() / entropies


def _halves(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    half = len(x) // 2
    return x[rng.permutation(len(x))[: 2 * half]].reshape(2, half, -1)  # (half, sample, d)


def _gaussian(x: np.ndarray, shrunk: bool = False, ridge: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean `(d,)` and a factor F of the covariance FᵀF, which is exactly zero if all rows are equal."""
    mean = x[0] + (x - x[0]).mean(0)
    if shrunk:
        values, vectors = np.linalg.eigh(ledoit_wolf(x - mean, assume_centered=True)[0])
        factor = np.sqrt(values.clip(0))[:, None] * vectors.T
    else:
        factor = np.linalg.qr(x - mean, mode="r") / np.sqrt(len(x) - 1)
    return mean, np.concatenate([factor, np.sqrt(ridge) * np.eye(x.shape[1])]) if ridge else factor


def _frechet(mean_a: np.ndarray, factor_a: np.ndarray, mean_b: np.ndarray, factor_b: np.ndarray) -> float:
    spread = (factor_a**2).sum() + (factor_b**2).sum() - 2 * np.linalg.norm(factor_a @ factor_b.T, "nuc")
    return float(((mean_a - mean_b) ** 2).sum() + max(spread, 0))


def _blocks(x: np.ndarray, y: np.ndarray):
    """Yield slices of the rows of x with their squared distances to all rows of y."""
    squares = (y**2).sum(1)
    for rows in gen_batches(len(x), max(1, BLOCK // len(y))):
        yield rows, (x[rows] ** 2).sum(1)[:, None] + squares - 2 * x[rows] @ y.T


def _squared_radii(x: np.ndarray, k: int) -> np.ndarray:
    """Return the squared distance to each k-th neighbour, plus the rounding error of a point on the rim of the ball."""
    radii = np.concatenate([np.partition(distances, k, axis=1)[:, k] for _, distances in _blocks(x, x)])
    return radii + 1e-12 * ((x**2).sum(1) + radii)
