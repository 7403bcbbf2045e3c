import importlib.machinery
import shutil
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from manifpt.data import photos, real
from manifpt.data.real import SPLITS, check_disjoint, load_real, load_real_labels, read_folder
from manifpt.utils import paths
from manifpt.utils.errors import InputError

COUNTS = {"fashion-mnist": (1, 20_000, 2_000, 600, 1_400), "photos": (3, 30_000, 3_000, 900, 2_100)}


@pytest.mark.parametrize("name", COUNTS)
def test_counts_shapes_and_splits_without_a_common_image(reals, name):
    channels, *counts = COUNTS[name]
    for split, n in zip(SPLITS, counts, strict=True):
        images = reals(name)[split]
        assert (images.dtype, images.shape) == (np.uint8, (n, channels, 32, 32))
    check_disjoint(**reals(name))


def test_check_disjoint_names_the_two_and_the_image(noise):
    first, second = noise(5), noise(5, seed=1)
    check_disjoint(first=first, second=second)
    check_disjoint(first=np.concatenate([first, first]))
    second[3] = first[2]
    with pytest.raises(InputError, match="second: image 3 is also in first"):
        check_disjoint(first=first, second=second)


def test_fashion_mnist_shows_garments(reals):
    images = reals("fashion-mnist")["reference"]
    assert not images[:, :, [0, 1, 30, 31]].any()
    assert not images[..., [0, 1, 30, 31]].any()
    assert 70 < images[..., 2:30, 2:30].mean() < 76  # 72.9 over the 60,000
    assert images.max() == 255


def test_fashion_mnist_is_the_same_in_every_call(reals):
    assert (load_real("fashion-mnist", split="val") == reals("fashion-mnist")["val"]).all()


def test_labels_belong_to_their_images(reals):
    """The nearest class mean is right far more often than one time in ten, in every split."""
    known, labels = reals("fashion-mnist")["reference"], load_real_labels("fashion-mnist")
    assert (labels.dtype, labels.shape) == (np.int64, (20_000,))
    means = np.stack([known[labels == label].mean(axis=0, dtype=np.float32).ravel() for label in range(10)])
    for split in ("train", "val", "test"):
        images, own = reals("fashion-mnist")[split], load_real_labels("fashion-mnist", split=split)
        points = images.reshape(len(images), -1).astype(np.float32)
        squares = (means**2).sum(axis=1) - 2 * points @ means.T
        assert (squares.argmin(axis=1) == own).mean() > 0.6


@pytest.fixture
def copied_data(tmp_path, monkeypatch):
    shutil.copytree(paths.data() / "fashion-mnist", tmp_path / "fashion-mnist")
    monkeypatch.setenv("MANIFPT_DATA", str(tmp_path))
    return tmp_path / "fashion-mnist"


@pytest.mark.parametrize("name", ["reference-2.png", "heldout-0.png"])
def test_flipped_byte_of_a_mosaic_is_named(copied_data, name):
    content = bytearray((copied_data / name).read_bytes())
    content[100_000] ^= 1
    (copied_data / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"{name}: damaged"):
        load_real("fashion-mnist", split="val")


def test_lost_mosaic_and_changed_labels_are_named(copied_data):
    labels = copied_data / "labels.json"
    labels.write_text(labels.read_text().replace("1", "2", 1))
    with pytest.raises(InputError, match=r"labels\.json: damaged"):
        load_real_labels("fashion-mnist")
    (copied_data / "reference-4.png").unlink()
    with pytest.raises(InputError, match=r"reference-4\.png: missing"):
        load_real("fashion-mnist")


def test_data_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere: no such folder"):
        load_real("fashion-mnist")


def test_photos_are_the_same_every_time(reals):
    assert (photos.cut_patches("val") == reals("photos")["val"]).all()


def test_at_most_a_tenth_of_the_photos_is_nearly_constant(reals):
    for images in reals("photos").values():
        deviation = images.std(axis=(2, 3), dtype=np.float32).mean(axis=1)
        assert (deviation < photos.FLAT_BELOW).mean() <= 0.1
        assert deviation.min() >= photos.CONSTANT_BELOW


