"""GM datasets: what ships, splits, tasks, and files that are not what the manifest says."""

import doctest
import json
import shutil
import time

import numpy as np
import pytest
from PIL import Image

from manifpt.data.real import check_disjoint, load_real
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError
from manifpt.zoo import dataset
from manifpt.zoo import quality as scores
from manifpt.zoo.dataset import GMDataset, draw, load_gm
from manifpt.zoo.models import CHANNELS, DATASETS, MODELS, label, plan


@pytest.fixture(scope="module")
def gm() -> GMDataset:
    return load_gm("gm-fashion")


@pytest.fixture
def copy(tmp_path, gm) -> GMDataset:
    shutil.copytree(gm.folders[0], tmp_path / "gm-fashion")
    return GMDataset(tmp_path / "gm-fashion")


def test_examples_of_the_docstrings():
    assert doctest.testmod(dataset) == (0, 8)


def test_models_that_the_notebooks_name_ship(gm):
    assert {"beta-vae", "dcgan", "ddpm", "wgan-gp"} <= set(gm.models)


@pytest.mark.parametrize("name", sorted(DATASETS))
def test_what_ships_of_every_model(name):
    """Checkpoints and samples as the manifest says, entries as the registry says, scores beside yardsticks."""
    gm = load_gm(name)
    assert gm.models.keys() == {label(model, seed) for _, model, seed in plan([name])}
    assert set(gm.yardsticks) == {"real", "pca-gaussian"}
    channels = CHANNELS[gm.real]
    if name == "gm-cifar10":
        assert gm.preview("real", 5000).shape == (300, channels, 32, 32)
    for label_, record in gm.models.items():
        shipped = record["samples"]["shipped"]
        assert shipped == (2000 if name == "gm-fashion" else 300)
        assert gm.preview(label_, 5000).shape == (shipped, channels, 32, 32)
        assert gm.checkpoint(label_).stat().st_size <= 4e6
        assert {"parameters", "steps", "seconds", "threads", "seed"} <= record.keys()
        assert record.items() >= MODELS[record["model"]].describe().items()
        assert set(record["design"]) == {"up", "nonlinearity", "norm", "down", "skip", "loss"}
        quality = record["quality"]
        assert quality.keys() == {"n", "fd", "precision", "recall", "density", "coverage", "collapsed", "copies"}
        assert quality["collapsed"] == (quality["recall"] < 0.1)
        assert "note" in record or not quality["collapsed"], f"{name} {label_}: collapsed without a note"
        assert quality["copies"] < 0.01


