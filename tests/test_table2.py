import json

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments import run, table2, table4, table5
from manifpt.experiments.store import Answers
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

SMALL = {"n_reference": 200, "n_test": 20, "epochs": 1}


@pytest.fixture(scope="module")
def gm():
    return load_gm("gm-fashion").only("dcgan", "ddpm")


class TestTable2:
    def test_interrupted_and_resumed(self, gm, tmp_path, monkeypatch):
        path, taken = tmp_path / "table2.csv", []
        classifier = run.classifier

        def dies_at_the_third(*args, **options):
            taken.append(args)
            if len(taken) == 3:
                raise KeyboardInterrupt
            return classifier(*args, **options)

        options = {"methods": ("mccloskey18", "manifpt-sl-nearest"), "seeds": (0, 1), "path": path, **SMALL}
        monkeypatch.setattr(run, "classifier", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            table2.table2(gm, {"all": (10,)}, **options)
        frame = table2.table2(gm, {"all": (10,)}, **options)
        assert len(taken) == 5  # four runs, the third twice
        whole = table2.table2(gm, {"all": (10,)}, **options | {"path": None})
        kept = ["method", "seed", "metric", "value"]
        pd.testing.assert_frame_equal(frame[kept].reset_index(drop=True), whole[kept], check_dtype=False)
        answers = Answers(path)
        for row in frame.to_dict("records"):
            assert answers.get(**row).mean() == pytest.approx(row["value"])
            assert row["n"] == 60

    def test_fdr_beside_accuracy_in_the_middle(self, gm):
        frame = table2.table2(gm, {"all": (200,)}, methods=("durall20",), seeds=(0,), **SMALL)
        assert dict(zip(frame["metric"], frame["value"] > 0.3, strict=True)) == {"accuracy": True, "fdr": True}

    @pytest.mark.parametrize(
        ("plan", "methods", "message"),
        [
            ({"L9": (10,)}, ("durall20",), "L9"),
            ({"L3": (10,)}, ("durall20",), "dcgan-s1"),
            ({"all": (10,)}, ("durall",), "durall20"),
            ({"all": (10**5,)}, ("durall20",), "n_per_class"),
        ],
    )
    def test_wrong_input(self, gm, plan, methods, message):
        with pytest.raises(InputError, match=message):
            table2.table2(gm, plan, methods=methods, **SMALL)


class Learnt:
    """A classifier that keeps what it was trained on."""

    def __init__(self):
        self.rows = []

    def fit(self, rows, labels, *, val=None):
        self.rows.append({row.tobytes() for row in rows})

    def predict(self, rows):
        return np.full(len(rows), "dcgan")

    def features(self, rows):
        return rows.reshape(len(rows), -1)


def test_seeds_draw_other_training_images_where_there_is_one_size(gm, monkeypatch):
    """Tables 2, 4 and 5: with as many images to draw from as are drawn, a spread over seeds would be too small."""
    learnt = Learnt()
    monkeypatch.setattr(run, "classifier", lambda *_, **__: learnt)
    table2.table2(gm, {"all": (10,)}, methods=("control-raw",), seeds=(0, 1), **SMALL)
    table4.table4(gm, gm, tasks=("all",), methods=("control-raw",), seeds=(0, 1), n_per_class=10, **SMALL)
    for seed in (0, 1):
        parts = table5.parts_of(gm, "control-raw", run.Budget(**SMALL), seed=seed, n_per_class=10)
        table5.features_of(parts, learnt)
    one, other = learnt.rows[::2], learnt.rows[1::2]
    assert len(one) == len(other) == 3
    assert all(a - b for a, b in zip(one, other, strict=True))


def test_the_record_names_the_recipe(gm, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "classifier", lambda *_, **__: Learnt())
    path = tmp_path / "both.csv"
    methods = ("control-raw", "control-raw+resnet50")
    frame = table2.table2(gm, {"all": (10,)}, methods=methods, seeds=(0,), path=path, **SMALL)
    known = json.loads((tmp_path / "settings.json").read_text())
    steps = {row.method: known[row.settings]["recipe"]["steps"] for row in frame.itertuples()}
    assert steps == {"control-raw": 60, "control-raw+resnet50": 180}
