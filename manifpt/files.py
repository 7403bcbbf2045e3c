"""Files that are whole or absent: atomic writes, checksums, safetensors with settings, image mosaics."""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from manifpt.errors import InputError

TILES_PER_ROW = 50


@contextlib.contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it to `path` on success, remove it on failure.

    Names left behind by processes that were killed are removed on the way, so no half-written file outlives the next
    write.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; the name of a file expected")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written, {path.parent} is no folder ({error})") from error
    for stale in path.parent.glob(f".{path.stem}.*.part{path.suffix}"):
        pid = stale.name.removesuffix(f".part{path.suffix}").rpartition(".")[2]
        if pid.isdecimal() and not _alive(int(pid)):
            stale.unlink(missing_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        yield temporary
        temporary.chmod(0o644)  # some writers make files that only their owner can read
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def write_text(path: Path | str, text: str) -> None:
    """Write `text` to `path` atomically, in UTF-8."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sha256(path: Path | str, expected: str) -> None:
    """Raise `InputError` unless the file exists and its checksum is `expected`."""
    if not Path(path).is_file():
        raise InputError(f"{path}: missing file; restore it with `git checkout` or make it anew")
    if (found := sha256(path)) != expected:
        raise InputError(
            f"{path}: damaged file, SHA-256 is {found[:12]}… but {expected[:12]}… is on record; restore it"
        )


def settings_hash(settings: object) -> str:
    """First 12 hexadecimal digits of the SHA-256 of `settings` as canonical JSON."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


def save_tensors(path: Path | str, tensors: dict, settings: dict) -> None:
    """Write torch tensors to a ``.safetensors`` file, atomically, with `settings` as JSON in its header."""
    from safetensors.torch import save_file

    with atomic(path) as temporary:
        save_file({k: t.contiguous() for k, t in tensors.items()}, temporary, {"settings": json.dumps(settings)})


def load_tensors(path: Path | str, device: str = "cpu") -> tuple[dict, dict]:
    """Read ``(tensors, settings)`` as written by `save_tensors`; `InputError` for anything else, pickles included."""
    from safetensors import SafetensorError, safe_open

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; a .safetensors checkpoint was expected")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["settings"])  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this package ({error}); .safetensors with settings expected"
        ) from error


def save_mosaic(path: Path | str, images: np.ndarray, columns: int = TILES_PER_ROW) -> None:
    """Write an image batch, uint8 `(n, c, h, w)` with c 1 or 3, as one lossless PNG of tiles in row-major order."""
    from PIL import Image

    n, c, h, w = images.shape
    rows = -(-n // columns)
    tiles = np.zeros((rows * columns, c, h, w), np.uint8)
    tiles[:n] = images
    tiles = tiles.reshape(rows, columns, c, h, w).transpose(0, 3, 1, 4, 2)  # (row, h, column, w, c)
    picture = tiles.reshape(rows * h, columns * w, c)
    with atomic(path) as temporary:
        Image.fromarray(picture[..., 0] if c == 1 else picture).save(temporary, optimize=True)


def load_mosaic(path: Path | str, n: int, size: int = 32) -> np.ndarray:
    """Read the first `n` tiles of a mosaic: uint8 `(n, c, size, size)`, c = 1 for a greyscale file, else 3."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            picture = np.atleast_3d(np.asarray(image))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a mosaic of images ({error})") from error
    height, width, c = picture.shape
    rows, columns = height // size, width // size
    if rows * columns < n:
        raise InputError(f"{path}: holds {rows * columns} tiles of {size} pixels, {n} expected")
    tiles = picture.reshape(rows, size, columns, size, c).transpose(0, 2, 4, 1, 3)
    return np.ascontiguousarray(tiles.reshape(-1, c, size, size)[:n])
