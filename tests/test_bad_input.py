"""What a user may get wrong: one line that names what, where and the remedy; exit code 2; nothing touched.

Each case spoils a copy of good folders and calls the command line, or the package in the command line's place. Reading
pictures is all that may happen before the verdict: whoever starts to project fails the test.
"""

import importlib
import json
import os
import pickle
import resource
import shutil
import struct
import subprocess
import sys
import zlib
from types import SimpleNamespace

import numpy as np
import own_images
import pytest
import torch
from PIL import Image

from manifpt.attribution import Attributor
from manifpt.cli import app
from manifpt.data.real import check_disjoint, load_real
from manifpt.fingerprints import Fingerprint
from manifpt.folders.classifier import train_classifier
from manifpt.folders.fingerprint import load_fingerprints, write_fingerprints
from manifpt.folders.survey import Stream, survey_folders
from manifpt.manifold import Manifold
from manifpt.zoo.dataset import load_gm
from manifpt.zoo.sample import sample_images

IMAGES = np.random.default_rng(0).integers(0, 256, (30, 1, 8, 8), np.uint8)
LABELS = ["a", "b"] * 15


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """Good folders with a classifier, ``clf``, trained on them for one epoch."""
    folder = own_images.make(tmp_path_factory.mktemp("good"))
    found = survey_folders(folder / "real", folder / "generated")
    train_classifier(found, Manifold(), folder / "clf", epochs=1)
    return folder


