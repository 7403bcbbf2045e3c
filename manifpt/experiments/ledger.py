"""The papers' claims beside our results, each with its control and a verdict by rule.

Accuracies are compared image by image (`manifpt.experiments.statistics`); rows that were computed in different
precisions are not judged.

Of latent fingerprints the paper's numbers were not at hand. Its abstract says that strength, directions and capacity
trade accuracy against quality; the linear theory (`manifpt.latent.theory`) says which way. Shares of whole keys are
compared by Fisher's exact test over the images of all seeds, each with a content and a key of its own; costs by Welch's
test over seeds; readers by Wilcoxon's over attacks and seeds. A claim appears when both of its sides have the same
seeds.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import fisher_exact, ttest_ind, wilcoxon

from manifpt.baselines import BASELINES
from manifpt.experiments.latent import DEFAULT, FILTER, KNOWN, LONG, OWN, POINT, Point
from manifpt.experiments.run import MIDDLE, SPACES
from manifpt.experiments.statistics import holm, paired_bootstrap, together, verdict
from manifpt.experiments.store import Answers, latest, percent, read
from manifpt.experiments.zero_shot import IDENTIFICATION, VERIFICATION, asked
from manifpt.utils import paths

RAW, NO_MAKERS = "control-raw", "control-no-makers"
EXISTING = ("extractor", "spectrum", "marra19", "control-sl", RAW)  # methods of zero-shot attribution before ours
UNTESTED = "not tested"  # what the paper says of a control that it lacks
LEDGER = ["claim", "paper", "ours", "control", "n", "verdict"]
PAPER_ROWS = tuple(f"manifpt-{space}-nearest" for space in SPACES)
WEAK, WIDE, SHORT = Point(sigma=0.5), Point(shift=0, sigma=0.5), Point(sigma=LONG.sigma)
TRADES = {
    f"of σ {DEFAULT.sigma:g} than of σ {WEAK.sigma:g}": (DEFAULT, WEAK),
    f"of shift {WIDE.shift} than of shift {WEAK.shift}, at σ {WEAK.sigma:g}": (WIDE, WEAK),
}
LENGTHS = "of {} bits than of {}, at σ " + f"{LONG.sigma:g}"
AS_MANY = 0.005  # by so much may the bit accuracy of a pattern be below the default's, and count as equal


def ledger() -> pd.DataFrame:
    """All claims of which there are committed results.

    A row a claim: ``claim``, ``paper`` (its range, that of the best baseline, and how often it is above), ``ours``,
    ``control``, each as mean ± sd over seeds, accuracies in per cent; ``n`` test images and seeds, ``verdict``.
    """
    parts = {
        "table2": table2_claims,
        "table4": table4_claims,
        "table5": table5_claims,
        "zero_shot": zero_shot_claims,
        "latent_keys": key_claims,
        "latent_quality": cost_claims,
        "latent_attacks": attack_claims,
        "latent_claims": stranger_claims,
    }
    there = {name: paths.results() / f"{name}.csv" for name in parts}
    found = [parts[name](path) for name, path in there.items() if path.exists()]
    return pd.concat(found, ignore_index=True).reindex(columns=LEDGER)


def comparisons(
    frame: pd.DataFrame, answers: Answers, method: str, others: list[str], *, images: np.ndarray | None = None
) -> pd.DataFrame:
    """A method against others, image by image, in rows of one dataset, task, n_per_class and settings.

    Index: the others; ``gain`` in accuracy, ``p`` and ``p_holm``; ``precision`` of both, as in ``bf16`` or ``bf16 and
    fp32``, where rows tell it. For `images` see `manifpt.experiments.statistics.paired_bootstrap`.
    """
    right = {name: answers.of(frame[frame["method"] == name]) for name in (method, *others)}
    found = {other: paired_bootstrap(right[method], right[other], images=images) for other in others}
    table = pd.DataFrame(found, index=["gain", "p"]).T
    both = {other: frame.loc[frame["method"].isin([method, other]), "precision"].dropna().unique() for other in others}
    precision = {other: " and ".join(sorted(known)) for other, known in both.items()}
    return table.assign(p_holm=holm(table["p"]), precision=pd.Series(precision))


def over_raw(frame: pd.DataFrame, answers: Answers) -> pd.DataFrame:
    """Gain of every method of a frame over the raw image; rows and columns as `comparisons`, methods in their order."""
    others = [method for method in frame["method"].unique() if method != RAW]
    return comparisons(frame, answers, RAW, others).assign(gain=lambda table: -table["gain"])


def judge(table: pd.DataFrame) -> str:
    """The verdict on `comparisons`; a sentence instead where rows of different precision would be compared."""
    if mixed := sorted(precision for precision in table["precision"].unique() if " and " in precision):
        return f"not judged: computed in {mixed[0]}"
    return verdict(table["gain"], table["p_holm"])


def table2_claims(path: Path, *, n_per_class: int = MIDDLE) -> pd.DataFrame:
    """ "Each of the four spaces is above all eight baselines" (Table 2), task ``all`` of each dataset; see `ledger`."""
    frame = latest(path)
    frame = frame[(frame["task"] == "all") & (frame["n_per_class"] == n_per_class)]
    return _above_baselines(frame, Answers(path), "2")


def table4_claims(path: Path) -> pd.DataFrame:
    """ "Each of the four spaces is above all eight baselines" across datasets (Table 4), task ``all``; see `ledger`."""
    frame = latest(path)
    return _above_baselines(frame[frame["task"] == "all"], Answers(path), "4")


def _above_baselines(frame: pd.DataFrame, answers: Answers, number: str) -> pd.DataFrame:
    """Each space against all baselines, and against the raw image, which the paper does not do; of whole tables."""
    theirs = pd.read_csv(paths.data() / "paper" / f"table{number}.csv").pivot_table("accuracy", "dataset", "method")
    rival, rows = theirs[list(BASELINES)].max(axis=1), []
    for dataset, part in frame.groupby("dataset", sort=False):
        if not _whole(part, [*PAPER_ROWS, *BASELINES, RAW]):
            continue  # not computed yet
        accuracy = _accuracy(part)
        best = accuracy["mean"].reindex(list(BASELINES)).idxmax()
        for method in PAPER_ROWS:
            columns = f"above on {(theirs[method] > rival).sum()} of {len(theirs)} datasets"
            said = f"{_span(theirs[method])} against {_span(rival)}, {columns}"
            against = {
                "all baselines": (list(BASELINES), said, f"best baseline {_value(accuracy.loc[best])} ({best})"),
                "the raw image": ([RAW], UNTESTED, f"raw image {_value(accuracy.loc[RAW])}"),
            }
            for what, (others, said, control) in against.items():
                claim = f"Table {number}, {dataset}: {method} above {what}"
                found = judge(comparisons(part, answers, method, others))
                rows.append((claim, said, _value(accuracy.loc[method]), control, _count(part), found))
    return pd.DataFrame(rows, columns=LEDGER)


def table5_claims(path: Path) -> pd.DataFrame:
    """ "Clusters follow this design variable" (Table 5): k-means on artifacts of the nearest real image in ``rgb``.

    ``agrees`` if the p-value of the seeds together is below the level after Holm's method over the variables, else
    ``weaker``. See `ledger`; the control is the mean of the permutation null.
    """
    frame = latest(path)
    frame = frame[(frame["task"] == "k-means") & (frame["method"] == "manifpt-rgb-nearest")]
    theirs = pd.read_csv(paths.data() / "paper" / "table5.csv").pivot_table("nmi", "method", "variable")
    rows = []
    for dataset, part in frame.groupby("dataset", sort=False):
        values = part.pivot_table("value", "seed", "metric")
        variables = [name.removeprefix("nmi ") for name in values if name.startswith("nmi ")]
        p = holm([together(values[f"p_value {variable}"]) for variable in variables])
        for variable, adjusted in zip(variables, p, strict=True):
            claim = f"Table 5, {dataset}: clusters follow {variable}"
            said = f"NMI {theirs.loc['manifpt-rgb-nearest', variable]:.2f}"
            ours = _value(values[f"nmi {variable}"].agg(["mean", "std"]), 2)
            chance = f"chance {values[f'null_mean {variable}'].mean():.2f}"
            rows.append((claim, said, ours, chance, _count(part), verdict([1.0], [adjusted])))
    return pd.DataFrame(rows, columns=LEDGER)


def zero_shot_claims(path: Path, *, method: str = "psd-plda") -> pd.DataFrame:
    """ "On unseen makers, more than so many points above existing methods" (Model Synthesis), of each dataset.

    By 40 points of accuracy in identification with 10 images a maker in the gallery, by 15 points in verification of
    single images. The verdict is ``agrees`` where the method is above every existing one by that many points at least,
    each difference significant; ``weaker`` where it is above them by less or not significantly; ``contradicts`` where
    one is significantly above it. What synthetic models add to the method is a row of its own.
    """
    frame, answers, rows = latest(path), Answers(path), []
    tasks = (IDENTIFICATION, 10, 40), (VERIFICATION, 1, 15)
    for (dataset, (task, n, points)), part in _parts(frame, tasks):
        if not _whole(part, [method, *EXISTING, NO_MAKERS]):
            continue  # not computed yet
        accuracy = _accuracy(part)
        images = np.stack([_asked(frame[frame["dataset"] == dataset], task, n, seed) for seed in _seeds(part)])
        best = accuracy.loc[list(EXISTING), "mean"].idxmax()
        control = f"best existing {_value(accuracy.loc[best])} ({best})"
        claims = {"above existing methods": (EXISTING, f"+{points} points", points, control)}
        alone = f"without {_value(accuracy.loc[NO_MAKERS])}"
        claims["above the same without synthetic models"] = ([NO_MAKERS], UNTESTED, 0, alone)
        for what, (rivals, said, least, control) in claims.items():
            against = comparisons(part, answers, method, list(rivals), images=images)
            found, enough = judge(against), 100 * against["gain"].min() >= least
            found = "weaker" if found == "agrees" and not enough else found
            n_answers = f"{part['n'].max():,} answers, {part['seed'].nunique()} splits"
            claim = f"Model Synthesis, {dataset}: {task} {what}"
            rows.append((claim, said, _value(accuracy.loc[method]), control, n_answers, found))
    return pd.DataFrame(rows, columns=LEDGER)


def _parts(frame: pd.DataFrame, tasks: Sequence[tuple]) -> Iterator[tuple[tuple, pd.DataFrame]]:
    for dataset, part in frame.groupby("dataset", sort=False):
        for about in tasks:
            yield (dataset, about), part[(part["task"] == about[0]) & (part["n_per_class"] == about[1])]


def _seeds(part: pd.DataFrame) -> list[int]:
    return sorted(part["seed"].unique())


def _asked(frame: pd.DataFrame, task: str, n: int, seed: int) -> np.ndarray:
    """Which images the answers of a run are about, from the rows of identification of its dataset."""
    row = frame[(frame["task"] == IDENTIFICATION) & (frame["metric"] == "chance")].iloc[0]
    makers = round(1 / row["value"])
    return asked(makers, row["n"] // makers + row["n_per_class"], task, n, seed)


def key_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_keys.csv``: more keys come back whole if they are stronger, in wider directions, or shorter."""
    frame, rows = read(path), []
    n = frame["n"].max()
    shares = _wide(frame[(frame["n"] == n) & (frame["method"] == "newton")], "key_accuracy", "task")
    pairs = TRADES | {LENGTHS.format(SHORT.key_length, LONG.key_length): (SHORT, LONG)}
    for what, more, less in _measured(shares, pairs):
        images = n * len(more)
        whole = [round(images * side.mean()) for side in (more, less)]
        p = fisher_exact([[count, images - count] for count in whole]).pvalue
        shown = percent(more), percent(less), f"{images} images each, {len(more)} seeds"
        rows.append(_latent(f"more whole keys {what}", *shown, whole[0] - whole[1], p))
    return pd.DataFrame(rows, columns=LEDGER)


