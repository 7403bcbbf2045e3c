import hashlib
import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from manifpt.utils import files
from manifpt.utils.errors import InputError


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_atomic_writes_whole_file_in_new_folder(tmp_path):
    path = tmp_path / "new" / "table.csv"
    with files.atomic(path) as temporary:
        temporary.write_text("a,b")
        assert not path.exists()
        assert (temporary.parent, temporary.suffix) == (path.parent, ".csv")
    assert path.read_text() == "a,b"
    assert path.stat().st_mode & 0o777 == 0o644
    assert names(path.parent) == ["table.csv"]


def test_atomic_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), files.atomic(path) as temporary:
        temporary.write_text("half") / 0
    assert path.read_text() == "old"
    assert names(tmp_path) == ["table.csv"]


def test_atomic_removes_what_a_killed_writer_left(tmp_path):
    path = tmp_path / "table.csv"
    code = (
        "import os, signal; from manifpt import files\n"
        f"with files.atomic({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".table.")
    files.write_text(path, "whole")
    assert names(tmp_path) == ["table.csv"]


def test_atomic_keeps_the_temporary_file_of_a_living_writer(tmp_path):
    living = tmp_path / f".table.{os.getppid()}.part.csv"
    living.write_text("in work")
    files.write_text(tmp_path / "table.csv", "whole")
    assert living.read_text() == "in work"


def test_atomic_is_not_disturbed_by_foreign_hidden_files(tmp_path):
    foreign = tmp_path / ".table.mine.part.csv"
    foreign.write_text("foreign")
    files.write_text(tmp_path / "table.csv", "whole")
    assert foreign.read_text() == "foreign"


def test_checksums(tmp_path):
    path = tmp_path / "text"
    files.write_text(path, "größer\n")
    right = hashlib.sha256("größer\n".encode()).hexdigest()
    assert files.sha256(path) == right
    files.check_sha256(path, right)
    with pytest.raises(InputError, match="text: damaged file"):
        files.check_sha256(path, right[::-1])
    with pytest.raises(InputError, match="nowhere: missing file"):
        files.check_sha256(tmp_path / "nowhere", right)


def test_settings_hash_ignores_order_alone():
    assert files.settings_hash({"a": 1, "b": [2, 3]}) == files.settings_hash({"b": [2, 3], "a": 1})
    assert files.settings_hash({"a": 1, "b": [2, 3]}) != files.settings_hash({"a": 1, "b": [3, 2]})
    assert len(files.settings_hash({})) == 12


def test_tensors_come_back_with_their_settings(tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    tensors = {"half": torch.randn(3, 4).half(), "turned": torch.arange(6).view(2, 3).T, "scalar": torch.tensor(7)}
    settings = {"model": "dcgan", "steps": 3000, "rate": 2e-4, "betas": [0.5, 0.999], "none": None, "deep": {"ü": True}}
    files.save_tensors(path, tensors, settings)
    found, header = files.load_tensors(path)
    assert header == settings
    assert found.keys() == tensors.keys()
    for key, tensor in tensors.items():
        assert found[key].dtype == tensor.dtype
        assert torch.equal(found[key], tensor)
    assert names(tmp_path) == ["checkpoint.safetensors"]


def pickled(path):
    path.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}))


def torch_saved(path):
    torch.save({"weight": torch.zeros(3)}, path)


def cut_short(path):
    files.save_tensors(path, {"weight": torch.zeros(100)}, {"model": "dcgan"})
    path.write_bytes(path.read_bytes()[:-50])


def without_settings(path):
    save_file({"weight": torch.zeros(3)}, path)


def with_other_header(path):
    save_file({"weight": torch.zeros(3)}, path, {"format": "pt"})


def with_broken_settings(path):
    save_file({"weight": torch.zeros(3)}, path, {"settings": "{model:"})


def empty(path):
    path.touch()


def absent(path):
    pass


FOREIGN = [pickled, torch_saved, cut_short, without_settings, with_other_header, with_broken_settings, empty, absent]


@pytest.mark.parametrize("write", FOREIGN)
def test_foreign_and_damaged_checkpoints_are_refused_by_name(tmp_path, write):
    path = tmp_path / "strange.safetensors"
    write(path)
    with pytest.raises(InputError, match=r"strange\.safetensors.*expected"):
        files.load_tensors(path)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 50, 73])
def test_mosaic_round_trip(tmp_path, noise, channels, n):
    path = tmp_path / "mosaic.png"
    images = noise(n, channels)
    files.save_mosaic(path, images)
    found = files.load_mosaic(path, n)
    assert (found.dtype, found.shape) == (np.uint8, images.shape)
    assert (found == images).all()
    assert (files.load_mosaic(path, 1) == images[:1]).all()


def test_mosaic_is_a_picture_of_fifty_tiles_a_row_read_left_to_right(tmp_path, noise):
    images = noise(51, 3, size=8)
    files.save_mosaic(tmp_path / "mosaic.png", images)
    with Image.open(tmp_path / "mosaic.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (16, 400, 3)
    assert (pixels[:8, 8:16] == images[1].transpose(1, 2, 0)).all()
    assert (pixels[8:, :8] == images[50].transpose(1, 2, 0)).all()
    assert not pixels[8:, 8:].any()
    assert (files.load_mosaic(tmp_path / "mosaic.png", 51, size=8) == images).all()


def test_mosaic_that_is_too_small_or_no_picture_is_named(tmp_path, noise):
    path = tmp_path / "mosaic.png"
    files.save_mosaic(path, noise(3))
    with pytest.raises(InputError, match=r"mosaic\.png: holds 50 tiles of 32 pixels, 51 expected"):
        files.load_mosaic(path, 51)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"mosaic\.png: cannot be read"):
        files.load_mosaic(path, 3)
    Image.new("L", (100, 64)).save(path)
    with pytest.raises(InputError, match=r"mosaic\.png: 100x64 pixels; tiles of 32x32 expected"):
        files.load_mosaic(path, 3)
    for mode in ("P", "RGBA", "1", "I;16"):  # the palette's numbers are no grey levels
        Image.new(mode, (64, 64)).save(path)
        with pytest.raises(InputError, match=rf"mosaic\.png: its mode is {mode}; .* expected"):
            files.load_mosaic(path, 3)


def test_mosaic_of_unknown_length_ends_at_its_last_tile_that_is_not_black(tmp_path, noise):
    images = noise(5, 1)
    images[1] = 0
    files.save_mosaic(tmp_path / "mosaic.png", images, columns=3)
    found = files.load_mosaic(tmp_path / "mosaic.png")
    assert (found == images).all()
    assert found.flags.writeable
    files.save_mosaic(tmp_path / "mosaic.png", np.zeros((4, 1, 32, 32), np.uint8), columns=2)
    assert len(files.load_mosaic(tmp_path / "mosaic.png")) == 1
