r"""Embeddings φ: image batches to vectors, in the four spaces of the paper.

============================  ===============================================================  ==========
space                         φ                                                                d at 32x32
============================  ===============================================================  ==========
``rgb``                       pixels in [0, 1], flattened                                      1,024 c
``freq``                      log(|fftshift(fft2(x))| + 1e-12) per channel, flattened          1,024 c
``sl``                        supervised: ImageNet EfficientNet-Lite0, images resized to 64    1,280
``sl:resnet50``               the paper's: torchvision's ImageNet ResNet50, resized to 224     2,048
``ssl:<dataset>``             Barlow Twins, trained here on that real set (`manifpt.nn.barlow_twins`)      128
``ssl:barlowtwins-resnet50``  the paper's: the published ResNet50, resized to 224              2,048
============================  ===============================================================  ==========

Networks end in the mean over space of their last layer. Deviation from the paper's code: it crops 224 pixels of 256;
images this small are resized (bilinear) instead.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.request import urlopen

import numpy as np

from manifpt.utils.errors import InputError

SPACES = ("rgb", "freq", "sl", "ssl")
KNOWN = "rgb, freq, sl, sl:resnet50, ssl:<dataset>, ssl:barlowtwins-resnet50"
EPSILON = 1e-12  # inside the logarithm of freq
CPU_BATCH = 32  # images that a CPU passes through a network at a time: so few stay in its cache
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def embed(
    images: np.ndarray, space: str | Callable, *, batch_size: int = 256, device: str = "auto", progress: bool = False
) -> np.ndarray:
    """Map an image batch into a space.

    Parameters
    ----------
    images
        uint8 `(n, c, h, w)`, c 1 or 3.
    space
        A space of the module's table, or any function from float32 images `(m, c, h, w)` in [0, 1] to `(m, …)` arrays.
    batch_size
        Images at a time; the result is the same for any, up to the rounding of a network's sums.
    progress
        Show a progress bar.

    Returns
    -------
    float32 array (n, d).

    Raises
    ------
    InputError
        Images of another dtype or shape, an unknown space, weights that are neither there nor downloadable.
    """
    check_images(images)
    check_space(space)
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, not {batch_size}")
    function = space if callable(space) else _function(space, device)
    blocks = range(0, len(images), batch_size)
    if progress:
        from tqdm.auto import tqdm

        blocks = tqdm(blocks, desc=f"embed {name_of(space)}", unit="batch")
    return np.concatenate([_rows(function, images[i : i + batch_size], space) for i in blocks])  # (n, d)


def _rows(function: Callable, images: np.ndarray, space: str | Callable) -> np.ndarray:
    """What a function makes of uint8 images: float32 `(m, d)`; `InputError` unless it is a finite row an image."""
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
    """Raise `InputError` unless `space` is callable or begins with the name of a space."""
    if not callable(space) and (not isinstance(space, str) or space.partition(":")[0] not in SPACES):
        raise InputError(f"space {space!r} is unknown; choose one of {KNOWN}, or pass a function")


def check_weights(space: str | Callable) -> None:
    """Raise `InputError` unless the network of a space, if it has one, is there or can be downloaded."""
    check_space(space)
    if not callable(space):
        _function(space, "auto")


def check_images(images: np.ndarray, what: str = "images") -> None:
    """Raise `InputError` unless `images` is a uint8 batch `(n, c, h, w)` with n > 0 and c 1 or 3."""
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        raise InputError(f"{what}: a uint8 numpy array expected, not {getattr(images, 'dtype', type(images).__name__)}")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or len(images) == 0:
        raise InputError(f"{what}: shape (n, c, h, w) with n > 0 and c 1 or 3 expected, not {images.shape}")


def freq(images: np.ndarray) -> np.ndarray:
    """Log-magnitude spectrum of float32 images `(n, c, h, w)` in [0, 1], zero frequency in the middle; same shape."""
    spectrum = np.fft.fftshift(np.fft.fft2(images), axes=(-2, -1))
    return np.log(np.abs(spectrum) + EPSILON).astype(np.float32)


def _function(space: str, device: str) -> Callable:
    if space == "rgb":
        return lambda images: images
    if space == "freq":
        return freq
    return _network_function(space, device)


@cache
def _network_function(space: str, device: str) -> Callable:
    """The network of a learned space, as a function of float32 images in [0, 1]."""
    import torch

    from manifpt.utils.compute import pick_device

    where = pick_device(device)
    network, size, (mean, sd) = _network(space)
    network.to(where, memory_format=torch.channels_last).eval()
    mean, sd = (torch.tensor(values, device=where).view(-1, 1, 1) for values in (mean, sd))

    @torch.inference_mode()
    def function(images: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(images).to(where)
        if len(mean) == 3:
            batch = batch.expand(-1, 3, -1, -1)
        elif space.startswith("ssl:"):
            _check_channels(space, network, batch.shape[1])
        if size:
            batch = torch.nn.functional.interpolate(batch, size=(size, size), mode="bilinear", antialias=True)
        batch = ((batch - mean) / sd).contiguous(memory_format=torch.channels_last)
        parts = batch.split(CPU_BATCH if where.type == "cpu" else len(batch))
        return torch.cat([network(part) for part in parts]).float().cpu().numpy()

    return function


def _check_channels(space: str, network, channels: int) -> None:
    if channels != (wanted := network.conv1.in_channels):
        raise InputError(f"space {space!r}: images of {wanted} channels expected, not {channels}")


def _network(space: str):
    """(network, size that images are resized to or None, (mean, sd) of its normalisation)."""
    name, _, variant = space.partition(":")
    if space == "sl":
        from manifpt.nn.pretrained import LITE, supervised_network

        return supervised_network(), 64, LITE
    if space == "sl:resnet50":
        return _resnet50(), 224, IMAGENET
    if space == "ssl:barlowtwins-resnet50":
        return _published_barlow_twins(), 224, IMAGENET
    if name == "ssl" and variant:
        from manifpt.nn import barlow_twins

        return barlow_twins.load_ssl(dataset=variant), None, ((0.5,), (0.5,))
    if space == "ssl":
        raise InputError("space 'ssl': name the real set its network was trained on, for example 'ssl:fashion-mnist'")
    raise InputError(f"space {space!r} is unknown; choose one of {KNOWN}, or pass a function")


def _resnet50():
    """torchvision's ImageNet ResNet50 without its last layer."""
    import torch
    from torchvision.models import ResNet50_Weights, resnet50

    weights = ResNet50_Weights.IMAGENET1K_V2
    try:
        if not (Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name).exists():
            urlopen(weights.url, timeout=30).close()  # torch announces a download before it knows that there is none
        network = resnet50(weights=weights)
    except OSError as error:
        raise InputError(_not_downloadable("sl:resnet50", error, "'sl', whose weights ship in a package")) from error
    network.fc = torch.nn.Identity()
    return network


def _published_barlow_twins():
    """The published Barlow Twins ResNet50 through torch.hub, without its last layer."""
    import torch

    try:
        network = torch.hub.load("facebookresearch/barlowtwins:main", "resnet50", trust_repo=True)
    except OSError as error:
        raise InputError(_not_downloadable("ssl:barlowtwins-resnet50", error, "'ssl:<dataset>'")) from error
    network.fc = torch.nn.Identity()
    return network


def _not_downloadable(space: str, error: Exception, instead: str) -> str:
    return (
        f"space {space!r}: weights are not on this machine and not downloadable ({error}). Three ways on: "
        f"go online once; copy them into torch.hub.get_dir(); or use {instead}"
    )
