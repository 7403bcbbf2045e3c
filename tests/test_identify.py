"""Who made these images: what is named, that results depend on the images alone, wrong uses, memory, reports."""

import os
import shutil
import subprocess
import sys

import numpy as np
import own_images
import pandas as pd
import pytest
from PIL import Image

from manifpt.cli import app
from manifpt.data import pictures
from manifpt.folders import identify as module
from manifpt.folders.identify import identify, verify
from manifpt.plda import Calibration
from manifpt.psd import PowerSpectrum
from manifpt.synthesis import metric
from manifpt.synthesis.metric import Metric
from manifpt.utils.errors import InputError

COLUMNS = ["file", "maker", "llr", "runner_up", "runner_up_llr", "low", "high", "verdict"]
METRIC = """
import numpy as np
from manifpt.plda import Calibration
from manifpt.synthesis import metric
found = metric.Metric(np.full(432, -1.0), np.eye(432), np.eye(432)[:9], Calibration(2.0, 0.0))
metric.shipped = lambda: found
"""


def pixels(maker, number, size=48):
    """Noise in colour whose neighbours a maker mixes in a way of its own, as `a`, `b` or `c`."""
    noise = np.random.default_rng([ord(maker), number]).normal(size=(size, size + 16, 3))
    mixed = {"a": noise, "b": noise + np.roll(noise, 1, 0), "c": noise - np.roll(noise, 1, 1)}[maker]
    return np.clip(128 + 30 * mixed, 0, 255).astype(np.uint8)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """``makers/a`` and ``makers/b`` of 12 images, ``query`` of 3 by b, 2 by a, ``other`` of 4 by c; a plain metric."""
    for maker in "ab":
        for number in range(12):
            own_images.save(tmp_path / "makers" / maker / f"{number:02}.png", pixels(maker, number))
    for number, maker in enumerate("bbbaa"):
        own_images.save(tmp_path / f"query/{number}.png", pixels(maker, 100 + number))
    for number in range(4):
        own_images.save(tmp_path / f"other/{number}.png", pixels("c", number))
    images = np.stack([pixels("abc"[n % 3], 200 + n).transpose(2, 0, 1) for n in range(12)])
    mean = PowerSpectrum()(images / np.float32(255)).mean(0).astype(float)
    plain = Metric(mean, np.eye(432) * 4, np.eye(432)[:9], Calibration(1.0, 0.0))
    monkeypatch.setattr(metric, "shipped", lambda: plain)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def main(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["manifpt", *words])
    with pytest.raises(SystemExit) as end:
        app.main()
    return end.value.code


def test_resamples_of_windows_surround_the_vector_of_the_image():
    image = pixels("a", 0, 72).transpose(2, 0, 1).astype(np.float32) / 255
    spectrum = PowerSpectrum()
    found = spectrum.resample(image, 200, seed=0)
    assert found.shape == (201, 432)
    np.testing.assert_allclose(found[0], spectrum(image[None])[0], atol=1e-4)
    deviation = found[1:].std(0)
    assert (np.abs(found[1:].mean(0) - found[0]) < 0.4 * deviation).all()
    others = np.stack([pixels("a", n, 72).transpose(2, 0, 1) for n in range(1, 20)])
    others = spectrum(others / np.float32(255))
    assert 0.5 < deviation.mean() / others.std(0).mean() < 1.5
    assert (spectrum.resample(image, 3, seed=1) == spectrum.resample(image, 3, seed=1)).all()
    assert (spectrum.resample(image, 3, seed=1)[1:] != spectrum.resample(image, 3, seed=2)[1:]).any()


def test_resamples_are_means_of_tiles_drawn_again():
    """Of 32x32 pixels there are 3x3 windows, each a tile; of 80x80, 9x9 windows and 4x4 tiles of 2 or 3 a side."""
    image = pixels("b", 0, 80)[:, :80].transpose(2, 0, 1).astype(np.float32) / 255
    spectrum = PowerSpectrum()
    for side, count, edges in ((32, 3, [0, 1, 2, 3]), (80, 9, [0, 2, 4, 6, 9])):
        x = image[:, :side, :side]
        windows = np.stack(
            [
                spectrum(x[None, :, 8 * i : 8 * i + 16, 8 * j : 8 * j + 16])[0]
                for i in range(count)
                for j in range(count)
            ]
        ).reshape(count, count, -1)
        tiles = [windows[i:k, j:m] for i, k in zip(edges, edges[1:]) for j, m in zip(edges, edges[1:])]  # noqa: RUF007, B905
        drawn = np.random.default_rng(5).multinomial(len(tiles), np.full(len(tiles), 1 / len(tiles)), size=1)[0]
        chosen = np.concatenate(
            [tile.reshape(-1, 432) for tile, times in zip(tiles, drawn, strict=True) for _ in range(times)]
        )
        np.testing.assert_allclose(spectrum.resample(x, 1, seed=5)[1], chosen.mean(0), atol=1e-4)


