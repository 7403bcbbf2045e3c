r"""Artifact and fingerprint, and what they say about a generative model (ManiFPT, Sec. 3).

M is the manifold of real data, P its distribution, Q the distribution of a model with support S. The artifact of a
generated x is a(x) = x − x*, with x* = π(x) the nearest point of M; the model's fingerprint is the set of its
artifacts. What it says about precision, recall and distances between P and Q comes back as a `Statement`: both sides of
a proven relation, for the empirical distributions of the points given, to be checked instead of believed.

The bounds rest on one fact: the coupling (x, π(x)) costs E‖a‖, and no coupling of Q to points of M costs less.
Everything here raises `InputError` for empty arrays, NaN, infinity, negative norms and shapes that do not fit.
"""

import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from manifpt.utils.arrays import as_array
from manifpt.utils.errors import InputError
from manifpt.utils.files import as_path, atomic


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """The set of one model's artifacts.

    Parameters
    ----------
    model, space, estimator : str
        Who made the images, in which embedding they were compared with real ones, and how x* was estimated.
    artifacts : array of shape (n, …), float32
        φ(x) − φ(x*), one for each image.
    """

    model: str
    space: str
    estimator: str
    artifacts: np.ndarray

    def __post_init__(self):
        _points("artifacts", self.artifacts)
        object.__setattr__(self, "artifacts", np.asarray(self.artifacts, np.float32))

    def __len__(self) -> int:
        return len(self.artifacts)

    @property
    def mean(self) -> np.ndarray:
        """Mean artifact, of the shape of one, float64."""
        return self.artifacts.mean(0, dtype=np.float64)

    @property
    def norms(self) -> np.ndarray:
        """Euclidean norms ‖a‖: the distances to the manifold, `(n,)`, float64, ≥ 0."""
        flat = self._flat()
        return np.sqrt(np.einsum("nd,nd->n", flat, flat, dtype=np.float64))

    @property
    def covariance(self) -> np.ndarray:
        """Covariance of the flattened artifacts, `(d, d)`, float64, divided by n − 1, computed at each call.

        It takes 8 d² bytes: 75 MB for 3x32x32, out of reach for large images, where `principal` gives its leading part.
        """
        if len(self) < 2:
            raise InputError("artifacts: 1 artifact; a covariance needs 2 at least")
        return np.cov(self._flat(), rowvar=False).reshape(self._flat().shape[1], -1)  # (d, d), also for d = 1

    def principal(self, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Leading eigenvalues and eigenvectors of the covariance, which itself is never formed.

        Returns
        -------
        variances : array of shape (k,)
            Descending.
        directions : array of shape (k, …)
            Orthonormal, each of the shape of an artifact, sign fixed; both float32.

        Raises
        ------
        InputError
            Unless 1 ≤ k < min(n, d); all artifacts equal.
        """
        flat = self._flat()
        if not 1 <= k < min(flat.shape) or not np.ptp(flat, axis=0).any():
            raise InputError(f"k: {k}; 1 to {min(flat.shape) - 1} expected, and artifacts that are not all equal")
        pca = PCA(k, svd_solver="arpack", random_state=0).fit(flat)
        return pca.explained_variance_, pca.components_.reshape(k, *self.artifacts.shape[1:])  # (k, …)

    def save(self, path: Path | str) -> None:
        """Write an ``.npz`` file, atomically, without pickles."""
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **vars(self))

    @classmethod
    def load(cls, path: Path | str) -> "Fingerprint":
        """Read what `save` wrote; `InputError` for anything else, pickles included."""
        try:
            with np.load(as_path("fingerprint", path), allow_pickle=False) as file:
                names = {name: str(file[name]) for name in ("model", "space", "estimator")}
                return cls(**names, artifacts=file["artifacts"])
        except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: not a fingerprint ({error}); an .npz file written by save() expected") from error

    def _flat(self) -> np.ndarray:
        return self.artifacts.reshape(len(self), -1)  # (n, d)


@dataclass(frozen=True)
class Statement:
    """Both sides of a proven relation, computed independently: `left` `relation` `right`, with "<=" or "=="."""

    left: float
    relation: str
    right: float

    @property
    def holds(self) -> bool:
        """Whether the relation holds up to rounding (10⁻⁶ of the right side, and 10⁻⁷)."""
        gap = self.left - self.right
        return (abs(gap) if self.relation == "==" else gap) <= 1e-6 * abs(self.right) + 1e-7


def precision_from_artifacts(artifact_norms: np.ndarray, *, atol: float = 0.0) -> float:
    """Share of artifacts of generated points with ‖a‖ ≤ `atol`, `(n,)`: the estimate of Precision := Q(M), in [0, 1].

    With a finite X_R in the place of M even a perfect model scores near 0 at `atol` = 0; see `calibrated`.
    """
    return float((_norms("artifact_norms", artifact_norms) <= atol).mean())


def recall_from_reverse_artifacts(reverse_norms: np.ndarray, *, atol: float = 0.0) -> float:
    """Share of reverse artifacts, x − nearest point of S for real x, with norms `(n,)` ≤ `atol`: Recall := P(cl S)."""
    return float((_norms("reverse_norms", reverse_norms) <= atol).mean())


def precision_statement(artifact_norms: np.ndarray, on_manifold: np.ndarray, *, atol: float = 0.0) -> Statement:
    """(P) Share of zero artifacts == Q(M), because for closed M a(x) = 0 if and only if x is in M.

    At the value 1: the fingerprint is {0} ⟺ S lies in M ⟹ Precision = 1, and Precision = 1 ⟹ a = 0 Q-almost surely.

    Parameters
    ----------
    artifact_norms : array of shape (n,)
        From the projection of generated points, ≥ 0.
    on_manifold : boolean array of shape (n,)
        Whether each point is in M, found without projection, as by the equation of M.
    """
    precision = precision_from_artifacts(artifact_norms, atol=atol)
    return Statement(precision, "==", _share("on_manifold", on_manifold, len(artifact_norms)))


def recall_statement(reverse_norms: np.ndarray, in_support: np.ndarray, *, atol: float = 0.0) -> Statement:
    """(R) Share of zero reverse artifacts == P(cl S), cl the closure: `precision_statement` with the roles swapped.

    At the value 1: all reverse artifacts are zero ⟺ M lies in the closure of S ⟹ Recall = 1.
    """
    recall = recall_from_reverse_artifacts(reverse_norms, atol=atol)
    return Statement(recall, "==", _share("in_support", in_support, len(reverse_norms)))


def wasserstein1(a: np.ndarray, b: np.ndarray) -> float:
    """Exact 1-Wasserstein distance, Euclidean, of the uniform distributions on two point sets, `(n, …)` and `(m, …)`.

    Equal sizes are an assignment (for some thousand points), others a linear programme of n·m unknowns (some hundred).
    """
    return _transport(cdist(*_alike(a=a, b=b)))


def gaussian_mmd(a: np.ndarray, b: np.ndarray, *, sigma: float) -> float:
    """Maximum mean discrepancy of the uniform distributions on two point sets, kernel exp(−‖x − y‖² / 2σ²), in [0, √2].

    Its feature map ψ is 1/σ-Lipschitz: ‖ψ(x) − ψ(y)‖² = 2 − 2 exp(−‖x − y‖² / 2σ²) ≤ ‖x − y‖² / σ², as 1 − e⁻ᵘ ≤ u.
    """
    if not sigma > 0:
        raise InputError(f"sigma: {sigma}; a positive width expected")
    a, b = _alike(a=a, b=b)
    means = [np.exp(-cdist(x, y, "sqeuclidean") / (2 * sigma**2)).mean() for x, y in [(a, a), (b, b), (a, b)]]
    return float(np.sqrt(max(means[0] + means[1] - 2 * means[2], 0)))


def ipm_bounds(
    generated: np.ndarray,
    projection: np.ndarray,
    reference: np.ndarray,
    *,
    sigma: float | None = None,
    functions: Mapping[str, Callable] | None = None,
) -> dict[str, Statement]:
    r"""How E‖a‖ bounds integral probability metrics, with π#Q the distribution of the projections.

    Parameters
    ----------
    generated, projection : array of shape (n, …)
        x ~ Q and π(x), row by row.
    reference : array of shape (m, …)
        x ~ P, points of that M which was projected on. For other points, as held-out reals, the last two may fail.
    sigma : width of the Gaussian kernel, by default the median distance of generated to reference points
    functions : dict of names to 1-Lipschitz f, each from points `(n, d)` to values `(n,)`

    Returns
    -------
    dict
        For any map π: ``mmd``: MMD(Q, π#Q) ≤ E‖a‖ / σ; ``w1_projection``: W1(Q, π#Q) ≤ E‖a‖; each of `functions`:
        |E_Q f − E_π#Q f| ≤ E‖a‖; ``linear``: ‖E a‖ ≤ E‖a‖, the best linear f. For the nearest point only:
        ``w1_minimum``: E‖a‖ = min W1(Q, ν) over ν on the known points of M; ``w1_data``: E‖a‖ ≤ W1(Q, P).
    """
    generated, projection, reference = _alike(generated=generated, projection=projection, reference=reference)
    if len(projection) != len(generated):
        raise InputError(f"projection: {len(projection)} points; one for each of {len(generated)} generated expected")
    cost, known, artifacts = cdist(generated, reference), cdist(generated, projection), generated - projection
    expected = float(np.linalg.norm(artifacts, axis=1).mean())
    sigma = (np.median(cost) or 1.0) if sigma is None else sigma
    values = {name: abs((f(generated) - f(projection)).mean()) for name, f in (functions or {}).items()}
    values |= {"linear": np.linalg.norm(artifacts.mean(0)), "w1_projection": _transport(known)}
    return {name: Statement(float(value), "<=", expected) for name, value in values.items()} | {
        "mmd": Statement(gaussian_mmd(generated, projection, sigma=sigma), "<=", float(expected / sigma)),
        "w1_minimum": Statement(expected, "==", float(np.minimum(cost.min(1), known.min(1)).mean())),
        "w1_data": Statement(expected, "<=", _transport(cost)),
    }


def calibrated(generated_norms: np.ndarray, held_out_norms: np.ndarray) -> dict[str, float]:
    """Artifact norms of a model, `(n,)`, against those of held-out reals, `(m,)`: a finite X_R leaves both non-zero.

    Returns
    -------
    dict
        auc: probability that a generated norm exceeds a held-out one, ties count half, 1/2 where the norms do not tell;
        ratio of the means, infinite or NaN over 0; mean_generated; mean_held_out.
    """
    generated, held_out = _norms("generated_norms", generated_norms), _norms("held_out_norms", held_out_norms)
    auc = roc_auc_score(np.repeat([1, 0], [len(generated), len(held_out)]), np.concatenate([generated, held_out]))
    mean, base = generated.mean(dtype=np.float64), held_out.mean(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(mean / base)
    return {"auc": float(auc), "ratio": ratio, "mean_generated": float(mean), "mean_held_out": float(base)}


def _transport(cost: np.ndarray) -> float:
    n, m = cost.shape
    if n == m:
        return float(cost[linear_sum_assignment(cost)].mean())
    rows = sparse.kron(sparse.eye_array(n), np.ones((1, m)))
    columns = sparse.kron(np.ones((1, n)), sparse.eye_array(m))
    mass = np.repeat([float(m), float(n)], [n, m])  # n·m units in all, m from each row, n to each column
    return linprog(cost.ravel(), A_eq=sparse.vstack([rows, columns]), b_eq=mass).fun / (n * m)


def _points(name: str, x: np.ndarray) -> np.ndarray:
    x = as_array(name, x)
    if x.ndim < 2 or x.size == 0 or x.dtype.kind not in "biuf":
        raise InputError(f"{name}: {x.dtype} of shape {x.shape}; at least 1 point in an array (n, …) expected")
    x = x.reshape(len(x), -1).astype(np.float64)  # (n, d)
    if not np.isfinite(x).all():
        raise InputError(f"{name}: holds NaN or infinity; finite numbers expected")
    return x


def _alike(**points: np.ndarray) -> list[np.ndarray]:
    arrays = [_points(name, x) for name, x in points.items()]
    if len(widths := {x.shape[1] for x in arrays}) > 1:
        raise InputError(f"{', '.join(points)}: points of {sorted(widths)} coordinates; the same number expected")
    return arrays


def _norms(name: str, values: np.ndarray) -> np.ndarray:
    values = as_array(name, values)
    if (
        values.ndim != 1
        or values.dtype.kind not in "biuf"
        or len(values) == 0
        or not (np.isfinite(values) & (values >= 0)).all()
    ):
        raise InputError(f"{name}: a vector (n,) of finite numbers ≥ 0 expected, got shape {values.shape}")
    return values


def _share(name: str, members: np.ndarray, n: int) -> float:
    members = as_array(name, members)
    if members.shape != (n,) or members.dtype != bool:
        raise InputError(f"{name}: {members.dtype} of shape {members.shape}; a boolean vector ({n},) expected")
    return float(members.mean())
