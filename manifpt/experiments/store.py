"""Result tables: tidy and long, one value a row, never computed twice; and the answers behind their accuracies.

A row holds dataset, task, method, n_per_class, seed, metric, value, n, seconds, settings, version, precision.

``value``, ``seconds``
    Six significant digits, more than the images at hand can resolve, and three.
``settings``
    A hash; its meaning is in ``settings.json`` beside the table.
``version``
    ``<version of manifpt>+<checksum of the code>``, see `manifpt.utils.cache.code_checksum`; the version alone in rows
    of 0.1.0.
``precision``
    Of the computation: ``fp32``, in which `manifpt.experiments.run.measure` computes on every processor. Rows of 0.1.0
    have ``bf16`` where the processor computed convolutions in bf16 if nothing else was asked for; their oldest, none.
"""

import json
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from manifpt.utils import files
from manifpt.utils.cache import code_checksum


class Key(NamedTuple):
    """What a row of a table is about."""

    dataset: str
    task: str
    method: str
    n_per_class: int
    seed: int


class Scores(NamedTuple):
    """What was measured for one key."""

    key: Key
    metrics: dict[str, float]
    n: int  # images, pairs, models: whatever was counted
    right: np.ndarray | None = None  # which of n answers are right, bool (n,)
    seconds: float | None = None  # None for the time since the beginning of the key's group


KEY = [*Key._fields, "settings"]
COLUMNS = [*Key._fields, "metric", "value", "n", "seconds", "settings", "version", "precision"]
NUMBERS = {"n_per_class": int, "seed": int, "value": float, "n": int, "seconds": float}


def read(path: Path) -> pd.DataFrame:
    """The rows of a table file, numbers to the last digit; all else is text, even a hash such as ``12345678e901``."""
    text = pd.read_csv(path, dtype=str)  # pandas below 3.1 rounds floats as it reads
    return text.astype(NUMBERS).reindex(columns=COLUMNS)


def version_of(module: str) -> str:
    """What the column ``version`` says of rows that the code of a module computes, given its ``__name__``."""
    return f"{version('manifpt')}+{code_checksum(module)}"


class Answers:
    """Which questions each run of an experiment answered rightly: what paired tests need.

    They are packed into one ``.npz`` beside the experiment's table: names of runs, their lengths, all bits. Without a
    table they are kept in memory.
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
    return "|".join(str(key[part]) for part in KEY)


class Results:
    """The rows of one table, ``<experiment>.csv``, which is read if it exists; None keeps them in memory.

    `settings` maps a key to what else its rows depend on: rows made with other settings are not the same rows. `code`
    is the name of the module that computes new rows.
    """

    def __init__(self, path: Path | None, settings: Callable[[Key], dict], *, code: str):
        self.path, self.settings, self.version = path, settings, version_of(code)
        self.answers = Answers(path)
        self.frame = self._stored()

    def _stored(self) -> pd.DataFrame:
        return read(self.path) if self.path and self.path.exists() else pd.DataFrame(columns=COLUMNS)

    def _named(self, keys: Sequence[Key]) -> list[tuple]:
        return [(*key, files.settings_hash(self.settings(key))) for key in keys]

    def missing(self, groups: Sequence[Sequence[Key]]) -> list[list[Key]]:
        """Those keys of each group that have no rows made with the same settings; groups that have all are left out."""
        there = set(self.frame[KEY].itertuples(index=False, name=None))
        pairs = [zip(group, self._named(group), strict=True) for group in groups]
        return [todo for group in pairs if (todo := [key for key, named in group if named not in there])]

    def add(self, found: Sequence[Scores]) -> None:
        """Add one row a metric to what is there, which another process may have added to; the same row is replaced."""
        rows = []
        for scores in found:
            settings = self._recorded(self.settings(scores.key))
            common = scores.key._asdict() | {"n": scores.n, "seconds": float(f"{scores.seconds:.3g}")}
            common |= {"settings": settings, "version": self.version, "precision": "fp32"}
            rows += [
                common | {"metric": name, "value": float(f"{value:.6g}")} for name, value in scores.metrics.items()
            ]
            if scores.right is not None:
                self.answers.add(scores.right, **scores.key._asdict(), settings=settings)
        new = pd.DataFrame(rows, columns=COLUMNS)
        with files.locked(self.path) if self.path else nullcontext():
            before = self._stored() if self.path else self.frame
            self.frame = new if before.empty else pd.concat([before, new], ignore_index=True)
            self.frame = self.frame.drop_duplicates([*KEY, "metric"], keep="last", ignore_index=True)
            if self.path:
                with files.atomic(self.path) as temporary:
                    short = self.frame["seconds"].map("{:g}".format)
                    self.frame.assign(seconds=short).to_csv(temporary, index=False)

    def _recorded(self, settings: dict) -> str:
        """Write down what the hash of these settings means, and return it."""
        name = files.settings_hash(settings)
        if not self.path:
            return name
        record = self.path.with_name("settings.json")
        with files.locked(record):
            known = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {}
            if name not in known:
                known[name] = {"experiment": self.path.stem, **settings}
                lines = (f"{json.dumps(key)}: {json.dumps(known[key], sort_keys=True)}" for key in sorted(known))
                files.write_text(record, "{\n" + ",\n".join(lines) + "\n}\n")
        return name

    def of(self, keys: Sequence[Key]) -> pd.DataFrame:
        """The rows of these keys that were made with the same settings."""
        there = pd.MultiIndex.from_frame(self.frame[KEY])
        return self.frame[there.isin(self._named(keys))].reset_index(drop=True)


def latest(path: Path) -> pd.DataFrame:
    """The rows of a table about the models that each dataset had last, without those that later ones replaced.

    Settings have to name the models' ``samples``, as those of `manifpt.experiments.run.Budget` do.
    """
    frame = read(path)
    known = json.loads(path.with_name("settings.json").read_text(encoding="utf-8"))
    samples = frame["settings"].map(lambda name: json.dumps(known[name]["samples"], sort_keys=True))
    newest = samples.groupby(frame["dataset"]).transform("last")
    return frame[samples == newest].drop_duplicates([*Key._fields, "metric"], keep="last")


def percent(shares: pd.Series) -> str:
    """Mean ± standard deviation of shares (0 to 1) in per cent, as in ``41.4 ± 1.8``; to aggregate seeds with."""
    return f"{100 * shares.mean():.1f} ± {100 * shares.std():.1f}"
