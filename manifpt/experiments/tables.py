"""The result tables as a batch: which experiment, on which datasets, at which size, into which file."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import joblib
import pandas as pd

from manifpt.experiments import (
    feature_space,
    latent,
    table2,
    table4,
    table5,
    two_sample,
    zero_shot,
    zero_shot_ablation,
)
from manifpt.experiments.run import RESNET50
from manifpt.experiments.store import version_of
from manifpt.utils import paths
from manifpt.utils.errors import InputError, check_choice
from manifpt.zoo.dataset import PUBLISHED, REAL_GENERATORS, load_gm
from manifpt.zoo.models import DATASETS

PROFILES = ("smoke", "full")


def summary(frame: pd.DataFrame) -> pd.DataFrame:
    """Mean ± standard deviation over seeds: a row a method, a column a task, metric and number of training images."""
    columns = ["task", "metric", "n_per_class"]

    def text(values: pd.Series) -> str:
        return f"{values.mean():.3f}" + (f" ± {values.std():.3f}" if len(values) > 1 else "")

    wide = frame.pivot_table("value", "method", columns, aggfunc=text, fill_value="", sort=False)
    return wide.reindex(frame["method"].drop_duplicates())


class Table(NamedTuple):
    """An experiment with a file of its own."""

    compute: Callable[..., pd.DataFrame]  # called with GM datasets and options
    inputs: tuple[tuple[str, ...], ...]  # the datasets of each part
    smoke: dict  # options of a run of some minutes
    summary: Callable[[pd.DataFrame], pd.DataFrame] = summary  # rows to a frame that fits a screen
    full: dict = {}  # noqa: RUF012  # options of the full profile


RGB = ("manifpt-rgb-nearest",)
TESTED = {"seeds": (0,), "n_reference": 2000}
TRAINED = TESTED | {"epochs": 2}
SMALL = TRAINED | {"n_test": 20}
FEW = {"seeds": (0,), "n": 2}
LAST = {"sweep": latent.SWEEP[-3:]}
SHORT = {"seeds": (0,), "n_test": 12}
EACH = tuple((name,) for name in DATASETS)
LARGE = ((PUBLISHED,), *((f"real-{name}",) for name in ("bingo", "facades", "upscaled", "mixed")))
ZERO_SHOT = (*EACH, *LARGE)
SPREAD = {"full": {"jobs": joblib.cpu_count()}}  # searches hardly use more than one thread
DEEP = {"plan": {"all": (1000,)}, "methods": RESNET50}  # the check with the paper's network
FASHION = (("gm-fashion",),)  # latent fingerprints are measured on one dataset
TABLES = {
    "2": Table(table2.table2, EACH, SMALL | {"plan": {"all": (10,)}}),
    "resnet50": Table(table2.table2, (("gm-cifar10",),), SMALL | DEEP | {"plan": {"all": (10,)}}, full=DEEP),
    "4": Table(table4.table4, table4.PAIRS, SMALL | {"n_per_class": 10}),
    "5": Table(table5.table5, EACH, SMALL | {"n_per_class": 20}),
    "two-sample": Table(two_sample.two_sample, EACH, TESTED | {"methods": RGB, "n": 50}, two_sample.told_apart),
    "feature-space": Table(feature_space.feature_space, EACH, TRAINED | {"counts": (20, 50), "n_per_class": 10}),
    "held-out": Table(table5.held_out, EACH, SMALL | {"n_per_class": 20, "methods": RGB}),
    "zero-shot": Table(zero_shot.zero_shot, ZERO_SHOT, SHORT | {"shots": (5, 1), "methods": ("psd-plda", "spectrum")}),
    "zero-shot-ablation": Table(zero_shot_ablation.zero_shot_ablation, LARGE, SHORT | {"tasks": ("none", "shots: 1")}),
    "latent-keys": Table(latent.latent_keys, FASHION, FEW | LAST | {"readers": ()}, **SPREAD),
    "latent-quality": Table(latent.latent_quality, FASHION, FEW | LAST | {"n": 100}, **SPREAD),
    "latent-attacks": Table(latent.latent_attacks, FASHION, FEW | {"sweep": latent.ATTACKED[-1:]}, **SPREAD),
    "latent-claims": Table(latent.latent_claims, FASHION, FEW | {"n": 1, "steps": 2}, **SPREAD),
}


def compute(
    tables: Sequence[str] = (), datasets: Sequence[str] = (), *, profile: str = "full", resume: bool = False
) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, int]]:
    """Compute the given tables, or all; yield each part when it is done: its rows, their summary, and how many are old.

    Old rows were there already, computed by other code than today's; `resume` keeps them and goes on. Rows are written
    to ``data/results/`` (profile full) or to ``tables/smoke/`` among the runs (smoke). Of pairs of GM datasets, that of
    training is named. Sets of published generators, which are not part of the project, are left out unless the
    environment says where they are. `InputError`, before any work, for an unknown name, and for rows that are there
    already, without `resume`.
    """
    every = {inputs[0]: None for table in TABLES.values() for inputs in table.inputs}
    named = (("table", tables, TABLES), ("dataset", datasets, every), ("profile", [profile], PROFILES))
    for what, given, known in named:
        for name in given:
            check_choice(what, name, known)
    for name in tables:
        known = dict.fromkeys(inputs[0] for inputs in TABLES[name].inputs)
        if datasets and known.keys().isdisjoint(datasets):
            raise InputError(f"table {name!r}: none of {', '.join(datasets)}; choose one of {', '.join(known)}")
    names = tables or [*TABLES]
    if not resume and (there := [path for name in names if (path := path_of(name, profile)).exists()]):
        raise InputError(f"{there[0]}: is there already; --resume keeps its rows and goes on, or remove it")
    parts = ((name, inputs) for name in names for inputs in TABLES[name].inputs)
    chosen = ((name, inputs) for name, inputs in parts if inputs[0] in (datasets or _at_hand(every)))
    return (_part(TABLES[name], inputs, path_of(name, profile), profile) for name, inputs in chosen)


def _at_hand(datasets: Iterable[str]) -> list[str]:
    """The datasets without the sets of published generators, unless a folder of them is named."""
    return [name for name in datasets if REAL_GENERATORS in os.environ or not name.startswith("real-")]


def path_of(table: str, profile: str) -> Path:
    """Where the rows of a table go."""
    folder = paths.results() if profile == "full" else paths.runs() / "tables" / profile
    return folder / (f"table{table}.csv" if table.isdecimal() else f"{table.replace('-', '_')}.csv")


def _part(table: Table, inputs: Sequence[str], path: Path, profile: str) -> tuple[pd.DataFrame, pd.DataFrame, int]:
    options = table.smoke if profile == "smoke" else table.full
    frame = table.compute(*map(load_gm, inputs), **options, path=path, progress=True)
    old = frame["version"] != version_of(table.compute.__module__)
    return frame, table.summary(frame), int(old.sum())
