"""Artifacts and the labels of the models that left them: checked, encoded, measured, in bounded memory."""

import mmap
from collections.abc import Iterator

import numpy as np

from manifpt.utils.errors import InputError

DTYPES = ("uint8", "float16", "float32", "float64")
ROWS = 128


def chunks(array: np.ndarray) -> Iterator[np.ndarray]:
    """The rows of an array, 128 at a time; those of a mapped file do not stay resident."""
    for start in range(0, len(array), ROWS):
        yield array[start : start + ROWS]
        release(array)


def take(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A copy of some rows of an array; those of a mapped file do not stay resident."""
    some = array[rows]
    release(array)
    return some


def release(array: np.ndarray) -> None:
    """Let go of the pages that were read of a mapped file, if the array is a read-only one or a part of it.

    The system would do so only when memory runs short, and till then count them as the process's.
    """
    while isinstance(array, np.ndarray):
        array, mapped = array.base, array
    if isinstance(mapped, np.memmap) and mapped.mode == "r" and hasattr(array, "madvise"):
        array.madvise(mmap.MADV_DONTNEED)


def as_array(name: str, values) -> np.ndarray:
    """`np.asarray`; `InputError`, named `name`, for nested lists of unequal lengths."""
    try:
        return np.asarray(values)
    except ValueError as error:
        raise InputError(f"{name}: rows of unequal lengths; an array of one shape expected") from error


def check_artifacts(name: str, artifacts, shape: tuple[int, ...] | None = None) -> np.ndarray:
    """The artifacts as an array; `InputError` unless their type, shape and values can be trained on, named `name`."""
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
    """The labels as an array `(n,)`; `InputError` unless they are all strings or all integers."""
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
    """Index of each label in the sorted `classes`, int64 `(n,)`; `InputError` for one that is not there."""
    labels = check_labels(name, labels, n)
    if not (known := np.isin(labels, classes)).all():
        raise InputError(f"{name}: {labels[~known][0].item()!r} is not among those trained on, {classes.tolist()}")
    return np.searchsorted(classes, labels)


def moments(artifacts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""Mean and standard deviation of each channel, `(c, 1, 1)`, or of each entry of vectors, `(d,)`, float64.

    The deviation of what is constant, up to float32 rounding (10⁻⁶ of its mean), is given as 1: it can be divided by.
    """
    axes, keep = ((0, 2, 3), (1, 1)) if artifacts.ndim == 4 else (0, ())
    total = sum(some.sum(axes, np.float64) for some in chunks(artifacts))
    mean = (total * total.size / artifacts.size).reshape(-1, *keep)  # (c, 1, 1) or (d,)
    squares = sum(np.square(some - mean).sum(axes) for some in chunks(artifacts))
    sd = np.sqrt(squares * mean.size / artifacts.size).reshape(mean.shape)
    return mean, np.where(sd > 1e-6 * np.abs(mean) + 1e-30, sd, 1.0)
