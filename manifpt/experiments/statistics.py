r"""Does a result agree with the paper? A rule, applied to paired answers.

The difference in accuracy of two methods is tested by a paired bootstrap over seeds and test images: of both, as many
are drawn with replacement as there are, and the p-value is twice the share of draws on the other side of zero. With
three seeds that is cautious where trainings differ by chance in the test images alone, and somewhat liberal where the
trainings themselves differ. Where seeds ask about other images, or about pairs, images are drawn, and what is asked of
them with them. Several comparisons are corrected by Holm's method.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from manifpt.utils.errors import InputError

DRAWS = 2000
LEVEL = 0.05
VERDICTS = ("agrees", "weaker", "contradicts")


def paired_bootstrap(
    ours: np.ndarray, theirs: np.ndarray, *, images: np.ndarray | None = None, seed: int = 0
) -> tuple[float, float]:
    """Difference in accuracy and its two-sided p-value; `InputError` for answers or images of other shapes.

    Parameters
    ----------
    ours, theirs
        bool `(seeds, n)`: which answers of each method are right; same seeds, same questions.
    images
        int `(seeds, n)` or `(seeds, n, 2)`: the number, from 0 on, of the image or the two that each answer is about;
        None where all seeds have the same n. An answer about two counts as often as both are drawn, to first order.
    """
    if ours.shape != theirs.shape:
        raise InputError(f"answers of shapes {ours.shape} and {theirs.shape}; same seeds and same images expected")
    gain = ours.astype(np.float64) - theirs  # (seeds, n) in {-1, 0, 1}
    images = np.broadcast_to(np.arange(gain.shape[1]), gain.shape) if images is None else images
    if images.shape[:2] != gain.shape:
        raise InputError(f"images: shape {images.shape} for answers of shape {gain.shape}; an image for each expected")
    surplus, of_seeds = _surplus(images.max() + 1, seed), 1 + _surplus(len(gain), seed + 1)

    def drawn(values: np.ndarray, about: np.ndarray) -> np.ndarray:
        """Sum of the values of answers, `(draws,)`, each as often as its images are drawn."""
        each = about.size // len(values)
        return values.sum() + surplus @ np.bincount(about.ravel(), np.repeat(values, each), surplus.shape[1])

    gains = [drawn(one, about) / drawn(np.ones(len(one)), about) for one, about in zip(gain, images, strict=True)]
    draws = (of_seeds * np.stack(gains, axis=1)).mean(1)
    beyond = min((draws <= 0).mean(), (draws >= 0).mean())
    return float(gain.mean()), float(min(1.0, max(2 * beyond, 1 / DRAWS)))


@lru_cache(maxsize=4)
def _surplus(n: int, seed: int) -> np.ndarray:
    """How often each of n is drawn beyond once, in draws of n with replacement: float64 `(DRAWS, n)`."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), DRAWS).astype(np.float64) - 1


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
