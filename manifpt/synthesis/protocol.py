r"""How zero-shot attribution is judged: identification, verification and the open set, as pure functions of scores.

*Identification*, 1:N: a few images of each maker, 10 in the paper, are the gallery; every other image is given to the
maker of the highest score. *Verification*, 1:1: are two images, or two sets, of one maker? *Open set*: is a query's
maker in the gallery at all? Features are those of images, `(n, d)`, with the maker of each, `(n,)`, in blocks of the
same contents in the same order wherever a dataset has them: galleries of all makers then show the same contents.

A verdict is worth its calibrated likelihood ratio. Its cost (Brümmer & du Preez, 2006), 1 for an answer that knows
nothing, is :math:`C_{llr} = \tfrac12 \langle \log_2(1 + e^{-\ell}) \rangle_{same} + \tfrac12 \langle \log_2(1 +
e^\ell) \rangle_{different}`, and its minimum that of the best monotone calibration, made with hindsight.
"""

import numpy as np
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import f1_score, roc_auc_score, roc_curve
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.utils import gen_batches

from manifpt.utils.errors import InputError

N_PAIRS = 10_000
BLOCK = 500  # pairs that are compared at a time


class Cosine:
    """The score of the paper: the cosine of a feature with the mean feature of a maker; like `manifpt.plda.PLDA`."""

    def fit(self, X: np.ndarray, y: np.ndarray) -> "Cosine":
        """Take the gallery: features `(n, d)` and the maker of each, `(n,)`."""
        self.classes_ = np.unique(y)
        self.means_ = np.stack([X[y == name].mean(0) for name in self.classes_])
        return self

    def decision_function(self, X: np.ndarray) -> np.ndarray:
        """The cosine with each maker, `(n, k)`; that of a feature that is all zero is 0."""
        return cosine_similarity(X, self.means_)

    def compare(self, A: np.ndarray, B: np.ndarray, **_) -> np.ndarray:
        """The cosine of each row of A with the same row of B."""
        lengths = np.linalg.norm(A, axis=1) * np.linalg.norm(B, axis=1)
        return np.einsum("rd,rd->r", A, B) / np.maximum(lengths, 1e-30)


def split(labels: np.ndarray, shots: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the gallery images, int64 `(makers * shots,)`, and of the others, the queries.

    One order of images, drawn by the seed, serves all makers; what some have beyond the fewest of any is left out.
    `InputError` unless there is one image a maker in the gallery, and at least one left to query.
    """
    owned = _owned(labels)
    fewest = min(map(len, owned.values()))
    if not 1 <= shots < fewest:
        raise InputError(f"shots: {shots} images a maker in the gallery; 1 to {fewest - 1} expected")
    order = np.random.default_rng(seed).permutation(fewest)
    drawn = [index[order] for index in owned.values()]
    return np.concatenate([some[:shots] for some in drawn]), np.concatenate([some[shots:] for some in drawn])


def identification(
    scorer, features: np.ndarray, labels: np.ndarray, *, shots: int, seed: int
) -> tuple[dict[str, float], np.ndarray]:
    """1:N identification of every image outside the gallery; arguments and errors are those of `split`.

    Returns ``accuracy``, ``macro_f1`` and ``chance`` (one over the number of makers), all in [0, 1]; and which queries
    were named rightly, a bool for each, in the order of `split`.
    """
    gallery, queries = split(labels, shots, seed=seed)
    scores = scorer.fit(features[gallery], labels[gallery]).decision_function(features[queries])
    named, true = scorer.classes_[scores.argmax(1)], labels[queries]
    f1, right = f1_score(true, named, average="macro", zero_division=0), named == true
    return {"accuracy": right.mean(), "macro_f1": f1, "chance": 1 / len(scorer.classes_)}, right


def trials(labels: np.ndarray, size: int, *, seed: int, n: int = N_PAIRS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sets of `size` images, int64 `(s, size)`; pairs of sets `(p, 2)`, at most n; which are of one maker, bool `(p,)`.

    Half of the pairs are. No pair has a content twice. `InputError` unless every maker has two sets, and there are two
    makers.
    """
    owned = _owned(labels)
    each = min(map(len, owned.values())) // size if size > 0 else 0
    if each < 2 or len(owned) < 2:
        raise InputError(f"size, labels: sets of {size}, {len(owned)} makers; two sets of each of two makers expected")
    rng = np.random.default_rng(seed)
    order = rng.permutation(min(map(len, owned.values())))[: each * size].reshape(each, size)
    sets = np.concatenate([index[order] for index in owned.values()])  # (makers * each, size)
    first, second = np.triu_indices(each, 1)  # contents of a pair of one maker
    a, b = np.triu_indices(len(owned), 1)  # makers of a pair of two
    half = min(n // 2, len(owned) * len(first), len(a) * each * (each - 1))
    maker, pair = np.divmod(rng.choice(len(owned) * len(first), half, replace=False), len(first))
    alike = np.stack([maker * each + first[pair], maker * each + second[pair]], 1)
    makers, contents = np.divmod(rng.choice(len(a) * each * (each - 1), half, replace=False), each * (each - 1))
    one, step = np.divmod(contents, each - 1)
    unlike = np.stack([a[makers] * each + one, b[makers] * each + (one + 1 + step) % each], 1)
    return sets, np.concatenate([alike, unlike]), np.arange(2 * half) < half


def scored(scorer, features: np.ndarray, sets: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """The scorer's comparison of each pair of sets, `(p,)`; arguments as `trials` gives them."""
    means, size = np.stack([features[one].mean(0) for one in sets]), sets.shape[1]
    blocks = (pairs[some] for some in gen_batches(len(pairs), BLOCK))
    return np.concatenate([scorer.compare(means[a], means[b], n=size, m=size) for a, b in (some.T for some in blocks)])


def verification(ratios: np.ndarray, same: np.ndarray) -> dict[str, float]:
    """How good calibrated log-likelihood ratios `(p,)` of trials are.

    ``auc``, ``eer`` (equal error rate), ``accuracy`` of the sign, ``cllr``, ``cllr_min``.
    """
    ratios = np.asarray(ratios, np.float64)  # whose probabilities near 1 are below 1
    false, true, _ = roc_curve(same, ratios)
    best = IsotonicRegression(y_min=1e-6, y_max=1 - 1e-6).fit_transform(ratios, same)
    prior = same.mean()
    least = np.log(best / (1 - best)) - np.log(prior / (1 - prior))
    return {
        "auc": roc_auc_score(same, ratios),
        "eer": float(np.interp(0, false - (1 - true), false)),
        "accuracy": ((ratios > 0) == same).mean(),
        "cllr": cllr(ratios, same),
        "cllr_min": cllr(least, same),
    }


def cllr(ratios: np.ndarray, same: np.ndarray) -> float:
    """The cost of log-likelihood ratios, in bits; see the module."""
    return float(np.logaddexp(0, -ratios[same]).mean() + np.logaddexp(0, ratios[~same]).mean()) / np.log(4)


def open_set(known: np.ndarray, unknown: np.ndarray) -> dict[str, float]:
    """Highest scores of queries whose maker is in the gallery, and of those whose is not: ``auroc`` and ``fpr95``.

    The latter is the share of unknown ones accepted at the threshold that accepts 95 % of the known.
    """
    scores, truth = np.concatenate([known, unknown]), np.repeat([1, 0], [len(known), len(unknown)])
    accepted = (unknown >= np.quantile(known, 0.05)).mean()
    return {"auroc": roc_auc_score(truth, scores), "fpr95": accepted}


def _owned(labels: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.flatnonzero(labels == name) for name in np.unique(labels)}
