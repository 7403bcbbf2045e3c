"""One way to compute a table, and the methods that the paper's tables have in common."""

import time

import numpy as np
import pytest
import torch

from manifpt.experiments import run
from manifpt.experiments.store import Key, Scores, read
from manifpt.utils.compute import fast_bf16
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

KEYS = [Key("gm-x", task, "m", 5, seed) for seed in (0, 1) for task in ("a", "b")]
GRID = [KEYS[:2], KEYS[2:]]


@pytest.fixture(scope="module")
def gm():
    return load_gm("gm-fashion").only("dcgan", "ddpm")


def scores_of(keys):
    return [Scores(key, {"fast": fast_bf16(torch.device("cpu")), "seed": key.seed}, 3) for key in keys]


class TestMeasure:
    def test_the_whole_grid_comes_back_whatever_was_there(self, tmp_path):
        path = tmp_path / "t.csv"
        budget = run.Budget(path=path)
        first = run.measure(GRID[:1], scores_of, {}, budget, code=__name__)
        asked = []

        def function(keys):
            asked.append(keys)
            return scores_of(keys)

        whole = run.measure([KEYS[1:]], function, {}, budget, code=__name__)
        assert asked == [KEYS[2:]]  # what is missing of a group
        assert len(first) == 4
        assert whole["task"].tolist() == ["b", "b", "a", "a", "b", "b"]
        assert len(read(path)) == 8
        run.measure(GRID, function, lambda key: {"task": key.task}, budget, code=__name__)
        assert asked[1:] == GRID  # of other settings, all

    def test_rows_of_finished_groups_survive(self, tmp_path):
        def dies(keys):
            if keys[0].seed:
                raise KeyboardInterrupt
            return scores_of(keys)

        with pytest.raises(KeyboardInterrupt):
            run.measure(GRID, dies, {}, run.Budget(path=tmp_path / "t.csv"), code=__name__)
        assert read(tmp_path / "t.csv")["seed"].unique().tolist() == [0]

    def test_in_single_precision_whatever_the_processor_prefers(self, monkeypatch):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)
        assert fast_bf16(torch.device("cpu"))
        frame = run.measure(GRID, scores_of, {}, run.Budget(), code=__name__)
        assert not frame.loc[frame["metric"] == "fast", "value"].any()
        assert set(frame["precision"]) == {"fp32"}
        assert fast_bf16(torch.device("cpu"))

    def test_seconds_since_the_beginning_of_a_group(self):
        def slow(keys):
            for key in keys:
                time.sleep(0.05)
                yield Scores(key, {"value": 1}, 1)

        seconds = run.measure(GRID, slow, {}, run.Budget(), code=__name__)["seconds"]
        assert (seconds[[0, 2]] >= 0.05).all()
        assert (seconds[[1, 3]] >= 0.1).all()

    def test_wrong_input_is_looked_for_where_there_is_work(self, tmp_path):
        def check():
            raise InputError("wrong")

        budget = run.Budget(path=tmp_path / "t.csv")
        with pytest.raises(InputError, match="wrong"):
            run.measure(GRID, scores_of, {}, budget, code=__name__, check=check)
        run.measure(GRID, scores_of, {}, budget, code=__name__)
        assert len(run.measure(GRID, scores_of, {}, budget, code=__name__, check=check)) == 8


class TestRows:
    @pytest.mark.parametrize("name", run.ROWS)
    def test_what_a_classifier_is_shown(self, gm, name):
        images = gm.images("dcgan")[:3]
        shown = run.shown(name, real=gm.real, reference=gm.reference()[:100])(images)
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
            return run.shown(name, real=gm.real, reference=reference)(images)

        np.testing.assert_array_equal(show("control-raw"), images)
        np.testing.assert_allclose(show("control-target-rgb"), nearest, atol=1e-6)
        np.testing.assert_allclose(show("manifpt-rgb-nearest"), images / 255 - nearest, atol=1e-6)
        stacked = show("manifpt-rgb-stacked")
        np.testing.assert_allclose(stacked[:, :1], images / 255, atol=1e-6)
        np.testing.assert_allclose(stacked[:, 1:], show("manifpt-rgb-tangent"), atol=1e-6)
        left = (images / 255 - show("control-random-rgb")).reshape(4, 1, -1)
        assert (np.abs(left - points).max(2).min(1) < 1e-6).all()  # what was taken off is a reference image

    def test_every_row_of_the_table_is_there(self):
        assert len(set(run.ROWS)) == len(run.ROWS) == 8 + 8 + 2 + 6

    @pytest.mark.parametrize("name", run.RESNET50)
    def test_the_papers_network_on_the_same_artifacts(self, gm, name):
        images, plain = gm.images("dcgan")[:3], name.removesuffix("+resnet50")
        show, same = (run.shown(one, real=gm.real, reference=gm.reference()[:100]) for one in (name, plain))
        np.testing.assert_array_equal(show(images), same(images))
        network = run.classifier(name, real=gm.real)
        assert (network.network, network.schedule) == ("resnet50", "deep")
        assert run.classifier(plain, real=gm.real).network == "auto"

    def test_unknown_name(self, gm):
        for call in (run.classifier, lambda name, real: run.shown(name, real=real, reference=gm.reference())):
            with pytest.raises(InputError, match="yu19"):
                call("yu", real=gm.real)