@pytest.fixture
def here(good, tmp_path, monkeypatch):
    """A copy of the good folders, which is the working directory."""
    shutil.copytree(good, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def verdict(monkeypatch, capsys, action):
    """Exit code and error line of an action: the words of a command, or a function called in its place."""
    if callable(action):
        monkeypatch.setattr(app, "app", lambda **_: action())
    monkeypatch.setattr(sys, "argv", ["manifpt", *([] if callable(action) else action.split())])
    with pytest.raises(SystemExit) as end:
        app.main()
    return end.value.code, capsys.readouterr().err


def header(width, height):
    """A PNG that claims a size and holds nothing."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def written(content, name="real/bad.png"):
    return lambda here: (here / name).write_bytes(content)


def linked(name, target):
    return lambda here: (here / name).symlink_to(target)


def copied(source, target):
    return lambda here: shutil.copy(here / source, here / target)


def removed(pattern):
    return lambda here: [path.unlink() for path in here.glob(pattern)]


def made(*names):
    return lambda here: [(here / name).mkdir(parents=True) for name in names]


def cut_short(here):
    content = (here / "real/000.png").read_bytes()
    (here / "real/bad.png").write_bytes(content[: len(content) // 2])


def animated(here):
    frames = [Image.fromarray(pixels[0]).resize((16, 16)) for pixels in IMAGES[:2]]
    frames[0].save(here / "real/bad.webp", save_all=True, append_images=frames[1:])


def pages(here):
    frames = [Image.fromarray(pixels[0]) for pixels in IMAGES[:2]]
    frames[0].save(here / "real/bad.tiff", save_all=True, append_images=frames[1:])


def floats(here):
    Image.fromarray(np.ones((16, 16), np.float32)).save(here / "real/bad.tif")


def gif(here):
    Image.fromarray(IMAGES[0, 0]).save(here / "real/bad.png", "GIF")


def flipped(name):
    def flip(here):
        content = bytearray((here / name).read_bytes())
        content[len(content) // 2] ^= 1
        (here / name).write_bytes(content)

    return flip


def replaced(name, old, new):
    def replace(here):
        text = (here / name).read_text()
        assert old in text
        (here / name).write_text(text.replace(old, new))

    return replace


def as_it_is(here):
    pass


FINGERPRINT = "fingerprint real generated --out new/fp.npz"
TRAIN = "attribute train real generated --out new"
PREDICT = "attribute predict clf generated/a --csv new/out.csv"
CHANGED = "clf/settings.json: changed since it was written; restore it, or train anew"
PICTURES = {  # what is wrong with one file or folder: how it comes about, what the line says
    "no real folder": (lambda here: shutil.rmtree(here / "real"), "real: no such folder; a folder of images expected"),
    "a file as folder": (
        lambda here: (shutil.rmtree(here / "real"), (here / "real").write_text("")),
        "real: a file; a folder of images expected",
    ),
    "empty folder": (removed("real/*"), "real: holds no image; files that end in .bmp"),
    "one image": (removed("real/0*[1-9]*.png"), "real: 1 different images; 24 at least are needed"),
    "copies of one image": (
        lambda here: [
            shutil.copy(here / "real/000.png", path) for path in (here / "real").glob("*.png") if "000" not in path.name
        ],
        "real: 1 different images; 24 at least are needed",
    ),
    "no models": (
        lambda here: [shutil.rmtree(path) for path in here.glob("generated/*")],
        "generated: has no sub-folders; put",
    ),
    "loose image": (copied("generated/a/000.png", "generated/x.png"), "x.png: beside the models' folders; move it"),
    "empty model": (made("generated/c"), "generated/c: holds no image; files"),
    "model named real": (made("generated/real"), "generated/real: the name 'real' is that of the real images; give"),
    "truncated": (cut_short, "real/bad.png: cannot be read as an image (image file is truncated"),
    "text": (written(b"no picture"), "real/bad.png: cannot be read as an image"),
    "empty file": (written(b""), "real/bad.png: cannot be read as an image"),
    "no pixels": (written(header(16, 16)), "real/bad.png: cannot be read as an image"),
    "1x1": (written(header(1, 1)), "real/bad.png: 1x1; 8 pixels a side at least; remove it"),
    "bomb": (written(header(20_000, 20_000)), "real/bad.png: too large (Image size (400000000 pixels) exceeds"),
    "large": (
        written(header(10_000, 10_000)),
        "real/bad.png: 10000x10000; 67,108,864 pixels at most expected, cut it up",
    ),
    "GIF": (gif, "real/bad.png: cannot be read as an image"),
    "PostScript": (written(b"%!PS-Adobe-3.0 EPSF-3.0\n"), "real/bad.png: cannot be read as an image"),
    "animated": (animated, "real/bad.webp: 2 frames; one picture a file expected, save the frames one by one"),
    "pages": (pages, "real/bad.tiff: 2 frames; one picture a file expected"),
    "32-bit integers": (
        lambda here: Image.fromarray(np.ones((16, 16), np.int32)).save(here / "real/bad.tif"),
        "real/bad.tif: 32 bits a pixel, whose range is not stated; save it with 8 or 16",
    ),
    "32 bits": (floats, "real/bad.tif: 32 bits a pixel, whose range is not stated; save it with 8 or 16"),
    "dangling link": (linked("real/bad.png", "gone.png"), "real/bad.png: cannot be read as an image"),
    "link to itself": (linked("real/bad.png", "bad.png"), "real/bad.png: cannot be read as an image"),
    "a pipe": (lambda here: os.mkfifo(here / "real/bad.png"), "real/bad.png: no regular file; remove it, or give it"),
    "folder loop": (linked("generated/a/again", ".."), "which is already read; remove this link"),
    "in two models": (
        copied("generated/a/000.png", "generated/b/x.png"),
        "b/x.png: the same image as generated/a/000.png; one",
    ),
    "in real too": (
        copied("real/000.png", "generated/b/x.png"),
        "b/x.png: the same image as real/000.png; one class only",
    ),
}
COMMANDS = {  # what is wrong with the words, or with what they name
    "small": (
        "--size 17",
        as_it_is,
        FINGERPRINT,
        "real/000.png: 16x16 is smaller than 17, and no rule enlarges; set the",
    ),
    "size": ("--size 7", as_it_is, FINGERPRINT, "size: 7; a whole number from 8 on expected"),
    "rule": (
        "--rule pad",
        as_it_is,
        FINGERPRINT,
        "rule 'pad' is unknown; choose one of centre-crop, patches, resize",
    ),
    "estimator": (
        "--estimator best",
        as_it_is,
        FINGERPRINT,
        "estimator 'best': choose one of nearest, tangent, gaussian",
    ),
    "denoiser": (
        "--estimator denoiser",
        as_it_is,
        FINGERPRINT,
        "'denoiser': choose one of nearest, tangent, gaussian, which",
    ),
    "space": ("--space hsv", as_it_is, FINGERPRINT, "space 'hsv' is unknown; choose one of rgb, freq"),
    "gaussian": (
        "--estimator gaussian",
        as_it_is,
        FINGERPRINT,
        "space 'rgb', estimator 'gaussian': of",
    ),
    "nearest": (
        "--space psd --estimator nearest",
        as_it_is,
        FINGERPRINT,
        "space 'psd', estimator 'nearest': of",
    ),
    "whole": ("--rule whole --size 16", as_it_is, FINGERPRINT, "rule 'whole': space 'rgb' takes images"),
    "smaller than whole": ("--space psd", as_it_is, FINGERPRINT, "16x16 is smaller than 32, and no"),
    "smaller than a window": ("--space psd --size 15", as_it_is, TRAIN, "size: 15 pixels; 16 at least"),
    "epochs of psd": ("--space psd --size 16 --epochs 1", as_it_is, TRAIN, "epochs: space 'psd' has a"),
    "ssl": ("--space ssl", as_it_is, FINGERPRINT, "space 'ssl': name the real set its network was trained on"),
    "k": (
        "--estimator tangent --k 26",
        as_it_is,
        FINGERPRINT,
        "k: 26 neighbours, but the reference set has 25 images; lower",
    ),
    "models below reals": (
        "",
        lambda here: shutil.move(here / "generated", here / "real"),
        "fingerprint real real/generated --out new/fp.npz",
        "real/generated: lies in real, the folder of real images; keep the two apart",
    ),
    "no npz": ("--out real/000.png", as_it_is, FINGERPRINT, "real/000.png: a .npz file is written; use a name that"),
    "no csv": ("--csv real/000.png", as_it_is, PREDICT, "real/000.png: a .csv file is written; use a name that ends"),
    "no k": ("--estimator tangent --k 0", as_it_is, FINGERPRINT, "n_neighbors must be a whole number from 1"),
    "out a folder": ("", made("new/fp.npz"), FINGERPRINT, "new/fp.npz: is a folder; the name of a file expected"),
    "out in a file": (
        "",
        written(b"", "new"),
        FINGERPRINT,
        "new/fp.npz: cannot be written (Not a directory); name another",
    ),
    "read-only": ("--out /proc/fp.npz", as_it_is, FINGERPRINT, "/proc/fp.npz: cannot be written"),
    "few": ("", removed("generated/a/00[0-2].png"), TRAIN, "a: 3 images; 4 at least for train, val and test, add some"),
    "k of train": (
        "--estimator tangent",
        as_it_is,
        TRAIN,
        "k: 64 neighbours, but the reference set has 25 images; lower",
    ),
    "epochs": ("--epochs 0", as_it_is, TRAIN, "epochs: 0; a whole number from 1 on expected"),
    "out taken": ("--out real", as_it_is, TRAIN, "real: holds 000.png; a new or empty folder expected"),
    "out a classifier": (
        "--out clf",
        as_it_is,
        TRAIN,
        "clf: holds settings.json; a new or empty folder expected",
    ),
    "out a file": ("--out real/000.png", as_it_is, TRAIN, "real/000.png: is a file; the name of a folder expected"),
    "no classifier": ("", lambda here: shutil.rmtree(here / "clf"), PREDICT, "clf/settings.json: no classifier"),
    "settings": ("", flipped("clf/settings.json"), PREDICT, "clf/settings.json: "),
    "another rule": ("", replaced("clf/settings.json", "centre-crop", "resize"), PREDICT, CHANGED),
    "another estimator": ("", replaced("clf/settings.json", "nearest", "tangent"), PREDICT, CHANGED),
    "another k": ("", replaced("clf/settings.json", '"k": 64', '"k": 65'), PREDICT, CHANGED),
    "settings cut": ("", written(b'{"rule"', "clf/settings.json"), PREDICT, "clf/settings.json: no classifier"),
    "other settings": (
        "",
        written(b"[]", "clf/settings.json"),
        PREDICT,
        "a folder of `manifpt attribute train` expected",
    ),
    "tampered": ("", flipped("clf/attributor.safetensors"), PREDICT, "attributor.safetensors: damaged file, SHA-256"),
    "pickle": (
        "",
        written(pickle.dumps({}), "clf/attributor.safetensors"),
        PREDICT,
        "attributor.safetensors: damaged file",
    ),
    "lost": ("", removed("clf/reference.npy"), PREDICT, "clf/reference.npy: missing file; restore it"),
    "no images": ("", removed("generated/a/*"), PREDICT, "generated/a: holds no image; files that end in"),
    "broken image": (
        "",
        written(b"", "generated/a/000.png"),
        PREDICT,
        "generated/a/000.png: cannot be read as an image",
    ),
    "csv": ("--csv out.csv", made("out.csv"), PREDICT, "out.csv: is a folder; the name of a file expected"),
    "parameter": ("", as_it_is, "reproduce --only 00 -p nonsense=1", "nonsense"),
}


def spoilt(**values):
    return {"artifacts": IMAGES / np.float32(255), "labels": LABELS} | values


def with_one(value):
    array = IMAGES / np.float32(255)
    array[3, 0, 2, 2] = value
    return array


def objects(here):
    np.savez(here / "clf/x.npz", settings=np.array([{}], object), artifacts=np.array([{}], object), model="m")
    return here / "clf/x.npz"


def manifest(here, file):
    (here / "gm").mkdir()
    model = {"checkpoint": {"file": file, "sha256": "0"}, "samples": {"file": "samples/m.png", "sha256": "0"}}
    (here / "gm/manifest.json").write_text(json.dumps({"name": "gm", "real": "photos", "models": {"m": model}}))
    return load_gm(here / "gm")


def pickled(here):
    torch.save({}, here / "clf/x.safetensors")
    return here / "clf/x.safetensors"


def of_a_function(here):
    return write_fingerprints(survey_folders(here / "real", here / "generated"), Manifold(np.negative), here / "x.npz")


CALLS = {  # a call of the package, given the folder; what the line says
    "NaN": (lambda _: Attributor().fit(*spoilt(artifacts=with_one(np.nan)).values()), "artifacts: NaN or infinite"),
    "infinity": (
        lambda _: Attributor().fit(*spoilt(artifacts=with_one(np.inf)).values()),
        "first in row 3; finite numbers",
    ),
    "other length": (
        lambda _: Attributor().fit(*spoilt(labels=LABELS[:-1]).values()),
        "labels: of shape (29,); (30,) expected",
    ),
    "ragged": (
        lambda _: Attributor().fit([[1.0], [1.0, 2.0]], ["a", "b"]),
        "artifacts: rows of unequal lengths; an array",
    ),
    "ragged labels": (
        lambda _: Attributor().fit(IMAGES[:2], [[1], [1, 2]]),
        "labels: rows of unequal lengths; an array of",
    ),
    "no labels": (
        lambda _: Attributor().fit(IMAGES, None),
        "labels: of shape (); (30,) expected, one for each artifact",
    ),
    "ragged artifacts": (
        lambda _: Fingerprint("m", "rgb", "nearest", [[1.0], [1.0, 2.0]]),
        "artifacts: rows of unequal",
    ),
    "words": (
        lambda _: Fingerprint("m", "rgb", "nearest", [["a"]]),
        "artifacts: <U1 of shape (1, 1); 1 or more points",
    ),
    "dtype": (
        lambda _: Manifold().fit(IMAGES / 1.0),
        "X: floats from 0 to 255; floats in [0, 1] expected: perhaps x / 255",
    ),
    "shape": (
        lambda _: Manifold().fit(IMAGES[0, 0]),
        "X: shape (8, 8) may be a single image; a batch expected: x[None]",
    ),
    "channels": (
        lambda _: Manifold().fit(IMAGES).project(IMAGES.repeat(3, axis=1)),
        "images: shape (n, 1, 8, 8) as the reference set expected, not (30, 3, 8, 8)",
    ),
    "neighbours": (
        lambda _: Manifold(estimator="tangent").fit(IMAGES),
        "n_neighbors: 64, but the reference set has 30 images",
    ),
    "across splits": (
        lambda _: check_disjoint(train=IMAGES[:9], test=IMAGES[8:]),
        "test: image 0 is also in train; the two",
    ),
    "folder too small": (
        lambda here: load_real("folder", path=here / "generated/a"),
        "6 distinct images; at least 24 are",
    ),
    "no workers": (
        lambda here: survey_folders(here / "real", here / "generated", workers=0),
        "workers: 0; a whole number from 1 on expected",
    ),
    "no name": (of_a_function, "manifold: its space is <ufunc 'negative'>; one that has a name expected"),
    "list as name": (lambda _: load_real(["a"]), "name ['a'] is unknown; choose one of fashion-mnist"),
    "list as split": (lambda _: load_real("photos", split=["a"]), "split ['a'] is unknown; choose one of reference"),
    "load None": (lambda _: Attributor.load(None), "checkpoint: the path of a file or folder expected, not None"),
    "save to None": (
        lambda here: Attributor.load(here / "clf/attributor.safetensors").save(None),
        "path: the path of a file or folder expected, not None",
    ),
    "pickled checkpoint": (
        lambda here: Attributor.load(pickled(here)),
        "x.safetensors: not a checkpoint of this package",
    ),
    "text as n": (lambda _: sample_images("nowhere", "2"), "n must be at least 1, not '2'; a whole number expected"),
    "objects": (lambda here: Fingerprint.load(objects(here)), "x.npz: not a fingerprint"),
    "objects in all": (lambda here: load_fingerprints(objects(here)), "x.npz: no fingerprints"),
    "fingerprints None": (
        lambda _: load_fingerprints(None),
        "fingerprints: the path of a file or folder expected, not None",
    ),
    "traversal": (
        lambda here: manifest(here, "../clf/attributor.safetensors"),
        "names ../clf/attributor.safetensors, which is outside",
    ),
    "absolute path": (lambda here: manifest(here, "/etc/passwd"), "names /etc/passwd, which is outside its folder"),
    "no checkpoint": (
        lambda here: manifest(here, "m.safetensors").checkpoint("m"),
        "m.safetensors: missing file; restore it",
    ),
}


def refuse(*_):
    raise AssertionError("work has begun")


def check(monkeypatch, capsys, here, action, message):
    """The whole rule: code 2, one line, what it says, and a folder in which nothing has changed."""
    monkeypatch.setattr(Stream, "rows", refuse)
    before = own_images.state(here)
    code, line = verdict(monkeypatch, capsys, action)
    assert message in line
    assert (code, line.count("\n")) == (2, 1)
    assert own_images.state(here) == before


@pytest.mark.parametrize(("spoil", "message"), PICTURES.values(), ids=PICTURES)
def test_bad_picture_or_folder(monkeypatch, capsys, here, spoil, message):
    spoil(here)
    check(monkeypatch, capsys, here, FINGERPRINT, message)


@pytest.mark.parametrize(("words", "spoil", "command", "message"), COMMANDS.values(), ids=COMMANDS)
def test_bad_command(monkeypatch, capsys, here, words, spoil, command, message):
    spoil(here)
    check(monkeypatch, capsys, here, f"{command} {words}", message)


@pytest.mark.parametrize(("call", "message"), CALLS.values(), ids=CALLS)
def test_bad_call(monkeypatch, capsys, here, call, message):
    code, line = verdict(monkeypatch, capsys, lambda: call(here))
    assert message in line
    assert (code, line.count("\n")) == (2, 1)


def test_weights_that_are_not_here_are_said_before_any_image_is_read(monkeypatch, capsys, here, tmp_path_factory):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path_factory.mktemp("torch")))
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    (here / "real/bad.png").write_text("never read")
    message = "space 'sl:resnet50': weights are not on this machine and not downloadable"
    check(monkeypatch, capsys, here, f"{FINGERPRINT} --space sl:resnet50", message)


NO_RIGHTS = {  # what is looked at, and what the system is asked there
    "folder of reals": ("real", "os.scandir"),
    "folder of models": ("generated", "os.listdir"),
    "picture": ("real/003.png", "PIL.Image.open"),
    "out": ("new", "os.stat"),
}


@pytest.mark.parametrize(("name", "asked"), NO_RIGHTS.values(), ids=NO_RIGHTS)
def test_what_one_has_no_right_to_is_named(monkeypatch, capsys, here, name, asked):
    """The system refuses it, whoever asks: tests may run as root, who may read everything."""
    module, _, function = asked.rpartition(".")
    real = getattr(importlib.import_module(module), function)

    def refused(path=".", *words, **options):
        if str(path) == name:
            raise PermissionError(13, "Permission denied", name)
        return real(path, *words, **options)

    monkeypatch.setattr(asked, refused)
    monkeypatch.setattr(Stream, "rows", refuse)
    code, line = verdict(monkeypatch, capsys, TRAIN)
    assert f"manifpt: {name}" in line
    assert "ermission denied" in line
    assert (code, line.count("\n")) == (2, 1)


def test_full_disk_leaves_what_was_there(monkeypatch, capsys, here):
    """A limit on the size of a file stands for the disk: writing fails in the middle, with the same kind of error."""
    (here / "fp.npz").write_text("old")
    before, (_, most) = own_images.state(here), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, most))
    try:
        code, line = verdict(monkeypatch, capsys, "fingerprint real generated --out fp.npz")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    expected = f"manifpt: {here}/fp.npz: cannot be written (File too large); make room or name another place\n"
    assert (code, line) == (2, expected)
    assert own_images.state(here) == before


def test_no_room_is_said_before_any_work(monkeypatch, capsys, here):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=9000))
    message = "new/fp.npz: no room, 0.02 MB are needed and 0.01 MB free; make room or name another place"
    check(monkeypatch, capsys, here, FINGERPRINT, message)


TMPFS = """
mount -t tmpfs -o size=600k tmpfs "$1" || exit 77
cd "$1" && mkdir home && export MANIFPT_HOME="$1/home"
"$2" -m manifpt fingerprint "$3/real" "$3/generated" --size 256 --out fp.npz
code=$?
find . -type f -size +0
exit $code
"""


def test_small_disk_is_left_clean(tmp_path):
    """A disk of 600 KB takes neither the artifacts nor a part of them."""
    rng = np.random.default_rng(0)
    for label, n in {"real": 30, "generated/a": 4}.items():
        for number in range(n):
            own_images.save(tmp_path / "in" / label / f"{number:02}.png", rng.integers(0, 256, (256, 256), np.uint8))
    (tmp_path / "disk").mkdir()
    command = ["unshare", "-m", "sh", "-c", TMPFS, "sh", tmp_path / "disk", sys.executable, tmp_path / "in"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if "unshare" in ended.stderr or ended.returncode == 77:
        pytest.skip("no right to mount a disk")
    assert (ended.returncode, ended.stderr.count("\n"), ended.stdout) == (2, 1, "")
    assert "no room" in ended.stderr


def test_debug_shows_the_traceback(monkeypatch, here):
    monkeypatch.setattr(sys, "argv", ["manifpt", "--debug", *FINGERPRINT.split(), "--size", "7"])
    with pytest.raises(ValueError, match="size: 7"):
        app.main()
