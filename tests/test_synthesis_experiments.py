"""Identification and verification of unseen models, sets of synthetic models, and the verdict on the claim."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments import synthesis, synthesis_sets
from manifpt.experiments.ledger import synthesis_claims
from manifpt.experiments.run import Budget
from manifpt.experiments.store import COLUMNS, Answers, latest
from manifpt.synthesis import extractor
from manifpt.synthesis.models import architectures
from manifpt.synthesis.train import train_synthetic_models
from manifpt.utils import paths
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset, read_manifest

FAMILIES = {"a": "GAN", "b": "GAN", "c": "GAN", "d": "VAE", "e": "VAE", "f": "Flow"}


@pytest.fixture(autouse=True)
def one(one_thread):
    """Sums in one order."""


class Shades:
    """A GM dataset of six models, each of which makes grey images of a brightness of its own."""

    name, real = "gm-shades", "fashion-mnist"
    models = {  # noqa: RUF012
        label: {"family": family, "samples": {"sha256": label * 12}} for label, family in FAMILIES.items()
    }

    def preview(self, label, n):
        """Images that all differ."""
        rng = np.random.default_rng(ord(label))
        level = 20 + 35 * list(FAMILIES).index(label)
        return np.clip(level + rng.normal(0, 8, (n, 1, 32, 32)), 0, 255).astype(np.uint8)

    def reference(self):
        """Noise."""
        return np.random.default_rng(0).integers(0, 256, (70, 1, 32, 32), np.uint8)


def test_groups_of_unseen_models():
    gm = Shades()
    assert synthesis.unseen(gm, "all", 0) == [tuple("abcdef")]
    assert synthesis.unseen(gm, "family", 0) == [tuple("abc"), tuple("de")]
    halves = [synthesis.unseen(gm, "half", seed) for seed in range(8)]
    assert all(len(groups) == 1 and len(set(groups[0])) == 3 for groups in halves)
    assert len({groups[0] for groups in halves}) > 3
    alone = SimpleNamespace(models={label: {"family": "GAN"} for label in "ab"})
    assert synthesis.unseen(alone, "family", 0) == synthesis.unseen(alone, "half", 0) == []


def test_a_trained_method_never_sees_the_models_it_is_judged_on(monkeypatch):
    seen = []

    class Spy:
        def __init__(self, **_):
            pass

        def fit(self, rows, labels, *, val, resume):
            seen.append((sorted(set(labels)), sorted(set(val[1])), len(rows), len(val[0])))

        def features(self, rows):
            return rows.reshape(len(rows), -1)

    monkeypatch.setattr(synthesis, "Attributor", Spy)
    features = synthesis.Features("control-raw", Shades(), Budget(n_test=4))
    for _ in range(2):
        rows, labels = features.of(("a", "d"))
    assert labels.tolist() == ["a"] * 4 + ["d"] * 4
    assert rows.shape == (8, 1024)
    assert seen == [(list("bcef"), list("bcef"), 4 * synthesis.MIDDLE, 4 * synthesis.VAL)]


@pytest.fixture
def shade_methods(monkeypatch):
    """Two methods without a network: one that reads the brightness, and one that is blind."""

    def function(features):
        if features.method == "spectrum":
            return lambda images: np.stack(
                [np.cos(images.mean((1, 2, 3)) / 99), np.sin(images.mean((1, 2, 3)) / 99)], 1
            )
        return lambda images: np.random.default_rng(len(images)).normal(size=(len(images), 8))

    monkeypatch.setattr(synthesis.Features, "function", property(function))
    return ("spectrum", "marra19")


def test_identification_rows(shade_methods, tmp_path):
    path = tmp_path / "synthesis_identification.csv"
    options = {"methods": shade_methods, "seeds": (0, 1), "n_test": 30, "path": path, "shots": (10, 1)}
    frame = synthesis.identification(Shades(), **options)
    accuracy = frame[frame["metric"] == "accuracy"].set_index(["method", "task", "n_per_class", "seed"])["value"]
    assert len(accuracy) == 2 * 2 * 4
    assert (accuracy["spectrum"] > 0.95).all()
    chance = frame[frame["metric"] == "chance"].set_index(["method", "task", "n_per_class", "seed"])["value"]
    assert chance["spectrum", "all", 10, 0] == pytest.approx(1 / 6, rel=1e-5)
    assert chance["spectrum", "family", 10, 0] == pytest.approx((3 / 3 + 2 / 2) / 5)
    assert chance["spectrum", "half", 10, 0] == pytest.approx(1 / 3)
    assert (accuracy["marra19"] < 2 * chance["marra19"]).all()
    assert frame.loc[frame["task"] == "all", "n"].tolist()[:1] == [6 * 20]
    stored = path.read_text()
    assert synthesis.identification(Shades(), **options).equals(frame)
    assert path.read_text() == stored


def test_a_trained_method_has_all_gallery_sizes_in_its_only_task(monkeypatch, tmp_path):
    monkeypatch.setattr(synthesis.Features, "_attributor", lambda self, group: lambda some: some.reshape(len(some), -1))
    options = {"seeds": (0, 1), "n_test": 30, "shots": (10, 1), "path": tmp_path / "i.csv"}
    frame = synthesis.identification(Shades(), methods=("manifpt-rgb-nearest",), **options)
    assert set(frame["task"]) == {"family"}
    assert frame.groupby("n_per_class")["seed"].nunique().to_dict() == {1: 2, 10: 2}


def test_verification_rows(shade_methods, tmp_path):
    path = tmp_path / "synthesis_verification.csv"
    options = {"methods": shade_methods, "seeds": (0, 1), "n_test": 30, "path": path, "n_pairs": 400}
    frame = synthesis.verification(Shades(), **options)
    values = frame[frame["task"] == "all"].groupby(["method", "metric"])["value"].mean()
    assert values["spectrum", "auc"] > 0.9
    assert values["spectrum", "accuracy"] == pytest.approx(values["spectrum", "accuracy_oracle"], abs=0.05)
    assert values["marra19", "auc"] == pytest.approx(0.5, abs=0.1)
    assert set(frame["n"]) == {400, 800}


def test_unknown_methods_and_missing_extractors_are_refused_before_work():
    with pytest.raises(InputError, match="'sl' is unknown"):
        synthesis.identification(Shades(), methods=["control-sl", "sl"])
    with pytest.raises(InputError, match="'nobody': not trained yet"):
        synthesis.identification(Shades(), methods=["synthesis-nobody"])


@pytest.mark.parametrize("method", ["control-untrained", "spectrum", "spectrum-log", "marra19"])
def test_untrained_features_are_finite_rows(method):
    rows, labels = synthesis.Features(method, Shades(), Budget(n_test=3)).of(("a", "b"))
    assert rows.shape[0] == len(labels) == 6
    assert np.isfinite(rows).all()


def test_rows_name_the_extractor_that_they_depend_on(tmp_path, monkeypatch):
    """The untrained one, too: it is built as the trained one is, and standardises as that does."""
    shipped, other = extractor.find(), tmp_path / "other.safetensors"
    other.write_bytes(b"another")
    of = {}
    for method in ("synthesis-photos", "control-untrained", "spectrum"):
        settings = []
        for path in (shipped, other):
            monkeypatch.setattr(extractor, "find", lambda *_, path=path: path)
            settings.append(str(synthesis.Features(method, Shades(), Budget(n_test=3)).settings))
        of[method] = len(set(settings))
    assert of == {"synthesis-photos": 2, "control-untrained": 2, "spectrum": 1}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Four barely trained synthetic models of three architectures."""
    out = tmp_path_factory.mktemp("models")
    chosen = tuple(architectures()[i] for i in (0, 10, 200))
    list(train_synthetic_models(chosen=chosen, seeds=1, steps=2, out=out))
    list(train_synthetic_models(chosen=chosen[:1], seeds=2, steps=2, out=out))
    return sorted(out.glob("*.safetensors"))


