r"""Name the users of images: compare the keys that were read with those of all users, at a false-positive rate.

Users' keys are drawn at random, so bits that are independent of a user's key differ from it in at most δ of d places
with probability :math:`P(\mathrm{Bin}(d, 1/2) \le \delta)`, whatever the bits are; with n users, the nearest key does
so with at most n times that. This is the p of a claim. It does not hold for keys that users chose.
"""

from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from manifpt.latent.adam import AdamEstimator
from manifpt.latent.keys import NOT_OURS, Registry
from manifpt.latent.newton import NewtonEstimator
from manifpt.utils.errors import InputError

MAX_P = 1e-6


@dataclass(frozen=True)
class Claims:
    """The users of n images, out of u users."""

    decision: np.ndarray  # the user, or "not ours"; str (n,)
    bits: np.ndarray  # the keys that were read, uint8 (n, key_length)
    users: np.ndarray  # names, str (u,)
    distances: np.ndarray  # Hamming distances to their keys, int (n, u)
    p: np.ndarray  # probability that the image of someone else comes as near to any user, float64 (n,)
    loss: np.ndarray  # of the estimator, float32 (n,)


def false_positive_rate(distance: int | np.ndarray, key_length: int, users: int = 1) -> np.ndarray:
    """Largest probability that the nearest of some random keys is within `distance` bits of given ones."""
    return np.minimum(1.0, users * binom.cdf(distance, key_length, 0.5))


def attribute(
    images: np.ndarray,
    estimator: AdamEstimator | NewtonEstimator,
    registry: Registry,
    *,
    max_p: float = MAX_P,
    seed: int = 0,
) -> Claims:
    """Name the user whose key an image carries, where a wrong claim has probability below `max_p`.

    Images are uint8 `(n, c, h, w)`; the seed is that of the estimator's starts. `InputError` if there is no user, for a
    fingerprint other than the registry's, for wrong images, and for a `max_p` that is not between 0 and 1 or that keys
    of this length cannot reach.
    """
    length, users = estimator.fingerprinter.key_length, np.array(list(registry.users))
    check_claims(estimator.fingerprinter.settings, registry, max_p)
    read = estimator.estimate(images, seed=seed)
    distances = registry.distances(read.bits)
    nearest = distances.argmin(1)
    p = false_positive_rate(distances.min(1), length, len(users))
    decision = np.where(p < max_p, users[nearest], NOT_OURS)
    return Claims(decision, read.bits, users, distances, p, read.loss)


def check_claims(settings: dict, registry: Registry, max_p: float) -> None:
    """Raise `InputError` where no claim can be made: see `attribute`."""
    if not 0 < max_p < 1:
        raise InputError(f"max_p: {max_p:g}; a probability between 0 and 1 expected")
    if not registry.users:
        raise InputError(f"{registry.path}: no user; register one")
    if other := [name for name, value in settings.items() if registry.settings.get(name) != value]:
        raise InputError(
            f"{registry.path}: made for a fingerprint that differs in {', '.join(other)}; take an estimator of "
            "`LatentFingerprinter.from_settings(registry.settings)`"
        )
    best = false_positive_rate(0, settings["key_length"], len(registry.users))
    if best >= max_p:
        raise InputError(
            f"max_p: {max_p:g}, but keys of {settings['key_length']} bits and {len(registry.users)} users reach "
            f"{best:.1g} at best; longer keys or a larger max_p expected"
        )
