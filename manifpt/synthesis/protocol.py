r"""Identification and verification of models that nobody trained on, by the features of their images.

Pure functions of features `(n, d)` and the model of each, `(n,)`. The score of two features is their cosine.
*Identification*, 1:N: the mean feature of a few images of each model, 10 in the paper's code, is its gallery entry, and
a query image is given to the entry of the highest score. *Verification*, 1:1: do two images come from one model? A
threshold on the score decides; it is chosen on other images. The best one for the judged pairs is called the oracle.
"""

from collections.abc import Callable, Sequence

import numpy as np
from sklearn.metrics import f1_score, roc_auc_score, roc_curve
from sklearn.metrics.pairwise import cosine_similarity

from manifpt.utils.errors import InputError

N_PAIRS = 10_000


def split(labels: np.ndarray, shots: int, *, seed: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the gallery images, int64 `(models * shots,)`, and of the others, the queries.

    Labels `(n,)` are the models of images. Of each model, `shots` images are drawn by the seed; if it is None, the
    first ones are taken, as the paper's code does. `InputError` unless there is one, and at least one left to query.
    """
    names, counts = np.unique(labels, return_counts=True)
    if shots < 1 or (counts <= shots).any():
        raise InputError(
            f"shots: {shots} images a model in the gallery, of {counts.min()} that {names[counts.argmin()]} has; "
            f"1 to {counts.min() - 1} expected"
        )
    order = np.arange(len(labels)) if seed is None else np.random.default_rng(seed).permutation(len(labels))
    gallery = np.concatenate([order[labels[order] == name][:shots] for name in names])
    return gallery, np.setdiff1d(order, gallery)


def similarities(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The k models, sorted, and the cosine of each query with each model's mean feature, `(m, k)` in [-1, 1].

    Gallery `(n, d)` and queries `(m, d)` are features, labels `(n,)` the gallery's models. The cosine of a feature that
    is all zero is 0.
    """
    models = np.unique(labels)
    means = np.stack([gallery[labels == name].mean(0) for name in models])  # (k, d)
    return models, cosine_similarity(queries, means)


def identification(
    features: np.ndarray, labels: np.ndarray, *, shots: int, seed: int | None
) -> tuple[dict[str, float], np.ndarray]:
    """1:N identification of every image outside the gallery; arguments and errors are those of `split`.

    Returns ``accuracy``, ``macro_f1`` and ``chance`` (one over the number of models), all in [0, 1]; and which queries
    were named rightly, bool `(n - models * shots,)`, in the order of `split`.
    """
    features, labels = _checked(features, labels)
    gallery, queries = split(labels, shots, seed=seed)
    models, cosine = similarities(features[gallery], labels[gallery], features[queries])
    named, true = models[cosine.argmax(1)], labels[queries]
    f1 = f1_score(true, named, average="macro", labels=models, zero_division=0)
    right = named == true
    return {"accuracy": float(right.mean()), "macro_f1": float(f1), "chance": 1 / len(models)}, right


def pairs(labels: np.ndarray, n: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw n pairs of different images: indices int64 `(n, 2)`, and whether each pair is of one model, bool `(n,)`.

    The first half is. As released, two images are drawn uniformly, again and again until they are of the wanted kind.
    `InputError` for one model, no model with two images, and n odd or below 2.
    """
    counts = np.unique(labels, return_counts=True)[1]
    if len(counts) < 2 or counts.max() < 2:
        raise InputError(f"labels: {len(counts)} models, {counts.max(initial=0)} images of one at most; 2 and 2 needed")
    if n < 2 or n % 2:
        raise InputError(f"n: {n} pairs; an even number of 2 or more expected, half of each kind")
    rng, found = np.random.default_rng(seed), {True: np.empty((0, 2), int), False: np.empty((0, 2), int)}
    while min(map(len, found.values())) < n // 2:
        drawn = rng.integers(len(labels), size=(n, 2))
        drawn = drawn[drawn[:, 0] != drawn[:, 1]]
        same = labels[drawn[:, 0]] == labels[drawn[:, 1]]
        found = {kind: np.concatenate([kept, drawn[same == kind]]) for kind, kept in found.items()}
    return np.concatenate([found[True][: n // 2], found[False][: n // 2]]), np.arange(n) < n // 2


def verification(
    features: np.ndarray, labels: np.ndarray, *, held_out: np.ndarray, seed: int, n_pairs: int = N_PAIRS
) -> tuple[dict[str, float], np.ndarray]:
    """1:1 verification on as many pairs of one model as of two; errors are those of `pairs`.

    Images that are `held_out`, bool `(n,)`, only serve to choose the threshold, by `n_pairs` pairs. The others are
    judged. Returns ``auc``; ``threshold``, the best one for the held-out pairs, and the ``accuracy`` at it;
    ``accuracy_oracle``, at the best one for the judged pairs (as the paper's code reports). And which judged pairs the
    held-out threshold decides rightly, bool `(n_pairs,)`.
    """
    features, labels = _checked(features, labels)
    scores, same = _scores(features[~held_out], labels[~held_out], n_pairs, seed)
    threshold = best_threshold(*_scores(features[held_out], labels[held_out], n_pairs, seed))
    right = (scores >= threshold) == same
    return {
        "auc": float(roc_auc_score(same, scores)),
        "accuracy": float(right.mean()),
        "accuracy_oracle": float(((scores >= best_threshold(scores, same)) == same).mean()),
        "threshold": threshold,
    }, right


def best_threshold(scores: np.ndarray, same: np.ndarray) -> float:
    """The threshold t at which the rule "same where score ≥ t" is right most often, for balanced pairs `(n,)`."""
    false, true, thresholds = roc_curve(same, scores, drop_intermediate=False)
    return float(thresholds[(true - false).argmax()])


def nine_crops(image: np.ndarray, size: int) -> np.ndarray:
    """Nine crops on a grid that spans an image `(c, h, w)`: `(9, c, size, size)`, or `(1, …)` where it has that size.

    As released, with strides (h - size) // 2 and (w - size) // 2. `InputError` for an image smaller than `size`.
    """
    h, w = image.shape[-2:]
    if min(h, w) < size:
        raise InputError(f"image of {w}x{h}: smaller than the crops; at least {size}x{size} expected")
    if h == w == size:
        return image[None]
    down, right = (h - size) // 2, (w - size) // 2
    corners = [(i * down, j * right) for i in range(3) for j in range(3)]
    return np.stack([image[:, top : top + size, left : left + size] for top, left in corners])


def crop_features(
    images: Sequence[np.ndarray], extract: Callable[[np.ndarray], np.ndarray], *, size: int
) -> np.ndarray:
    """Feature of each image `(c, h, w)`, of any size: the mean over its nine crops, `(n, d)`.

    `extract` maps images `(m, c, size, size)` to features `(m, d)`.
    """
    return np.stack([extract(nine_crops(image, size)).mean(0) for image in images])


def _scores(features: np.ndarray, labels: np.ndarray, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    drawn, same = pairs(labels, n, seed=seed)
    rows = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return (rows[drawn[:, 0]] * rows[drawn[:, 1]]).sum(1), same


def _checked(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    features, labels = np.asarray(features), np.asarray(labels)
    if features.ndim != 2 or labels.shape != (len(features),) or not np.isfinite(features).all():
        raise InputError(
            f"features, labels: {features.shape} and {labels.shape}; finite (n, d) and one model each, (n,), expected"
        )
    return features, labels