def test_large_images_in_bands_have_the_vectors_of_whole_ones(monkeypatch):
    images = np.random.default_rng(0).random((2, 3, 60, 90), np.float32)
    whole = PowerSpectrum()(images)
    monkeypatch.setattr("manifpt.psd.PIXELS", 3000)
    np.testing.assert_allclose(PowerSpectrum()(images), whole, atol=1e-5)


def test_each_image_is_given_to_its_maker(here):
    table, warnings, about = identify("makers", "query")
    assert table.columns.tolist() == COLUMNS
    assert table["file"].tolist() == [*(f"{n}.png" for n in range(5)), "(all)"]
    assert table["verdict"][:5].tolist() == [*"bbbaa"]
    assert (table["maker"] != table["runner_up"]).all()
    assert (table["llr"] >= table["runner_up_llr"]).all()
    assert ((table["low"] < table["llr"]) & (table["llr"] < table["high"])).all()
    assert warnings == []
    assert about == {
        "metric": "the one that ships; calibrated",
        "a": "12 images",
        "b": "12 images",
        "query": "5 images",
    }


def test_an_unknown_maker_is_none_of_these_and_one_maker_suffices(here):
    shutil.rmtree("makers/a")
    table = identify("makers", "other").table
    assert (table["verdict"] == "none of these").all()
    assert (table["maker"] == "b").all()
    assert (table["runner_up"] == "").all()
    assert identify("makers", "query").table["verdict"][:3].tolist() == ["b"] * 3


def test_llr_is_the_calibrated_ratio_of_plda_in_decimal_logarithms(here):
    table = identify("makers", "query").table
    found, names = [], []
    for maker in "ab":
        found += [pixels(maker, number).transpose(2, 0, 1) for number in range(12)]
        names += [maker] * 12
    plda = metric.shipped().plda().fit(metric.shipped().artifacts(np.stack(found)), names)
    query = np.stack([pixels(maker, 100 + n).transpose(2, 0, 1) for n, maker in enumerate("bbbaa")])
    artifacts = metric.shipped().artifacts(query)
    ratios = plda.decision_function(artifacts) / np.log(10)
    np.testing.assert_allclose(table["llr"][:5], ratios.max(1), rtol=1e-3, atol=1e-3)
    together = plda.decision_function(artifacts.mean(0, keepdims=True), m=5) / np.log(10)
    np.testing.assert_allclose(table["llr"][5], together.max(), rtol=1e-3, atol=1e-3)


def test_sets_of_images_are_of_one_maker_or_of_two(here):
    shutil.copytree("makers/b", "b2")
    for number in range(6):
        os.replace(f"makers/b/{number:02}.png", f"b2/x{number}.png")
        os.remove(f"b2/{number:02}.png")
    for number in range(6, 12):
        os.remove(f"b2/{number:02}.png")
    same, other = verify("makers/b", "b2"), verify("makers/b", "other")
    assert same.table.loc[0, ["n", "m", "verdict"]].tolist() == [6, 6, "one maker"]
    assert other.table["verdict"][0] == "two makers"
    assert module.sentence(same).startswith("One maker: 10^")
    assert module.sentence(other).startswith("Two makers: 10^")
    one = verify("query/0.png", "query/1.png")
    assert one.table.loc[0, ["a", "n", "m", "verdict"]].tolist() == ["query/0.png", 1, 1, "one maker"]
    for answer in (same, other, one):
        llr, low, high = answer.table.loc[0, ["llr", "low", "high"]]
        assert low < llr < high
    assert "query/0.png: 1 image; 10 or more of a maker are more certain" in one.warnings


def test_what_differs_and_what_is_little_is_said(here):
    Image.fromarray(pixels("b", 9, 64)).save("query/z.jpg")
    shutil.copy("query/0.png", "query/y.png")
    os.remove("makers/a/00.png")
    os.remove("makers/a/01.png")
    os.remove("makers/a/02.png")
    table, warnings, _ = identify("makers", "query")
    assert len(table) == 7
    text = "\n".join(warnings)
    assert "native size: classes differ (a: 64x48; b: 64x48; query/: 83% 64x48, 17% 80x64)" in text
    assert "format: classes differ" in text
    assert "JPEG quantisation tables: classes differ" in text
    assert "a: 9 images; 10 or more of a maker are more certain" in text
    assert "query/: copies left out, 1 in all" in text
    assert "query: 1 image; several" in "\n".join(identify("makers", "query/0.png").warnings)