def test_members_of_sets(checkpoints):
    names = [path.stem for path in checkpoints]
    assert names == ["000000-s0", "000000-s1", "000031-s0", "101122-s0"]

    def stems(name):
        return [path.stem for path in synthesis_sets.members(checkpoints, name, seed=0)]

    assert stems("full") == names
    assert stems("one seed") == [names[0], *names[2:]]
    assert stems("no K") == stems("no S") == names[:3]
    assert stems("no A") == names[:2]
    assert stems("36") == []
    with pytest.raises(InputError, match="'no X' is unknown"):
        stems("no X")


def test_growth_draws_differ_by_seed_and_have_their_size(checkpoints, monkeypatch):
    monkeypatch.setattr(synthesis_sets, "SETS", ("2",))
    draws = {tuple(synthesis_sets.members(checkpoints, "2", seed=seed)) for seed in range(9)}
    assert all(len(draw) == 2 for draw in draws)
    assert len(draws) > 2


def test_sets_are_judged_and_kept(checkpoints, tmp_path):
    path = tmp_path / "synthesis_ffd.csv"
    recipe = extractor.ExtractorConfig(steps=2, models=2, each=2)
    options = {
        "seeds": (0,),
        "sets": ("full", "no A", "36"),
        "recipe": recipe,
        "checkpoints": checkpoints,
        "n_test": 12,
    }
    frame = synthesis_sets.synthesis_sets(Shades(), **options, path=path)
    values = frame.pivot_table("value", "task", "metric")
    assert values["models"].to_dict() == {"full": 4, "no A": 2}
    assert (values["ffd"] > 0).all()
    assert values["accuracy"].between(0, 1).all()
    assert values["chance"].tolist() == pytest.approx([1 / 6] * 2, rel=1e-5)
    stored = path.read_text()
    synthesis_sets.synthesis_sets(Shades(), **options, path=path)
    assert path.read_text() == stored
    with pytest.raises(InputError, match="two at least"):
        synthesis_sets.synthesis_sets(Shades(), checkpoints=[])


