r"""Artifacts, fingerprints, and what they prove about a generative model (ManiFPT, Sec. 3).

M is the manifold of real data, P its distribution, Q the distribution of a model with support S. The artifact of a
generated x is a(x) = x − x*, where x* = π(x) is the nearest point of M. The fingerprint of a model is the set of its
artifacts. The functions here return a `Statement` about precision, recall or a distance between P and Q: both sides of
a proven relation, computed for the empirical distributions of the given points.

The bounds rest on one fact: the coupling (x, π(x)) costs E‖a‖, and no coupling of Q to points of M costs less.
All functions raise `InputError` for empty arrays, NaN, infinity, negative norms and shapes that do not fit.
"""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance_nd
from sklearn.metrics import roc_auc_score

from manifpt.utils.arrays import as_alike_points, as_array, as_points
from manifpt.utils.errors import InputError
from manifpt.utils.files import as_path, atomic


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The set of one model's artifacts.

    Parameters
    ----------
    model, space, estimator : str
        The model that made the images, the embedding φ in which they were projected, and how x* was estimated.
    artifacts : array of shape (n, …), float32
        φ(x) − φ(x*) of each image x.

    Examples
    --------
    >>> fingerprint = Fingerprint("dcgan", "rgb", "nearest", np.array([[3.0, 4.0], [0.0, 0.0]]))
    >>> fingerprint.norms, fingerprint.mean
    (array([5., 0.]), array([1.5, 2. ]))
    """

    model: str
    space: str
    estimator: str
    artifacts: np.ndarray

    def __post_init__(self):
        as_points("artifacts", self.artifacts)
        object.__setattr__(self, "artifacts", np.asarray(self.artifacts, np.float32))

    def __len__(self) -> int:
        return len(self.artifacts)

    @property
    def mean(self) -> np.ndarray:
        """Mean artifact, float64, of the shape of one artifact."""
        return self.artifacts.mean(0, dtype=np.float64)

    @property
    def norms(self) -> np.ndarray:
        """Euclidean norms ‖a‖: the distances to the manifold, `(n,)`, float64, ≥ 0."""
        flat = self.artifacts.reshape(len(self), -1)
        return np.sqrt(np.einsum("nd,nd->n", flat, flat, dtype=np.float64))

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` file atomically, without pickles."""
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path | str) -> "Fingerprint":
        """Read a file that `save` wrote; raise `InputError` for any other, as one with pickles."""
        try:
            with np.load(as_path("fingerprint", path), allow_pickle=False) as file:
                names = {name: str(file[name]) for name in ("model", "space", "estimator")}
                return cls(**names, artifacts=file["artifacts"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a fingerprint ({error}); an .npz file written by save() expected") from error


@dataclass(frozen=True)
class Statement:
    """The two sides of a proven relation, "<=" or "==", each computed without the other."""

    left: float
    relation: str
    right: float

    @property
    def holds(self) -> bool:
        """Whether the relation holds up to a rounding error of 10⁻⁶ of the right side plus 10⁻⁷."""
        gap = self.left - self.right
        return (abs(gap) if self.relation == "==" else gap) <= 1e-6 * abs(self.right) + 1e-7


def precision_statement(artifact_norms: np.ndarray, on_manifold: np.ndarray, *, atol: float = 0.0) -> Statement:
    """(P) Share of zero artifacts == Precision := Q(M), because for closed M a(x) = 0 if and only if x is in M.

    At the value 1: the fingerprint is {0} ⟺ S lies in M ⟹ Precision = 1, and Precision = 1 ⟹ a = 0 Q-almost surely.

    Parameters
    ----------
    artifact_norms : array of shape (n,)
        ‖a‖ ≥ 0 of generated points; at most `atol` counts as zero. With a finite X_R in the place of M even a perfect
        model has hardly any zero; see `calibrated`.
    on_manifold : boolean array of shape (n,)
        Whether each point is in M, found without projection, for example by the equation of M.

    Examples
    --------
    >>> precision_statement(np.array([0.0, 0.0, 0.3, 0.0]), np.array([True, True, False, True]))
    Statement(left=0.75, relation='==', right=0.75)
    """
    share = (_norms("artifact_norms", artifact_norms) <= atol).mean()
    return Statement(float(share), "==", _share("on_manifold", on_manifold, len(artifact_norms)))


def recall_statement(reverse_norms: np.ndarray, in_support: np.ndarray, *, atol: float = 0.0) -> Statement:
    """(R) Share of zero reverse artifacts == Recall := P(cl S), where cl S is the closure of S.

    The reverse artifact of a real x is x minus the nearest point of S. At the value 1: all reverse artifacts are zero
    ⟺ M lies in the closure of S ⟹ Recall = 1.

    Parameters
    ----------
    reverse_norms : array of shape (n,)
        Norms ≥ 0 of the reverse artifacts; at most `atol` counts as zero.
    in_support : boolean array of shape (n,)
        Whether each real point is in the closure of S, found without projection.
    """
    share = (_norms("reverse_norms", reverse_norms) <= atol).mean()
    return Statement(float(share), "==", _share("in_support", in_support, len(reverse_norms)))


def ipm_bounds(
    generated: np.ndarray,
    projection: np.ndarray,
    reference: np.ndarray,
    *,
    sigma: float | None = None,
    functions: Mapping[str, Callable] | None = None,
) -> dict[str, Statement]:
    r"""Bound integral probability metrics by E‖a‖, the mean length of the artifacts; π#Q is the distribution of π(x).

    Parameters
    ----------
    generated, projection : array of shape (n, …)
        x ~ Q and π(x), row by row.
    reference : array of shape (m, …)
        x ~ P, the points of M that π projects on. For other points, such as held-out reals, the last two may fail.
    sigma : float, optional
        Width of the Gaussian kernel; by default the median distance of generated to reference points.
    functions : dict, optional
        1-Lipschitz functions f by name, each from points `(n, d)` to values `(n,)`.

    Returns
    -------
    dict
        Statements that hold for any map π: ``mmd``: MMD(Q, π#Q) ≤ E‖a‖ / σ; ``w1_projection``: W1(Q, π#Q) ≤ E‖a‖; each
        of `functions`: |E_Q f − E_π#Q f| ≤ E‖a‖; ``linear``, the best linear f: ‖E a‖ ≤ E‖a‖. For the nearest point
        only: ``w1_minimum``: E‖a‖ = min W1(Q, ν) over ν on the known points of M; ``w1_data``: E‖a‖ ≤ W1(Q, P). W1 is
        the exact 1-Wasserstein distance: an assignment if n = m, else a linear programme of n m unknowns.

    Examples
    --------
    >>> on_line, beside = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 2.0], [1.0, 2.0]])
    >>> ipm_bounds(beside, on_line, on_line)["w1_data"]
    Statement(left=2.0, relation='<=', right=2.0)
    """
    if sigma is not None and not sigma > 0:
        raise InputError(f"sigma: {sigma}; a positive width expected")
    points = {"generated": generated, "projection": projection, "reference": reference}
    generated, projection, reference = as_alike_points(**points)
    if len(projection) != len(generated):
        raise InputError(f"projection: {len(projection)} points; one for each of {len(generated)} generated expected")
    cost, known, artifacts = cdist(generated, reference), cdist(generated, projection), generated - projection
    expected = float(np.linalg.norm(artifacts, axis=1).mean())
    sigma = (np.median(cost) or 1.0) if sigma is None else sigma
    values = {name: abs((f(generated) - f(projection)).mean()) for name, f in (functions or {}).items()}
    values |= {"linear": np.linalg.norm(artifacts.mean(0)), "w1_projection": _wasserstein1(generated, projection)}
    return {name: Statement(float(value), "<=", expected) for name, value in values.items()} | {
        "mmd": Statement(_gaussian_mmd(generated, projection, sigma), "<=", float(expected / sigma)),
        "w1_minimum": Statement(expected, "==", float(np.minimum(cost.min(1), known.min(1)).mean())),
        "w1_data": Statement(expected, "<=", _wasserstein1(generated, reference)),
    }


def calibrated(generated_norms: np.ndarray, held_out_norms: np.ndarray) -> dict[str, float]:
    """Compare the artifact norms of a model, `(n,)`, with those of held-out reals, `(m,)`, which are not zero either.

    Returns
    -------
    dict
        auc: probability that a generated norm exceeds a held-out one, where ties count half; 1/2 if the norms do not
        tell the two apart. ratio of the means, infinite or NaN over 0; mean_generated; mean_held_out.

    Examples
    --------
    >>> calibrated(np.array([2.0, 4.0]), np.array([1.0, 2.0]))
    {'auc': 0.875, 'ratio': 2.0, 'mean_generated': 3.0, 'mean_held_out': 1.5}
    """
    generated, held_out = _norms("generated_norms", generated_norms), _norms("held_out_norms", held_out_norms)
    auc = roc_auc_score(np.repeat([1, 0], [len(generated), len(held_out)]), np.concatenate([generated, held_out]))
    mean, base = generated.mean(dtype=np.float64), held_out.mean(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(mean / base)
    return {"auc": float(auc), "ratio": ratio, "mean_generated": float(mean), "mean_held_out": float(base)}


def _gaussian_mmd(a: np.ndarray, b: np.ndarray, sigma: float) -> float:
    """Maximum mean discrepancy of two point sets, kernel exp(−‖x − y‖² / 2σ²), in [0, √2].

    Its feature map ψ is 1/σ-Lipschitz: ‖ψ(x) − ψ(y)‖² = 2 − 2 exp(−‖x − y‖² / 2σ²) ≤ ‖x − y‖² / σ², as 1 − e⁻ᵘ ≤ u.
    """
    means = [np.exp(-cdist(x, y, "sqeuclidean") / (2 * sigma**2)).mean() for x, y in [(a, a), (b, b), (a, b)]]
    return float(np.sqrt(max(means[0] + means[1] - 2 * means[2], 0)))


def _wasserstein1(a: np.ndarray, b: np.ndarray) -> float:
    """Compute the exact 1-Wasserstein distance of two point sets, `(n, d)` and `(m, d)`, of which n m may be 10⁵."""
    if len(a) != len(b):
        return float(wasserstein_distance_nd(a, b))
    cost = cdist(a, b)
    return float(cost[linear_sum_assignment(cost)].mean())


def _norms(name: str, values: np.ndarray) -> np.ndarray:
    values = as_array(name, values)
    numbers = values.ndim == 1 and values.dtype.kind in "biuf" and len(values) > 0
    if not numbers or not (np.isfinite(values) & (values >= 0)).all():
        raise InputError(f"{name}: a vector (n,) of finite numbers ≥ 0 expected, got shape {values.shape}")
    return values


def _share(name: str, members: np.ndarray, n: int) -> float:
    members = as_array(name, members)
    if members.shape != (n,) or members.dtype != bool:
        raise InputError(f"{name}: {members.dtype} of shape {members.shape}; a boolean vector ({n},) expected")
    return float(members.mean())