@pytest.mark.parametrize("rotation", range(8))
@pytest.mark.parametrize("length", [440, 451, 640])
def test_regions_lie_apart_by_a_patch_width(length, rotation):
    cut = photos.regions(length, rotation)
    assert set(cut) == set(SPLITS)
    spans = sorted(cut.values())
    assert all(start >= stop + photos.PATCH for (_, stop), (start, _) in pairwise(spans))
    assert spans[0][0] == 0
    assert length - 2 <= spans[-1][1] <= length
    assert all(stop - start >= photos.PATCH for start, stop in spans)


def test_patches_lie_in_the_region_of_their_split(reals):
    """Columns of a photograph's region hold its patches; those of the other regions hold none of them."""
    number, key = next((i, key) for i, key in enumerate(photos.PHOTOGRAPHS) if key[1].endswith("chelsea.png"))
    picture = photos.photograph(*key)
    start, stop = photos.regions(picture.shape[1], number)["val"]
    windows = np.lib.stride_tricks.sliding_window_view(picture, (32, 32), axis=(0, 1))  # (y, x, c, 32, 32)
    corner = {patch[:, 0, :8].tobytes(): patch for patch in reals("photos")["val"]}
    rows = windows[:, :, :, 0, :8]
    places = [
        x
        for x in range(windows.shape[1])
        for y in range(windows.shape[0])
        if (patch := corner.get(rows[y, x].tobytes())) is not None and (windows[y, x] == patch).all()
    ]
    assert len(places) >= 100  # an eighth of 900, a few cut away at random
    assert start <= min(places)
    assert max(places) + 32 <= stop


@pytest.fixture
def tampered(tmp_path, monkeypatch):
    """A package scikit-learn of which one photograph has one other byte."""
    original = photos.importlib.util.find_spec("sklearn").origin
    file = tmp_path / "datasets/images/china.jpg"
    file.parent.mkdir(parents=True)
    content = bytearray((photos.Path(original).parent / "datasets/images/china.jpg").read_bytes())
    content[5000] ^= 1
    file.write_bytes(content)
    spec = importlib.machinery.ModuleSpec("sklearn", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda package: spec)
    return file


def test_tampered_and_lost_photographs_are_named(tampered):
    with pytest.raises(InputError, match=r"china\.jpg: damaged"):
        photos.photograph("sklearn", "datasets/images/china.jpg")
    with pytest.raises(InputError, match=r"flower\.jpg: missing"):
        photos.photograph("sklearn", "datasets/images/flower.jpg")


def test_package_of_a_photograph_that_is_not_installed(monkeypatch):
    monkeypatch.setattr(photos.importlib.util, "find_spec", lambda package: None)
    with pytest.raises(InputError, match=r"package skimage is not installed; `pip install"):
        photos.cut_patches("val")


def save(path, pixels, mode=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)


@pytest.fixture
def cifar10(tmp_path, monkeypatch):
    """A tree {train,test}/<class>/*.png of ten classes whose first pixel is the class, its folder named."""
    folder = tmp_path / "cifar10"
    rng = np.random.default_rng(0)
    for part, n in (("train", 3), ("test", 20)):
        for label in range(10):
            for number in range(n):
                pixels = rng.integers(0, 256, (32, 32, 3), np.uint8)
                pixels[0, 0] = label
                save(folder / part / f"class {label}" / f"{number}.png", pixels)
    monkeypatch.setenv("MANIFPT_CIFAR10", str(folder))
    return folder


def test_cifar10_from_a_folder(cifar10):
    batches = {split: load_real("cifar10", split=split) for split in SPLITS}
    assert {split: batch.shape for split, batch in batches.items()} == {
        "reference": (30, 3, 32, 32),
        "train": (100, 3, 32, 32),
        "val": (30, 3, 32, 32),
        "test": (70, 3, 32, 32),
    }
    check_disjoint(**batches)
    for split, images in batches.items():
        labels = load_real_labels("cifar10", split=split)
        assert (labels == images[:, 0, 0, 0]).all()
        assert len(set(labels[:20])) > 3  # mixed, although the folder is sorted by class


