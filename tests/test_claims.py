import json

import numpy as np
import pandas as pd
import pytest

from manifpt.baselines import BASELINES
from manifpt.experiments import ledger
from manifpt.experiments.answers import Answers
from manifpt.experiments.results import COLUMNS, read
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
