"""A method of attribution in two halves: what it is shown of an image, and a classifier of that.

The first half looks at each image alone and learns nothing, so what it gives can be computed once and shared by many
trainings. `Attributor` is such a classifier; the others are here.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

from manifpt.embeddings import check_images
from manifpt.utils.arrays import check_labels
from manifpt.utils.errors import InputError

BLOCK = 1024  # images shown at a time
Labelled = tuple[np.ndarray, np.ndarray]  # rows, and the model that each is of


class Classifier(Protocol):
    """Rows `(n, …)` to the names of models."""

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Classifier":
        """Train; a learned classifier keeps the epoch that is best on `val`, the others have no use for it."""
        ...

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Label of each row, `(n,)`."""
        ...

    def features(self, rows: np.ndarray) -> np.ndarray:
        """What the decision is made of, float32 `(n, d)`: the penultimate layer, or the hand-crafted features."""
        ...


class Method:
    """A method of attribution: uint8 images `(n, c, h, w)` to the names of the models that made them.

    Wrong images or labels are an `InputError`, before any training.

    Parameters
    ----------
    show
        uint8 images `(m, c, h, w)` to what the classifier is shown of each, `(m, …)`.
    classifier
        Of that.
    """

    def __init__(self, show: Callable[[np.ndarray], np.ndarray], classifier: Classifier):
        self.show, self.classifier = show, classifier

    def represent(self, images: np.ndarray) -> np.ndarray:
        """What the classifier is shown of images, `(n, …)`."""
        check_images(images)
        blocks = range(0, len(images), BLOCK)
        return np.concatenate([self.show(images[start : start + BLOCK]) for start in blocks])

    def fit(self, images: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Method":
        """Train on images and their labels `(n,)`; `val` as in `Classifier.fit`."""
        check_images(images)
        labels = check_labels("labels", labels, len(images))
        if len(np.unique(labels)) < 2:
            raise InputError("labels: 1 class; two at least are needed to tell apart")
        self.classifier.fit(
            self.represent(images), labels, val=None if val is None else (self.represent(val[0]), val[1])
        )
        return self

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Label of each image, `(n,)`."""
        return self.classifier.predict(self.represent(images))

    def features(self, images: np.ndarray) -> np.ndarray:
        """What the decision is made of, float32 `(n, d)`."""
        return self.classifier.features(self.represent(images))


class HandCrafted:
    """A classifier of scikit-learn; the rows `(n, d)` are the features."""

    def __init__(self, estimator):
        self.estimator = estimator

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "HandCrafted":
        """As `Classifier`."""
        self.estimator.fit(rows, labels)
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """As `Classifier`."""
        return self.estimator.predict(rows)

    def features(self, rows: np.ndarray) -> np.ndarray:
        """The rows themselves."""
        return rows.astype(np.float32)


class Augmented:
    """A learned classifier that is trained on other rows than it is given.

    Parameters
    ----------
    classifier
        What is trained.
    augment
        Rows and labels to those that it is trained on.
    """

    def __init__(self, classifier: Classifier, augment: Callable[[np.ndarray, np.ndarray], Labelled]):
        self.classifier, self.augment = classifier, augment
        self.predict, self.features = classifier.predict, classifier.features

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Augmented":
        """As `Classifier`."""
        self.classifier.fit(*self.augment(rows, labels), val=val)
        return self


def as_they_are(images: np.ndarray) -> np.ndarray:
    """The images themselves; an `Attributor` standardises them."""
    return images
