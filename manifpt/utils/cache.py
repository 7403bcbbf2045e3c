"""What was computed is kept under one key: the settings, the data, the weights and the code that it depends on.

A file whose key no longer fits is never read again, so `paths.cache()` may be deleted at any time.
"""

import ast
import hashlib
import json
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np

from manifpt.utils import files, paths


def cache_key(settings: object, *, code: str, data: Iterable = (), weights: Iterable[Path | str] = ()) -> str:
    """The name of a result: 24 hexadecimal digits of the SHA-256 of everything that it depends on.

    Parameters
    ----------
    settings
        Parameters of the computation, as JSON.
    code
        Name of the module that computes, that is its ``__name__``; see `code_checksum`.
    data
        Arrays, which are hashed, or checksums of data.
    weights
        Paths of checkpoints, which are hashed.
    """
    checksums = [array_checksum(one) if isinstance(one, np.ndarray) else str(one) for one in data]
    parts = [settings, checksums, [files.sha256(path) for path in weights], code_checksum(code)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()[:24]


def array_checksum(array: np.ndarray) -> str:
    """SHA-256 of an array's dtype, shape and values, in hexadecimal; of the shape and pixels alone for uint8 images.

    The latter stand in the headers of checkpoints, as the reference images that a network was trained on.
    """
    about = repr(array.shape if array.dtype == np.uint8 else (array.dtype.str, array.shape)).encode()
    return hashlib.sha256(about + np.ascontiguousarray(array).tobytes()).hexdigest()


@lru_cache
def code_checksum(module: str) -> str:
    """12 hexadecimal digits of the SHA-256 of a module's code and of everything in manifpt that it imports.

    Docstrings, comments and layout do not count: a sentence that is mended makes nothing stale.
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
    """The array of `make`, computed once and kept in ``<cache>/<folder>/<key>.npy``; a damaged file is made anew."""
    path = paths.cache() / folder / f"{key}.npy"
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        array = make()
        files.save_rows(path, [array], len(array))
        return array


def _source(name: str) -> Path | None:
    """The file of a module in manifpt, which is not imported for it; None for what is a name inside a module."""
    path = Path(__file__).parents[2].joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _imported(tree: ast.AST) -> list[str]:
    """Names of modules in manifpt that a syntax tree may import, those inside functions too."""
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
