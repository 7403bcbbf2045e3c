"""Compute a row of every committed table anew and compare: ``python tests/rows.py [TABLE …]``.

A line a table: the largest difference of a committed value and the new one, relative to the committed one or, where
that is small, to 1, and the tolerance. `FAST` are those that take seconds. Rows whose computation trains a network on
other processors than the committed ones differ by more than those that only measure: their tolerance is the spread
between trainings.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
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
from manifpt.experiments.store import read
from manifpt.experiments.tables import TABLES, path_of
from manifpt.zoo.dataset import PUBLISHED, load_gm

EXACT, NEAR, TRAINED = 1e-4, 2e-2, 0.15  # of arithmetic alone; of a decision at its border; of a new training
FEW = 1.01 / 21  # of one of 21 images whose decision is at its border: those rows are bf16, new ones are fp32
FASHION, PHOTO, CIFAR10 = (partial(load_gm, name) for name in ("gm-fashion", "gm-photo", "gm-cifar10"))
UPSCALED = partial(load_gm, PUBLISHED)
ONE = {"seeds": (0,)}
PATTERN = {"sweep": latent.SWEEP[-1:]} | ONE


def tested_pair() -> pd.DataFrame:
    """A pair of models of the two-sample table: the images of all, one test."""
    gm = FASHION()
    first, second = gm.classes[:2]
    rows = two_sample.halves(gm, "control-raw", n=200)
    mmd2, p = two_sample.mmd_test(rows[first][:200], rows[second][200:], seed=1)  # the second of all pairs
    row = {"dataset": gm.name, "task": f"{first} | {second}", "method": "control-raw", "n_per_class": 200, "seed": 0}
    return pd.DataFrame([row | {"metric": "mmd2", "value": mmd2}, row | {"metric": "p", "value": p}])


class Case(NamedTuple):
    """How a row of a table is computed, and how far it may be from the committed one."""

    compute: Callable[[], pd.DataFrame]
    tolerance: float


def _case(function: Callable, tolerance: float, *gms: Callable, **options) -> Case:
    return Case(lambda: function(*(gm() for gm in gms), **ONE | options), tolerance)


CASES = {
    "2": _case(table2.table2, NEAR, FASHION, plan={"all": (1000,)}, methods=("dzanic20",)),
    "resnet50": _case(table2.table2, TRAINED, CIFAR10, plan={"all": (1000,)}, methods=("control-raw+resnet50",)),
    "4": _case(table4.table4, NEAR, FASHION, PHOTO, tasks=("L1",), methods=("durall20",)),
    "5": _case(table5.table5, TRAINED, FASHION, methods=("control-raw",)),
    "two-sample": Case(tested_pair, EXACT),
    "feature-space": _case(feature_space.feature_space, EXACT, FASHION, methods=("pixels",), counts=(20, 700)),
    "held-out": _case(table5.held_out, TRAINED, FASHION, methods=("control-raw",), tasks=("held-out model",)),
    "zero-shot": _case(zero_shot.zero_shot, NEAR, FASHION, methods=("psd-plda",)),
    "zero-shot-ablation": _case(zero_shot_ablation.zero_shot_ablation, NEAR, UPSCALED, tasks=("none",)),
    "latent-keys": _case(latent.latent_keys, NEAR, FASHION, **PATTERN, readers=()),
    "latent-quality": _case(latent.latent_quality, NEAR, FASHION, **PATTERN),
    "latent-attacks": _case(latent.latent_attacks, NEAR, FASHION, sweep=latent.ATTACKED[-1:], attacks=("none", "jpeg")),
    "latent-claims": _case(latent.latent_claims, FEW, lambda: FASHION().only("dcgan")),
}
FAST = ("two-sample", "feature-space", "zero-shot", "latent-keys", "latent-attacks")
SAME = ["dataset", "task", "method", "n_per_class", "seed", "metric"]


def difference(table: str, computed: pd.DataFrame) -> float:
    """Largest difference from the committed values, relative to them or to 1; every row must be there."""
    committed = read(path_of(table, "full")).drop_duplicates(SAME, keep="last")
    both = computed[[*SAME, "value"]].merge(committed[[*SAME, "value"]], on=SAME, suffixes=("", "_committed"))
    assert len(both) == len(computed) > 0, f"{table}: rows that are not committed"
    return float((np.abs(both["value"] - both["value_committed"]) / both["value_committed"].abs().clip(lower=1)).max())


def main() -> None:
    """Compute the tables named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("table", nargs="*", metavar="TABLE", help=", ".join(CASES))
    failed = False
    for table in parser.parse_args().table or CASES:
        started = time.perf_counter()
        try:
            found = difference(table, CASES[table].compute())
        except Exception as error:  # a table that needs what is not here must not hide the others
            found, failed = f"not computed: {error}", True
        else:
            failed |= found > CASES[table].tolerance
            found = f"differs by {found:.2g}, tolerance {CASES[table].tolerance:g}"
        sys.stdout.write(f"{table}: {found} ({time.perf_counter() - started:.0f} s)\n")
        sys.stdout.flush()
    sys.exit(failed)


assert CASES.keys() == TABLES.keys()
if __name__ == "__main__":
    main()
