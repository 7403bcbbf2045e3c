"""Yu et al. 2019: the penultimate layer of a network is an image's fingerprint, its last layer holds the models' ones.

Theirs: 3x3 convolutions, leaky ReLU, average pooling at every resolution, widths up to 512, Adam, horizontal flips.
Ours: the same layers from 32x32 down at a quarter of the widths (`manifpt.nn.classifiers`), with the budget of all
learned rows; flipped copies are added to the training images.
"""

import numpy as np

from manifpt.attribution import Attributor
from manifpt.baselines.base import Augmented, Labelled, Method, as_they_are


def with_flips(images: np.ndarray, labels: np.ndarray) -> Labelled:
    """The images and their mirror images."""
    return np.concatenate([images, images[..., ::-1]]), np.concatenate([labels, labels])


def baseline(*, seed: int = 0, epochs: int | None = None, **_) -> Method:
    """The baseline."""
    return Method(as_they_are, Augmented(Attributor("yu", seed=seed, epochs=epochs), with_flips))
