"""Wang et al. 2020, CNNDetect: a network on images that are blurred and JPEG-compressed in training.

Theirs: ResNet50 from ImageNet weights; half of the images are blurred with a Gaussian of σ in [0, 3], half compressed
with a quality in 30 to 100, crops and horizontal flips. Ours: the network and the budget of all learned rows; no crops,
since an image is small; a class for each model; augmented images drawn before training, as many as it looks at.
"""

from functools import partial

import numpy as np
from scipy.ndimage import gaussian_filter

from manifpt.attribution import Attributor
from manifpt.baselines.base import Augmented, Labelled, Method, as_they_are
from manifpt.data.pictures import jpeg

PROBABILITY = 0.5  # of blur, and of JPEG
DRAWS = 9600  # images that the short recipe looks at


def blur_and_jpeg(images: np.ndarray, labels: np.ndarray, seed: int) -> Labelled:
    """9,600 images drawn evenly from the given ones, each flipped, blurred, compressed with probability a half."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([rng.permutation(len(images)) for _ in range(-(-DRAWS // len(images)))])[:DRAWS]
    return np.stack([_augment(image, rng) for image in images[rows]]), labels[rows]


def _augment(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One uint8 image `(c, h, w)`."""
    flipped, blurred, compressed = rng.random(3) < (0.5, PROBABILITY, PROBABILITY)
    sigma, quality = rng.uniform(0, 3), int(rng.integers(30, 101))
    if flipped:
        image = image[..., ::-1]
    if blurred:
        image = np.rint(gaussian_filter(image.astype(np.float64), (0, sigma, sigma))).astype(np.uint8)
    return jpeg(image, quality) if compressed else np.ascontiguousarray(image)


def baseline(*, seed: int = 0, epochs: int | None = None, **_) -> Method:
    """The baseline."""
    augment = partial(blur_and_jpeg, seed=seed)
    return Method(as_they_are, Augmented(Attributor(seed=seed, epochs=epochs), augment))