def cost_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_quality.csv``: keys cost more if they are stronger, in wider directions, or longer, or on the image.

    Cost is the Fréchet distance less its floor. On the image is the pattern of `as_good`, by ``latent_keys.csv``.
    """
    frame, rows = read(path), []
    costs = _wide(frame, "fd", "task") - _wide(frame, "fd_floor", "task")
    pairs = TRADES | {LENGTHS.format(LONG.key_length, SHORT.key_length): (LONG, SHORT)}
    if pattern := as_good(read(path.with_name("latent_keys.csv")), costs.mean()):
        pairs["of a visible pattern with as many bits than of the default"] = (pattern, DEFAULT)
    for what, more, less in _measured(costs, pairs):
        shown = [f"FD {side.mean():.0f} ± {side.std():.0f}" for side in (more, less)]
        n, p = f"{frame['n'].max():,} images each, {len(more)} seeds", ttest_ind(more, less, equal_var=False).pvalue
        rows.append(_latent(f"higher cost {what}", *shown, n, more.mean() - less.mean(), p))
    return pd.DataFrame(rows, columns=LEDGER)


def as_good(keys: pd.DataFrame, costs: pd.Series) -> str | None:
    """The task of the cheapest visible pattern of which as many bits are read as of the default; None if there is none.

    By rows of `manifpt.experiments.latent.latent_keys`, and costs by task.
    """
    bits = keys[keys["metric"] == "bit_accuracy"].groupby(["method", "task"])["value"].mean()
    least = bits.get(("newton", str(DEFAULT)), float("inf")) - AS_MANY
    enough = [task for (method, task), share in bits.items() if method == FILTER and share >= least]
    there = costs[costs.index.isin(enough)]
    return None if there.empty else there.idxmin()


def attack_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_attacks.csv``: of the default, more bits are read by someone who knows the attack."""
    frame, rows = read(path), []
    bits = _wide(frame[frame["task"] == str(DEFAULT)], "bit_accuracy", "method").dropna(axis=1)
    if attacks := [name for name in bits if name + KNOWN in bits]:
        known, unknown = (bits[[name + who for name in attacks]].to_numpy().ravel() for who in (KNOWN, ""))
        shown = [f"bits {percent(pd.Series(side))}" for side in (known, unknown)]
        shown.append(f"{len(attacks)} attacks, {frame['n'].max()} images each, {len(bits)} seeds")
        gain, p = (known - unknown).mean(), wilcoxon(known, unknown).pvalue
        rows.append(_latent("more bits for a reader who knows the attack", *shown, gain, p))
    return pd.DataFrame(rows, columns=LEDGER)