def test_ways_to_train_are_compared_and_kept(checkpoints, tmp_path):
    path, ways = tmp_path / "synthesis_sets.csv", ("fresh", "fresh-robust", "trained", "trained-released")
    recipe = extractor.ExtractorConfig(steps=2, models=2, each=2)
    options = {"seeds": (0,), "ways": ways, "recipe": recipe, "checkpoints": checkpoints, "n_test": 12, "path": path}
    frame = synthesis_sets.synthesis_training(Shades(), **options)
    values = frame.pivot_table("value", "method", "metric")
    assert set(values.index) == set(ways)
    assert (values["accuracy"] > 2 * values["chance"]).all()  # Shades differ in brightness; JPEG leaves that
    assert values["accuracy_jpeg"].between(0, 1).all()
    settings = json.loads(path.with_name("settings.json").read_text())
    each = {row.method: settings[row.settings]["extractor"]["each"] for row in frame.itertuples()}
    assert each == {"fresh": 2, "fresh-robust": 2, "trained": 2, "trained-released": 1}
    stored = path.read_text()
    synthesis_sets.synthesis_training(Shades(), **options)
    assert path.read_text() == stored


def test_an_unknown_way_to_train_is_refused_before_work():
    with pytest.raises(InputError, match="way 'slow' is unknown"):
        synthesis_sets.synthesis_training(Shades(), ways=("fresh", "slow"), checkpoints=[])
    with pytest.raises(InputError, match="two at least"):
        synthesis_sets.synthesis_training(Shades(), ways=("trained",), checkpoints=[])


SIGNS = np.where(np.random.default_rng(0).random(17 * 100) < 0.04, -1.0, 1.0)


