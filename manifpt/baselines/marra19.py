r"""Marra et al. 2019: the mean noise residual of a model is its fingerprint.

With the residual :math:`R(x)` of a denoiser and the fingerprint :math:`F_m` of a model, the mean of its residuals, the
model with the highest normalised correlation :math:`\langle R(x), F_m \rangle / (\|R(x)\| \|F_m\|)` is named; both are
centred. Theirs: BM3D or a wavelet denoiser. Ours: the denoiser trained on the real set (`manifpt.nn.dncnn`).
"""

import numpy as np
import torch

from manifpt.baselines.base import Labelled, Method
from manifpt.nn import dncnn
from manifpt.utils.errors import InputError


class Correlation:
    """Names the model whose mean row correlates best with a row; see `manifpt.baselines.base.Classifier`."""

    def __init__(self):
        self.fingerprints_: np.ndarray | None = None

    def fit(self, rows: np.ndarray, labels: np.ndarray, *, val: Labelled | None = None) -> "Correlation":
        """Average the rows `(n, d)` of each model."""
        self.classes_ = np.unique(labels)
        self.fingerprints_ = normalised(np.stack([rows[labels == name].mean(0) for name in self.classes_]))
        return self

    def predict(self, rows: np.ndarray) -> np.ndarray:
        """The model of the highest correlation."""
        best = self.features(rows).argmax(1)
        return self.classes_[best]

    def features(self, rows: np.ndarray) -> np.ndarray:
        """Correlation with each model's fingerprint, float32 `(n, C)` in [-1, 1]."""
        if self.fingerprints_ is None:
            raise InputError("marra19: not trained yet; call fit() first")
        return normalised(rows) @ self.fingerprints_.T


def normalised(rows: np.ndarray) -> np.ndarray:
    """Rows `(n, d)` less their mean, of unit length; a constant row becomes zero."""
    rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def baseline(*, real: str, **_) -> Method:
    """The baseline; `real` names the real set whose denoiser gives the residuals."""
    network = dncnn.load_denoiser(dataset=real)

    @torch.inference_mode()
    def residual(images: np.ndarray) -> np.ndarray:
        return network(torch.from_numpy(images.astype(np.float32) / np.float32(255))).flatten(1).numpy()

    return Method(residual, Correlation())
