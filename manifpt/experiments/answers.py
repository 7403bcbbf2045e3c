"""Which test images each run of an experiment named rightly: what paired tests need."""

from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.utils import files


class Answers:
    """Booleans by run, packed into one ``.npz`` beside the experiment's table: names of runs, their lengths, all bits.

    Parameters
    ----------
    table
        ``<experiment>.csv``; the answers lie in ``<experiment>.npz``. None keeps them in memory.
    """

    def __init__(self, table: Path | None):
        self.path = table.with_suffix(".npz") if table else None
        self._right = self._stored()

    def _stored(self) -> dict[str, np.ndarray]:
        if not (self.path and self.path.exists()):
            return {}
        with np.load(self.path, allow_pickle=False) as stored:
            ends = stored["lengths"].cumsum()
            right = np.unpackbits(stored["right"], count=ends[-1]).astype(bool)
            return dict(zip(stored["runs"].tolist(), np.split(right, ends[:-1]), strict=True))

    def add(self, right: np.ndarray, **key) -> None:
        """Keep one run's answers, bool `(n,)`, beside those that another process may have added meanwhile."""
        if not self.path:
            self._right[_name(key)] = right
            return
        with files.locked(self.path), files.atomic(self.path) as temporary:
            self._right = self._stored() | {_name(key): right}
            rows = [*self._right.values()]
            packed = {"lengths": [len(row) for row in rows], "right": np.packbits(np.concatenate(rows))}
            np.savez_compressed(temporary, runs=[*self._right], **packed)

    def get(self, **key) -> np.ndarray:
        """One run's answers, bool `(n,)`; `KeyError` if it is not there."""
        return self._right[_name(key)]

    def of(self, rows: pd.DataFrame) -> np.ndarray:
        """Answers of the runs whose accuracies a frame has, bool `(runs, n)`, in the order of their seeds."""
        runs = rows[rows["metric"] == "accuracy"].sort_values("seed").to_dict("records")
        return np.stack([self.get(**run) for run in runs])


def _name(key: dict) -> str:
    return "|".join(str(key[part]) for part in ("dataset", "task", "method", "n_per_class", "seed", "settings"))
