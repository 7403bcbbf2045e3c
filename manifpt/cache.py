"""Disk cache for computed arrays: joblib.Memory, whose key is the function's arguments and its code."""

import joblib

from manifpt import paths


def memory() -> joblib.Memory:
    """The cache at ``paths.cache()``. Pass everything a result depends on, data checksums included, as arguments."""
    return joblib.Memory(paths.cache(), verbose=0)
