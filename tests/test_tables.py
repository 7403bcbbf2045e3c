import pandas as pd
import pytest
from typer.testing import CliRunner

from manifpt.cli.app import app
from manifpt.experiments import run, tables
from manifpt.experiments.store import Key, Results, Scores
from manifpt.utils import paths
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import REAL_GENERATORS


@pytest.fixture
def computed(monkeypatch):
    """Calls of a made-up table, which writes one row."""
    calls = []

    def compute(*gms, path, progress, **options):
        calls.append(([gm.name for gm in gms], options))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("row\n")
        return pd.DataFrame({"dataset": [gms[0].name], "version": "0.1.0"})

    inputs = ("gm-fashion",), ("gm-fashion", "gm-photo"), ("gm-photo", "gm-fashion")
    monkeypatch.setattr(tables, "TABLES", {"2": tables.Table(compute, inputs, {"seeds": (0,)}, pd.DataFrame.copy)})
    return calls


class TestCompute:
    def test_chosen_parts_with_the_profiles_options(self, computed, tmp_path, monkeypatch):
        monkeypatch.setattr(paths, "results", lambda: tmp_path)
        assert len(list(tables.compute(["2"], ["gm-fashion"], profile="full"))) == 2
        assert computed == [(["gm-fashion"], {}), (["gm-fashion", "gm-photo"], {})]
        assert (tmp_path / "table2.csv").exists()

    def test_smoke_rows_are_not_among_the_results(self, computed):
        list(tables.compute(profile="smoke", resume=True))
        assert computed[0][1] == {"seeds": (0,)}
        assert paths.results() not in tables.path_of("2", "smoke").parents

    def test_rows_are_never_overwritten(self, computed, tmp_path, monkeypatch):
        monkeypatch.setattr(paths, "results", lambda: tmp_path)
        (tmp_path / "table2.csv").write_text("precious\n")
        with pytest.raises(InputError, match="--resume"):
            tables.compute(profile="full")
        assert not computed
        list(tables.compute(profile="full", resume=True))
        assert len(computed) == 3

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"tables": ["3"]}, "table '3'"),
            ({"datasets": ["gm"]}, "gm-fashion"),
            ({"profile": "big"}, "smoke, full"),
            ({"tables": ["resnet50"], "datasets": ["gm-photo"]}, "none of gm-photo; choose one of gm-cifar10"),
        ],
    )
    def test_wrong_input_at_once(self, options, message):
        with pytest.raises(InputError, match=message):
            tables.compute(**options)


@pytest.mark.parametrize("table", tables.TABLES)
def test_every_committed_row_is_found(table, monkeypatch):
    """Settings are named as they were when the rows were made, so nothing is left to compute, nor to read for it."""
    monkeypatch.delenv(REAL_GENERATORS, raising=False)
    todo = []
    monkeypatch.setattr(run, "spread", lambda function, tasks, jobs: todo.extend(tasks) or [])
    monkeypatch.setattr(run.Results, "add", None)
    monkeypatch.setattr("manifpt.zoo.dataset.load_real", None)
    found = list(tables.compute([table], profile="full", resume=True))
    assert not todo
    assert [len(frame) > 0 for frame, _, _ in found] == [True] * sum(
        not inputs[0].startswith("real-") for inputs in tables.TABLES[table].inputs
    )
    assert all(old <= len(frame) for frame, _, old in found)


def test_rows_that_other_code_computed_are_counted(monkeypatch):
    def compute(gm, *, path, progress, **options):
        results = Results(path, lambda _: options, code=tables.__name__)
        results.add([Scores(Key("gm-x", "all", "m", 1, seed), {"accuracy": 0.5}, 1, seconds=0.0) for seed in (0, 1)])
        frame = results.frame.copy()
        frame.loc[0, "version"] = "0.1.0"
        return frame

    compute.__module__ = tables.__name__
    monkeypatch.setattr(tables, "TABLES", {"5": tables.Table(compute, (("gm-fashion",),), {})})
    assert [old for *_, old in tables.compute(["5"], profile="smoke", resume=True)] == [1]
    result = CliRunner().invoke(app, ["tables", "--table", "5", "--profile", "smoke", "--resume"])
    assert "kept 1 rows that other code than today's computed" in result.output
    assert "drop --resume" in result.output


def test_names_of_the_files():
    assert [tables.path_of(name, "full").name for name in tables.TABLES] == [
        "table2.csv",
        "resnet50.csv",
        "table4.csv",
        "table5.csv",
        "two_sample.csv",
        "feature_space.csv",
        "held_out.csv",
        "zero_shot.csv",
        "zero_shot_ablation.csv",
        "latent_keys.csv",
        "latent_quality.csv",
        "latent_attacks.csv",
        "latent_claims.csv",
    ]


def test_summary_by_hand():
    key = {"task": "all", "metric": "accuracy", "n_per_class": 10}
    frame = pd.DataFrame(
        [key | {"method": m, "value": v} for m, v in (("yu19", 0.5), ("yu19", 0.7), ("durall20", 0.25))]
    )
    table = tables.summary(frame)
    assert table.index.tolist() == ["yu19", "durall20"]
    assert table["all", "accuracy", 10].tolist() == ["0.600 ± 0.141", "0.250"]