def test_answers_do_not_depend_on_threads_and_company(here):
    whole = identify("makers", "query", workers=3).table
    pd.testing.assert_frame_equal(whole, identify("makers", "query").table)
    one = identify("makers", "query/3.png").table
    assert one.loc[0, "llr"] == pytest.approx(whole.loc[3, "llr"], rel=1e-6)


def test_each_file_is_decoded_once(here, monkeypatch):
    seen, read = [], pictures.read
    monkeypatch.setattr(pictures, "read", lambda path: seen.append(path) or read(path))
    identify("makers", "query")
    assert len(seen) == len(set(seen)) == 29


def test_equalise_reencodes(here):
    plain, equal = (identify("makers", "query", equalise=on).table for on in (False, True))
    assert not np.allclose(plain["llr"], equal["llr"])


def test_a_metric_is_learnt_from_crops_of_photographs(here, monkeypatch):
    """Crops of 128 at native resolution, a bounded number; the calibration is that of the metric that ships."""
    shipped, seen = metric.shipped(), []

    def learn(reals, *, calibration):
        seen.extend(reals)
        return Metric(shipped.mean, shipped.whitening, shipped.makers, calibration)

    monkeypatch.setattr(Metric, "learn", learn)
    monkeypatch.setattr(module, "CROPS", 60)
    for number in range(30):
        own_images.save(here / f"real/{number:02}.png", pixels("a", 500 + number, 40 if number % 2 else 300))
    answer = identify("makers", "query", real="real")
    assert answer.about["metric"] == "learnt from 30 photographs in real; calibrated"
    assert {crop.shape for crop in seen} == {(3, 40, 56), (3, 128, 128)}
    assert 30 <= len(seen) <= 60
    assert all(crop.base is None for crop in seen)
    assert (seen[0] == pixels("a", 500, 300)[:128, :128].transpose(2, 0, 1)).all()
    pd.testing.assert_frame_equal(answer.table, identify("makers", "query").table)


def test_commands_write_csv_and_report(here, monkeypatch, capsys):
    shutil.move("makers/a", "makers/<a>")
    words = ["identify", "--gallery", "makers", "--query", "query"]
    assert main(monkeypatch, *words, "--out", "new/out.csv", "--report", "new/out.html", "--workers", "2") == 0
    shown = capsys.readouterr()
    assert shown.out.split()[:8] == COLUMNS
    table = pd.read_csv("new/out.csv")
    assert table.columns.tolist() == COLUMNS
    assert table["verdict"][:3].tolist() == ["b"] * 3
    page = (here / "new/out.html").read_text(encoding="utf-8")
    assert "&lt;a&gt;" in page
    assert "<a>" not in page
    assert "the one that ships" in page
    assert "http" not in page
    assert main(monkeypatch, "verify", "makers/b", "other", "--out", "new/v.csv") == 0
    assert capsys.readouterr().out.startswith("Two makers: 10^")
    assert pd.read_csv("new/v.csv")["verdict"].tolist() == ["two makers"]


IDENTIFY = "identify --gallery makers --query query --out new/out.csv --report new/out.html"
VERIFY = "verify makers/a other --out new/out.csv"


def moved(source, target):
    return lambda here: shutil.move(here / source, here / target)


def copied(source, target):
    return lambda here: shutil.copy(here / source, here / target)


def small(name):
    return lambda here: own_images.save(here / name, pixels("a", 0)[:40, :31])


def written(name, content=b"no picture"):
    return lambda here: (own_images.save(here / name, pixels("a", 1)), (here / name).write_bytes(content))


def few(here):
    for number in range(23):
        own_images.save(here / f"real/{number:02}.png", pixels("a", 500 + number))


def copies(here):
    few(here)
    for number in range(9):
        shutil.copy(here / "real/00.png", here / f"real/x{number}.png")


def nothing(here):
    pass


