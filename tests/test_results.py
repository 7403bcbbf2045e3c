"""Result tables: nothing computed twice, nothing lost."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments.answers import Answers
from manifpt.experiments.results import COLUMNS, Results, latest, percent, read
from manifpt.experiments.results import KEY as ROW_KEY
from manifpt.utils import paths

KEY = {"dataset": "gm-x", "task": "all", "method": "control-raw", "n_per_class": 10, "seed": 0}


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
    assert again.frame["seconds"].tolist() == [1.23, 1.23]
    assert not Results(tmp_path / "curve.csv", {"epochs": 2}).has(**KEY)


def test_rows_older_than_a_column_stay(tmp_path, monkeypatch):
    path = tmp_path / "curve.csv"
    Results(path, {}).add({"accuracy": 0.5}, n=1, seconds=0.0, **KEY)
    pd.read_csv(path).drop(columns="precision").to_csv(path, index=False)
    monkeypatch.setattr("manifpt.utils.compute.fast_bf16", lambda device: True)
    Results(path, {}).add({"accuracy": 0.6}, n=1, seconds=0.0, **KEY | {"seed": 1})
    assert pd.read_csv(path)["precision"].fillna("unknown").tolist() == ["unknown", "bf16"]


@pytest.mark.parametrize("name", ["012345678901", "12345678e901"])
def test_settings_that_look_like_a_number_stay_text(tmp_path, monkeypatch, name):
    monkeypatch.setattr("manifpt.utils.files.settings_hash", lambda settings: name)
    path = tmp_path / "curve.csv"
    for seed in range(2):
        Results(path, {"samples": {}}).add({"accuracy": 0.5}, n=1, seconds=0.0, **KEY | {"seed": seed})
    results = Results(path, {"samples": {}})
    assert results.has(**KEY)
    assert len(results.of(dataset="gm-x", methods=["control-raw"])) == 2
    assert read(path)["settings"].tolist() == latest(path)["settings"].tolist() == [name] * 2


def test_settings_stand_beside_the_table(tmp_path):
    hashes = {Results(tmp_path / "curve.csv", {"epochs": epochs}).settings for epochs in (1, 2)}
    meanings = json.loads((tmp_path / "settings.json").read_text())
    assert meanings.keys() == hashes
    assert sorted(meaning["epochs"] for meaning in meanings.values()) == [1, 2]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Results(None, {}).add({"accuracy": 1.0}, n=1, seconds=0.0, **KEY)
    assert not list(tmp_path.iterdir())


def test_a_row_that_is_added_again_is_replaced(tmp_path):
    results = Results(tmp_path / "curve.csv", {})
    for value in (0.1, 0.2):
        results.add({"accuracy": value, "fdr": 2.0}, n=1, seconds=0.0, **KEY)
    assert Results(tmp_path / "curve.csv", {}).frame["value"].tolist() == [0.2, 2.0]


def add_rows(path, seeds):
    results, answers = Results(path, {}), Answers(path)
    for seed in seeds:
        answers.add(np.arange(9) == seed, **KEY | {"seed": seed}, settings=results.settings)
        results.add({"accuracy": seed / 3}, n=9, seconds=0.0, **KEY | {"seed": seed})


def test_two_processes_write_one_table(tmp_path):
    halves = range(8), range(8, 16)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(add_rows, [tmp_path / "t.csv"] * 2, halves))
    results, answers = Results(tmp_path / "t.csv", {}), Answers(tmp_path / "t.csv")
    assert sorted(results.frame["seed"]) == list(range(16))
    for seed in range(9):
        assert answers.get(**KEY | {"seed": seed}, settings=results.settings).tolist() == [i == seed for i in range(9)]


def test_shares_in_per_cent():
    assert percent(pd.Series([0.4, 0.42, 0.44])) == "42.0 ± 2.0"


def test_values_have_six_digits_and_keep_them(tmp_path):
    values = np.random.default_rng(0).random(200)
    for seed, value in enumerate(values):  # each time, the rows before it are read and written again
        Results(tmp_path / "t.csv", {}).add({"accuracy": value}, n=1, seconds=0.0, **KEY | {"seed": seed})
    assert Results(tmp_path / "t.csv", {}).frame["value"].tolist() == [float(f"{value:.6g}") for value in values]


@pytest.mark.parametrize("path", sorted(paths.results().glob("*.csv")), ids=lambda path: path.stem)
def test_committed_results_are_whole(path):
    frame = pd.read_csv(path)
    meanings = json.loads(path.with_name("settings.json").read_text())
    assert list(frame.columns)[: len(COLUMNS)] == COLUMNS
    assert set(frame["settings"]) <= meanings.keys()
    assert not frame.duplicated([*ROW_KEY, "metric"]).any()
    assert frame["value"].equals(frame["value"].map("{:.6g}".format).astype(float))
    assert (frame.groupby(["dataset", "task", "method", "n_per_class"])["seed"].nunique() >= 3).all()
    shares = frame[frame["metric"].str.contains("accuracy") | frame["metric"].eq("p")]
    assert shares["value"].between(0, 1).all()
