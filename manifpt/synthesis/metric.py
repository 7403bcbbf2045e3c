"""The metric in which makers of images are compared: what photographs and synthetic models teach, and no generator.

Photographs give the Gaussian of power spectra by which artifacts are whitened (`manifpt.manifold`): how contents vary.
Synthetic models, one of each architecture, give the directions in which makers move a spectrum (`manifpt.plda`): how
makers vary. Images of generators only calibrate the odds: of those that ship, the networks of gm-upscaled.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch

from manifpt.embeddings import embed, images_of
from manifpt.manifold import Manifold
from manifpt.plda import PLDA, Calibration
from manifpt.synthesis.solved import STATISTICS_ON, synthesise
from manifpt.utils import files
from manifpt.utils.arrays import as_images
from manifpt.utils.errors import InputError

SIDE = 32  # of the middles of the real images that synthetic models are shown: larger ones taught no more
EACH = 16  # images a synthetic model
SHIPPED = Path(__file__).with_name("metric.safetensors")


@dataclass(frozen=True)
class Metric:
    """Mean `(d,)` and whitening `(d, d)` of real images in ``psd``; whitened directions of synthetic makers `(k, d)`.

    The calibration turns likelihood ratios into honest ones; None where it was not learnt.
    """

    mean: np.ndarray
    whitening: np.ndarray
    makers: np.ndarray
    calibration: Calibration | None = None

    @classmethod
    def learn(cls, reals, *, seed: int = 0, calibration: Calibration | None = None) -> "Metric":
        """Learn from real images in seconds; of any size from 32x32, and `InputError` for fewer than 24."""
        reals = images_of(reals, "psd", "reals")
        if len(reals) < STATISTICS_ON + EACH:
            raise InputError(f"reals: {len(reals)} images; at least {STATISTICS_ON + EACH} expected")
        manifold = Manifold("psd", estimator="gaussian").fit(reals)
        middles = as_images([_middle(image) for image in reals], "reals")
        before, moved = embed(middles, "psd"), []
        for index, made in synthesise(middles, each=EACH, seed=seed):
            moved.append((embed(made, "psd") - before[index]).mean(0))
        return cls(manifold.mean_, manifold.whitening_, np.stack(moved) @ manifold.whitening_, calibration)

    def artifacts(self, images) -> np.ndarray:
        """Whitened artifacts of images of any size, float64 `(n, d)`; see `manifpt.embeddings.embed`."""
        vectors = embed(images, "psd")
        if vectors.shape[1] != len(self.mean):
            channels = "three channels" if len(self.mean) > 400 else "one channel"
            raise InputError(f"images: the metric was learnt from images of {channels}; the same expected")
        return (vectors - self.mean) @ self.whitening

    def plda(self, **parameters) -> PLDA:
        """A `PLDA` that knows these makers."""
        return PLDA(self.makers, calibration=self.calibration, **parameters)

    def save(self, path: Path | str) -> None:
        """Write one ``.safetensors`` file of a few hundred kB."""
        lower = np.tril_indices(len(self.mean))
        arrays = {"mean": self.mean, "whitening": self.whitening[lower]}
        tensors = {name: torch.from_numpy(array).float() for name, array in arrays.items()}
        tensors["makers"] = torch.from_numpy(self.makers).half()
        files.save_tensors(path, tensors, {"calibration": self.calibration})

    @classmethod
    def load(cls, path: Path | str = SHIPPED) -> "Metric":
        """Read a file of `save`, by default the metric that ships; `InputError` for any other."""
        tensors, settings = files.load_tensors(path)
        try:
            mean, lower, makers = (tensors[name].double().numpy() for name in ("mean", "whitening", "makers"))
            whitening = np.zeros((len(mean), len(mean)))
            whitening[np.tril_indices(len(mean))] = lower
            calibration = Calibration(*settings["calibration"]) if settings["calibration"] else None
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: no metric; a file that `Metric.save` wrote expected") from error
        return cls(mean, whitening + np.tril(whitening, -1).T, makers, calibration)


@cache
def shipped() -> Metric:
    """The metric that ships: of the reference crops of `manifpt.load_real("photographs")`."""
    return Metric.load()


def _middle(image: np.ndarray) -> np.ndarray:
    if min(image.shape[1:]) < SIDE:
        raise InputError(f"reals: one of {image.shape[2]}x{image.shape[1]}; at least {SIDE}x{SIDE} pixels expected")
    top, left = ((side - SIDE) // 2 for side in image.shape[1:])
    return image[:, top : top + SIDE, left : left + SIDE]
