"""A small run of the table of zero-shot attribution, and how its tasks are judged."""

import numpy as np
import pytest

from manifpt.data.real import REAL
from manifpt.experiments import zero_shot as module
from manifpt.experiments.store import Key
from manifpt.experiments.zero_shot import LINEAGE, OPEN_SET, VERIFICATION, Makers, _middle, levels, zero_shot
from manifpt.synthesis import protocol, solved
from manifpt.synthesis.models import architectures
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

pytestmark = pytest.mark.usefixtures("one_thread")
LABELS = ("beta-vae", "dcgan", "dcgan-s1", "dcgan-s2", "ddpm", "lsgan")
METHODS = ("psd-plda", "psd-gaussian", "spectrum")
OPTIONS = {"methods": METHODS, "shots": (5, 1), "n_test": 20, "n_reference": 200, "seeds": (0,)}


@pytest.fixture
def gm():
    return load_gm("gm-fashion").only(*LABELS)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """The rows of three methods, of which one knows 36 synthetic models, and the file that they lie in."""
    path = tmp_path_factory.mktemp("zero_shot") / "zero_shot.csv"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solved, "architectures", lambda: architectures()[::8])
        yield zero_shot(load_gm("gm-fashion").only(*LABELS), path=path, **OPTIONS), path
    module._metric.cache_clear()


def test_tasks_and_metrics(table):
    frame, _ = table
    tasks = {(task, n) for task, n in zip(frame["task"], frame["n_per_class"], strict=True)}
    expected = {("identification", 5), ("identification", 1), ("verification", 5), ("verification", 1), ("open set", 5)}
    assert tasks == expected | {("identification L3", 5)}  # of the others, some makers are not there
    metrics = frame.groupby("task")["metric"].unique().map(set)
    assert metrics["identification"] == metrics["identification L3"] == {"accuracy", "macro_f1", "chance"}
    assert metrics["verification"] == {"auc", "eer", "accuracy", "cllr", "cllr_min"}
    assert metrics["open set"] == {"auroc", "fpr95"}
    assert set(frame["method"]) == set(METHODS)
    assert np.isfinite(frame["value"]).all()


def test_values_are_those_of_makers_that_differ(table):
    frame = table[0].set_index(["task", "n_per_class", "metric", "method"]).sort_index()
    value, n = frame["value"], frame["n"]
    assert value["identification", 5, "chance"].tolist() == pytest.approx([1 / 7] * 3, rel=1e-5)
    assert value["identification L3", 5, "chance"].tolist() == pytest.approx([1 / 3] * 3, rel=1e-5)
    assert (n["identification", 5, "accuracy"] == 7 * 15).all()
    assert (n["identification L3", 5, "accuracy"] == 3 * 15).all()
    five, one = (value["identification", shots, "accuracy"] for shots in (5, 1))
    assert (five > 2 / 7).all()
    assert (five > one).all()
    assert (value["verification", 5, "auc"] > 0.5).all()
    assert (value["verification", 5, "cllr_min"] < 1).all()


def test_rows_are_kept(table, gm, monkeypatch):
    frame, path = table
    stored = path.read_text()
    monkeypatch.setattr(module, "Makers", None)
    assert zero_shot(gm, path=path, **OPTIONS).equals(frame)
    assert path.read_text() == stored


def test_unknown_methods_and_too_many_shots_are_refused(gm):
    with pytest.raises(InputError, match="method 'psd-pca' is unknown; choose one of psd-plda"):
        zero_shot(gm, methods=("psd", "psd-pca"))
    with pytest.raises(InputError, match="shots: 20 images a maker in the gallery; 1 to 19 expected"):
        zero_shot(gm, **OPTIONS | {"methods": ("control-raw",), "shots": (20,)})


