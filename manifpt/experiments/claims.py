"""The paper's claims beside our results, each with its control and a verdict by rule."""

from pathlib import Path

import numpy as np
import pandas as pd

from manifpt import paths
from manifpt.answers import Answers
from manifpt.baselines import BASELINES
from manifpt.experiments.runner import MIDDLE
from manifpt.experiments.verdicts import holm, paired_bootstrap, verdict

RAW = "control-raw"


def comparisons(frame: pd.DataFrame, answers: Answers, method: str, others: list[str]) -> pd.DataFrame:
    """A method against others, image by image, on one dataset, task and number of training images.

    Parameters
    ----------
    frame
        Rows of one dataset, task, n_per_class and settings.
    answers
        Which test images each run named rightly.

    Returns
    -------
    Index: the others; ``gain`` in accuracy, ``p`` and ``p_holm``.
    """
    rows = frame[frame["metric"] == "accuracy"].sort_values("seed")

    def right(name: str) -> np.ndarray:
        return np.stack([answers.get(**row) for row in rows[rows["method"] == name].to_dict("records")])  # (seeds, n)

    ours = right(method)
    table = pd.DataFrame({other: paired_bootstrap(ours, right(other)) for other in others}, index=["gain", "p"]).T
    return table.assign(p_holm=holm(table["p"]))


def table2_claims(path: Path, *, n_per_class: int = MIDDLE) -> pd.DataFrame:
    """ "Each of the four spaces is above all eight baselines" (Table 2), on the task ``all`` of each dataset.

    Returns
    -------
    A row a dataset and space: ``claim``, ``paper`` (its range over four datasets, and that of the best baseline),
    ``ours``, ``best baseline``, ``control`` (the raw image), each as mean ± sd in per cent, ``n`` test images and
    seeds, ``verdict``.
    """
    frame, answers = pd.read_csv(path), Answers(path)
    frame = frame[(frame["task"] == "all") & (frame["n_per_class"] == n_per_class)]
    theirs = pd.read_csv(paths.data() / "paper" / "table2.csv").pivot_table("accuracy", "dataset", "method")
    rows = []
    for dataset, part in frame.groupby("dataset", sort=False):
        accuracy = part[part["metric"] == "accuracy"].groupby("method")["value"].agg(["mean", "std"]) * 100
        best = accuracy["mean"].reindex(list(BASELINES)).idxmax()
        for method in (f"manifpt-{space}-nearest" for space in ("rgb", "freq", "sl", "ssl")):
            against = comparisons(part, answers, method, list(BASELINES))
            rows.append(
                {
                    "claim": f"Table 2, {dataset}: {method} above all baselines",
                    "paper": f"{_span(theirs[method])} against {_span(theirs[list(BASELINES)].max(axis=1))}",
                    "ours": _value(accuracy.loc[method]),
                    "best baseline": f"{_value(accuracy.loc[best])} ({best})",
                    "control": _value(accuracy.loc[RAW]),
                    "n": f"{part['n'].max()} images, {part['seed'].nunique()} seeds",
                    "verdict": verdict(against["gain"], against["p_holm"]),
                }
            )
    return pd.DataFrame(rows)


def _value(row: pd.Series) -> str:
    return f"{row['mean']:.1f} ± {row['std']:.1f}"


def _span(values: pd.Series) -> str:
    return f"{values.min():.1f}–{values.max():.1f}"
