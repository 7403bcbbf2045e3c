"""A method of attribution in two halves: a fixed representation of each image, and a classifier of representations.

The first half looks at each image alone and learns nothing, so its output can be computed once and shared by many
trainings. `Attributor` is such a classifier; the others are here.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from manifpt.utils.arrays import as_images, check_labels
from manifpt.utils.errors import InputError

BLOCK = 1024  # images represented at a time
Labelled = tuple[np.ndarray, np.ndarray]  # rows, and the model that each is of


class Classifier(Protocol):
    """Rows `(n, …)` to the names of models, `(n,)`. A learned one keeps the epoch that is best on `val`.

    `features`, float32 `(n, d)`, are what the decision rests on: the penultimate layer, or the hand-crafted features.
    """

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Classifier": ...

    def predict(self, rows: np.ndarray) -> np.ndarray: ...

    def features(self, rows: np.ndarray) -> np.ndarray: ...


class Method:
    """A method of attribution: images (`manifpt.utils.arrays.as_images`) to the names of the models that made them.

    `show` is the representation, uint8 images `(m, c, h, w)` to `(m, …)`; the classifier is one of representations.
    Wrong images or labels are an `InputError`, before any training.
    """

    def __init__(self, show: Callable[[np.ndarray], np.ndarray], classifier: Classifier):
        self.show, self.classifier = show, classifier

    def represent(self, images) -> np.ndarray:
        """The representation of each image, `(n, …)`."""
        images = as_images(images)
        blocks = range(0, len(images), BLOCK)
        return np.concatenate([self.show(images[start : start + BLOCK]) for start in blocks])

    def fit(self, images, labels: np.ndarray, *, val: Labelled | None = None) -> "Method":
        """Train on images and their labels `(n,)`; `val` as in `Classifier.fit`."""
        images = as_images(images)
        labels = check_labels("labels", labels, len(images))
        if len(np.unique(labels)) < 2:
            raise InputError("labels: 1 class; two at least are needed to tell apart")
        val = None if val is None else (self.represent(val[0]), val[1])
        self.classifier.fit(self.represent(images), labels, val=val)
        return self

    def predict(self, images) -> np.ndarray:
        """Label of each image, `(n,)`."""
        return self.classifier.predict(self.represent(images))

    def features(self, images) -> np.ndarray:
        """What the decision rests on, float32 `(n, d)`."""
        return self.classifier.features(self.represent(images))


class HandCrafted:
    """A classifier of scikit-learn; the rows `(n, d)` are the features. Methods are those of `Classifier`."""

    def __init__(self, estimator):
        self.estimator, self.predict = estimator, estimator.predict

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "HandCrafted":
        self.estimator.fit(rows, labels)
        return self

    def features(self, rows: np.ndarray) -> np.ndarray:
        return rows.astype(np.float32)


class Augmented:
    """A learned classifier that is trained on the rows and labels that `augment` makes of those given."""

    def __init__(self, classifier: Classifier, augment: Callable[[np.ndarray, np.ndarray], Labelled]):
        self.classifier, self.augment = classifier, augment
        self.predict, self.features = classifier.predict, classifier.features

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Augmented":
        self.classifier.fit(*self.augment(rows, labels), val=val)
        return self


def as_they_are(images: np.ndarray) -> np.ndarray:
    """The images themselves; an `Attributor` standardises them."""
    return images


def intensity(images: np.ndarray) -> np.ndarray:
    """Luma 0.299 R + 0.587 G + 0.114 B, float64 `(n, h, w)` in [0, 255], of uint8 images; grey ones as they are."""
    if images.shape[1] == 1:
        return images[:, 0].astype(np.float64)
    return np.tensordot(images.astype(np.float64), (0.299, 0.587, 0.114), axes=(1, 0))
