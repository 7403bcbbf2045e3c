"""Claims about latent fingerprints on tables that are made up."""

import pandas as pd
import pytest

from manifpt.experiments import latent_verdicts as verdicts
from manifpt.experiments.latent import DEFAULT, LONG, Point
from manifpt.experiments.latent_claims import POINT
from manifpt.experiments.results import COLUMNS

WEAK, PATTERNS = Point(sigma=0.5), [Point("shallow", sigma=sigma) for sigma in (0.005, 0.01, 0.02)]


def write(path, cells, *, n=34):
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
    return write(tmp_path / "latent_keys.csv", cells)


def test_more_keys_of_stronger_ones(keys):
    table = verdicts.key_claims(keys).set_index("claim")
    assert table["verdict"].to_dict() == {
        "Latent fingerprints, more whole keys of σ 2 than of σ 0.5": "agrees",
        "Latent fingerprints, more whole keys of 16 bits than of 64, at σ 1": "weaker",
    }
    assert table.iloc[0][["ours", "n"]].tolist() == ["97.1 ± 0.1", "102 images each, 3 seeds"]


def test_a_pair_of_which_a_seed_is_missing_is_not_judged(keys):
    frame = pd.read_csv(keys)
    frame[(frame["task"] != str(WEAK)) | (frame["seed"] < 2)].to_csv(keys, index=False)
    assert len(verdicts.key_claims(keys)) == 1


@pytest.mark.parametrize(("latent", "verdict"), [(90.0, "contradicts"), (10.0, "agrees")])
def test_the_cheapest_pattern_that_is_as_good_is_the_control(keys, latent, verdict):
    costs = dict(zip((DEFAULT, *PATTERNS), (latent, 20.0, 50.0, 60.0), strict=True))
    cells = {(point, "twins", "fd"): 100 + cost for point, cost in costs.items()}
    cells |= {(point, "twins", "fd_floor"): 100.0 for point in costs}
    table = verdicts.cost_claims(write(keys.with_name("latent_quality.csv"), cells))
    assert table["verdict"].tolist() == [verdict]
    assert table["ours"].item() == "FD 50 ± 0"


@pytest.mark.parametrize(("known", "verdict"), [(0.9, "agrees"), (0.6, "contradicts")])
def test_who_knows_the_attack(tmp_path, known, verdict):
    cells = {(DEFAULT, "none", "bit_accuracy"): 1.0}
    for number, attack in enumerate(("blur", "jpeg", "crop-resize")):
        cells |= {(DEFAULT, attack, "bit_accuracy"): 0.7 + 0.01 * number}
        cells |= {(DEFAULT, f"{attack} known", "bit_accuracy"): known}
    row = verdicts.attack_claims(write(tmp_path / "latent_attacks.csv", cells)).iloc[0]
    assert row["verdict"] == verdict
    assert row["n"] == "3 attacks, 34 images each, 3 seeds"
    unread = {key: value for key, value in cells.items() if not key[1].endswith("known")}
    assert verdicts.attack_claims(write(tmp_path / "latent_attacks.csv", unread)).empty


@pytest.mark.parametrize(("wrong", "verdict"), [(0, "agrees"), (1, "contradicts")])
def test_a_single_claim_on_an_image_of_others_contradicts(tmp_path, wrong, verdict):
    cells = {(POINT, method, "wrong"): 0.0 for method in ("own", "real", "dcgan")}
    cells |= {(POINT, "own", "claimed"): 0.9, (DEFAULT, "real", "wrong"): 1.0}
    path = write(tmp_path / "latent_claims.csv", cells, n=20)
    frame = pd.read_csv(path)
    frame.loc[frame["metric"].eq("wrong") & frame["task"].eq(str(POINT)), "value"] = 0.0
    frame.loc[frame["method"].eq("dcgan") & frame["seed"].eq(1), "value"] = wrong / 20
    frame.to_csv(path, index=False)
    row = verdicts.stranger_claims(path).iloc[0]
    assert (row["ours"], row["verdict"], row["n"]) == (f"{wrong} claimed", verdict, "120 images, 3 seeds")
    assert row["control"].startswith("own images claimed 90.1")
