"""The paper's claims beside our results, each with its control and a verdict by rule."""

from pathlib import Path

import numpy as np
import pandas as pd

from manifpt import paths
from manifpt.answers import Answers
from manifpt.baselines import BASELINES
from manifpt.experiments.runner import MIDDLE
from manifpt.experiments.verdicts import holm, paired_bootstrap, verdict
from manifpt.results import latest

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


def synthesis_claims(path: Path, *, points: float, n_per_class: int, method: str = "synthesis-photos") -> pd.DataFrame:
    """ "On unseen models, more than so many points above existing methods" (Model Synthesis), by dataset and task.

    The verdict is ``agrees`` where the extractor is above every other method by that many points at least, each
    difference significant; ``weaker`` where it is above them by less or not significantly; ``contradicts`` where one
    is significantly above it.

    Parameters
    ----------
    path
        ``synthesis_identification.csv`` or ``synthesis_verification.csv``.
    points
        Of accuracy, in per cent: 40 for identification, 15 for verification.
    n_per_class
        Images a model in the gallery; 1 for verification.
    method
        The extractor; other ones are left out.
    """
    frame, answers = latest(path), Answers(path)
    frame = frame[frame["n_per_class"] == n_per_class]
    rows = []
    for (dataset, task), part in frame.groupby(["dataset", "task"], sort=False):
        others = [name for name in part["method"].unique() if not name.startswith("synthesis-")]
        accuracy = part[part["metric"] == "accuracy"].groupby("method")["value"].agg(["mean", "std"]) * 100
        best = accuracy.loc[others, "mean"].idxmax()
        against = comparisons(part, answers, method, others)
        order = verdict(against["gain"], against["p_holm"])
        enough = 100 * against["gain"].min() >= points
        rows.append(
            {
                "claim": f"{path.stem.partition('_')[2]}, {dataset}: {task}",
                "paper": f"+{points:g} points",
                "ours": _value(accuracy.loc[method]),
                "best other": f"{_value(accuracy.loc[best])} ({best})",
                "gain": f"{100 * against['gain'].min():+.1f} points",
                "n": f"{part['n'].max()} answers, {part['seed'].nunique()} splits",
                "verdict": "weaker" if order == "agrees" and not enough else order,
            }
        )
    return pd.DataFrame(rows)


def _value(row: pd.Series) -> str:
    return f"{row['mean']:.1f} ± {row['std']:.1f}"


def _span(values: pd.Series) -> str:
    return f"{values.min():.1f}–{values.max():.1f}"