def test_held_out_copies_of_the_reference_are_left_out(cifar10):
    for number in range(3):
        shutil.copy(cifar10 / "train/class 4" / f"{number}.png", cifar10 / "test/class 4" / f"{number}.png")
    batches = {split: load_real("cifar10", split=split) for split in SPLITS}
    assert sum(map(len, batches.values())) == 30 + 197
    check_disjoint(**batches)
    assert all(len(load_real_labels("cifar10", split=split)) == len(batches[split]) for split in SPLITS)


def test_cifar10_folder_of_nine_classes(cifar10):
    shutil.rmtree(cifar10 / "test/class 9")
    with pytest.raises(InputError, match=r"test: holds 9 class folders, 10 expected \(MANIFPT_CIFAR10\)"):
        load_real("cifar10", split="test")


def test_cifar10_folder_that_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_CIFAR10", str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere/train: holds 0 class folders"):
        load_real("cifar10")


def test_cifar10_is_decoded_once_until_a_file_or_a_rule_changes(cifar10, monkeypatch):
    before, decoded = load_real("cifar10"), []
    monkeypatch.setattr(real, "_decoded", lambda *_: decoded.append(1) or before)
    assert (load_real("cifar10") == before).all()
    assert not decoded
    save(cifar10 / "train/class 3/0.png", np.zeros((40, 40, 3), np.uint8))
    load_real("cifar10")
    assert len(decoded) == 1
    monkeypatch.setattr("manifpt.utils.cache.code_checksum", lambda module: "another rule")
    load_real("cifar10")
    assert len(decoded) == 2


def test_photos_are_cut_anew_by_another_rule(reals, monkeypatch):
    expected = reals("photos")["val"]
    monkeypatch.setattr(photos, "cut_patches", lambda split: expected[:9])
    assert len(load_real("photos", split="val")) == 900
    monkeypatch.setattr("manifpt.utils.cache.code_checksum", lambda module: f"another {module}")
    assert len(load_real("photos", split="val")) == 9


