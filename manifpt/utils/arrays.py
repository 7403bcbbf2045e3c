"""Arrays at the door and in bounded memory: points, artifacts, labels and images, checked, encoded and measured."""

import mmap
from collections.abc import Iterator

import numpy as np

from manifpt.utils.errors import InputError

DTYPES = ("uint8", "float16", "float32", "float64")
ROWS = 128


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of an array, 128 at a time; pages of a mapped file do not stay resident."""
    for start in range(0, len(array), ROWS):
        yield array[start : start + ROWS]
        release(array)


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Copy some rows of an array; pages of a mapped file do not stay resident."""
    some = array[rows]
    release(array)
    return some


def is_mapped(array: np.ndarray) -> bool:
    """Say whether an array is a `numpy.memmap` or a view of one, and shares its file."""
    return _mapping(array) is not None


def release(array: np.ndarray) -> None:
    """Give back the memory of the pages that were read, if the array is a mapped file or a view of one.

    Otherwise they would count as memory of the process until the system runs short of it.
    """
    mapping = _mapping(array)
    if hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def _mapping(array: np.ndarray) -> mmap.mmap | None:
    """Return the shared mapping below an array; None for other arrays and for copy-on-write mappings."""
    while isinstance(array, np.ndarray):
        array, root = array.base, array
    return array if isinstance(root, np.memmap) and root.mode != "c" else None


def to_uint8(images, *, low: float = 0.0):
    """Turn float images in [low, 1] into 8-bit ones: scaled to [0, 255], rounded to the nearest level and clipped.

    Parameters
    ----------
    images
        float32 or float64 array or torch tensor of any shape; `low` is -1 for what a generator gives.

    Returns
    -------
    uint8 array or tensor of the same shape, on the same device.

    Examples
    --------
    >>> to_uint8(np.array([-0.1, 0.0, 0.5, 1.0]))
    array([  0,   0, 128, 255], dtype=uint8)
    """
    levels = ((images - low) * (255 / (1 - low))).round().clip(0, 255)
    return levels.astype(np.uint8) if isinstance(levels, np.ndarray) else levels.byte()


def as_array(name: str, values) -> np.ndarray:
    """Return `np.asarray(values)`; raise `InputError`, which names `name`, for nested lists of unequal lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: rows of unequal lengths; an array of one shape expected") from error


def as_points(name: str, values, *, least: int = 1) -> np.ndarray:
    """Return points `(n, …)` as a float64 array `(n, d)`; `InputError` unless there are `least` or more, all finite."""
    x = as_array(name, values)
    if x.ndim < 2 or len(x) < least or x.size == 0 or x.dtype.kind not in "biuf":
        raise InputError(f"{name}: {x.dtype} of shape {x.shape}; {least} or more points in an array (n, …) expected")
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        raise InputError(f"{name}: holds NaN or infinity; finite numbers expected")
    return x


def as_alike_points(*, least: int = 1, **samples) -> list[np.ndarray]:
    """Apply `as_points` to each sample; raise `InputError` unless all points have the same number of coordinates."""
    found = [as_points(name, x, least=least) for name, x in samples.items()]
    if len(widths := {x.shape[1] for x in found}) > 1:
        raise InputError(f"{', '.join(samples)}: points of {sorted(widths)} coordinates; the same number expected")
    return found


def check_artifacts(name: str, artifacts, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """Return artifacts as an array; raise `InputError` unless they can be trained on.

    They must be of a type in `DTYPES`, finite in float32, and of shape `(n, c, h, w)` or `(n, d)`; `shape`, if given,
    is that of one artifact.
    """
    artifacts = as_array(name, artifacts)
    if artifacts.dtype not in DTYPES:
        raise InputError(f"{name}: of type {artifacts.dtype}; one of {', '.join(DTYPES)} expected")
    if artifacts.ndim not in (2, 4) or artifacts.size == 0:
        raise InputError(f"{name}: of shape {artifacts.shape}; (n, c, h, w) or (n, d) expected, none of them 0")
    if shape is not None and artifacts.shape[1:] != shape:
        raise InputError(f"{name}: one of shape {artifacts.shape[1:]}; {tuple(shape)} expected, as in training")
    with np.errstate(over="ignore"):
        for start, some in zip(range(0, len(artifacts), ROWS), chunks(artifacts), strict=True):
            if not (finite := np.isfinite(some.astype(np.float32))).all():
                row = start + int(np.argwhere(~finite)[0, 0])
                raise InputError(f"{name}: NaN or infinite in float32, first in row {row}; finite numbers expected")
    return artifacts


def check_labels(name: str, labels, n: int) -> np.ndarray:
    """Return the labels as an array `(n,)`; raise `InputError` unless they are all strings or all integers."""
    if isinstance(labels, list | tuple) and len({isinstance(label, str) for label in labels}) > 1:
        raise InputError(f"{name}: strings and others mixed; all strings or all integers expected")
    labels = as_array(name, labels)
    if labels.dtype == object and all(isinstance(label, str) for label in labels.flat):
        labels = labels.astype(str)
    if labels.shape != (n,):
        raise InputError(f"{name}: of shape {labels.shape}; ({n},) expected, one for each artifact")
    if labels.dtype.kind not in "iuU":
        raise InputError(f"{name}: of type {labels.dtype}; strings or integers expected")
    return labels


def encode(name: str, labels, classes: np.ndarray, n: int) -> np.ndarray:
    """Return the index of each label in the sorted `classes`, int64 `(n,)`; raise `InputError` for an unknown label."""
    labels = check_labels(name, labels, n)
    if not (known := np.isin(labels, classes)).all():
        raise InputError(f"{name}: {labels[~known][0].item()!r} is not among those trained on, {classes.tolist()}")
    return np.searchsorted(classes, labels)


def moments(artifacts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Return mean and standard deviation of each channel, `(c, 1, 1)`, or each entry of vectors, `(d,)`, float64.

    The deviation of a constant, up to float32 rounding (10⁻⁶ of its mean), is set to 1, so that one can divide by it.
    """
    axes, keep = ((0, 2, 3), (1, 1)) if artifacts.ndim == 4 else (0, ())
    total = sum(some.sum(axes, np.float64) for some in chunks(artifacts))
    mean = (total * total.size / artifacts.size).reshape(-1, *keep)  # (c, 1, 1) or (d,)
    squares = sum(np.square(some - mean).sum(axes) for some in chunks(artifacts))
    sd = np.sqrt(squares * mean.size / artifacts.size).reshape(mean.shape)
    return mean, np.where(sd > 1e-6 * np.abs(mean) + 1e-30, sd, 1.0)


