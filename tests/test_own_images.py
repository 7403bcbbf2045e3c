"""Other people's images: what the survey says, that results depend on the images alone, and memory."""

import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import own_images
import pandas as pd
import pytest
from PIL import Image
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss

from manifpt.cli import app
from manifpt.data import pictures
from manifpt.folders import classifier, fingerprint, report, rules, survey
from manifpt.folders.linear import LinearAttributor
from manifpt.folders.rules import Rule
from manifpt.folders.survey import survey_folders
from manifpt.manifold import Manifold
from manifpt.nn.barlow_twins import Backbone
from manifpt.utils import cache, files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    return own_images.make(tmp_path_factory.mktemp("good"))


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """A home without a cache, so that everything is computed."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))


def saved(path, image, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def npy(array):
    """The content of a file of an array."""
    np.save(content := io.BytesIO(), array)
    return content.getvalue()


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["manifpt", *words])
    with pytest.raises(SystemExit) as end:
        app.main()
    assert end.value.code == 0


GRADIENT = np.arange(256, dtype=np.uint8).reshape(16, 16)
COLOUR = np.stack([GRADIENT, GRADIENT.T, GRADIENT[::-1]], axis=-1)
HALF = np.dstack([COLOUR, np.where(GRADIENT < 128, 0, 255).astype(np.uint8)])
MODES = {  # a picture in some format and mode, and the pixels that it stands for
    "grey.png": (Image.fromarray(GRADIENT), GRADIENT),
    "colour.bmp": (Image.fromarray(COLOUR), COLOUR),
    "colour.tiff": (Image.fromarray(COLOUR), COLOUR),
    "16bit.png": (Image.fromarray(GRADIENT.astype(np.uint16) * 257), GRADIENT),
    "16bit.tif": (Image.fromarray(GRADIENT.astype(np.uint16) * 256 + 255), GRADIENT),
    "palette.png": (Image.fromarray(GRADIENT).convert("P"), COLOUR[..., :1].repeat(3, 2)),
    "bits.png": (Image.fromarray(GRADIENT > 99), np.where(GRADIENT > 99, 255, 0)),
    "cmyk.tif": (Image.fromarray(COLOUR).convert("CMYK"), COLOUR),
    "alpha.png": (Image.fromarray(HALF), np.where(GRADIENT[..., None] < 128, 255, COLOUR)),
}


@pytest.mark.parametrize("name", MODES)
def test_every_mode_becomes_the_8_bits_it_stands_for(tmp_path, name):
    image, pixels = MODES[name]
    assert (np.asarray(pictures.decode(saved(tmp_path / name, image))) == pixels).all()


@pytest.mark.parametrize("name", ["a.jpg", "a.webp"])
def test_lossy_formats_come_close(tmp_path, name):
    decoded = pictures.decode(saved(tmp_path / name, Image.fromarray(GRADIENT), quality=95))
    assert np.abs(np.asarray(decoded.convert("L")).astype(int) - GRADIENT).mean() < 4


def test_find_sorts_follows_links_and_leaves_hidden_files_out(tmp_path, good):
    for name in ("b/2.PNG", "b/1.jpg", ".b/3.png", "b/._1.jpg", "b/notes.txt"):
        (tmp_path / "x" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / name).touch()
    (tmp_path / "x/a").symlink_to(good / "generated/a")
    names = [str(path.relative_to(tmp_path / "x")) for path in pictures.find(tmp_path / "x")]
    assert names == [*(f"a/{n:03}.png" for n in range(6)), "b/1.jpg", "b/2.PNG"]


def test_rules_by_their_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60), np.uint8)
    path = saved(tmp_path / "a.png", Image.fromarray(pixels))
    assert (Rule("centre-crop", 16, 1).images(path)[0, 0] == pixels[8:24, 16:32]).all()
    patches = Rule("patches", 16, 3).images(path)
    assert patches.shape == (6, 3, 16, 16)
    assert (patches[4] == pixels[16:32, 16:32]).all()
    assert Rule("patches", 16, 3).count(pictures.look(path)) == 6
    shrunk = Image.fromarray(pixels).resize((16, 16), Image.Resampling.LANCZOS)
    assert (Rule("resize", 16, 1).images(path)[0, 0] == np.asarray(shrunk)).all()
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=75)
    with Image.open(encoded) as opened:
        again = np.asarray(opened)
    assert (Rule("centre-crop", 16, 1, equalise=True).images(path)[0, 0] == again[8:24, 16:32]).all()


def test_no_warning_where_nothing_differs(good):
    assert survey_folders(good / "real", good / "generated").warnings == []


def test_what_models_differ_in_is_named(tmp_path, good):
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    big = Image.fromarray(COLOUR).resize((24, 20))
    saved(tmp_path / "generated/c/1.jpg", big, quality=60)
    saved(tmp_path / "generated/d/1.jpg", big.rotate(180), quality=90)
    lines = survey_folders(tmp_path / "real", tmp_path / "generated").warnings
    size, made, tables, colour, remedy = lines
    assert size.startswith("native size: classes differ (real: 16x16; a: 16x16; b: 16x16; c: 24x20; d: 24x20); a ")
    assert "format: classes differ (real: PNG; a: PNG; b: PNG; c: JPEG; d: JPEG)" in made
    assert re.search(r"tables: classes differ \(real: none; .*c: (\w+); d: (?!\1)\w+\)", tables)
    assert "colour: classes differ (real: grey; a: grey; b: grey; c: colour; d: colour)" in colour
    assert "--equalise" in remedy
    assert len(survey_folders(tmp_path / "real", tmp_path / "generated", equalise=True).warnings) == 4


def test_models_that_differ_in_shares_alone_are_named():
    def some(*formats):
        return [pictures.Picture(Path("x"), 16, 16, made, "", True, "") for made in formats]

    one, other = some(*["PNG"] * 9, "JPEG"), some("PNG", *["JPEG"] * 9)
    (line,) = rules.differences({"a": one, "b": other})
    assert line.startswith("format: classes differ (a: 90% PNG, 10% JPEG; b: 90% JPEG, 10% PNG); a classifier would")
    assert rules.differences({"a": one * 9 + other, "b": one}) == []


def test_a_crop_lets_go_of_the_rest_of_its_picture(tmp_path):
    path = saved(tmp_path / "a.png", Image.fromarray(np.zeros((64, 512), np.uint8)))
    images = Rule("centre-crop", 64, 1).images(path)
    while images.base is not None:
        images = images.base
    assert images.nbytes == 64 * 64


def test_copies_are_left_out_and_said(tmp_path, good):
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "real/003.png", tmp_path / "real/900.png")
    found = survey_folders(tmp_path / "real", tmp_path / "generated")
    assert found.warnings == ["real: copies left out, 1 in all"]
    assert len(found.reference) + len(found.classes["real"]) == 30


@pytest.mark.parametrize("options", [{}, {"rule": "patches", "size": 8}])
def test_fingerprints_depend_on_the_images_alone(tmp_path, good, fresh, monkeypatch, options):
    """Other workers, other blocks and files that were written in another order: the same bytes."""
    turned = tmp_path / "turned"
    for path in sorted(good.rglob("*.png"), reverse=True):
        saved(turned / path.relative_to(good), Image.open(path))
    written = []
    for number, (folder, workers, block) in enumerate([(good, 1, 2**25), (good, 3, 1), (turned, 2, 1000)]):
        monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / f"home{number}"))
        monkeypatch.setattr(survey, "BLOCK", block)
        found = survey_folders(folder / "real", folder / "generated", workers=workers, **options)
        fingerprint.write_fingerprints(found, Manifold(estimator="tangent", n_neighbors=5), tmp_path / "fp.npz")
        written.append((tmp_path / "fp.npz").read_bytes())
    assert written[0] == written[1] == written[2]


def test_fingerprints_are_the_artifacts_of_the_manifold(tmp_path, good):
    found = survey_folders(good / "real", good / "generated")
    table = fingerprint.write_fingerprints(found, Manifold(), tmp_path / "fp.npz")
    loaded = fingerprint.load_fingerprints(tmp_path / "fp.npz")
    reference = np.stack([np.asarray(Image.open(p.path))[None] for p in found.reference])
    images = np.stack([np.asarray(Image.open(p.path))[None] for p in found.classes["a"]])
    expected = Manifold().fit(reference).fingerprint(images, model="a")
    assert (loaded["a"].artifacts == expected.artifacts).all()
    assert (loaded["a"].space, loaded["a"].estimator) == ("rgb", "nearest")
    assert table["class"].tolist() == ["real", "a", "b"]
    assert table["mean"].to_numpy() == pytest.approx([loaded[name].norms.mean() for name in ("real", "a", "b")])
    assert table["auc"][0] == 0.5


def test_only_one_block_is_in_memory(good, fresh, monkeypatch):
    """With blocks of two images, what is seen never has more than two, however many pictures there are."""
    monkeypatch.setattr(survey, "BLOCK", 2 * 256)
    found, seen = survey_folders(good / "real", good / "generated"), []
    rows = found.stream.rows(found.reference, lambda block: seen.append(len(block)) or block)
    assert seen == [2] * 12 + [1]
    assert isinstance(rows, np.memmap)
    found.stream.rows(found.reference, lambda block: pytest.fail("it is in the cache"))


def test_interrupted_rows_go_on_at_their_last_part(good, fresh, monkeypatch):
    monkeypatch.setattr(survey, "PART", 10)
    found, seen = survey_folders(good / "real", good / "generated"), []

    def until_the_plug_is_pulled(block):
        if len(seen) == 2:
            raise KeyboardInterrupt
        return seen.append(block) or block

    with pytest.raises(KeyboardInterrupt):
        found.stream.rows(found.reference, until_the_plug_is_pulled)
    rows = found.stream.rows(found.reference, lambda block: seen.append(block) or block)
    assert [len(block) for block in seen] == [10, 10, 5]
    assert (rows == np.concatenate(seen)).all()
    assert len([*(paths.cache() / "folders").iterdir()]) == 1


def test_what_is_damaged_in_the_cache_is_made_anew(good, fresh):
    found = survey_folders(good / "real", good / "generated")
    rows = np.array(found.stream.rows(found.reference, lambda block: block))
    (path,) = (paths.cache() / "folders").iterdir()
    for content in (b"", path.read_bytes()[:-1], b"nonsense", npy(rows[1:]), npy(rows[0, 0, 0, 0])):
        files.write_text(path, "")  # a file of its own, as the old one is mapped
        path.write_bytes(content)
        assert (found.stream.rows(found.reference, lambda block: block) == rows).all()


def test_a_picture_that_was_replaced_after_the_survey_is_refused(tmp_path, good, fresh):
    """Its pixels would be kept, under the checksum of the old ones."""
    shutil.copytree(good, tmp_path / "in")
    found = survey_folders(tmp_path / "in/real", tmp_path / "in/generated")
    path = tmp_path / "in/real/003.png"
    saved(path, Image.fromarray(GRADIENT))
    with pytest.raises(InputError, match=r"003\.png: changed since it was surveyed; start again"):
        found.stream.images(found.reference)
    path.unlink()
    with pytest.raises(InputError, match=r"003\.png: cannot be read as an image"):
        found.stream.images(found.reference)
    shutil.copy(good / "real/003.png", path)
    assert len(found.stream.images(found.reference)) == 25


def test_rows_outlive_their_file(good, fresh):
    """Rows stay what they were when another run replaces their file in the cache, or somebody deletes the cache."""
    found = survey_folders(good / "real", good / "generated")
    rows = found.stream.images(found.reference)
    expected, (path,) = np.array(rows), (paths.cache() / "folders").iterdir()
    files.save_rows(path, [255 - expected], len(expected))
    assert (rows == expected).all()
    shutil.rmtree(paths.cache())
    assert (rows == expected).all()


def test_every_setting_of_a_manifold_is_in_the_key_of_its_artifacts(noise):
    changes = [
        {},
        {"estimator": "tangent"},
        {"n_neighbors": 3},
        {"ridge": 0.2},
        {"index": "hnsw"},
        {"dataset": "photos"},
    ]
    changes += [{"estimator": "random"}, {"estimator": "random", "seed": 1}, {"space": "freq"}]
    images = noise(9, size=8)
    keys = [survey.projection(Manifold(**{"n_neighbors": 2} | change).fit(images))[1] for change in changes]
    keys.append(survey.projection(Manifold(n_neighbors=2).fit(images[1:]))[1])
    assert len(set(keys)) == len(keys)


def test_a_mended_rule_is_computed_anew(tmp_path, good, fresh, monkeypatch):
    """The same version with other code of the rules: what was kept does not count."""
    found = survey_folders(good / "real", good / "generated")
    found.stream.images(found.reference)
    source, find = Path(rules.__file__).read_text(encoding="utf-8"), cache._source
    (tmp_path / "rules.py").write_text(source.replace("// 16 * 8", "// 8 * 4"), encoding="utf-8")
    mended = tmp_path / "rules.py"
    monkeypatch.setattr(cache, "_source", lambda name: mended if name == rules.__name__ else find(name))
    cache.code_checksum.cache_clear()
    seen = []
    found.stream.rows(found.reference, lambda block: seen.append(block) or block)
    cache.code_checksum.cache_clear()
    assert len(seen) == 1


def test_a_network_that_was_trained_anew_counts(tmp_path, good, fresh, monkeypatch, capsys):
    """New fingerprints are written, and a classifier trained with the old network is refused."""
    folders, out = [str(good / "real"), str(good / "generated")], tmp_path / "fp.npz"
    artifacts = []
    for seed in (0, 1):
        with seeded(seed):
            network = Backbone(1)
        files.save_network(paths.home() / "networks/ssl-tiny.safetensors", network, {"channels": 1})
        run(monkeypatch, "fingerprint", *folders, "--space", "ssl:tiny", "--out", str(out))
        artifacts.append(fingerprint.load_fingerprints(out)["a"].artifacts)
        if seed == 0:
            train = ["attribute", "train", *folders, "--space", "ssl:tiny", "--epochs", "1"]
            run(monkeypatch, *train, "--out", str(tmp_path / "clf"))
    assert np.abs(artifacts[0] - artifacts[1]).max() > 1e-3
    with pytest.raises(InputError, match="clf: space 'ssl:tiny' has another network than in training; restore it"):
        classifier.predict_models(tmp_path / "clf", good / "generated/a", tmp_path / "out.csv")


MEMORY = """
import resource, sys
import numpy as np
from PIL import Image
from manifpt.folders import survey, fingerprint
from manifpt.manifold import Manifold
from pathlib import Path

