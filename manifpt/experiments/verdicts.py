r"""Does a result agree with the paper? A rule, applied to paired answers.

The difference in accuracy of two methods is tested by a paired bootstrap over seeds and test images: of both, as many
are drawn with replacement as there are, and the p-value is twice the share of draws on the other side of zero. With
three seeds that is cautious where trainings differ by chance in the test images alone, and somewhat liberal where the
trainings themselves differ. Several comparisons are corrected by Holm's method.
"""

from collections.abc import Sequence

import numpy as np

from manifpt.errors import InputError

DRAWS = 2000
LEVEL = 0.05
VERDICTS = ("agrees", "weaker", "contradicts")


def paired_bootstrap(ours: np.ndarray, theirs: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """Difference in accuracy and its two-sided p-value.

    Parameters
    ----------
    ours, theirs
        bool `(seeds, n)`: which test images each method named rightly; same seeds, same images.
    seed
        Of the draws.

    Raises
    ------
    InputError
        Answers of two shapes.
    """
    if ours.shape != theirs.shape:
        raise InputError(f"answers of shapes {ours.shape} and {theirs.shape}; same seeds and same images expected")
    gain = ours.astype(np.float64) - theirs  # (seeds, n) in {-1, 0, 1}
    seeds, n = gain.shape
    rng = np.random.default_rng(seed)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), DRAWS) / seeds  # (draws, seeds)
    kinds, counts = np.unique(gain.T, axis=0, return_counts=True)  # images that fare alike are drawn together
    of_kinds = rng.multinomial(n, counts / n, DRAWS) / n  # (draws, kinds)
    draws = np.einsum("ds,ks,dk->d", of_seeds, kinds, of_kinds, optimize=True)
    beyond = min((draws <= 0).mean(), (draws >= 0).mean())
    return float(gain.mean()), float(min(1.0, max(2 * beyond, 1 / DRAWS)))


def together(p: Sequence[float]) -> float:
    """One p-value of the same test repeated: twice the median, which holds however they depend (Rüschendorf 1982)."""
    return float(min(1.0, 2 * np.median(p)))


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values of several tests (Holm 1979), in the given order."""
    p = np.asarray(p, np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(adjusted, 1.0)[np.argsort(order)]


def verdict(gains: Sequence[float], p: Sequence[float]) -> str:
    """How a claim "ours is above each of these" fares, from differences in accuracy and adjusted p-values.

    ``agrees`` if every difference is positive and significant, ``contradicts`` if one is negative and significant,
    else ``weaker``.
    """
    gains, significant = np.asarray(gains), np.asarray(p) < LEVEL
    if (significant & (gains < 0)).any():
        return "contradicts"
    return "agrees" if (significant & (gains > 0)).all() else "weaker"
