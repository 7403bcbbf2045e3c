"""Result tables: tidy and long, one value a row, never computed twice.

A row holds dataset, task, method, n_per_class, seed, metric, value, n, seconds, settings, version, precision;
``value`` has six significant digits, more than the images at hand could tell apart, ``seconds`` three; ``settings`` is
a hash whose meaning stands in ``settings.json`` beside the table; ``precision`` is that of the processor's convolutions
where it was left open: ``bf16`` or ``fp32``, missing in rows older than the column.
"""

import json
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from manifpt.utils import files
from manifpt.utils.compute import precision

KEY = ["dataset", "task", "method", "n_per_class", "seed", "settings"]
COLUMNS = [*KEY[:-1], "metric", "value", "n", "seconds", "settings", "version", "precision"]
NUMBERS = {"n_per_class": int, "seed": int, "value": float, "n": int, "seconds": float}


def read(path: Path) -> pd.DataFrame:
    """The rows of a table file, numbers to the last digit.

    Everything else stays text: a hash such as ``12345678e901`` would otherwise be taken for a number.
    """
    text = pd.read_csv(path, dtype=str)  # pandas below 3.1 rounds floats as it reads
    return text.astype(NUMBERS).reindex(columns=COLUMNS)


class Results:
    """The rows of one table; `add` writes them to disk at once, if the table has a file.

    Parameters
    ----------
    path
        ``<experiment>.csv``, read if it exists; None keeps the rows in memory.
    settings
        What else the rows depend on, as a dictionary; rows made with other settings are not the same rows.
    """

    def __init__(self, path: Path | None, settings: dict):
        self.path, self.settings = path, files.settings_hash(settings)
        self.frame = self._stored()
        if path:
            record = path.with_name("settings.json")
            with files.locked(record):
                known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
                if self.settings not in known:
                    known[self.settings] = {"experiment": path.stem, **settings}
                    lines = (f"{json.dumps(key)}: {json.dumps(known[key], sort_keys=True)}" for key in sorted(known))
                    files.write_text(record, "{\n" + ",\n".join(lines) + "\n}\n")

    def _stored(self) -> pd.DataFrame:
        if self.path and self.path.exists():
            return read(self.path)
        return pd.DataFrame(columns=COLUMNS)

    def has(self, **key) -> bool:
        """Whether rows with this dataset, task, method, n_per_class and seed are there, made with the same settings."""
        key |= {"settings": self.settings}
        match = pd.Series(True, index=self.frame.index)
        for column in KEY:
            match &= self.frame[column] == key[column]
        return bool(match.any())

    def add(self, metrics: dict[str, float], *, n: int, seconds: float, **key) -> None:
        """Add one row a metric to what is there, which another process may have added to; the same row is replaced."""
        common = {**key, "n": n, "seconds": float(f"{seconds:.3g}"), "settings": self.settings}
        common |= {"version": version("manifpt"), "precision": precision()}
        values = {name: float(f"{value:.6g}") for name, value in metrics.items()}
        rows = pd.DataFrame([{**common, "metric": name, "value": value} for name, value in values.items()])
        with files.locked(self.path) if self.path else nullcontext():
            before = self._stored() if self.path else self.frame
            self.frame = rows[COLUMNS] if before.empty else pd.concat([before, rows[COLUMNS]], ignore_index=True)
            self.frame = self.frame.drop_duplicates([*KEY, "metric"], keep="last", ignore_index=True)
            if self.path:
                with files.atomic(self.path) as temporary:
                    short = self.frame["seconds"].map("{:g}".format)
                    self.frame.assign(seconds=short).to_csv(temporary, index=False)

    def of(self, *, dataset: str, methods: Sequence[str]) -> pd.DataFrame:
        """The rows of a dataset and of some methods that were made with these settings."""
        frame = self.frame
        mine = (frame["settings"] == self.settings) & (frame["dataset"] == dataset)
        return frame[mine & frame["method"].isin(methods)]


def latest(path: Path) -> pd.DataFrame:
    """The rows of a table about the models that each dataset had last, without those that later ones took the place of.

    Settings have to name the models' ``samples``, as those of `manifpt.experiments.runner.Budget` do.
    """
    frame = read(path)
    known = json.loads(path.with_name("settings.json").read_text(encoding="utf-8"))
    samples = frame["settings"].map(lambda name: json.dumps(known[name]["samples"], sort_keys=True))
    newest = samples.groupby(frame["dataset"]).transform("last")
    same = ["dataset", "task", "method", "n_per_class", "seed", "metric"]
    return frame[samples == newest].drop_duplicates(same, keep="last")


def percent(shares: pd.Series) -> str:
    """Mean ± standard deviation of shares (0 to 1) in per cent, as in ``41.4 ± 1.8``; to aggregate seeds with."""
    return f"{100 * shares.mean():.1f} ± {100 * shares.std():.1f}"
