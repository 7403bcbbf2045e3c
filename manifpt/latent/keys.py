"""Users' keys: bits from what a user types, and the file that says whose key is whose."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np

from manifpt.utils import files
from manifpt.utils.errors import InputError

NOT_OURS = "not ours"  # in place of a user's name
DRAWS = 1000  # keys that are tried before a registry counts as full
LENGTHS = (1, 1024)
FORMAT = 2  # of a registry's file; the first did not say in which directions its keys are written


def parse_key(key: str | np.ndarray, length: int) -> np.ndarray:
    """Bits of a key, uint8 `(length,)`.

    A key is a sequence of zeros and ones; text ``"0b1010…"``, or ``"0x…"`` with `length` / 4 digits; or any other text,
    which stands for the first bits of its SHAKE-256. `InputError` for anything else, or another length.
    """
    if isinstance(key, str):
        return _parse_text(key, length)
    bits = np.asarray(key)
    if bits.shape != (length,) or not np.isin(bits, (0, 1)).all():
        raise InputError(f"key: {length} zeros and ones expected, not an array {bits.shape} of {bits.dtype}")
    return bits.astype(np.uint8)


def _parse_text(key: str, length: int) -> np.ndarray:
    if not key:
        raise InputError("key: empty; 0b… of bits, 0x… of hexadecimal digits, or any text expected")
    if key.startswith("0b"):
        if not re.fullmatch(f"[01]{{{length}}}", key[2:]):
            raise InputError(f"key {key!r}: 0b and {length} zeros and ones expected")
        return np.array(list(key[2:]), np.uint8)
    if key.startswith("0x"):
        if length % 4 or not re.fullmatch(f"[0-9a-fA-F]{{{length // 4}}}", key[2:]):
            raise InputError(f"key {key!r}: {length} bits expected, as 0x and {length / 4:g} hexadecimal digits")
        return parse_key(f"0b{int(key, 16):0{length}b}", length)
    digest = hashlib.shake_256(key.encode()).digest(-(-length // 8))
    return np.unpackbits(np.frombuffer(digest, np.uint8))[:length]


def show_key(bits: np.ndarray) -> str:
    """``0b…`` of bits `(length,)`, which `parse_key` reads."""
    return "0b" + "".join(map(str, bits))


def check_name(user: str) -> None:
    """`InputError` for a user's name that is not one line of text, or that says that there is no user."""
    if not user.isprintable() or not user.strip() or user == NOT_OURS:
        raise InputError(f"user {user!r}: a name of one line expected, other than {NOT_OURS!r}")


def random_keys(n: int, length: int, rng: np.random.Generator) -> np.ndarray:
    """Independent uniform bits, uint8 `(n, length)`."""
    return rng.integers(0, 2, (n, length), np.uint8)


class Registry:
    """Users and their keys, in a JSON file that only its owner may read; any two keys differ in `min_distance` bits.

    The file must exist, see `create`. `InputError` if it is missing, no such registry, of another version, or breaks
    its own rule; nothing is changed.

    Attributes
    ----------
    settings
        The settings of a fingerprinter, as given to `create`; ``settings["key_length"]`` is the length of every key.
    min_distance
        Smallest Hamming distance of two keys.
    users
        Name to key, uint8 `(key_length,)`.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        if not self.path.exists():
            raise InputError(f"{self.path}: no such file; register a first user, which makes it")
        try:
            content = json.loads(self.path.read_text(encoding="utf-8-sig"))
            found, self.settings = content.get("format", 1), dict(content["settings"])
            length, self.min_distance, self.users = int(self.settings["key_length"]), int(content["min_distance"]), {}
            for user, key in content["users"].items():
                self.users[user] = self._checked(user, parse_key(key, length))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{self.path}: not a registry of keys ({error}); mend it, or name another file") from error
        if found != FORMAT:
            raise InputError(
                f"{self.path}: a registry of format {found}, this version reads format {FORMAT}; read its images with "
                "the version that made it, and register users for new images in a new file"
            )

    @classmethod
    def create(
        cls, path: Path | str, settings: dict, *, min_distance: int | None = None, exist_ok: bool = False
    ) -> "Registry":
        """Write a registry without users; by default keys differ in at least a quarter of their bits.

        With `exist_ok`, an existing file is opened instead, whatever its settings. `InputError` if the file exists, for
        a distance that no two keys can have, and for a key length that is not from 1 to 1024.
        """
        length = settings.get("key_length")
        if not isinstance(length, int) or not LENGTHS[0] <= length <= LENGTHS[1]:
            raise InputError(f"key_length: {length!r}; a whole number from {LENGTHS[0]} to {LENGTHS[1]} expected")
        distance = max(1, length // 4) if min_distance is None else min_distance
        if not 1 <= distance <= length:
            raise InputError(f"min_distance: {distance}; a number of bits from 1 to {length} expected")
        with files.locked(Path(path)):
            if not Path(path).exists():
                _write(path, settings, distance, {})
            elif not exist_ok:
                raise InputError(f"{path}: exists; a new file expected")
        return cls(path)

    def add(self, user: str, key: str | np.ndarray | None = None, *, seed: int | None = None) -> np.ndarray:
        """Enter a user with a key, or with a random one (`seed` None: from the system's entropy), and write the file.

        The false-positive rate of `manifpt.latent.attribute` holds for random keys only. Returns the key, uint8
        `(key_length,)`. `InputError` if the name is taken, or not a line of text; if the key is malformed or too near
        to another's; if there is no room for a random key.
        """
        with files.locked(self.path):
            self.users = Registry(self.path).users
            check_name(user)
            if user in self.users:
                raise InputError(f"user {user!r}: registered already in {self.path}; another name expected")
            length = self.settings["key_length"]
            bits = self._free(length, seed) if key is None else self._checked(user, parse_key(key, length))
            self.users[user] = bits
            _write(self.path, self.settings, self.min_distance, self.users)
        return bits

    def distances(self, bits: np.ndarray) -> np.ndarray:
        """Hamming distances of keys `(n, key_length)` to each user's, int `(n, users)`."""
        keys = np.array(list(self.users.values()), np.uint8).reshape(-1, bits.shape[1])
        return (bits[:, None] != keys).sum(2)

    def _checked(self, user: str, bits: np.ndarray) -> np.ndarray:
        """The key, if it is far enough from all others."""
        for (other, _), distance in zip(self.users.items(), self.distances(bits[None])[0], strict=True):
            if distance < self.min_distance:
                raise InputError(
                    f"key of {user!r}: {distance} bits from that of {other!r}; at least {self.min_distance} expected"
                )
        return bits

    def _free(self, length: int, seed: int | None) -> np.ndarray:
        for bits in random_keys(DRAWS, length, np.random.default_rng(seed)):
            if (self.distances(bits[None]) >= self.min_distance).all():
                return bits
        raise InputError(
            f"{self.path}: no room found for another key of {length} bits at distance {self.min_distance}; "
            "longer keys or a smaller min_distance would give more"
        )


def _write(path: Path | str, settings: dict, min_distance: int, users: dict[str, np.ndarray]) -> None:
    shown = {user: show_key(bits) for user, bits in users.items()}
    content = {"format": FORMAT, "settings": settings, "min_distance": min_distance, "users": shown}
    files.write_text(path, json.dumps(content, indent=1) + "\n", private=True)
