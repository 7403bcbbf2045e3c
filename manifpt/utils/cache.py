"""Keep results under keys that name all they depend on: settings, data, weights and code.

If any of these changes, so does the key, and an older file is never read again. The cache may be deleted at any time.
"""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from manifpt.utils import arrays, files, paths

PACKAGE = Path(__file__).resolve().parents[1]


def cache_key(settings: object, *, code: str, data: Iterable = (), weights: Iterable[Path | str] = ()) -> str:
    """Return 24 hexadecimal digits of the SHA-256 of everything that a result depends on.

    Parameters
    ----------
    settings
        Parameters of the computation; anything that JSON can hold.
    code
        The ``__name__`` of the module that computes; see `code_checksum`.
    data
        The arrays that go in, or their checksums.
    weights
        The paths of the checkpoints that are used; their contents count, not their names.
    """
    checksums = [array_checksum(one) if isinstance(one, np.ndarray) else str(one) for one in data]
    parts = [settings, checksums, [files.sha256(path) for path in weights], code_checksum(code)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def array_checksum(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's dtype, shape and values in hexadecimal.

    The dtype of uint8 images does not count: their checksums stand in the headers of checkpoints since before it did.
    """
    about = array.shape if array.dtype == np.uint8 else (array.dtype.str, array.shape)
    digest = hashlib.sha256(repr(about).encode())
    for rows in arrays.chunks(np.atleast_1d(array)):
        digest.update(np.ascontiguousarray(rows).data)
    return digest.hexdigest()


@lru_cache
def code_checksum(module: str) -> str:
    """Return 12 hexadecimal digits of the SHA-256 of a module's code and of all of manifpt that it imports.

    Docstrings, comments and layout do not count. The sources are read once a process.
    """
    found: dict[str, str] = {}
    todo = [module]
    while todo:
        if (name := todo.pop()) not in found and (source := _source(name)) is not None:
            tree = ast.parse(source.read_text(encoding="utf-8"))
            found[name] = ast.dump(_without_docstrings(tree))
            todo += _imported(tree)
    return hashlib.sha256(json.dumps(sorted(found.items())).encode()).hexdigest()[:12]


def stored(folder: str, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """Return ``make()``, which is computed once and kept as ``<cache>/<folder>/<key>.npy``.

    A file that is missing or damaged is computed anew.
    """
    path = cached(folder, key)
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, BadZipFile):
        array = make()
        with files.atomic(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)
        return array


def cached(folder: str, key: str) -> Path:
    """Return where `stored` keeps the array of a key."""
    return paths.cache() / folder / f"{key}.npy"


def _source(name: str) -> Path | None:
    """Find a module's source without importing it; None if `name` is a class or function inside a module."""
    place = PACKAGE.joinpath(*name.split(".")[1:])
    return next((path for path in (place.with_suffix(".py"), place / "__init__.py") if path.is_file()), None)


def _imported(tree: ast.AST) -> list[str]:
    """Return the names of all modules in manifpt that a syntax tree may import, inside functions too."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return [name for name in names if name.startswith("manifpt.")]


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, clean=False):
            del node.body[0]
    return tree