def test_models_trained_at_home_join_those_that_ship(tmp_path, monkeypatch, copy, gm):
    """By name both are there; of two with one label the one at home counts."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    own = tmp_path / "home" / "gm" / "gm-fashion"
    shutil.copytree(copy.folders[0], own)
    manifest = json.loads((own / "manifest.json").read_text())
    manifest["models"] = {"mine": manifest["models"]["dcgan"], "ddpm": manifest["models"]["dcgan"]}
    (own / "manifest.json").write_text(json.dumps(manifest))
    both = load_gm("gm-fashion")
    assert set(both.models) == {*gm.models, "mine"}
    for label_ in ("mine", "ddpm"):
        np.testing.assert_array_equal(both.preview(label_, 9), gm.preview("dcgan", 9))
    assert both.checkpoint("wgan-gp") == gm.checkpoint("wgan-gp")
    assert set(load_gm(own).models) == {"mine", "ddpm"}
    with pytest.raises(InputError, match=r"'nowhere': no folder .* those that are here: .*gm-fashion"):
        load_gm("nowhere")
    with pytest.raises(InputError, match="3: a name or a folder expected"):
        load_gm(3)


def test_only_some_models(gm):
    some = gm.only("ddpm", "dcgan")
    assert some.classes == ("real", "dcgan", "ddpm")
    np.testing.assert_array_equal(some.images("ddpm", split="val"), gm.images("ddpm", split="val"))
    with pytest.raises(InputError, match="no model 'wgan-gp'; choose one of dcgan, ddpm"):
        some.images("wgan-gp")
    with pytest.raises(InputError, match="no model 'nope'"):
        gm.only("nope")
    with pytest.raises(InputError, match="no model named"):
        gm.only()


def test_splits_of_a_model_share_no_image_and_make_up_all(gm):
    parts = {split: gm.images("dcgan", split=split) for split in ("train", "val", "test")}
    assert [len(part) for part in parts.values()] == [1000, 300, 700]
    check_disjoint(**parts)
    np.testing.assert_array_equal(np.concatenate(list(parts.values())), gm.images("dcgan"))


def test_no_sample_is_a_copy_of_a_training_image(gm):
    check_disjoint(reference=gm.reference(), models=np.concatenate([gm.images(label) for label in gm.models]))


def test_a_task_has_as_many_of_each_class_and_reals_that_no_generator_saw(gm):
    images, labels = gm.task(20, split="train", seed=1)
    assert images.dtype == np.uint8
    assert dict(zip(*np.unique(labels, return_counts=True), strict=True)) == dict.fromkeys(sorted(gm.classes), 20)
    check_disjoint(reference=gm.reference(), task=images[labels == "real"])
    again, _ = gm.task(20, split="train", seed=1)
    other, _ = gm.task(20, split="train", seed=2)
    np.testing.assert_array_equal(images, again)
    assert not np.array_equal(images, other)


def test_all_of_the_smallest_class_without_a_number(gm):
    images, labels = gm.task(None, split="test", classes=("real", "dcgan"))
    assert len(images) == 2 * 700
    assert list(np.unique(labels)) == ["dcgan", "real"]


def test_draw_takes_other_arrays_with_the_same_rows(gm):
    pools = gm.pools("val", ("dcgan", "wgan-gp"))
    images, labels = draw(pools, 5, seed=3)
    doubled, same = draw({label: 2.0 * pool for label, pool in pools.items()}, 5, seed=3)
    np.testing.assert_array_equal(doubled, 2.0 * images)
    np.testing.assert_array_equal(labels, same)


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda gm: gm.task(5, split="val", classes=[]), "classes"),
        (lambda gm: gm.task(5, split="val", classes="dcgan"), "classes"),
        (lambda gm: gm.task("5", split="val"), "n_per_class"),
        (lambda gm: gm.images("nope"), "nope"),
        (lambda gm: gm.images("dcgan", split="tset"), "tset"),
        (lambda gm: gm.checkpoint("real"), "real"),
        (lambda gm: gm.preview("dcgan", -5), "-5 images"),
        (lambda gm: gm.task(1001, split="train"), "1001"),
        (lambda gm: gm.task(0, split="train"), "0 images"),
        (lambda _: load_gm("gm-nothing"), "gm-nothing"),
    ],
)
def test_wrong_names_and_numbers_are_named(gm, call, named):
    with pytest.raises(InputError, match=named):
        call(gm)


@pytest.mark.parametrize("kind", ["samples", "checkpoint"])
def test_a_damaged_file_is_named_and_never_half_used(copy, kind):
    path = copy.folders[0] / copy.models["dcgan"][kind]["file"]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"{path.name}: damaged"):
        copy.images("dcgan") if kind == "samples" else copy.checkpoint("dcgan")


def test_a_missing_file_is_named(copy):
    (copy.folders[0] / "samples" / "ddpm.png").unlink()
    with pytest.raises(InputError, match=r"ddpm\.png: missing"):
        copy.images("ddpm")


@pytest.mark.parametrize("name", ["../outside.png", "/etc/passwd"])
def test_a_manifest_may_not_point_outside_its_folder(copy, name):
    path = copy.folders[0] / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"]["dcgan"]["samples"]["file"] = name
    files.write_text(path, json.dumps(manifest))
    with pytest.raises(InputError, match="outside"):
        GMDataset(copy.folders[0])


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"models": {"a": 1}}'])
def test_what_is_no_manifest_is_named(copy, text):
    (copy.folders[0] / "manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"manifest\.json: not the manifest"):
        GMDataset(copy.folders[0])


def test_a_trained_model_is_published_with_samples_and_quality(tmp_path, monkeypatch):
    from manifpt.zoo import train

    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))  # other tests read gm-fashion as it ships
    monkeypatch.setattr(scores, "N", 20)
    monkeypatch.setattr(train, "yardsticks", lambda real: {})
    checkpoint = train.train_generator("dcgan", dataset="gm-fashion", steps=1, seed=5)
    record = train.publish(checkpoint, n=30)
    gm = GMDataset(checkpoint.parent.parent)
    assert gm.models == {"dcgan-s5": record}
    assert gm.images("dcgan-s5").shape == (30, 1, 32, 32)
    assert record["quality"]["n"] == 20
    assert load_real(gm.real).shape == gm.reference().shape
    assert gm.folders == (paths.home() / "gm" / "gm-fashion",)


def test_data_that_ships_stays_small():
    sizes = {path: path.stat().st_size for path in paths.data().rglob("*") if path.is_file()}
    assert sum(sizes.values()) <= 180e6
    assert max(sizes.values()) <= 10e6


def test_loading_takes_seconds(gm):
    begun = time.process_time()
    images = [gm.images(label) for label in gm.classes]
    assert time.process_time() - begun < 5
    assert sum(map(len, images)) > 17 * 2000


class TestFolderOfClasses:
    @pytest.fixture
    def folder(self, tmp_path):
        rng = np.random.default_rng(0)
        for label_, size in (("real", 40), ("one", 40), ("two", 48)):
            (tmp_path / "set" / label_).mkdir(parents=True)
            for number in range(20):
                pixels = rng.integers(0, 256, (size, 40, 3), np.uint8)
                pixels[0, 0] = number
                Image.fromarray(pixels).save(tmp_path / "set" / label_ / f"{number:02}.png")
        return tmp_path / "set"

    def test_sub_folders_are_classes_of_their_size(self, folder):
        gm = load_gm(folder)
        assert (gm.name, gm.classes) == ("set", ("real", "one", "two"))
        assert gm.images("real").shape == (20, 3, 40, 40)
        assert gm.images("two", split="test").shape[1:] == (3, 48, 40)
        images, labels = gm.task(3, split="train")
        assert [image.shape for image in images] == [(3, 40, 40)] * 6 + [(3, 48, 40)] * 3
        assert labels.tolist() == ["real"] * 3 + ["one"] * 3 + ["two"] * 3
        assert gm.only("one").task(1, split="val")[0].shape == (2, 3, 40, 40)
        with pytest.raises(InputError, match="no model 'two'"):
            gm.only("one").images("two")
        assert len(gm.preview("one", 2)) == 2
        with pytest.raises(InputError, match="n: 0 images"):
            gm.preview("one", 0)

    def test_splits_follow_the_names(self, folder):
        """Every image is in one split, and a name in the same one in all classes, also where others are missing."""
        (folder / "one" / "03.png").unlink()
        gm, places = load_gm(folder), {}
        for label_ in gm.classes:
            for split in ("train", "val", "test"):
                for image in gm.images(label_, split=split):
                    assert places.setdefault(image[0, 0, 0], split) == split
        assert len(places) == 20
        assert sum(len(gm.images("one", split=split)) for split in ("train", "val", "test")) == 19

    def test_an_empty_split_is_told(self, folder):
        for path in sorted((folder / "one").iterdir())[1:]:
            path.unlink()
        gm = load_gm(folder)
        with pytest.raises(InputError, match="set: one has no image in the split"):
            [gm.images("one", split=split) for split in ("train", "val")]

    def test_a_class_of_several_sizes_is_a_list(self, folder):
        Image.new("L", (64, 32)).save(folder / "one" / "99.png")
        assert load_gm(folder).images("one")[-1].shape == (3, 32, 64)

    def test_sets_of_real_generators_by_name(self, folder, monkeypatch):
        with pytest.raises(InputError, match="MANIFPT_REAL_GENERATORS names"):
            load_gm("real-set")
        monkeypatch.setenv("MANIFPT_REAL_GENERATORS", str(folder.parent))
        assert load_gm("real-set").name == "real-set"
        for name in ("real-nothing", "real-", "real-..", ""):
            with pytest.raises(
                InputError, match=r"real-set; MANIFPT_REAL_GENERATORS names|a name or a folder expected"
            ):
                load_gm(name)

    def test_wrong_folders_and_classes(self, folder, tmp_path):
        gm = load_gm(folder)
        with pytest.raises(InputError, match="no model 'three'; choose one of one, two;"):
            gm.images("three")
        with pytest.raises(InputError, match="argument path is missing"):
            gm.reference()
        with pytest.raises(InputError, match="one has no checkpoint"):
            gm.sample("one", 1)
        (folder / "empty").mkdir()
        with pytest.raises(InputError, match="empty: holds no image"):
            load_gm(folder)
        with pytest.raises(InputError, match="no sub-folder"):
            load_gm(folder / "one")