def as_images(images, name: str = "images") -> np.ndarray:
    """Images as users bring them, in the one form that the package works on: uint8 `(n, c, h, w)`, c 1 or 3.

    Parameters
    ----------
    images
        An array, or a torch tensor on any device, of shape `(n, c, h, w)`, `(n, h, w, c)` or, grey, `(n, h, w)`; or a
        list of images of one size: PIL images of mode ``L`` or ``RGB``, arrays, tensors. Values are uint8, or floats in
        [0, 1], which are rounded to the nearest k/255. A uint8 array `(n, c, h, w)` is returned as it is, so that a
        memory-mapped file stays on disk. `name` is that of the argument, for error messages.

    Raises
    ------
    InputError
        Another type, mode or shape; values outside [0, 1]; a single image or none; a shape that can be read in two
        ways, such as `(3, h, w)` or `(n, 3, h, 3)`. The message names the remedy.

    Examples
    --------
    >>> as_images(np.zeros((5, 32, 32, 3), np.uint8)).shape
    (5, 3, 32, 32)
    >>> as_images(np.full((2, 8, 8), 0.5))[0, 0, 0]
    array([128, 128, 128, 128, 128, 128, 128, 128], dtype=uint8)
    """
    if hasattr(images, "getbands"):
        raise InputError(f"{name}: one PIL image; a list of images expected, [image]")
    images = _stacked(images, name) if isinstance(images, list | tuple) else _channels_first(_array(images, name), name)
    if images.ndim != 4 or images.shape[1] not in (1, 3) or images.size == 0:
        wanted = "(n, c, h, w), (n, h, w, c) or grey (n, h, w) with n > 0 and c 1 or 3"
        raise InputError(f"{name}: of shape {images.shape}; {wanted} expected")
    if images.dtype == np.uint8:
        return images
    if images.dtype.kind != "f":
        raise InputError(f"{name}: of type {images.dtype}; uint8 from 0 to 255, or floats in [0, 1], expected")
    low, high = (extreme([extreme(some) for some in chunks(images)]) for extreme in (np.min, np.max))
    if not 0 <= low <= high <= 1:
        remedy = "x / 255" if low >= 0 and high > 2 else "(x + 1) / 2" if low >= -1 and high <= 1 else "x.clip(0, 1)"
        raise InputError(f"{name}: floats from {low:.3g} to {high:.3g}; floats in [0, 1] expected: perhaps {remedy}")
    return np.concatenate([np.rint(np.float32(255) * some).astype(np.uint8) for some in chunks(images)])


def _array(images, name: str) -> np.ndarray:
    """One array of an array, a tensor or a PIL image; the latter becomes `(c, h, w)`."""
    if isinstance(images, np.ndarray):
        return images
    if hasattr(images, "detach"):  # a torch tensor; numpy has no bfloat16
        tensor = images.detach().cpu()
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    if not hasattr(images, "getbands"):
        return as_array(name, images)
    if images.mode not in ("L", "RGB"):
        raise InputError(f"{name}: a PIL image of mode {images.mode}; L or RGB expected: image.convert('RGB')")
    pixels = np.asarray(images)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, 2, 0))


def _stacked(images: list | tuple, name: str) -> np.ndarray:
    """A list of images as `(n, c, h, w)`; there, three grey images are told from one in colour."""
    arrays = [_array(image, name) for image in images]
    arrays = [array[None] if array.ndim == 2 else array for array in arrays]
    if len(shapes := {(array.dtype, *array.shape) for array in arrays}) != 1:
        raise InputError(f"{name}: {len(arrays)} of {len(shapes)} sizes, modes or types; some of one kind expected")
    return np.stack(arrays) if hasattr(images[0], "getbands") else _channels_first(np.stack(arrays), name)


def _channels_first(images: np.ndarray, name: str) -> np.ndarray:
    """The batch with channels before rows, where its shape tells which they are; other shapes are left alone."""
    shape, few = images.shape, (1, 3)
    if images.ndim == 2 or (images.ndim == 3 and (shape[0] == 3 or shape[2] in few)):
        remedy = "x[None] if it is one image, x[:, None] if these are grey ones" if images.ndim == 3 else "x[None]"
        raise InputError(f"{name}: shape {shape} may be a single image; a batch expected: {remedy}")
    if images.ndim == 3:
        return images[:, None]
    if images.ndim == 4 and shape[3] in few:
        if shape[1] == shape[3]:
            raise InputError(f"{name}: shape {shape} may be (n, c, h, w) or (n, h, w, c); pad it to 4 pixels a side")
        if shape[1] != 1:  # else the images would be one pixel high
            return np.ascontiguousarray(np.moveaxis(images, 3, 1))
    return images