def stranger_claims(path: Path) -> pd.DataFrame:
    """Of ``latent_claims.csv``: no real image and none of another model is claimed; a single one contradicts."""
    frame, rows = read(path), []
    frame = frame[frame["task"] == str(POINT)]
    if not frame.empty:
        wrong = frame[(frame["metric"] == "wrong") & (frame["method"] != OWN)]
        count, n = round((wrong["value"] * wrong["n"]).sum()), wrong["n"].sum()
        own = frame[(frame["metric"] == "claimed") & (frame["method"] == OWN)]["value"]
        shown = f"own images claimed {percent(own)}", f"{n:,} images, {wrong['seed'].nunique()} seeds"
        rows.append(_latent("no claim on images of others", f"{count} claimed", *shown, -count or 1, 0.0))
    return pd.DataFrame(rows, columns=LEDGER)


def _latent(claim: str, ours: str, control: str, n: str, gain: float, p: float) -> tuple[str, ...]:
    return f"Latent fingerprints, {claim}", "numbers not at hand", ours, control, n, verdict([gain], [p])


def _wide(frame: pd.DataFrame, metric: str, columns: str) -> pd.DataFrame:
    """Values of a metric, a row a seed; the newest, of several checkpoints."""
    return frame[frame["metric"] == metric].pivot_table("value", "seed", columns, aggfunc="last")