class Turned:
    """Features that name the model of an image, but for one image in 25, which points the other way."""

    tasks, settings = synthesis.TASKS, {}

    def __init__(self, method, gm, budget):
        self.method, self.gm, self.budget = method, gm, budget

    def of(self, group):
        models = [list(self.gm.models).index(label) for label in group]
        numbers = np.concatenate([100 * model + np.arange(100) for model in models])
        return SIGNS[numbers, None] * np.eye(17)[numbers // 100], np.repeat(group, 100)


@pytest.mark.parametrize("table", ["synthesis_identification", "synthesis_verification"])
def test_what_answers_are_about(tmp_path, monkeypatch, table):
    monkeypatch.setattr(synthesis, "Features", Turned)
    gm, path = GMDataset(paths.data() / "gm-photo"), tmp_path / f"{table}.csv"
    options = {"methods": ("turned",), "seeds": (0, 3), "path": path}
    if table == "synthesis_identification":
        frame = synthesis.identification(gm, shots=(10,), **options)
    else:
        frame = synthesis.verification(gm, **options)
    answers, first = Answers(path), next(iter(frame["metric"]))
    for run in frame[frame["metric"] == first].to_dict("records"):
        about = synthesis.asked(gm, table, run["task"], 10, run["seed"])
        if about.ndim == 1:
            expected = SIGNS[about] > 0
        else:
            same = about[:, 0] // 100 == about[:, 1] // 100
            expected = ~same | (SIGNS[about[:, 0]] == SIGNS[about[:, 1]])
        np.testing.assert_array_equal(answers.get(**run), expected)


def made_up_table(path, shares, *, samples="now"):
    """Rows and answers of methods that are right with a probability of their own."""
    frame = pd.read_csv(path) if path.exists() else pd.DataFrame(columns=COLUMNS)
    answers, rng, rows = Answers(path), np.random.default_rng(0), []
    for method, share in shares.items():
        for seed in range(5):
            key = {"dataset": "gm-photo", "task": "all", "method": method, "n_per_class": 10, "seed": seed}
            right = rng.random(17 * 90) < share
            answers.add(right, **key, settings=samples)
            rows.append(key | {"metric": "accuracy", "value": right.mean(), "n": len(right), "settings": samples})
    pd.concat([frame, pd.DataFrame(rows).reindex(columns=COLUMNS)]).to_csv(path, index=False)
    record = path.with_name("settings.json")
    known = json.loads(record.read_text()) if record.exists() else {}
    about = dict.fromkeys(read_manifest(paths.data() / "gm-photo")["models"], samples)
    record.write_text(json.dumps(known | {samples: {"samples": [about]}}))


@pytest.mark.parametrize(
    ("share", "expected"), [(0.9, "agrees"), (0.6, "weaker"), (0.4, "weaker"), (0.2, "contradicts")]
)
def test_verdict_on_the_claim(tmp_path, share, expected):
    path = tmp_path / "synthesis_identification.csv"
    made_up_table(path, {"synthesis-photos": 0.1, "control-sl": 0.9}, samples="before")
    made_up_table(path, {"synthesis-photos": share, "synthesis-other": 0.99, "control-sl": 0.4, "marra19": 0.1})
    (row,) = synthesis_claims(path, points=40, n_per_class=10).to_dict("records")
    assert row["verdict"] == expected
    assert row["control"].endswith("(control-sl)")
    assert row["n"] == "1,530 answers, 5 splits"


def test_the_untrained_extractor_is_a_control_and_no_existing_method(tmp_path):
    path = tmp_path / "synthesis_identification.csv"
    made_up_table(path, {"synthesis-photos": 0.9, "control-untrained": 0.7, "control-sl": 0.4})
    claim, control = synthesis_claims(path, points=40, n_per_class=10).to_dict("records")
    assert (claim["paper"], claim["verdict"]) == ("+40 points", "agrees")
    assert (control["paper"], control["verdict"]) == ("not tested", "agrees")
    assert control["claim"] == "Model Synthesis, gm-photo: identification of all, above the untrained"
    assert control["control"].startswith("untrained ")


def test_models_trained_since_change_no_verdict(tmp_path, monkeypatch):
    path, more = tmp_path / "synthesis_identification.csv", tmp_path / "gm-photo"
    made_up_table(path, {"synthesis-photos": 0.9, "control-sl": 0.4})
    before = synthesis_claims(path, points=40, n_per_class=10)
    manifest = read_manifest(paths.data() / "gm-photo")
    manifest["models"] = {"my-gan": manifest["models"]["dcgan"]}
    more.mkdir()
    (more / "manifest.json").write_text(json.dumps(manifest))
    both = GMDataset(paths.data() / "gm-photo", more)
    assert "my-gan" in both.models
    monkeypatch.setattr("manifpt.experiments.ledger.load_gm", lambda _: both)
    assert synthesis_claims(path, points=40, n_per_class=10).equals(before)


def test_a_task_that_is_not_computed_whole_is_not_judged(tmp_path):
    path = tmp_path / "synthesis_identification.csv"
    made_up_table(path, {"synthesis-photos": 0.9, "control-sl": 0.4})
    frame = pd.read_csv(path)
    frame[(frame["method"] == "control-sl") | (frame["seed"] > 0)].to_csv(path, index=False)
    assert synthesis_claims(path, points=40, n_per_class=10).empty


def test_latest_rows_are_about_the_latest_models(tmp_path):
    path = tmp_path / "synthesis_identification.csv"
    made_up_table(path, {"a": 0.1, "b": 0.9}, samples="before")
    made_up_table(path, {"a": 0.5})
    frame = latest(path)
    assert set(frame["method"]) == {"a"}
    assert set(frame["settings"]) == {"now"}
    assert len(frame) == 5


def test_what_ships_is_found():
    names = extractor.shipped()
    assert all(extractor.find(name).parent == paths.data() / "networks" for name in names)
