"""Files that are whole or absent: atomic writes, checksums, safetensors with settings, image mosaics."""

import contextlib
import errno
import fcntl
import glob
import hashlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock

from manifpt.utils.errors import InputError

TILES_PER_ROW = 50
NEWBORN = 10.0  # seconds in which a temporary file may not be locked yet by its writer
_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def as_path(what: str, path: Path | str) -> Path:
    """`path` as a `Path`; `InputError`, named `what`, for anything but a string or a path."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what}: the path of a file or folder expected, not {path!r}")
    return Path(path)


@contextlib.contextmanager
def atomic(path: Path | str, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary file beside `path`; rename it to `path` on success, remove it on failure.

    The rights are those of the file that is replaced, else what the umask says. Behind a symbolic link, the file that
    it leads to is replaced. Temporary files whose writer was killed are removed on the way.

    Parameters
    ----------
    private
        Let nobody but the owner read or write the file (mode 0600), for secrets.

    Raises
    ------
    InputError
        The disk is full, or the place may not be written.
    """
    path = real_path(path)
    if path.is_dir():
        raise InputError(f"{path}: is a folder; the name of a file expected")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written, {path.parent} is no folder to write to ({error})") from error
    _remove_stale(path)
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(8)}.part{path.suffix}")
    try:
        with _claimed(temporary, 0o600 if private else 0o666) as descriptor:
            if path.exists():
                os.fchmod(descriptor, path.stat().st_mode & (0o600 if private else 0o777))
            yield temporary
            os.fsync(descriptor)
            os.replace(temporary, path)
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise InputError(f"{path}: cannot be written ({error.strerror}); make room or name another place") from error
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _claimed(path: Path, mode: int) -> Iterator[int]:
    """Make a new file, which must not be there, and hold a lock on it: as long as its writer lives, it is not stale."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


def _remove_stale(path: Path) -> None:
    """Remove temporary files of `path` whose writer is dead: nobody holds their lock."""
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.*.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), open(temporary, "rb") as file:
            if time.time() - os.fstat(file.fileno()).st_mtime > NEWBORN:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()


def real_path(path: Path | str) -> Path:
    """The absolute path that `path` leads to, symbolic links resolved."""
    return Path(os.path.realpath(as_path("path", path)))


def locked(path: Path | str) -> FileLock:
    """A lock for ``with`` that one process at a time holds for `path`; it lies beside the file, as ``.<name>.lock``.

    So all who see the file see the lock, whatever their home and machine.
    """
    path = real_path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


def check_writable(path: Path | str, *, ending: str | None = None) -> None:
    """Raise `InputError` unless a file can be written at `path`; nothing is made or changed.

    Parameters
    ----------
    ending
        Of the name, as in ``.csv``: what is written there is not taken for something else, nor something else replaced.
    """
    path = as_path("path", path)
    if ending and path.suffix.lower() != ending:
        raise InputError(f"{path}: a {ending} file is written; use a name that ends so")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; the name of a file expected")
    there = next(folder for folder in path.absolute().parents if folder.exists())
    try:
        tempfile.TemporaryFile(dir=there).close()
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another place") from error


def check_room(path: Path | str, size: int) -> None:
    """Raise `InputError` unless the disk of `path` has room for `size` bytes."""
    there = next(folder for folder in Path(path).absolute().parents if folder.exists())
    if (free := shutil.disk_usage(there).free) < size:
        needed = f"{size / 1e6:,.2f} MB are needed and {free / 1e6:,.2f} MB free"
        raise InputError(f"{path}: no room, {needed}; make room or name another place")


def write_text(path: Path | str, text: str, *, private: bool = False) -> None:
    """Write `text` to `path` atomically, in UTF-8; `private` as in `atomic`."""
    with atomic(path, private=private) as temporary:
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
    from safetensors.torch import save

    content = save({k: t.contiguous() for k, t in tensors.items()}, {"settings": json.dumps(settings)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def save_network(path: Path | str, network, settings: dict) -> None:
    """Write a torch network's weights in half precision, as `save_tensors` does."""
    weights = network.state_dict().items()
    save_tensors(path, {k: t.half() if t.is_floating_point() else t for k, t in weights}, settings)


def load_tensors(path: Path | str, device: str = "cpu") -> tuple[dict, dict]:
    """Read ``(tensors, settings)`` as written by `save_tensors`; `InputError` for anything else, pickles included."""
    from safetensors import SafetensorError, safe_open

    if not as_path("checkpoint", path).is_file():
        raise InputError(f"{path}: no such file; a .safetensors checkpoint was expected")
    try:
        with safe_open(path, framework="pt", device=device) as file:
            return {k: file.get_tensor(k) for k in file.keys()}, json.loads(file.metadata()["settings"])  # noqa: SIM118
    except (SafetensorError, TypeError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: not a checkpoint of this package ({error}); .safetensors with settings expected"
        ) from error


def save_rows(path: Path | str, blocks: Iterable[np.ndarray], n: int) -> np.ndarray:
    """Write blocks of rows, n in all, to an ``.npy`` file, atomically and one block at a time; the file, mapped.

    Only written, never mapped while it grows: a full disk is then an error instead of a killed process.
    """
    with atomic(path) as temporary, open(temporary, "wb") as file:
        write_rows(file, blocks, n)
    return np.load(path, mmap_mode="r")


def write_rows(file: IO[bytes], blocks: Iterable[np.ndarray], n: int) -> None:
    """Write blocks of rows, n in all, to an open file in the format ``.npy``, one block at a time."""
    for number, block in enumerate(blocks):
        if number == 0:
            header = {"descr": block.dtype.str, "fortran_order": False, "shape": (n, *block.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(block).data)


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


def load_mosaic(path: Path | str, n: int | None = None, size: int = 32) -> np.ndarray:
    """Read the first `n` tiles of a mosaic: uint8 `(n, c, size, size)`, c = 1 for a greyscale file, else 3.

    Without `n`, all but black ones at the end, which fill the last row up.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            mode, picture = image.mode, np.atleast_3d(np.asarray(image))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a mosaic of images ({error})") from error
    height, width, c = picture.shape
    rows, columns = height // size, width // size
    if mode not in ("L", "RGB"):
        raise InputError(f"{path}: its mode is {mode}; 8-bit greyscale (L) or colour (RGB) expected")
    if height % size or width % size:
        raise InputError(f"{path}: {width}x{height} pixels; tiles of {size}x{size} expected, and nothing beside them")
    if n is not None and rows * columns < n:
        raise InputError(f"{path}: holds {rows * columns} tiles of {size} pixels, {n} expected")
    tiles = picture.reshape(rows, size, columns, size, c).transpose(0, 2, 4, 1, 3)
    tiles = tiles.reshape(-1, c, size, size)
    if n is None:
        n = int(np.flatnonzero(tiles.any((1, 2, 3)))[-1:].sum()) + 1
    return tiles[:n].copy()
