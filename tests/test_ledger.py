import json
import shutil

import numpy as np
import pandas as pd
import pytest

from manifpt.baselines import BASELINES
from manifpt.experiments import ledger
from manifpt.experiments.latent import DEFAULT, LONG, POINT, Point
from manifpt.experiments.store import COLUMNS, Answers, read
from manifpt.experiments.zero_shot import asked
from manifpt.utils import paths

SHARES = dict.fromkeys(BASELINES, 0.5) | {
    "manifpt-rgb-nearest": 0.8,
    "manifpt-freq-nearest": 0.505,
    "manifpt-sl-nearest": 0.3,
    "manifpt-ssl-nearest": 0.8,
    ledger.RAW: 0.9,
}


def write(rows, path):
    """Rows of settings ``s``, and what these mean."""
    pd.DataFrame(rows).assign(settings="s").reindex(columns=COLUMNS).to_csv(path, index=False)
    path.with_name("settings.json").write_text(json.dumps({"s": {"samples": {}}}))
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A made-up table of three seeds in which each method is right with a probability of its own."""
    path, rows = tmp_path_factory.mktemp("claims") / "table2.csv", []
    answers, rng = Answers(path), np.random.default_rng(0)
    for method, share in SHARES.items():
        for seed in range(3):
            key = {"dataset": "gm-cifar10", "task": "all", "method": method, "n_per_class": 200, "seed": seed}
            right = rng.random(2000) < share
            answers.add(right, **key, settings="s")
            rows.append(key | {"metric": "accuracy", "value": right.mean(), "n": 2000})
    return write(rows, path)


def test_verdicts_follow_the_rule(path):
    table = ledger.table2_claims(path).set_index("claim")
    expected = {"rgb": "agrees", "freq": "weaker", "sl": "contradicts", "ssl": "agrees"}
    for space, verdict in expected.items():
        assert table.loc[f"Table 2, gm-cifar10: manifpt-{space}-nearest above all baselines", "verdict"] == verdict


def test_figures_stand_beside_the_papers(path):
    row = ledger.table2_claims(path).iloc[0]
    assert row["paper"] == "63.7–70.5 against 61.1–64.2, above on 4 of 4 datasets"
    assert row["ours"].startswith(("79", "80", "81"))
    assert row["control"].startswith("best baseline ")
    assert row["n"] == "2,000 images, 3 seeds"


def test_the_raw_image_is_a_control_that_the_paper_lacks(path):
    table = ledger.table2_claims(path).set_index("claim")
    row = table.loc["Table 2, gm-cifar10: manifpt-rgb-nearest above the raw image"]
    assert (row["paper"], row["verdict"]) == ("not tested", "contradicts")
    assert row["control"].removeprefix("raw image ").startswith(("89", "90", "91"))


def test_comparisons_are_paired(path):
    frame = read(path)
    table = ledger.comparisons(frame, Answers(path), "manifpt-rgb-nearest", ["yu19", ledger.RAW])
    assert table["gain"].tolist() == pytest.approx([0.3, -0.1], abs=0.03)
    assert (table["p_holm"] >= table["p"]).all()


def test_rows_of_different_precision_are_not_judged(path, tmp_path):
    frame = read(path).assign(precision="bf16")
    frame.loc[frame["method"] == "yu19", "precision"] = "fp32"
    part = tmp_path / "table2.csv"
    shutil.copy(path.with_suffix(".npz"), part.with_suffix(".npz"))
    write(frame, part)
    verdicts = ledger.table2_claims(part).set_index("claim")["verdict"]
    assert verdicts["Table 2, gm-cifar10: manifpt-rgb-nearest above all baselines"] == (
        "not judged: computed in bf16 and fp32"
    )
    assert verdicts["Table 2, gm-cifar10: manifpt-rgb-nearest above the raw image"] == "contradicts"
    against = ledger.comparisons(frame, Answers(path), "manifpt-rgb-nearest", ["yu19", ledger.RAW])
    assert against["precision"].tolist() == ["bf16 and fp32", "bf16"]


def test_every_method_beside_the_raw_image(path):
    table = ledger.over_raw(read(path), Answers(path))
    assert table.index.tolist() == [method for method in SHARES if method != ledger.RAW]
    assert table.loc["manifpt-rgb-nearest", "gain"] == pytest.approx(-0.1, abs=0.03)


@pytest.mark.parametrize("seeds", [1, 2])
def test_a_table_of_which_seeds_are_missing_is_not_judged(path, tmp_path, seeds):
    frame = read(path)
    part = tmp_path / "table2.csv"
    write(frame[(frame["method"] != "yu19") | (frame["seed"] < seeds)], part)
    assert ledger.table2_claims(part).empty


@pytest.mark.parametrize(("p", "verdict"), [(0.001, "agrees"), (0.02, "weaker")])
def test_clusters_are_judged_after_holm(tmp_path, p, verdict):
    key = {"dataset": "gm-cifar10", "task": "k-means", "method": "manifpt-rgb-nearest", "n_per_class": 200, "n": 900}
    scores = {"nmi": 0.6, "null_mean": 0.4, "p_value": p}
    rows = [
        key | {"seed": seed, "metric": f"{score} {variable}", "value": value}
        for seed in range(3)
        for variable in ("up", "loss")
        for score, value in scores.items()
    ]
    table = ledger.table5_claims(write(rows, tmp_path / "table5.csv"))
    assert table["verdict"].tolist() == [verdict] * 2  # 0.02 is 0.04 for three seeds, and 0.08 for two variables
    assert table.loc[0, "ours"] == "0.60 ± 0.00"
    assert (table.loc[0, "control"], table.loc[1, "paper"]) == ("chance 0.40", "NMI 0.62")


def test_the_ledger_holds_what_has_results(path, monkeypatch):
    monkeypatch.setattr(paths, "results", lambda: path.parent)
    assert ledger.ledger().equals(ledger.table2_claims(path))


WEAK, PATTERNS = Point(sigma=0.5), [Point("shallow", sigma=sigma) for sigma in (0.005, 0.01, 0.02)]


def write_latent(path, cells, *, n=34):
    """A table of three seeds, which differ a little but for the floor, from values by (task, method, metric)."""
    rows = [
        {"task": str(task), "method": method, "metric": metric, "seed": seed, "n": n}
        | {"value": value + 0.001 * seed * (metric != "fd_floor")}
        for (task, method, metric), value in cells.items()
        for seed in range(3)
    ]
    frame = pd.DataFrame(rows).assign(dataset="gm-x", n_per_class=n, settings="s", seconds=0.0)
    frame.reindex(columns=COLUMNS).to_csv(path, index=False)
    return path


@pytest.fixture
def keys(tmp_path):
    cells = {(DEFAULT, "newton", "key_accuracy"): 0.97, (WEAK, "newton", "key_accuracy"): 0.3}
    cells |= {(LONG, "newton", "key_accuracy"): 0.95, (Point(sigma=1.0), "newton", "key_accuracy"): 0.97}
    cells |= {(DEFAULT, "newton", "bit_accuracy"): 0.98}
    bits = zip(PATTERNS, (0.9, 0.976, 0.99), strict=True)
    cells |= {(point, "filter", "bit_accuracy"): share for point, share in bits}
    return write_latent(tmp_path / "latent_keys.csv", cells)


def test_more_keys_of_stronger_ones(keys):
    table = ledger.key_claims(keys).set_index("claim")
    assert table["verdict"].to_dict() == {
        "Latent fingerprints, more whole keys of σ 2 than of σ 0.5": "agrees",
        "Latent fingerprints, more whole keys of 16 bits than of 64, at σ 1": "weaker",
    }
    assert table.iloc[0][["ours", "n"]].tolist() == ["97.1 ± 0.1", "102 images each, 3 seeds"]


def test_a_pair_of_which_a_seed_is_missing_is_not_judged(keys):
    frame = pd.read_csv(keys)
    frame[(frame["task"] != str(WEAK)) | (frame["seed"] < 2)].to_csv(keys, index=False)
    assert len(ledger.key_claims(keys)) == 1


@pytest.mark.parametrize(("latent", "verdict"), [(90.0, "contradicts"), (10.0, "agrees")])
def test_the_cheapest_pattern_that_is_as_good_is_the_control(keys, latent, verdict):
    costs = dict(zip((DEFAULT, *PATTERNS), (latent, 20.0, 50.0, 60.0), strict=True))
    cells = {(point, "twins", "fd"): 100 + cost for point, cost in costs.items()}
    cells |= {(point, "twins", "fd_floor"): 100.0 for point in costs}
    table = ledger.cost_claims(write_latent(keys.with_name("latent_quality.csv"), cells))
    assert table["verdict"].tolist() == [verdict]
    assert table["ours"].item() == "FD 50 ± 0"


@pytest.mark.parametrize(("known", "verdict"), [(0.9, "agrees"), (0.6, "contradicts")])
def test_who_knows_the_attack(tmp_path, known, verdict):
    cells = {(DEFAULT, "none", "bit_accuracy"): 1.0}
    for number, attack in enumerate(("blur", "jpeg", "crop-resize")):
        cells |= {(DEFAULT, attack, "bit_accuracy"): 0.7 + 0.01 * number}
        cells |= {(DEFAULT, f"{attack} known", "bit_accuracy"): known}
    row = ledger.attack_claims(write_latent(tmp_path / "latent_attacks.csv", cells)).iloc[0]
    assert row["verdict"] == verdict
    assert row["n"] == "3 attacks, 34 images each, 3 seeds"
    unread = {key: value for key, value in cells.items() if not key[1].endswith("known")}
    assert ledger.attack_claims(write_latent(tmp_path / "latent_attacks.csv", unread)).empty


@pytest.mark.parametrize(("wrong", "verdict"), [(0, "agrees"), (1, "contradicts")])
def test_a_single_claim_on_an_image_of_others_contradicts(tmp_path, wrong, verdict):
    cells = {(POINT, method, "wrong"): 0.0 for method in ("own", "real", "dcgan")}
    cells |= {(POINT, "own", "claimed"): 0.9, (DEFAULT, "real", "wrong"): 1.0}
    path = write_latent(tmp_path / "latent_claims.csv", cells, n=20)
    frame = pd.read_csv(path)
    frame.loc[frame["metric"].eq("wrong") & frame["task"].eq(str(POINT)), "value"] = 0.0
    frame.loc[frame["method"].eq("dcgan") & frame["seed"].eq(1), "value"] = wrong / 20
    frame.to_csv(path, index=False)
    row = ledger.stranger_claims(path).iloc[0]
    assert (row["ours"], row["verdict"], row["n"]) == (f"{wrong} claimed", verdict, "120 images, 3 seeds")
    assert row["control"].startswith("own images claimed 90.1")


ZERO_SHOT = {"psd-plda": 0.9, "control-no-makers": 0.7} | dict.fromkeys(ledger.EXISTING, 0.2)


def zero_shot_table(folder, shares, *, makers=6, images=20):
    """Five splits of identification by ten gallery images, of as many images of each maker, and of verification."""
    path, rows = folder / "zero_shot.csv", []
    answers, rng = Answers(path), np.random.default_rng(0)
    for task, n_per_class in (("identification", 10), ("verification", 1)):
        for seed in range(5):
            n = len(asked(makers, images, task, n_per_class, seed))
            for method, share in shares.items():
                key = {"dataset": "gm-x", "task": task, "method": method, "n_per_class": n_per_class, "seed": seed}
                right = rng.random(n) < share
                answers.add(right, **key, settings="s")
                found = {"accuracy": right.mean()} | ({"chance": 1 / makers} if n_per_class == 10 else {})
                rows += [key | {"metric": name, "value": value, "n": n} for name, value in found.items()]
    return write(rows, path)


@pytest.mark.parametrize(
    ("shares", "verdicts"),
    [
        ({}, ["agrees", "agrees", "agrees", "agrees"]),
        ({"marra19": 0.7}, ["weaker", "agrees", "agrees", "agrees"]),
        ({"psd-plda": 0.3, "extractor": 0.99}, ["contradicts", "contradicts"] * 2),
    ],
)
def test_zero_shot_attribution_needs_the_papers_points(tmp_path, shares, verdicts):
    """40 points of identification, 15 of verification, above what existed; synthetic models have a row of their own."""
    table = ledger.zero_shot_claims(zero_shot_table(tmp_path, ZERO_SHOT | shares))
    assert table["verdict"].tolist() == verdicts
    assert table["paper"].tolist() == ["+40 points", "not tested", "+15 points", "not tested"]
    assert table["claim"].iloc[0] == "Model Synthesis, gm-x: identification above existing methods"
    assert table["claim"].iloc[3] == "Model Synthesis, gm-x: verification above the same without synthetic models"
    best = max(ledger.EXISTING, key=(ZERO_SHOT | shares).get)
    assert table["control"].iloc[0].startswith("best existing ")
    assert {*shares}.isdisjoint(ledger.EXISTING) or table["control"].iloc[0].endswith(f"({best})")


def test_zero_shot_tables_that_lack_a_method_are_not_judged(tmp_path):
    shares = {name: share for name, share in ZERO_SHOT.items() if name != "marra19"}
    assert ledger.zero_shot_claims(zero_shot_table(tmp_path, shares)).empty


@pytest.mark.parametrize("makers", [3, 6])
def test_questions_are_those_of_the_table(makers):
    """The images of queries are outside the gallery; those of pairs are of the makers that are judged."""
    queries = asked(makers, 12, "identification", 10, seed=1)
    assert (len(queries), len(set(queries))) == (makers * 2, makers * 2)
    pairs = asked(makers, 12, "verification", 1, seed=1)
    owners = {*(pairs // 12).ravel().tolist()}
    assert pairs.shape[1] == 2
    assert (pairs[:, 0] != pairs[:, 1]).all()
    assert len(owners) == (3 if makers == 6 else makers)
