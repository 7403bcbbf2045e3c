"""The classifier of whitened power spectra: in closed form, as they are nearly Gaussian with one covariance."""

from pathlib import Path

import numpy as np
import torch
from scipy.special import softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

from manifpt.utils import files
from manifpt.utils.errors import InputError

TEMPERATURES = np.geomspace(0.1, 100, 61)


class LinearAttributor:
    """Linear discriminant analysis with the covariance of Ledoit and Wolf, whose probabilities are made honest.

    Logits are divided by the temperature at which the val split has the least log loss: with little data, the analysis
    is too sure of itself.

    Attributes
    ----------
    classes_
        Labels, sorted, `(C,)`.
    weights_, bias_
        Float64 `(C, d)` and `(C,)`, already divided.
    """

    def fit(self, X: np.ndarray, y: np.ndarray, *, val: tuple[np.ndarray, np.ndarray]) -> "LinearAttributor":
        """Fit artifacts `(n, d)` with labels `(n,)`, at least two of each of two classes; `val` is such a pair."""
        found = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(X.astype(np.float64), y)
        two = len(found.classes_) == 2  # then the first has the logit 0
        self.classes_ = found.classes_
        self.weights_ = np.concatenate([np.zeros((1, X.shape[1])), found.coef_]) if two else found.coef_
        self.bias_ = np.concatenate([[0], found.intercept_]) if two else found.intercept_
        logits = val[0] @ self.weights_.T + self.bias_
        losses = [log_loss(val[1], softmax(logits / one, axis=1), labels=self.classes_) for one in TEMPERATURES]
        temperature = TEMPERATURES[np.argmin(losses)]
        self.weights_, self.bias_ = self.weights_ / temperature, self.bias_ / temperature
        return self

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Probability of each of `classes_`, `(n, C)`."""
        return softmax(X @ self.weights_.T + self.bias_, axis=1)

    def save(self, path: Path | str) -> None:
        """Write a ``.safetensors`` file."""
        tensors = {"weights": torch.from_numpy(self.weights_), "bias": torch.from_numpy(self.bias_)}
        files.save_tensors(path, tensors, {"linear": self.classes_.tolist()})

    @classmethod
    def load(cls, path: Path | str) -> "LinearAttributor":
        """Read what `save` wrote; `InputError` for any other file."""
        tensors, settings = files.load_tensors(path)
        if "linear" not in settings:
            raise InputError(f"{path}: not a linear classifier; one that `manifpt attribute train` wrote expected")
        self = cls()
        self.classes_ = np.array(settings["linear"])
        self.weights_, self.bias_ = tensors["weights"].numpy(), tensors["bias"].numpy()
        return self
