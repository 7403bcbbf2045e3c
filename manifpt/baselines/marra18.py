"""Marra et al. 2018: XceptionNet, the most robust of the detectors they compare.

Theirs: XceptionNet from ImageNet weights on images of 299 pixels. Ours: depthwise separable convolutions in residual
blocks at a small width (`manifpt.nn.classifiers`), from random weights, with the budget of all learned rows.
"""

from manifpt.attribution import Attributor
from manifpt.baselines.base import Method, as_they_are


def baseline(*, seed: int = 0, epochs: int | None = None, **_) -> Method:
    """The baseline."""
    return Method(as_they_are, Attributor("xception", seed=seed, epochs=epochs))