def make(folder, each, side):
    rng = np.random.default_rng(0)
    for label, n in {"real": 100, "generated/a": each, "generated/b": each}.items():
        (folder / label).mkdir(parents=True)
        for number in range(n):
            pixels = rng.integers(0, 256, (side, side, 3), np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number:03}.bmp")

def peak(folder, each):
    make(folder, each, 112)
    found = survey.survey_folders(folder / "real", folder / "generated", size=112)
    fingerprint.write_fingerprints(found, Manifold(), folder / "fp.npz")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

survey.BLOCK = 2**20
small, large = (peak(Path(sys.argv[1], str(each)), each) for each in (40, 400))
artifacts = (Path(sys.argv[1]) / "400/fp.npz").stat().st_size // 2**20
print(small, large, artifacts)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    """Ten times the images, with artifacts of more than 100 MiB: the peak of resident memory hardly moves."""
    environment = os.environ | {"MANIFPT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", MEMORY, str(tmp_path)]
    told = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    small, large, artifacts = map(int, told.split())
    assert artifacts > 100
    assert large - small < artifacts // 3


def test_splits_share_no_picture_and_begin_balanced(good):
    splits = classifier.split_classes(survey_folders(good / "real", good / "generated"))
    assert {name: len(part) for name, part in splits.items()} == {"train": 8, "val": 3, "test": 6}
    assert len({picture.digest for part in splits.values() for picture in part["picture"]}) == 17
    assert splits["train"]["label"][:3].tolist() == ["real", "a", "b"]


