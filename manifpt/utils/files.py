"""Files that are whole or absent: atomic writes, locks, checksums, safetensors with settings."""

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
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
from filelock import FileLock

from manifpt.utils.errors import InputError

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def as_path(what: str, path: Path | str) -> Path:
    """Return `path` as a `Path`; raise `InputError`, which calls it `what`, unless it is a string or a path."""
    if not isinstance(path, str | os.PathLike):
        raise InputError(f"{what}: the path of a file or folder expected, not {path!r}")
    return Path(path)


@contextlib.contextmanager
def atomic(path: Path | str, *, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` on success, remove it on failure.

    The new file has the rights of the one it replaces, or those that the umask leaves; a `private` one, for secrets,
    0600 at most. If `path` is a symbolic link, its target is replaced and the link stays. Temporary files of killed
    writers are removed. Raise `InputError` if the disk is full or `path` may not be written.
    """
    path = Path(os.path.realpath(as_path("path", path)))
    if path.is_dir():
        raise InputError(f"{path}: is a folder; the name of a file expected")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror}); name another place") from error
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
    """Create a file that must not exist yet and hold a lock on it, which says that its writer lives."""
    while True:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_NOFOLLOW, mode)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if os.fstat(descriptor).st_nlink:
                yield descriptor
                return
        finally:
            os.close(descriptor)  # another process may have removed the file before the lock was there: once more


def _remove_stale(path: Path) -> None:
    """Remove the temporary files of `path` that no process has locked: their writers were killed."""
    for temporary in path.parent.glob(f".{glob.escape(path.stem)}.{'[0-9a-f]' * 16}.part{glob.escape(path.suffix)}"):
        with contextlib.suppress(OSError), open(temporary, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            temporary.unlink()


def locked(path: Path | str) -> FileLock:
    """Return a lock that one process at a time can hold (``with locked(path):``) while it changes the file `path`.

    It lies beside the file as ``.<name>.lock``, so that all processes that share the file share the lock.
    """
    path = Path(os.path.realpath(as_path("path", path)))
    path.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(path.with_name(f".{path.name}.lock"))


def check_writable(path: Path | str, *, ending: str | None = None) -> None:
    """Raise `InputError` unless a file can be written at `path`; create and change nothing.

    The name must end in `ending`, such as ``.csv``, if that is given, so that no file of another kind is replaced.
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
    """Write `text` to `path` in UTF-8, by `atomic`."""
    with atomic(path, private=private) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sha256(path: Path | str) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
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
    """Return the first 12 hexadecimal digits of the SHA-256 of `settings` as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:12]


def save_tensors(path: Path | str, tensors: dict, settings: dict) -> None:
    """Write torch tensors atomically to a ``.safetensors`` file whose header holds `settings` as JSON."""
    from safetensors.torch import save

    content = save({k: t.contiguous() for k, t in tensors.items()}, {"settings": json.dumps(settings)})
    with atomic(path) as temporary:
        temporary.write_bytes(content)


def save_network(path: Path | str, network, settings: dict) -> None:
    """Write the weights of a torch network in half precision, by `save_tensors`."""
    weights = network.state_dict().items()
    save_tensors(path, {k: t.half() if t.is_floating_point() else t for k, t in weights}, settings)


def load_tensors(path: Path | str, device: str = "cpu") -> tuple[dict, dict]:
    """Read the tensors and settings that `save_tensors` wrote; raise `InputError` for any other file, as a pickle."""
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
    """Write `n` rows, which come in blocks, atomically to an ``.npy`` file; return that file, mapped read-only.

    The file is not mapped while it grows, so that a full disk raises an error instead of killing the process.
    """
    with atomic(path) as temporary, open(temporary, "wb") as file:
        write_rows(file, blocks, n)
    return np.load(path, mmap_mode="r")


def write_rows(file: IO[bytes], blocks: Iterable[np.ndarray], n: int) -> None:
    """Write `n` rows, which come in blocks, to an open file in the ``.npy`` format."""
    for number, block in enumerate(blocks):
        if number == 0:
            header = {"descr": block.dtype.str, "fortran_order": False, "shape": (n, *block.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
        file.write(np.ascontiguousarray(block).data)
