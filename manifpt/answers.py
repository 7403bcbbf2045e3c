"""Which test images each run of an experiment named rightly: what paired tests need."""

from pathlib import Path

import numpy as np

from manifpt import files


class Answers:
    """Booleans by run, packed into one ``.npz`` beside the experiment's table.

    Parameters
    ----------
    table
        ``<experiment>.csv``; the answers lie in ``<experiment>.npz``. None keeps them in memory.
    """

    def __init__(self, table: Path | None):
        self.path = table.with_suffix(".npz") if table else None
        self._packed = self._stored()

    def _stored(self) -> dict[str, np.ndarray]:
        if not (self.path and self.path.exists()):
            return {}
        with np.load(self.path, allow_pickle=False) as stored:
            return dict(stored)

    def add(self, right: np.ndarray, **key) -> None:
        """Keep one run's answers, bool `(n,)`, beside those that another process may have added meanwhile."""
        count = np.frombuffer(np.uint32(len(right)).tobytes(), np.uint8)
        self._packed[_name(key)] = np.concatenate([count, np.packbits(right)])
        if self.path:
            with files.locked(self.path), files.atomic(self.path) as temporary:
                self._packed = self._stored() | self._packed
                np.savez(temporary, **self._packed)

    def get(self, **key) -> np.ndarray:
        """One run's answers, bool `(n,)`; `KeyError` if it is not there."""
        packed = self._packed[_name(key)]
        return np.unpackbits(packed[4:], count=int(packed[:4].view(np.uint32)[0])).astype(bool)


def _name(key: dict) -> str:
    return "|".join(str(key[part]) for part in ("dataset", "task", "method", "n_per_class", "seed", "settings"))
