import json

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments import rows, runner, table2, table4, table5
from manifpt.experiments.answers import Answers
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

SMALL = {"n_reference": 200, "n_test": 20, "epochs": 1}


@pytest.fixture(scope="module")
def gm():
    return load_gm("gm-fashion").only("dcgan", "ddpm")


class TestAnswers:
    @pytest.mark.parametrize("n", [1, 7, 8, 1001])
    def test_come_back_as_they_were(self, tmp_path, n):
        right = np.random.default_rng(n).random(n) < 0.5
        key = {"dataset": "d", "task": "all", "method": "m", "n_per_class": 10, "seed": 0, "settings": "s"}
        answers = Answers(tmp_path / "table.csv")
        answers.add(right, **key)
        answers.add(~right, **key | {"seed": 1})
        for again in (answers, Answers(tmp_path / "table.csv")):
            np.testing.assert_array_equal(again.get(**key), right)
            np.testing.assert_array_equal(again.get(**key | {"seed": 1}), ~right)
        with pytest.raises(KeyError):
            answers.get(**key | {"seed": 2})

    def test_what_another_process_computed_anew_stays(self, tmp_path):
        key = {"dataset": "d", "task": "all", "method": "m", "n_per_class": 10, "seed": 0, "settings": "s"}
        Answers(tmp_path / "table.csv").add(np.zeros(9, bool), **key)
        old = Answers(tmp_path / "table.csv")
        Answers(tmp_path / "table.csv").add(np.ones(9, bool), **key)
        old.add(np.zeros(9, bool), **key | {"seed": 1})
        assert Answers(tmp_path / "table.csv").get(**key).all()


class TestRows:
    @pytest.mark.parametrize("name", rows.ROWS)
    def test_what_a_classifier_is_shown(self, gm, name):
        images = gm.images("dcgan")[:3]
        shown = rows.shown(name, real=gm.real, reference=gm.reference()[:100])(images)
        assert len(shown) == 3
        assert np.isfinite(shown.astype(np.float64)).all()
        if name.startswith(("manifpt", "control")):
            vectors = {"sl": 1280, "ssl": 128}.get(name.split("-")[1])
            expected = (vectors,) if vectors else (2, 32, 32) if name.endswith("stacked") else (1, 32, 32)
            assert shown.shape == (3, *expected)

    def test_by_their_definitions(self, gm):
        images, reference = gm.images("ddpm")[:4], gm.reference()[:100]
        pixels, points = (x.reshape(len(x), -1) / 255 for x in (images, reference))
        nearest = points[((pixels[:, None] - points) ** 2).sum(2).argmin(1)].reshape(images.shape)

        def show(name):
            return rows.shown(name, real=gm.real, reference=reference)(images)

        np.testing.assert_array_equal(show("control-raw"), images)
        np.testing.assert_allclose(show("control-target-rgb"), nearest, atol=1e-6)
        np.testing.assert_allclose(show("manifpt-rgb-nearest"), images / 255 - nearest, atol=1e-6)
        stacked = show("manifpt-rgb-stacked")
        np.testing.assert_allclose(stacked[:, :1], images / 255, atol=1e-6)
        np.testing.assert_allclose(stacked[:, 1:], show("manifpt-rgb-tangent"), atol=1e-6)
        left = (images / 255 - show("control-random-rgb")).reshape(4, 1, -1)
        assert (np.abs(left - points).max(2).min(1) < 1e-6).all()  # what was taken off is a reference image

    def test_every_row_of_the_table_is_there(self):
        assert len(set(rows.ROWS)) == len(rows.ROWS) == 8 + 8 + 2 + 6

    @pytest.mark.parametrize("name", rows.RESNET50)
    def test_the_papers_network_on_the_same_artifacts(self, gm, name):
        images, plain = gm.images("dcgan")[:3], name.removesuffix("+resnet50")
        show, same = (rows.shown(one, real=gm.real, reference=gm.reference()[:100]) for one in (name, plain))
        np.testing.assert_array_equal(show(images), same(images))
        settings = rows.classifier(name, real=gm.real).settings
        assert (settings["network"], settings["recipe"]) == ("resnet50", "deep")
        assert rows.classifier(plain, real=gm.real).settings["network"] == "auto"

    def test_unknown_name(self, gm):
        for call in (rows.classifier, lambda name, real: rows.shown(name, real=real, reference=gm.reference())):
            with pytest.raises(InputError, match="yu19"):
                call("yu", real=gm.real)


class TestTable2:
    def test_interrupted_and_resumed(self, gm, tmp_path, monkeypatch):
        path, taken = tmp_path / "table2.csv", []
        run = runner._one

        def dies_at_the_third(*args):
            taken.append(args)
            if len(taken) == 3:
                raise KeyboardInterrupt
            return run(*args)

        options = {"methods": ("mccloskey18", "manifpt-sl-nearest"), "seeds": (0, 1), "path": path, **SMALL}
        monkeypatch.setattr(runner, "_one", dies_at_the_third)
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
    monkeypatch.setattr(runner, "classifier", lambda *_, **__: learnt)
    table2.table2(gm, {"all": (10,)}, methods=("control-raw",), seeds=(0, 1), **SMALL)
    table4.table4(gm, gm, tasks=("all",), methods=("control-raw",), seeds=(0, 1), n_per_class=10, **SMALL)
    for seed in (0, 1):
        parts = table5.parts_of(gm, "control-raw", runner.Budget(**SMALL), seed=seed, n_per_class=10)
        table5.features_of(parts, learnt)
    one, other = learnt.rows[::2], learnt.rows[1::2]
    assert len(one) == len(other) == 3
    assert all(a - b for a, b in zip(one, other, strict=True))


def test_the_record_names_the_recipe(gm, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "classifier", lambda *_, **__: Learnt())
    path = tmp_path / "both.csv"
    methods = ("control-raw", "control-raw+resnet50")
    frame = table2.table2(gm, {"all": (10,)}, methods=methods, seeds=(0,), path=path, **SMALL)
    known = json.loads((tmp_path / "settings.json").read_text())
    steps = {row.method: known[row.settings]["recipe"]["steps"] for row in frame.itertuples()}
    assert steps == {"control-raw": 60, "control-raw+resnet50": 180}