def commands_of_the_readme():
    """The words of each command in the README's section."""
    text = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")
    section = text.split("## Use your own images")[1].split("\n## ")[0]
    assert len(section.splitlines()) <= 45
    block = section.split("```sh\n")[1].split("```")[0].replace("\\\n", "")
    return [shlex.split(line, comments=True)[1:] for line in block.splitlines()]


def test_every_command_of_the_readme_runs(monkeypatch, tmp_path, capsys):
    (tmp_path / "data").symlink_to(paths.data())
    monkeypatch.chdir(tmp_path)
    for words in commands_of_the_readme():
        fast = ["--epochs", "1"] if "train" in words else []
        run(monkeypatch, *words, *fast)
    assert set(fingerprint.load_fingerprints("fp.npz")) == {"real", "beta-vae", "dcgan", "ddpm"}
    page = (tmp_path / "clf/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    table = pd.read_csv("out.csv")
    assert table["file"].tolist() == [f"{n:03}.png" for n in range(16)]
    assert table.filter(like="p(").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert (table["probability"] == table.filter(like="p(").max(axis=1)).all()
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize(("shape", "title"), [((1, 8, 8), "Mean artifacts<"), ((5,), "Mean artifacts: cosine")])
@pytest.mark.parametrize("classes", [("a", "b", "real"), ("a", "real")])
def test_the_report_shows_mean_artifacts_of_images_and_of_vectors(shape, title, classes):
    rng = np.random.default_rng(0)
    curve = pd.DataFrame({"input": ["artifact", "control"] * 2, "n": [1, 1, 2, 2], "accuracy": 0.5})
    page = report.report_html(
        warnings=[],
        rule={"size": 8},
        curve=curve,
        truth=np.array(classes),
        named=np.array(classes),
        mean={name: rng.normal(size=shape) for name in classes},
        images={name: rng.integers(0, 256, (4, 1, 8, 8), np.uint8) for name in classes},
    )
    assert title in page
    assert page.count("data:image/png;base64,") == 4


def test_the_report_shows_what_was_warned_of(tmp_path, good):
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    shutil.copy(tmp_path / "real/003.png", tmp_path / "real/900.png")
    found = survey_folders(tmp_path / "real", tmp_path / "generated")
    curve = classifier.train_classifier(found, Manifold(), tmp_path / "clf", epochs=1)
    assert "real: copies left out, 1 in all" in (tmp_path / "clf/report.html").read_text(encoding="utf-8")
    assert curve["n"].tolist() == [8, 3, 4, 8]
    assert curve["input"].str.startswith("control").tolist() == [True, False, False, False]


@pytest.fixture
def pictures_of_all_sizes(tmp_path):
    """Colour pictures of 40 to 60 pixels: noise, and two models that mix its neighbours."""
    rng = np.random.default_rng(0)
    for number in range(36):
        size = (*rng.integers(40, 60, 2), 3)
        own_images.save(tmp_path / f"real/{number:02}.png", rng.integers(0, 256, size).astype(np.uint8))
        for label, axis in (("a", 0), ("b", 1)):
            noise = rng.integers(0, 256, size)
            mixed = ((noise + np.roll(noise, 1, axis)) // 2).astype(np.uint8)
            own_images.save(tmp_path / f"generated/{label}/{number:02}.png", mixed)
    return tmp_path


def test_psd_trains_and_predicts_in_closed_form_at_native_sizes(monkeypatch, pictures_of_all_sizes, fresh, capsys):
    monkeypatch.chdir(pictures_of_all_sizes)
    run(monkeypatch, "attribute", "train", "real", "generated", "--space", "psd", "--out", "clf")
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[-1] for line in told[1:4]] == ["1.000"] * 3
    page = Path("clf/report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 4
    assert "control" not in page
    run(monkeypatch, "attribute", "predict", "clf", "generated", "--csv", "out.csv", "--workers", "2")
    table = pd.read_csv("out.csv").set_index("file")
    assert (table["label"] == table.index.str[0]).all()
    assert table.filter(like="p(").sum(axis=1).to_numpy() == pytest.approx(1, abs=1e-3)
    assert not {path.suffix for path in Path("clf").iterdir()} - {".safetensors", ".npy", ".html", ".json"}
    run(monkeypatch, "attribute", "predict", "clf", "generated/b/05.png", "--csv", "one.csv")
    one = pd.read_csv("one.csv")
    assert one["probability"][0] == pytest.approx(table.loc["b/05.png", "probability"], abs=2e-4)


def test_psd_fingerprints_are_the_artifacts_of_the_manifold(pictures_of_all_sizes, fresh):
    found = survey_folders(pictures_of_all_sizes / "real", pictures_of_all_sizes / "generated", rule="whole")
    out = pictures_of_all_sizes / "fp.npz"
    fingerprint.write_fingerprints(found, fingerprint.make_manifold("psd", None, 64), out)
    loaded = fingerprint.load_fingerprints(out)
    sets = found.reference, found.classes["a"]
    reference, images = ([np.asarray(Image.open(p.path)).transpose(2, 0, 1) for p in some] for some in sets)
    expected = Manifold("psd", estimator="gaussian").fit(reference).fingerprint(images, model="a")
    np.testing.assert_allclose(loaded["a"].artifacts, expected.artifacts, rtol=1e-3, atol=1e-2)
    assert (loaded["a"].space, loaded["a"].estimator) == ("psd", "gaussian")


@pytest.mark.parametrize("classes", [2, 3])
def test_linear_probabilities_are_honest_and_outlive_the_disk(tmp_path, classes):
    """Of Gaussians that overlap, with few images in many dimensions; scikit-learn's own are the yardstick."""
    rng = np.random.default_rng(0)
    means = rng.normal(size=(classes, 40)) / 4
    y = np.arange(60 * classes) % classes
    x, val, new = (means[y] + rng.normal(size=(len(y), 40)) for _ in range(3))
    names = np.array(["a", "b", "c"])[y]
    fitted = LinearAttributor().fit(x, names, val=(val, names))
    yardstick = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, names)
    assert (fitted.classes_[fitted.predict_proba(new).argmax(1)] == yardstick.predict(new)).all()
    assert log_loss(names, fitted.predict_proba(new)) <= log_loss(names, yardstick.predict_proba(new)) + 0.02
    fitted.save(tmp_path / "c.safetensors")
    loaded = LinearAttributor.load(tmp_path / "c.safetensors")
    assert (loaded.predict_proba(new) == fitted.predict_proba(new)).all()
    assert loaded.classes_.tolist() == fitted.classes_.tolist()
    files.save_tensors(tmp_path / "other.safetensors", {}, {})
    with pytest.raises(InputError, match=r"other\.safetensors: not a linear classifier"):
        LinearAttributor.load(tmp_path / "other.safetensors")


def test_equalise_on_the_command_line(monkeypatch, tmp_path, good):
    artifacts = []
    for words in ([], ["--equalise"]):
        run(
            monkeypatch,
            "fingerprint",
            str(good / "real"),
            str(good / "generated"),
            "--out",
            f"{tmp_path}/fp.npz",
            *words,
        )
        artifacts.append(fingerprint.load_fingerprints(tmp_path / "fp.npz")["a"].artifacts)
    assert not np.array_equal(*artifacts)


def test_prediction_does_not_depend_on_company(monkeypatch, tmp_path, good, fresh):
    """An image alone gets the probabilities that it gets among others; a format unseen in training is said."""
    found = survey_folders(good / "real", good / "generated", rule="patches", size=8)
    classifier.train_classifier(found, Manifold(), tmp_path / "clf", epochs=1)
    assert classifier.predict_models(tmp_path / "clf", good / "generated", tmp_path / "all.csv", workers=2) == []
    every = pd.read_csv(tmp_path / "all.csv").set_index("file")
    classifier.predict_models(tmp_path / "clf", good / "generated/b/003.png", tmp_path / "one.csv")
    one = pd.read_csv(tmp_path / "one.csv")
    assert one["label"][0] == every.loc["b/003.png", "label"]
    assert one["probability"][0] == pytest.approx(every.loc["b/003.png", "probability"], abs=2e-4)
    saved(tmp_path / "new.bmp", Image.fromarray(GRADIENT))
    (line,) = classifier.predict_models(tmp_path / "clf", tmp_path / "new.bmp", tmp_path / "new.csv")
    assert line == "format BMP was not in training; the labels may rest on that"
