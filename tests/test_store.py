"""Result tables: nothing computed twice, nothing lost."""

import json
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments.store import COLUMNS, Answers, Key, Results, Scores, latest, percent, read
from manifpt.experiments.store import KEY as ROW_KEY
from manifpt.utils import paths

KEY = Key("gm-x", "all", "control-raw", 10, 0)
RUN = KEY._asdict() | {"settings": "s"}


def table(path, **settings):
    return Results(path, lambda _: settings, code="manifpt.utils.errors")


def scores(value=0.5, *, seed=0, **options):
    return Scores(KEY._replace(seed=seed), {"accuracy": value}, 1, **{"seconds": 0.0} | options)


def test_a_row_is_there_for_its_key_and_settings_alone(tmp_path):
    path, other = tmp_path / "curve.csv", KEY._replace(seed=1)
    results = table(path, epochs=1)
    assert results.missing([[KEY]]) == [[KEY]]
    results.add([Scores(KEY, {"accuracy": 0.5, "loss": 1.0}, 7, seconds=1.234)])
    for one in (results, table(path, epochs=1)):
        assert one.missing([[KEY, other], [KEY]]) == [[other]]
        assert list(one.frame.columns) == COLUMNS
        assert one.frame["value"].tolist() == [0.5, 1.0]
        assert one.frame["seconds"].tolist() == [1.23, 1.23]
        assert one.of([KEY]).equals(one.frame)
        assert one.of([other]).empty
    assert table(path, epochs=2).missing([[KEY]]) == [[KEY]]
    assert table(path, epochs=2).of([KEY]).empty


def test_new_rows_name_the_code_and_the_precision_and_older_ones_stay(tmp_path):
    path = tmp_path / "curve.csv"
    table(path).add([scores()])
    pd.read_csv(path).drop(columns="precision").assign(version="0.1.0").to_csv(path, index=False)
    table(path).add([scores(0.6, seed=1)])
    frame = read(path)
    assert frame["precision"].fillna("unknown").tolist() == ["unknown", "fp32"]
    assert frame["version"].iloc[0] == "0.1.0"
    assert re.fullmatch(r".+\+[0-9a-f]{12}", frame["version"].iloc[1])
    other = Results(None, lambda _: {}, code="manifpt.utils.paths")
    other.add([scores()])
    assert other.frame["version"].item() != frame["version"].iloc[1]


@pytest.mark.parametrize("name", ["012345678901", "12345678e901"])
def test_settings_that_look_like_a_number_stay_text(tmp_path, monkeypatch, name):
    monkeypatch.setattr("manifpt.utils.files.settings_hash", lambda settings: name)
    path = tmp_path / "curve.csv"
    for seed in range(2):
        table(path, samples={}).add([scores(seed=seed)])
    results = table(path, samples={})
    assert not results.missing([[KEY]])
    assert len(results.of([KEY, KEY._replace(seed=1)])) == 2
    assert read(path)["settings"].tolist() == latest(path)["settings"].tolist() == [name] * 2


def test_latest_rows_are_about_the_latest_models(tmp_path):
    """A row about older models is left out, even one that was not computed again."""
    path = tmp_path / "curve.csv"
    table(path, samples=["before"]).add([scores(0.1), scores(0.2, seed=1)])
    table(path, samples=["now"]).add([scores(0.5)])
    table(path, samples=["now"], n_test=9).add([scores(0.6)])
    assert len(read(path)) == 4
    assert latest(path)["value"].tolist() == [0.6]


def test_settings_stand_beside_the_table(tmp_path):
    for epochs in (1, 2):
        table(tmp_path / "curve.csv", epochs=epochs).add([scores()])
    meanings = json.loads((tmp_path / "settings.json").read_text())
    assert meanings.keys() == set(read(tmp_path / "curve.csv")["settings"])
    assert sorted(meaning["epochs"] for meaning in meanings.values()) == [1, 2]


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(None).add([scores(right=np.ones(1, bool))])
    assert not list(tmp_path.iterdir())


def test_a_row_that_is_added_again_is_replaced(tmp_path):
    results = table(tmp_path / "curve.csv")
    for value in (0.1, 0.2):
        results.add([Scores(KEY, {"accuracy": value, "fdr": 2.0}, 1, seconds=0.0)])
    assert table(tmp_path / "curve.csv").frame["value"].tolist() == [0.2, 2.0]


def add_rows(path, seeds):
    results = table(path)
    for seed in seeds:
        results.add([scores(seed / 3, seed=seed, right=np.arange(9) == seed)])


def test_two_processes_write_one_table(tmp_path):
    halves = range(8), range(8, 16)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as pool:
        list(pool.map(add_rows, [tmp_path / "t.csv"] * 2, halves))
    frame, answers = read(tmp_path / "t.csv"), Answers(tmp_path / "t.csv")
    assert sorted(frame["seed"]) == list(range(16))
    for run in frame.to_dict("records"):
        assert answers.get(**run).tolist() == [i == run["seed"] for i in range(9)]


class TestAnswers:
    @pytest.mark.parametrize("n", [1, 7, 8, 1001])
    def test_come_back_as_they_were(self, tmp_path, n):
        right = np.random.default_rng(n).random(n) < 0.5
        answers = Answers(tmp_path / "table.csv")
        answers.add(right, **RUN)
        answers.add(~right, **RUN | {"seed": 1})
        for again in (answers, Answers(tmp_path / "table.csv")):
            np.testing.assert_array_equal(again.get(**RUN), right)
            np.testing.assert_array_equal(again.get(**RUN | {"seed": 1}), ~right)
        with pytest.raises(KeyError):
            answers.get(**RUN | {"seed": 2})

    def test_what_another_process_computed_anew_stays(self, tmp_path):
        Answers(tmp_path / "table.csv").add(np.zeros(9, bool), **RUN)
        old = Answers(tmp_path / "table.csv")
        Answers(tmp_path / "table.csv").add(np.ones(9, bool), **RUN)
        old.add(np.zeros(9, bool), **RUN | {"seed": 1})
        assert Answers(tmp_path / "table.csv").get(**RUN).all()


def test_shares_in_per_cent():
    assert percent(pd.Series([0.4, 0.42, 0.44])) == "42.0 ± 2.0"


def test_values_have_six_digits_and_keep_them(tmp_path):
    values = np.random.default_rng(0).random(100)
    for seed, value in enumerate(values):  # each time, the rows before it are read and written again
        table(tmp_path / "t.csv").add([scores(value, seed=seed)])
    assert table(tmp_path / "t.csv").frame["value"].tolist() == [float(f"{value:.6g}") for value in values]


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