@pytest.mark.parametrize("place", ["train/stray.png", "train/class 1/deeper/stray.png"])
def test_cifar10_image_outside_the_class_folders_is_named(cifar10, place):
    save(cifar10 / place, np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(InputError, match=r"stray\.png"):
        load_real("cifar10")


def refuse(*args, **kwargs):
    raise OSError("no network")


@pytest.mark.parametrize("name", ["fashion-mnist-full", "cifar10", "celeba"])
def test_absent_set_names_three_ways_to_get_it(tmp_path, monkeypatch, name):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    monkeypatch.delenv("MANIFPT_CIFAR10", raising=False)
    for module in ("mnist", "cifar"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.download_and_extract_archive", refuse)
    monkeypatch.setattr("torchvision.datasets.celeba.download_file_from_google_drive", refuse)
    with pytest.raises(InputError, match=rf"{name}: not on this machine and not downloadable.*\(1\).*\(2\).*\(3\)"):
        load_real(name)


def test_full_fashion_mnist_from_files_that_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    raw = tmp_path / "downloads/FashionMNIST/raw"
    raw.mkdir(parents=True)
    rng = np.random.default_rng(0)
    pixels = {part: rng.integers(0, 256, (n, 28, 28), np.uint8) for part, n in (("train", 6), ("t10k", 20))}
    for part, images in pixels.items():
        header = np.array([0x803, len(images), 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(header + images.tobytes())
        labels = np.array([0x801, len(images)], ">i4").tobytes() + bytes(len(images))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(labels)
    reference = load_real("fashion-mnist-full")
    assert (reference[:, 0, 2:30, 2:30] == pixels["train"]).all()
    assert reference.shape == (6, 1, 32, 32)
    assert [len(load_real("fashion-mnist-full", split=split)) for split in ("train", "val", "test")] == [10, 3, 7]


@pytest.fixture
def pictures(tmp_path):
    """Twenty-four distinct pictures of 40x64 in a folder with a sub-folder."""
    rng = np.random.default_rng(0)
    for number in range(24):
        folder = tmp_path / "below" if number % 2 else tmp_path
        save(folder / f"{number:02}.png", rng.integers(0, 256, (40, 64, 3), np.uint8))
    return tmp_path


def test_folder_is_split_into_disjoint_parts(pictures):
    batches = {split: load_real("folder", split=split, path=pictures) for split in SPLITS}
    assert [len(batch) for batch in batches.values()] == [20, 2, 1, 1]
    assert all(batch.shape[1:] == (3, 32, 32) and batch.dtype == np.uint8 for batch in batches.values())
    check_disjoint(**batches)
    again = load_real("folder", path=str(pictures))
    assert (again == batches["reference"]).all()


def test_folder_is_read_in_sorted_order_and_duplicates_dropped(pictures):
    before = read_folder(pictures)
    shutil.copy(pictures / "00.png", pictures / "copy.png")
    (pictures / "notes.txt").write_text("not an image")
    assert (read_folder(pictures) == before).all()
    assert len(before) == 24


def ramp():
    """A picture of 40x80 whose red is the column and whose green is the row."""
    row, column = np.indices((40, 80), np.uint8)
    return np.stack([column, row, 0 * row], axis=-1)


def test_folder_resizes_the_short_side_and_crops_the_long_one(tmp_path):
    save(tmp_path / "ramp.png", ramp())
    image = read_folder(tmp_path, size=20)[0].astype(int)
    assert image.shape == (3, 20, 20)
    middle, inner = np.arange(20), slice(3, 17)  # away from the filter's borders
    assert abs(image[0] - (20.5 + 2 * middle))[:, inner].max() <= 1  # the middle 40 columns, halved
    assert abs(image[1].T - (0.5 + 2 * middle))[:, inner].max() <= 1  # all 40 rows, halved
    save(tmp_path / "small" / "image.png", ramp()[:32, :32])
    assert (read_folder(tmp_path / "small")[0] == ramp()[:32, :32].transpose(2, 0, 1)).all()  # not resampled


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_folder_of_other_picture_modes(tmp_path, mode):
    name = "picture.jpg" if mode == "CMYK" else "picture.png"
    save(tmp_path / name, np.full((40, 40, 3), 255, np.uint8), mode)
    for channels in (1, 3):
        images = read_folder(tmp_path, channels=channels)
        assert images.shape == (1, channels, 32, 32)
        assert (images >= 254).all()


def test_folder_errors_name_the_file(tmp_path, pictures):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read_folder(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no image"):
        read_folder(tmp_path / "empty")
    broken = pictures / "below/broken.png"
    for content in (b"", b"no picture", (pictures / "00.png").read_bytes()[:500]):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.png: cannot be read as an image"):
            read_folder(pictures)


def test_folder_with_too_few_distinct_pictures(pictures):
    for number in range(11, 24):
        (pictures / ("below" if number % 2 else "") / f"{number}.png").unlink()
    shutil.copy(pictures / "00.png", pictures / "copy.png")
    with pytest.raises(InputError, match="11 distinct images; at least 24"):
        load_real("folder", path=pictures)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mnist"}, "name 'mnist' is unknown; choose one of fashion-mnist, "),
        ({"name": "photos", "split": "all"}, "split 'all' is unknown; choose one of reference, train, val, test"),
        ({"name": "folder"}, "argument path is missing"),
        ({"name": "photos", "path": "x"}, "takes no path or options"),
        ({"name": "photos", "size": 64}, "takes no path or options"),
        ({"name": "folder", "path": ".", "channels": 4}, "channels 4 is unknown; choose one of 1, 3"),
        ({"name": "folder", "path": ".", "size": 0}, "size must be at least 1"),
        ({"name": "folder", "path": ".", "colour": True}, "option 'colour' is unknown; choose one of size, channels"),
    ],
)
def test_unknown_names_splits_and_options(arguments, message):
    with pytest.raises(InputError, match=message):
        load_real(**arguments)


@pytest.mark.parametrize(("name", "split"), [("photos", "train"), ("fashion-mnist", "all")])
def test_labels_of_what_has_none(name, split):
    with pytest.raises(InputError, match="is unknown; choose one of"):
        load_real_labels(name, split=split)
