r"""Which model made this image? A network trained to tell the artifacts of models apart (ManiFPT, Sec. 4 and Fig. 3).

Training minimises the cross-entropy of the model's name given the artifact; real images are one class among the others.
Every `InputError` here comes before any training.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from manifpt.nn.classifiers import NETWORKS, SCHEDULES, Classifier, Schedule, build_classifier, train_classifier
from manifpt.utils import files
from manifpt.utils.arrays import check_artifacts, check_labels, chunks, encode, moments, take
from manifpt.utils.cache import cache_key
from manifpt.utils.compute import fast_bf16, pick_device
from manifpt.utils.errors import InputError

AUTO = {"images": "resnet8", "vectors": "mlp"}  # the network of what is to be classified
PRECISIONS = ("auto", "fp32", "bf16")
FINE_TUNING_RATE = 1e-4  # where ImageNet weights are the start


class Attributor:
    r"""A classifier of artifacts by the model that left them.

    Artifacts are arrays `(n, c, h, w)` (images) or `(n, d)` (vectors), finite, of uint8, float16, float32 or float64;
    each batch becomes float32 when its turn comes, so a memory-mapped file will do. Mean and standard deviation of the
    training set, for each channel or each entry, standardise them and are part of the checkpoint; what is constant in
    training, up to float32 rounding, is only centred. Labels are all strings or all integers.

    Parameters
    ----------
    network : {"auto", "resnet8", "cifar-resnet", "resnet50", "mlp", "xception", "yu"}
        See `manifpt.nn.classifiers`. ``auto``: ``resnet8`` for images, ``mlp`` for vectors.
    recipe : {"short", "deep", "released"}
        See `manifpt.nn.classifiers`.
    epochs, batch_size, learning_rate
        By default the recipe's; with ImageNet weights a learning rate of 1e-4. Fewer epochs squeeze the schedule.
    weights : {None, "imagenet"}
        Start of ``resnet50``: random, or ImageNet weights by torchvision.
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

    Raises
    ------
    InputError
        An unknown name, a number out of range, or a device that is not there.
    """

    def __init__(
        self,
        network: str = "auto",
        *,
        recipe: str = "short",
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weights: str | None = None,
        seed: int = 0,
        device: str = "auto",
        precision: str = "auto",
    ):
        for name, value, known in (
            ("network", network, ("auto", *NETWORKS)),
            ("recipe", recipe, tuple(SCHEDULES)),
            ("precision", precision, PRECISIONS),
            ("weights", weights, (None, "imagenet")),
        ):
            if value not in known:
                raise InputError(f"{name}: {value!r} is unknown; one of {', '.join(map(str, known))} expected")
        if weights and network != "resnet50":
            raise InputError(f"weights: {weights!r} fits network='resnet50' only, not {network!r}")
        if learning_rate is not None and not 0 < learning_rate < math.inf:
            raise InputError(f"learning_rate: {learning_rate!r}; a positive number expected")
        self.settings = {
            "network": network,
            "recipe": recipe,
            "epochs": None if epochs is None else _whole("epochs", epochs, 1),
            "batch_size": None if batch_size is None else _whole("batch_size", batch_size, 2),
            "learning_rate": None if learning_rate is None else float(learning_rate),
            "weights": weights,
            "seed": _whole("seed", seed, 0),
            "precision": precision,
        }
        self._device = pick_device(device)
        self.network_: Classifier | None = None

    def fit(
        self, artifacts, labels, *, val=None, resume: Path | str | None = None, progress: bool = False
    ) -> "Attributor":
        """Train anew on artifacts `(n, …)` and their labels `(n,)`.

        Parameters
        ----------
        val : pair of artifacts and labels
            On which each epoch is measured and the best one is chosen.
        resume : folder
            Where the state is kept once a minute, in a file named after the settings, the code and the data;
            an interrupted training continues there, to the same result as an uninterrupted one.
        progress
            Whether to show a bar.

        Raises
        ------
        InputError
            Before any training, for data of the wrong shape, length, type or value, fewer than two classes, labels in
            `val` that are not in `labels`, a network for other data, or ImageNet weights that cannot be had.
        FloatingPointError
            The loss is no longer finite: the learning rate is too high.
        """
        artifacts, labels = check_artifacts("artifacts", artifacts), check_labels("labels", labels, len(artifacts))
        classes, targets = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise InputError(f"labels: {len(classes)} class; two at least are needed to tell apart")
        if val is not None:
            if len(val) != 2:
                raise InputError(f"val: {len(val)} parts; a pair of artifacts and labels expected")
            val_artifacts = check_artifacts("val artifacts", val[0], artifacts.shape[1:])
            val = val_artifacts, encode("val labels", val[1], classes, len(val_artifacts))
        network = self._build(len(classes), *moments(artifacts), self.settings["weights"])
        path = None if resume is None else Path(resume, self._key(classes, artifacts, targets, *(val or ())))
        history, best = train_classifier(
            network,
            self._recipe(),
            len(artifacts),
            lambda rows: self._loss(network, take(artifacts, rows), targets[rows]),
            None if val is None else lambda: self._evaluate(network, *val),
            seed=self.settings["seed"],
            path=path,
            progress=progress,
        )
        self.network_, self.classes_, self.shape_ = network, classes, artifacts.shape[1:]
        self.history_, self.best_epoch_ = history, best
        return self

    def predict(self, artifacts) -> np.ndarray:
        """The most probable label of each artifact, `(n,)`; `InputError` for data unlike that of training."""
        best = self.predict_proba(artifacts).argmax(1)
        return self.classes_[best]

    def predict_proba(self, artifacts) -> np.ndarray:
        """Probability of each of `classes_`, float32 `(n, C)`, rows sum to 1; `InputError` as `predict`."""
        network, artifacts = self._fitted(artifacts)
        return self._apply(lambda batch: network(batch).softmax(1), network, artifacts)

    def features(self, artifacts) -> np.ndarray:
        """Penultimate layer, float32 `(n, width)`, width 64 to 2048 by network; `InputError` as `predict`."""
        network, artifacts = self._fitted(artifacts)
        return self._apply(network.features, network, artifacts)

    def score(self, artifacts, labels) -> float:
        """Share of artifacts whose label is predicted, in [0, 1]; `InputError` for labels unknown to training."""
        network, artifacts = self._fitted(artifacts)
        return self._evaluate(network, artifacts, encode("labels", labels, self.classes_, len(artifacts)))[1]

    def save(self, path: Path | str) -> None:
        """Write weights, standardisation, settings, history to a ``.safetensors`` file; `InputError` before `fit`."""
        network, _ = self._fitted()
        header = {"attributor": self.settings, "classes": self.classes_.tolist(), "shape": self.shape_}
        header |= {"history": self.history_, "best_epoch": self.best_epoch_}
        files.save_tensors(path, network.state_dict(), header)

    @classmethod
    def load(cls, path: Path | str, *, device: str = "auto") -> "Attributor":
        """Read what `save` wrote; `InputError` for any other file, pickles included."""
        tensors, header = files.load_tensors(path)
        try:
            self = cls(**header["attributor"], device=device)
            self.classes_, self.shape_ = np.array(header["classes"]), tuple(header["shape"])
            self.history_, self.best_epoch_ = header["history"], header["best_epoch"]
            self.network_ = self._build(len(self.classes_), tensors["mean"], tensors["sd"], weights=None)
            self.network_.load_state_dict(tensors)
        except (KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{path}: not the checkpoint of an Attributor ({error}); one written by save() expected"
            ) from error
        return self

    def _recipe(self) -> Schedule:
        given = {"learning_rate": FINE_TUNING_RATE} if self.settings["weights"] else {}
        for name in ("epochs", "batch_size", "learning_rate"):
            if self.settings[name] is not None:
                given[name] = self.settings[name]
        return replace(SCHEDULES[self.settings["recipe"]], **given)

    def _build(self, classes: int, mean, sd, weights: str | None) -> Classifier:
        name, images = self.settings["network"], mean.ndim == 3
        if name == "auto":
            name = AUTO["images" if images else "vectors"]
        if images == (name == "mlp"):
            raise InputError(
                f"network: {name!r} does not take {'images' if images else 'vectors'}; 'auto' picks one that does"
            )
        seed = self.settings["seed"]
        return build_classifier(name, classes=classes, mean=mean, sd=sd, weights=weights, seed=seed).to(self._device)

    def _autocast(self, images: bool) -> torch.autocast:
        precision = self.settings["precision"]
        bf16 = precision == "bf16" or (precision == "auto" and images and fast_bf16(self._device))
        return torch.autocast(self._device.type, torch.bfloat16, enabled=bf16)

    def _tensor(self, artifacts: np.ndarray) -> torch.Tensor:
        batch = torch.from_numpy(np.array(artifacts, np.float32)).to(self._device)
        return batch.to(memory_format=torch.channels_last) if batch.ndim == 4 else batch

    def _loss(self, network: Classifier, artifacts: np.ndarray, targets: np.ndarray) -> torch.Tensor:
        """Mean cross-entropy of one batch."""
        with self._autocast(artifacts.ndim == 4):
            return cross_entropy(network(self._tensor(artifacts)), torch.from_numpy(targets).to(self._device))

    def _apply(self, layer: Callable, network: Classifier, artifacts: np.ndarray) -> np.ndarray:
        """A layer's float32 output for all artifacts, on the CPU."""
        network.eval()
        with torch.inference_mode(), self._autocast(artifacts.ndim == 4):
            return torch.cat([layer(self._tensor(some)).float().cpu() for some in chunks(artifacts)]).numpy()

    def _evaluate(self, network: Classifier, artifacts: np.ndarray, targets: np.ndarray) -> tuple[float, float]:
        """Cross-entropy and accuracy."""
        logits, targets = torch.from_numpy(self._apply(network, network, artifacts)), torch.from_numpy(targets)
        return float(cross_entropy(logits, targets)), float((logits.argmax(1) == targets).double().mean())

    def _fitted(self, artifacts=None) -> tuple[Classifier, np.ndarray | None]:
        if self.network_ is None:
            raise InputError("attributor: not trained yet; call fit() or load() first")
        return self.network_, None if artifacts is None else check_artifacts("artifacts", artifacts, self.shape_)

    def _key(self, classes: np.ndarray, *arrays: np.ndarray) -> str:
        """Name of a state's file, by all that it depends on: settings, where it is computed, code, data."""
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(f"{array.dtype}{array.shape}".encode())
            for some in chunks(array):
                digest.update(np.ascontiguousarray(some))
        key = [self.settings, self._recipe(), self._device.type, fast_bf16(self._device), classes.tolist()]
        return f"{cache_key(key, code=__name__, data=[digest.hexdigest()])}.safetensors"


def _whole(name: str, value: int, least: int) -> int:
    if not isinstance(value, int | np.integer) or value < least:
        raise InputError(f"{name}: {value!r}; a whole number from {least} on expected")
    return int(value)