@pytest.mark.parametrize(
    ("method", "d"), [("psd", 144), ("control-untrained", 256), ("marra19", 3072), ("control-raw", 1024)]
)
def test_features_of_the_other_methods(gm, method, d):
    zoo = Makers(gm, method, 3, 50)
    assert zoo.features.shape == (21, d)
    assert np.isfinite(zoo.features).all()
    assert zoo.labels.tolist() == np.repeat([REAL, *LABELS], 3).tolist()
    features, labels = zoo.of(("dcgan", REAL))
    assert (len(features), sorted(set(labels))) == (6, ["dcgan", REAL])


def test_levels_of_the_published_networks_come_together():
    some = levels(load_gm("gm-upscaled"))
    assert set(some["L1 + L2"]) == {*some["L1"], *some["L2"]}
    assert "L1 + L2" not in levels(load_gm("gm-fashion"))


@pytest.fixture
def toys(gm):
    """Makers whose features point in a direction of their own, but for those of dcgan, its seeds and lsgan."""
    zoo = Makers.__new__(Makers)
    zoo.gm, zoo.method, zoo.scorer = gm, "toy", protocol.Cosine()
    zoo.labels = np.repeat([REAL, *LABELS], 12)
    directions = np.eye(7)
    directions[3] = directions[4] = 0.8 * directions[2] + 0.6 * directions[6]
    zoo.features = directions.repeat(12, axis=0) + 0.01 * np.random.default_rng(0).normal(size=(84, 7))
    return zoo


def key(task, n=5, seed=0):
    return Key("gm-fashion", task, "toy", n, seed)


def test_lineage_is_judged_by_the_family_of_the_parent(toys):
    """The children have no gallery: dcgan is nearest to both, and it and lsgan are of the family of five makers."""
    toys.gm.lineage = {"dcgan": ("dcgan-s1", "dcgan-s2")}
    scores, n, right = module._judge(toys, key(LINEAGE))
    assert scores == {"accuracy": 1, "chance": pytest.approx(2 / 5)}
    assert n == len(right) == 2 * 7
    toys.features[toys.labels == "beta-vae"] = toys.features[toys.labels == "dcgan-s1"]
    assert module._judge(toys, key(LINEAGE))[0]["accuracy"] < 0.1


def test_open_set_leaves_out_half_of_the_makers(toys):
    toys.features = np.eye(7).repeat(12, axis=0)
    scores, n, right = module._judge(toys, key(OPEN_SET))
    assert scores == {"auroc": 1, "fpr95": 0}
    assert (n, right) == (7 * 7, None)


def test_likelihood_ratios_are_calibrated_on_other_makers(toys, monkeypatch):
    """On those of another dataset where there are few."""
    monkeypatch.setattr(module, "_published", lambda method: toys)
    few = Makers.__new__(Makers)
    few.gm, few.method, few.scorer = toys.gm, "toy", protocol.Cosine()
    few.features, few.labels = toys.of((REAL, "beta-vae"))
    scores, n, right = module._judge(few, key(VERIFICATION))
    assert (scores["auc"], scores["accuracy"]) == (1, 1)
    assert scores["cllr"] < 0.5
    assert n == len(right) == 2 * 2
    seen = []
    monkeypatch.setattr(module.protocol, "trials", lambda labels, *_, **__: seen.append(set(labels)) or 1 / 0)
    with pytest.raises(ZeroDivisionError):
        module._judge(few, key(VERIFICATION))
    with pytest.raises(ZeroDivisionError):
        module._judge(toys, key(VERIFICATION))
    assert seen[0] == {REAL, *LABELS}
    assert len(seen[1]) == 3


@pytest.mark.parametrize(("h", "w", "top", "left"), [(128, 128, 0, 0), (200, 300, 32, 80), (135, 129, 0, 0)])
def test_middle_lies_on_the_blocks_of_a_jpeg(h, w, top, left):
    image = np.random.default_rng(0).integers(0, 256, (3, h, w), np.uint8)
    assert np.array_equal(_middle(image), image[:, top : top + 128, left : left + 128])