WRONG = {  # what is done, the command, what the line says
    "no gallery": (lambda here: shutil.rmtree(here / "makers"), IDENTIFY, "makers: no such folder; a folder of images"),
    "no query": (lambda here: shutil.rmtree(here / "query"), IDENTIFY, "query: no such folder; a folder of images"),
    "no makers": (nothing, IDENTIFY.replace("makers", "other"), "other/0.png: beside the models' folders; move it"),
    "empty maker": (lambda here: (here / "makers/c").mkdir(), IDENTIFY, "makers/c: holds no image; files that end in"),
    "query in gallery": (
        nothing,
        "identify --gallery makers --query makers/a",
        "makers/a: lies in makers; keep",
    ),
    "gallery in query": (
        moved("makers", "query/makers"),
        "identify --gallery query/makers --query query",
        "query/makers: lies in query",
    ),
    "small in query": (small("query/s.png"), IDENTIFY, "query/s.png: 31x40 is smaller than 32, and no rule enlarges"),
    "small in gallery": (small("makers/a/s.png"), IDENTIFY, "makers/a/s.png: 31x40 is smaller than 32"),
    "text in query": (written("query/t.png"), IDENTIFY, "query/t.png: cannot be read as an image"),
    "text in gallery": (written("makers/b/t.png"), IDENTIFY, "makers/b/t.png: cannot be read as an image"),
    "by two makers": (
        copied("makers/a/00.png", "makers/b/x.png"),
        IDENTIFY,
        "b/x.png: the same image as makers/a/00.png; one class",
    ),
    "in both": (
        copied("makers/a/00.png", "query/x.png"),
        IDENTIFY,
        "query/x.png: the same image as makers/a/00.png; one class",
    ),
    "no reals": (nothing, f"{IDENTIFY} --real nowhere", "nowhere: no such folder; a folder of images expected"),
    "few reals": (few, f"{IDENTIFY} --real real", "real: 23 different images; 24 at least are needed as real images"),
    "copied reals": (copies, f"{IDENTIFY} --real real", "real: 23 different images; 24 at least are needed"),
    "real is query": (nothing, f"{VERIFY} --real makers", "makers/a: lies in makers; keep the two apart"),
    "no csv": (
        nothing,
        f"{IDENTIFY} --out query/0.png",
        "query/0.png: a .csv file is written; use a name that",
    ),
    "no html": (nothing, f"{IDENTIFY} --report a.csv", "a.csv: a .html file is written; use a name that ends so"),
    "read-only": (nothing, f"{IDENTIFY} --report /proc/a.html", "/proc/a.html: cannot be written"),
    "workers": (nothing, f"{IDENTIFY} --workers 0", "Invalid value for '--workers'"),
    "one in the other": (nothing, "verify makers/a makers", "makers/a: lies in makers; keep the two apart"),
    "the same folder": (nothing, "verify makers/a ./makers/a", "makers/a: lies in makers/a; keep the two apart"),
    "the same image": (
        copied("makers/a/00.png", "other/x.png"),
        VERIFY,
        "other/x.png: the same image as makers/a/00.png; one class",
    ),
    "nothing there": (nothing, "verify makers/a nowhere", "nowhere: no such folder; a folder of images expected"),
    "no images": (lambda here: (here / "empty").mkdir(), "verify empty other", "empty: holds no image; files that end"),
    "unreadable": (written("other/t.png"), VERIFY, "other/t.png: cannot be read as an image"),
    "verify to png": (nothing, "verify makers/a other --out a.png", "a.png: a .csv file is written"),
}


@pytest.mark.parametrize(("spoil", "words", "message"), WRONG.values(), ids=WRONG)
def test_wrong_use_is_one_line_and_leaves_nothing(here, monkeypatch, capsys, spoil, words, message):
    spoil(here)
    before = own_images.state(here)
    assert main(monkeypatch, *words.split()) == 2
    line = [line for line in capsys.readouterr().err.splitlines() if line.startswith("manifpt: ")]
    assert len(line) == 1
    assert message in line[0]
    assert own_images.state(here) == before


@pytest.mark.parametrize("words", [IDENTIFY, VERIFY])
def test_interrupted_use_leaves_nothing(here, monkeypatch, words):
    """The plug is pulled at the 14th picture; what was there before stays."""
    (here / "new").mkdir()
    (here / "new/out.csv").write_text("old")
    before, seen, read = own_images.state(here), [], pictures.read

    def pulled(path):
        if len(seen) == 13:
            raise KeyboardInterrupt
        return seen.append(path) or read(path)

    monkeypatch.setattr(pictures, "read", pulled)
    monkeypatch.setattr(sys, "argv", ["manifpt", *words.split()])
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        app.main()
    assert own_images.state(here) == before


def test_the_metric_that_is_missing_is_said(here, monkeypatch):
    monkeypatch.setattr(metric, "shipped", lambda: Metric.load(here / "none.safetensors"))
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        identify("makers", "query")


MEMORY = (
    METRIC
    + """
import resource, sys
from pathlib import Path
from PIL import Image
from manifpt.folders.identify import identify

folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
def save(name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (1024, 1024, 3), np.uint8)).save(folder / name)
for number in range(3):
    save(f"g/a/{number}.bmp")
peaks = []
for n in (9, 60):
    for number in range(n):
        save(f"{n}/{number}.bmp")
    identify(folder / "g", folder / str(n))
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
print(*peaks)
"""
)


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """51 more pictures of 3 MiB, 12 as floats: the peak of resident memory hardly moves."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    few, many = map(int, told.split())
    assert many - few < 60
