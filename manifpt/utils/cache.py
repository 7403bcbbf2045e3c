"""Disk cache for computed arrays: joblib.Memory, whose key is the function's arguments and its code."""

import re

import joblib

from manifpt.utils import files, paths

HALF_WRITTEN = re.compile(r"\.[0-9a-f]{32}-(\d+)-\d+")  # how joblib ends the name of a file that it still writes


def memory() -> joblib.Memory:
    """The cache at ``paths.cache()``. Pass everything a result depends on, data checksums included, as arguments.

    What processes that were killed had begun to write is removed.
    """
    for path in paths.cache().rglob("*.*-*-*"):
        if (found := HALF_WRITTEN.fullmatch(path.suffix)) and not files.alive(int(found[1])):
            path.unlink(missing_ok=True)
    return joblib.Memory(paths.cache(), verbose=0)
