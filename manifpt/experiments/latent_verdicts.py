"""Claims about latent fingerprints, judged by rule.

The paper's numbers were not at hand. That strength, directions and capacity trade accuracy against quality its abstract
says; which way, the linear theory (`manifpt.latent.theory`). Shares of whole keys are compared by Fisher's exact test
over the images of all seeds, each with a content and a key of its own; costs by Welch's test over seeds; readers by
Wilcoxon's over attacks and seeds. A claim appears when both of its sides have the same seeds.
"""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from scipy.stats import fisher_exact, ttest_ind, wilcoxon

from manifpt.experiments.latent import DEFAULT, FILTER, KNOWN, LONG, Point
from manifpt.experiments.latent_claims import OWN, POINT
from manifpt.experiments.results import percent, read
from manifpt.experiments.statistics import verdict

WEAK, WIDE, SHORT = Point(sigma=0.5), Point(shift=0, sigma=0.5), Point(sigma=LONG.sigma)
TRADES = {
    f"of σ {DEFAULT.sigma:g} than of σ {WEAK.sigma:g}": (DEFAULT, WEAK),
    f"of shift {WIDE.shift} than of shift {WEAK.shift}, at σ {WEAK.sigma:g}": (WIDE, WEAK),
}
LENGTHS = "of {} bits than of {}, at σ " + f"{LONG.sigma:g}"
AS_MANY = 0.005  # by so much may the bit accuracy of a pattern be below the default's, and count as equal


def key_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_keys.csv``: more keys come back whole if they are stronger, in wider directions, or shorter."""
    frame = read(path)
    frame = frame[frame["n"] == frame["n"].max()]
    shares = _wide(frame[frame["method"] == "newton"], "key_accuracy", "task")
    pairs = TRADES | {LENGTHS.format(SHORT.key_length, LONG.key_length): (SHORT, LONG)}
    rows = []
    for what, more, less in _measured(shares, pairs):
        n = frame["n"].max() * len(more)
        whole = [round(n * side.mean()) for side in (more, less)]
        p = fisher_exact([[count, n - count] for count in whole]).pvalue
        shown = percent(more), percent(less), f"{n} images each, {len(more)} seeds"
        rows.append(_row(f"more whole keys {what}", *shown, whole[0] - whole[1], p))
    return pd.DataFrame(rows)


def cost_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_quality.csv``: keys cost more if they are stronger, in wider directions, or longer, or on the image.

    Cost is the Fréchet distance less its floor. On the image is the pattern of `as_good`, by ``latent_keys.csv``.
    """
    frame = read(path)
    costs = _wide(frame, "fd", "task") - _wide(frame, "fd_floor", "task")
    pairs = TRADES | {LENGTHS.format(LONG.key_length, SHORT.key_length): (LONG, SHORT)}
    if pattern := as_good(read(path.with_name("latent_keys.csv")), costs.mean()):
        pairs["of a visible pattern with as many bits than of the default"] = (pattern, DEFAULT)
    rows = []
    for what, more, less in _measured(costs, pairs):
        shown = [f"FD {side.mean():.0f} ± {side.std():.0f}" for side in (more, less)]
        shown.append(f"{frame['n'].max():,} images each, {len(more)} seeds")
        p = ttest_ind(more, less, equal_var=False).pvalue
        rows.append(_row(f"higher cost {what}", *shown, more.mean() - less.mean(), p))
    return pd.DataFrame(rows)


def as_good(keys: pd.DataFrame, costs: pd.Series) -> str | None:
    """The task of the cheapest visible pattern of which as many bits are read as of the default; None if there is none.

    Parameters
    ----------
    keys
        Rows of `manifpt.experiments.latent.latent_keys`.
    costs
        By task.
    """
    bits = keys[keys["metric"] == "bit_accuracy"].groupby(["method", "task"])["value"].mean()
    least = bits.get(("newton", str(DEFAULT)), float("inf")) - AS_MANY
    enough = [task for (method, task), share in bits.items() if method == FILTER and share >= least]
    there = costs[costs.index.isin(enough)]
    return None if there.empty else there.idxmin()


def attack_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_attacks.csv``: of the default, more bits are read by someone who knows the attack."""
    frame = read(path)
    bits = _wide(frame[frame["task"] == str(DEFAULT)], "bit_accuracy", "method").dropna(axis=1)
    attacks = [name for name in bits if name + KNOWN in bits]
    if not attacks:
        return pd.DataFrame()
    known, unknown = (bits[[name + who for name in attacks]].to_numpy().ravel() for who in (KNOWN, ""))
    shown = [f"bits {percent(pd.Series(side))}" for side in (known, unknown)]
    shown.append(f"{len(attacks)} attacks, {frame['n'].max()} images each, {len(bits)} seeds")
    row = _row(
        "more bits for a reader who knows the attack", *shown, (known - unknown).mean(), wilcoxon(known, unknown).pvalue
    )
    return pd.DataFrame([row])


def stranger_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_claims.csv``: no real image and none of another model is claimed; a single one contradicts."""
    frame = read(path)
    frame = frame[frame["task"] == str(POINT)]
    if frame.empty:
        return pd.DataFrame()
    wrong = frame[(frame["metric"] == "wrong") & (frame["method"] != OWN)]
    count, n = round((wrong["value"] * wrong["n"]).sum()), wrong["n"].sum()
    own = frame[(frame["metric"] == "claimed") & (frame["method"] == OWN)]["value"]
    shown = f"{count} claimed", f"own images claimed {percent(own)}", f"{n:,} images, {wrong['seed'].nunique()} seeds"
    return pd.DataFrame([_row("no claim on images of others", *shown, -count or 1, 0.0)])


def _wide(frame: pd.DataFrame, metric: str, columns: str) -> pd.DataFrame:
    """Values of a metric, a row a seed; the newest, of several checkpoints."""
    return frame[frame["metric"] == metric].pivot_table("value", "seed", columns, aggfunc="last")


def _measured(table: pd.DataFrame, pairs: dict[str, tuple]) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Pairs of columns, named by points or tasks, of which every seed is there."""
    whole = table.dropna(axis=1)
    named = ((what, str(more), str(less)) for what, (more, less) in pairs.items())
    return ((what, whole[more], whole[less]) for what, more, less in named if {more, less} <= set(whole))


def _row(claim: str, ours: str, control: str, n: str, gain: float, p: float) -> dict[str, str]:
    shown = {"ours": ours, "control": control, "n": n, "verdict": verdict([gain], [p])}
    return {"claim": f"Latent fingerprints, {claim}", "paper": "numbers not at hand", **shown}
