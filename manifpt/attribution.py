r"""Which model made this image? A network trained to tell the artifacts of models apart (ManiFPT, Sec. 4 and Fig. 3).

Training minimises the cross-entropy of the model's name given the artifact; real images are one class among the others.
Every `InputError` here comes before any training.
"""

import math
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch.nn.functional import cross_entropy

from manifpt.nn.classifiers import NETWORKS, SCHEDULES, Classifier, Schedule, build_classifier, train_classifier
from manifpt.utils import files
from manifpt.utils.arrays import check_artifacts, check_labels, chunks, encode, moments, take
from manifpt.utils.cache import cache_key
from manifpt.utils.compute import fast_bf16, pick_device
from manifpt.utils.errors import InputError, check_choice

AUTO = {"images": "resnet8", "vectors": "mlp"}  # the network of what is to be classified
PRECISIONS = ("auto", "fp32", "bf16")


class Attributor(ClassifierMixin, BaseEstimator):
    r"""A classifier of artifacts by the model that left them: a classifier of scikit-learn.

    Artifacts are arrays `(n, c, h, w)` (images) or `(n, d)` (vectors), finite, of uint8, float16, float32 or float64;
    each batch becomes float32 when its turn comes, so a memory-mapped file will do. Mean and standard deviation of the
    training set, for each channel or each entry, standardise them and are part of the checkpoint; what is constant in
    training, up to float32 rounding, is only centred. Labels are all strings or all integers.

    Parameters
    ----------
    network : {"auto", "resnet8", "cifar-resnet", "resnet50", "mlp", "xception", "yu"}
        See `manifpt.nn.classifiers`. ``auto``: ``resnet8`` for images, ``mlp`` for vectors.
    schedule : {"short", "deep", "released"}
        How long and how fast to train.
    epochs, batch_size, learning_rate
        By default the schedule's. Fewer epochs squeeze the schedule.
    seed : int
        Of the weights and of the order of the images: on one processor, with one number of threads, one seed gives one
        result. Global random generators are neither read nor changed.
    device : str
        ``auto``: CUDA, MPS, CPU, whichever is first there.
    precision : {"auto", "fp32", "bf16"}
        Of convolutions and matrix products; weights stay float32. ``auto``: bf16 for images where the processor has it.

    Attributes
    ----------
    classes_ : array of the C labels, sorted.
    history_ : one dict an epoch: epoch (from 1), loss (mean of its batches), val_loss and val_accuracy (or None).
    best_epoch_ : the epoch whose weights were kept: highest val_accuracy, earliest of equals; without val the last.
    network_ : the trained `Classifier`.
    shape_ : shape of one artifact; `n_features_in_`, the d of vectors.

    Examples
    --------
    >>> artifacts = np.random.default_rng(0).normal(size=(40, 6)) + np.repeat([[0], [3]], 20, axis=0)
    >>> attributor = Attributor(epochs=1).fit(artifacts, ["dcgan"] * 20 + ["real"] * 20)
    >>> attributor.predict_proba(artifacts[:5]).shape, attributor.classes_.tolist()
    ((5, 2), ['dcgan', 'real'])
    """

    def __init__(
        self,
        network: str = "auto",
        *,
        schedule: str = "short",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
    ):
        self.network, self.schedule, self.epochs, self.batch_size = network, schedule, epochs, batch_size
        self.learning_rate, self.seed, self.device, self.precision = learning_rate, seed, device, precision

    def check(self) -> None:
        """Raise `InputError` for an unknown name, a number out of range, a device that is not there; `fit` does so."""
        for name, known in (("network", ("auto", *NETWORKS)), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            check_choice(f"{name}:", getattr(self, name), known)
        for name, least in (("epochs", 1), ("batch_size", 2), ("seed", 0)):
            value = getattr(self, name)
            if (value is not None or name == "seed") and (not isinstance(value, int | np.integer) or value < least):
                raise InputError(f"{name}: {value!r}; a whole number from {least} on expected")
        if self.learning_rate is not None and not 0 < self.learning_rate < math.inf:
            raise InputError(f"learning_rate: {self.learning_rate!r}; a positive number expected")
        pick_device(self.device)

    def fit(self, X, y, *, val=None, resume: Path | str | None = None, progress: bool = False) -> "Attributor":
        """Train anew on artifacts `(n, …)` and their labels `(n,)`.

        Parameters
        ----------
        val : pair of artifacts and labels
            On which each epoch is measured and the best one is chosen.
        resume : folder
            Where the state is kept once a minute, in a file named after all that it depends on; an interrupted
            training continues there, to the same result as an uninterrupted one.
        progress
            Whether to show a bar.

        Raises
        ------
        InputError
            Before any training, for parameters out of range, data of the wrong shape, length, type or value, fewer than
            two classes, labels in `val` that are not in `y`, or a network for other data.
        FloatingPointError
            The loss is no longer finite: the learning rate is too high.
        """
        self.check()
        artifacts, labels = check_artifacts("artifacts", X), check_labels("labels", y, len(X))
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"labels: {len(classes)} class; two at least are needed to tell apart")
        if val is not None:
            if len(val) != 2:
                raise InputError(f"val: {len(val)} parts; a pair of artifacts and labels expected")
            val_artifacts = check_artifacts("val artifacts", val[0], artifacts.shape[1:])
            val = val_artifacts, encode("val labels", val[1], classes, len(val_artifacts))
        network = self._build(len(classes), *moments(artifacts))
        history, best = train_classifier(
            network,
            self._schedule(),
            len(artifacts),
            lambda rows: self._loss(network, take(artifacts, rows), targets[rows]),
            None if val is None else lambda: self._evaluate(network, *val),
            seed=self.seed,
            path=None if resume is None else Path(resume, self._key(classes, artifacts, targets, *(val or ()))),
            progress=progress,
        )
        self._keep(network, classes, artifacts.shape[1:], history, best)
        return self

    def predict(self, X) -> np.ndarray:
        """The most probable label of each artifact, `(n,)`; `InputError` for data unlike that of training."""
        best = self.predict_proba(X).argmax(1)
        return self.classes_[best]

    def predict_proba(self, X) -> np.ndarray:
        """Probability of each of `classes_`, float32 `(n, C)`, rows sum to 1; `InputError` as `predict`."""
        return self._apply(lambda network, batch: network(batch).softmax(1), *self._fitted(X))

    def features(self, X) -> np.ndarray:
        """Penultimate layer, float32 `(n, width)`, width 64 to 2048 by network; `InputError` as `predict`."""
        return self._apply(Classifier.features, *self._fitted(X))

    def save(self, path: Path | str) -> None:
        """Write weights, standardisation, parameters and history of a trained network to a ``.safetensors`` file."""
        check_is_fitted(self, "network_")
        header = {"attributor": self._settings(), "classes": self.classes_.tolist(), "shape": self.shape_}
        header |= {"history": self.history_, "best_epoch": self.best_epoch_}
        files.save_tensors(path, self.network_.state_dict(), header)

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto") -> "Attributor":
        """Read what `save` wrote; `InputError` for any other file, pickles included."""
        tensors, header = files.load_tensors(path)
        try:
            self = cls(**header["attributor"], device=device)
            classes, shape = np.array(header["classes"]), tuple(header["shape"])
            network = self._build(len(classes), tensors["mean"], tensors["sd"])
            network.load_state_dict(tensors)
            self._keep(network, classes, shape, header["history"], header["best_epoch"])
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{path}: not the checkpoint of an Attributor ({error}); one written by save() expected"
            ) from error
        return self

    def _keep(self, network: Classifier, classes: np.ndarray, shape: tuple[int, ...], history: list, best: int) -> None:
        self.network_, self.classes_, self.shape_ = network, classes, shape
        self.history_, self.best_epoch_ = history, best
        if len(shape) == 1:
            self.n_features_in_ = shape[0]

    def _settings(self) -> dict:
        """The parameters as JSON has them, but for the device."""
        found = {key: one.item() if isinstance(one, np.generic) else one for key, one in self.get_params().items()}
        return {key: one for key, one in found.items() if key != "device"}

    def _schedule(self) -> Schedule:
        given = {name: getattr(self, name) for name in ("epochs", "batch_size", "learning_rate")}
        return replace(SCHEDULES[self.schedule], **{name: value for name, value in given.items() if value is not None})

    def _build(self, classes: int, mean, sd) -> Classifier:
        kind = "images" if mean.ndim == 3 else "vectors"
        name = AUTO[kind] if self.network == "auto" else self.network
        if (kind == "images") == (name == "mlp"):
            raise InputError(f"network: {name!r} does not take {kind}; 'auto' picks one that does")
        return build_classifier(name, classes=classes, mean=mean, sd=sd, seed=self.seed).to(pick_device(self.device))

    def _autocast(self, network: Classifier, images: bool) -> torch.autocast:
        device = network.mean.device
        bf16 = self.precision == "bf16" or (self.precision == "auto" and images and fast_bf16(device))
        return torch.autocast(device.type, torch.bfloat16, enabled=bf16)

    def _loss(self, network: Classifier, artifacts: np.ndarray, targets: np.ndarray) -> torch.Tensor:
        """Mean cross-entropy of one batch."""
        with self._autocast(network, artifacts.ndim == 4):
            logits = network(_tensor(artifacts, network))
            return cross_entropy(logits, torch.from_numpy(targets).to(logits.device))

    def _apply(self, layer: Callable, network: Classifier, artifacts: np.ndarray) -> np.ndarray:
        """A layer's float32 output for all artifacts, on the CPU."""
        network.eval()
        with torch.inference_mode(), self._autocast(network, artifacts.ndim == 4):
            parts = [layer(network, _tensor(some, network)).float().cpu() for some in chunks(artifacts)]
        return torch.cat(parts).numpy()

    def _evaluate(self, network: Classifier, artifacts: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Cross-entropy and accuracy."""
        logits = torch.from_numpy(self._apply(Classifier.forward, network, artifacts))
        loss = cross_entropy(logits, torch.from_numpy(targets))
        return float(loss), float((logits.argmax(1).numpy() == targets).mean())

    def _fitted(self, X) -> tuple[Classifier, np.ndarray]:
        check_is_fitted(self, "network_")
        return self.network_, check_artifacts("artifacts", X, self.shape_)

    def _key(self, classes: np.ndarray, *arrays: np.ndarray) -> str:
        """Name of a state's file: parameters, schedule, where it is computed, code, data."""
        device = pick_device(self.device)
        settings = [self._settings(), asdict(self._schedule()), device.type, fast_bf16(device), classes.tolist()]
        return f"{cache_key(settings, code=__name__, data=arrays)}.safetensors"


def _tensor(artifacts: np.ndarray, network: Classifier) -> torch.Tensor:
    """A batch as float32 on the network's device."""
    batch = torch.from_numpy(np.array(artifacts, np.float32)).to(network.mean.device)
    return batch.to(memory_format=torch.channels_last) if batch.ndim == 4 else batch