def _measured(table: pd.DataFrame, pairs: dict[str, tuple]) -> Iterator[tuple[str, pd.Series, pd.Series]]:
    """Pairs of columns, named by points or tasks, of which every seed is there."""
    whole = table.dropna(axis=1)
    named = ((what, str(more), str(less)) for what, (more, less) in pairs.items())
    return ((what, whole[more], whole[less]) for what, more, less in named if {more, less} <= set(whole))


def _accuracy(part: pd.DataFrame) -> pd.DataFrame:
    """Index method; ``mean`` and ``std`` of its accuracies over seeds, in per cent."""
    return part[part["metric"] == "accuracy"].groupby("method")["value"].agg(["mean", "std"]) * 100


def _whole(part: pd.DataFrame, methods: Sequence[str]) -> bool:
    """Whether every seed has every method."""
    there = part[part["method"].isin(methods)]
    return there.groupby("seed")["method"].nunique().eq(len(methods)).all() and not there.empty


def _value(row: pd.Series, digits: int = 1) -> str:
    return f"{row['mean']:.{digits}f} ± {row['std']:.{digits}f}"


def _count(part: pd.DataFrame) -> str:
    return f"{part['n'].max():,} images, {part['seed'].nunique()} seeds"


def _span(values: pd.Series) -> str:
    return f"{values.min():.1f}–{values.max():.1f}"
