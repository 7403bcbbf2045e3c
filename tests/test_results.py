"""Result tables: nothing computed twice, nothing lost; and the learning curve that fills one."""

import json

import numpy as np
import pandas as pd
import pytest

from manifpt.errors import InputError
from manifpt.experiments import learning_curve as experiment
from manifpt.gm import load_gm
from manifpt.results import COLUMNS, Results

KEY = {"dataset": "gm-x", "task": "all", "method": "control-raw", "n_per_class": 10, "seed": 0}
SMALL = {"sizes": (4,), "methods": ("control-raw",), "n_reference": 50, "n_test": 5, "epochs": 1}


def test_a_row_is_there_for_its_key_and_settings_alone(tmp_path):
    results = Results(tmp_path / "curve.csv", {"epochs": 1})
    assert not results.has(**KEY)
    results.add({"accuracy": 0.5, "loss": 1.0}, n=7, seconds=1.234, **KEY)
    assert results.has(**KEY)
    assert not results.has(**KEY | {"seed": 1})
    again = Results(tmp_path / "curve.csv", {"epochs": 1})
    assert again.has(**KEY)
    assert list(again.frame.columns) == COLUMNS
    assert again.frame["value"].tolist() == [0.5, 1.0]
    assert not Results(tmp_path / "curve.csv", {"epochs": 2}).has(**KEY)


def test_settings_stand_beside_the_table(tmp_path):
    hashes = {Results(tmp_path / "curve.csv", {"epochs": epochs}).settings for epochs in (1, 2)}
    meanings = json.loads((tmp_path / "settings.json").read_text())
    assert meanings.keys() == hashes
    assert sorted(meaning["epochs"] for meaning in meanings.values()) == [1, 2]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Results(None, {}).add({"accuracy": 1.0}, n=1, seconds=0.0, **KEY)
    assert not list(tmp_path.iterdir())


def test_the_curve_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    gm, path, taken = load_gm("gm-fashion").only("beta-vae", "dcgan"), tmp_path / "learning_curve.csv", []
    fit = experiment.Attributor.fit

    def counted(self, *args, **kwargs):
        taken.append(self.settings["seed"])
        if len(taken) == 2:
            raise KeyboardInterrupt
        return fit(self, *args, **kwargs)

    monkeypatch.setattr(experiment.Attributor, "fit", counted)
    with pytest.raises(KeyboardInterrupt):
        experiment.learning_curve(gm, seeds=(0, 1), path=path, **SMALL)
    frame = experiment.learning_curve(gm, seeds=(0, 1), path=path, **SMALL)
    assert taken == [0, 1, 1]
    assert frame["seed"].tolist() == [0, 1]
    assert (frame["n"] == 5 * len(gm.classes)).all()
    pd.testing.assert_frame_equal(frame, pd.read_csv(path))
    alone = experiment.learning_curve(gm, seeds=(1,), **SMALL)
    assert alone["value"].tolist() == frame["value"].tolist()[1:]


@pytest.mark.parametrize("method", experiment.INPUTS)
def test_inputs_keep_the_shape_and_differ_from_the_image_by_the_projection(method):
    gm = load_gm("gm-fashion")
    images = gm.images("dcgan")[:3]
    seen = experiment.network_input(gm, method, gm.reference()[:100])(images)
    assert seen.dtype == np.float32
    assert seen.shape == images.shape
    assert np.allclose(seen, images / 255, atol=1e-6) == (method == "control-raw")


def test_an_unknown_input_is_named():
    gm = load_gm("gm-fashion")
    with pytest.raises(InputError, match="manifpt-rgb-nearst"):
        experiment.network_input(gm, "manifpt-rgb-nearst", gm.reference())


def test_committed_results_are_whole():
    from manifpt import paths

    frame = pd.read_csv(paths.results() / "learning_curve.csv")
    meanings = json.loads((paths.results() / "settings.json").read_text())
    assert list(frame.columns) == COLUMNS
    assert set(frame["settings"]) <= meanings.keys()
    assert (frame.groupby(["method", "n_per_class"])["seed"].nunique() >= 3).all()
    assert set(frame["method"]) == set(experiment.INPUTS)
    assert set(frame["n_per_class"]) == {10, 50, 200, 1000}
    assert frame["value"].between(0, 1).all()
