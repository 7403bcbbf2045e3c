import itertools

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments import table5
from manifpt.experiments.run import Budget, classifier
from manifpt.zoo.dataset import load_gm

SIX = {"dcgan", "lsgan", "wgan-gp", "wgan-lp", "dragan-gp", "dragan-lp"}


@pytest.fixture(scope="module")
def design():
    return table5.designs(load_gm("gm-fashion"))


def features_that_show(design, variable, *, n=20, noise=0.1, seed=0):
    """Made-up features that are one-hot in a variable: what a fingerprint of that choice alone would give."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(design.index.to_numpy(), n)
    _, codes = np.unique(design.loc[labels, variable], return_inverse=True)
    return np.eye(codes.max() + 1)[codes] + noise * rng.normal(size=(len(labels), codes.max() + 1)), labels


def test_designs_are_those_of_the_manifest(design):
    assert list(design.columns) == [*table5.NETWORK, "loss"]
    assert design.loc["glow", "norm"] == "actnorm"
    assert design.notna().all().all()


class TestConfounding:
    def test_by_hand(self):
        design = pd.DataFrame({"a": list("xxyy"), "b": list("ppqq"), "c": list("prpr")})
        np.testing.assert_allclose(table5.confounding(design), [[1, 1, 0], [1, 1, 0], [0, 0, 1]], atol=1e-12)

    def test_of_the_zoo(self, design):
        table = table5.confounding(design).to_numpy(float)
        np.testing.assert_allclose(table, table.T)
        np.testing.assert_allclose(np.diag(table), 1)
        assert ((table >= 0) & (table <= 1 + 1e-12)).all()


class TestClusters:
    def test_find_the_variable_that_is_shown(self, design):
        found = table5.clusters(*features_that_show(design, "norm"), design, seed=0, n_permutations=200)
        for algorithm in ("k-means", "Ward"):
            assert found.loc[algorithm, "norm"]["nmi"] == pytest.approx(1)
            assert found.loc[algorithm, "norm"]["p_value"] < 0.02
            assert found.loc[algorithm]["adjusted"].idxmax() == "norm"

    def test_find_nothing_in_noise(self, design):
        _, labels = features_that_show(design, "norm")
        noise = np.random.default_rng(1).normal(size=(len(labels), 8))
        found = table5.clusters(noise, labels, design, seed=0, n_permutations=200)
        assert (found["p_value"] > 0.01).all()
        assert found["adjusted"].abs().mean() < 0.3

    def test_a_variable_of_one_value_is_left_out(self, design):
        some = design.loc[["dcgan", "lsgan", "wgan-gp"]]
        found = table5.clusters(*features_that_show(some, "loss"), some, seed=0, n_permutations=20)
        assert set(found.index.get_level_values("variable")) == {"loss"}


class TestHeldOut:
    def test_twins_share_the_network(self, design):
        assert set(table5.twins(design, "lsgan")) >= SIX
        assert "glow" not in table5.twins(design, "lsgan")
        assert table5.twins(design, "glow") == ["glow"]

    def test_a_choice_that_is_shown_is_named(self, design):
        parts = {split: features_that_show(design, "norm", seed=seed) for seed, split in enumerate(("train", "test"))}
        for model in ("dcgan", "ddpm"):
            table = table5.predicted(parts, design, model, [model])
            assert table.loc["norm", "predicted"] == table.loc["norm", "true"] == design.loc[model, "norm"]
            assert table.loc["norm", "possible"]

    def test_a_value_that_no_other_model_has_is_impossible(self, design):
        parts = {split: features_that_show(design, "norm") for split in ("train", "test")}
        table = table5.predicted(parts, design, "glow", ["glow"])
        assert not table.loc["norm", "possible"]
        assert table.loc["norm", "predicted"] != "actnorm"
        assert table.loc["norm", "majority"] == "batch"

    def test_features_of_a_model_that_was_not_seen(self):
        gm = load_gm("gm-fashion").only("dcgan", "ddpm", "beta-vae")
        method, budget = "manifpt-sl-nearest", Budget(n_reference=60, n_test=5, epochs=1)
        parts = table5.parts_of(gm, method, budget, seed=0, n_per_class=8)
        learner = classifier(method, real=gm.real, epochs=budget.epochs)
        found = table5.features_of(parts, learner, without=["ddpm"])
        assert set(learner.classes_) == {"dcgan", "beta-vae"}
        for split, n in (("train", 8), ("test", 5)):
            features, labels = found[split]
            assert features.shape == (3 * n, 512)
            assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == dict.fromkeys(gm.models, n)


LIMITS = {"n_per_class": 8, "n_reference": 60, "n_test": 6, "epochs": 1}


def test_table5_keeps_its_rows(tmp_path, monkeypatch):
    gm, path = load_gm("gm-fashion").only("dcgan", "ddpm", "gan"), tmp_path / "table5.csv"
    monkeypatch.setattr(table5, "PERMUTATIONS", 20)
    options = {"methods": ["control-sl"], "seeds": (0, 1), "path": path, **LIMITS}
    frame = table5.table5(gm, **options)
    assert set(frame["task"]) == {"k-means", "Ward"}
    assert {"nmi up", "p_value norm", "adjusted loss"} <= set(frame["metric"])
    assert frame.loc[frame["metric"].str.startswith("nmi"), "value"].between(0, 1).all()
    monkeypatch.setattr(table5, "features_of", None)  # a second call computes nothing
    assert len(table5.table5(gm, **options)) == len(frame)


def test_shares_of_models_whose_value_is_named_rightly():
    columns = {"true": ["a", "b"], "predicted": ["a", "a"], "majority": ["c", "b"], "possible": [True, False]}
    first = pd.DataFrame(columns, index=pd.Index(["up", "norm"], name="variable"))
    second = first.assign(predicted=["c", "b"], possible=[True, True])
    assert table5.shares({"m": first, "n": second}) == {
        "predicted norm": 0.5, "majority norm": 1.0, "possible norm": 0.5,
        "predicted up": 0.5, "majority up": 0.0, "possible up": 1.0,
    }  # fmt: skip


def test_held_out_rows(tmp_path, monkeypatch):
    gm, path = load_gm("gm-fashion").only("dcgan", "lsgan", "ddpm", "ldm"), tmp_path / "table5.csv"
    options = {"methods": ["control-sl"], "seeds": (0,), "path": path, **LIMITS}
    frame = table5.held_out(gm, **options)
    values = frame.set_index(["task", "metric"])["value"]
    assert values["held-out model", "possible norm"] == 1
    assert values["held-out network", "possible norm"] == 0  # the two GANs are twins, the two diffusion models too
    assert values["held-out model", "possible loss"] == 0
    for task, variable in itertools.product(table5.HELD_OUT_TASKS, ("up", "norm", "loss")):
        assert values[task, f"predicted {variable}"] <= values[task, f"possible {variable}"]
        assert values[task, f"majority {variable}"] <= values[task, f"possible {variable}"]
    assert (frame["n"] == 4).all()
    monkeypatch.setattr(table5, "features_of", None)
    assert len(table5.held_out(gm, **options)) == len(frame)


def test_what_both_tasks_leave_out_is_trained_once(monkeypatch):
    left_out = []

    def features_of(parts, learner, *, without):
        left_out.append(without)
        return parts

    gm = load_gm("gm-fashion").only("dcgan", "lsgan", "glow")
    one = np.random.default_rng(0).normal(size=(6, 3)), np.repeat([*gm.models], 2)
    monkeypatch.setattr(table5, "parts_of", lambda *_, **__: {"train": one, "test": one})
    monkeypatch.setattr(table5, "features_of", features_of)
    table5.held_out(gm, methods=["control-sl"], seeds=(0,))
    assert sorted(left_out) == [("dcgan",), ("dcgan", "lsgan"), ("glow",), ("lsgan",)]
