import fcntl
import hashlib
import os
import pickle
import signal
import subprocess
import sys

import pytest
import torch
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
        "import os, signal; from manifpt.utils import files\n"
        f"with files.atomic({str(path)!r}) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    (leftover,) = names(tmp_path)
    assert leftover.startswith(".table.")
    files.write_text(path, "whole")
    assert names(tmp_path) == ["table.csv"]


def test_writers_of_one_file_at_once_keep_apart_whatever_their_process_numbers(tmp_path, monkeypatch):
    """As in two containers, where process numbers repeat: the last to end wins, and nothing is lost on the way."""
    monkeypatch.setattr(os, "getpid", lambda: 1)
    path = tmp_path / "table.csv"
    with files.atomic(path) as first:
        first.write_text("first")
        with files.atomic(path) as second:
            assert first != second
            second.write_text("second")
        assert path.read_text() == "second"
        assert first.read_text() == "first"
    assert path.read_text() == "first"
    assert names(tmp_path) == ["table.csv"]


def test_a_temporary_file_that_is_removed_before_it_is_locked_is_made_again(tmp_path, monkeypatch):
    lock, taken = fcntl.flock, []

    def removed_at_first(descriptor, how):
        if not taken:
            next(tmp_path.glob(".table.*")).unlink()
        taken.append(descriptor)
        lock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", removed_at_first)
    files.write_text(tmp_path / "table.csv", "whole")
    assert (tmp_path / "table.csv").read_text() == "whole"
    assert len(taken) == 2


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def rights(path):
    return path.stat().st_mode & 0o777


def test_secrets_are_their_owners_alone_and_other_files_follow_the_umask(tmp_path, umask):
    secret, table = tmp_path / "keys.json", tmp_path / "table.csv"
    with files.atomic(secret, private=True) as temporary:
        assert rights(temporary) == 0o600
        temporary.write_text("{}")
    files.write_text(table, "a,b")
    assert (rights(secret), rights(table)) == (0o600, 0o666 & ~umask)


def test_rights_are_kept_and_never_widened(tmp_path, umask):
    path = tmp_path / "keys.json"
    for before, private, after in [(0o600, False, 0o600), (0o640, False, 0o640), (0o644, True, 0o600)]:
        path.write_text("{}")
        path.chmod(before)
        files.write_text(path, "{...}", private=private)
        assert rights(path) == after


def test_the_target_of_a_symbolic_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "keys.json", tmp_path / "keys.json"
    target.write_text("old")
    link.symlink_to(target)
    files.write_text(link, "new")
    assert link.is_symlink()
    assert target.read_text() == link.read_text() == "new"
    assert names(target.parent) == ["keys.json"]


ADD = """
import sys
from pathlib import Path
from manifpt.utils import files
path, name = Path(sys.argv[1]), sys.argv[2]
for number in range(25):
    with files.locked(path):
        files.write_text(path, path.read_text() + f"{name}{number}\\n", private=True)
"""


def test_two_homes_that_share_a_file_lose_nothing(tmp_path):
    registry = tmp_path / "shared" / "keys.json"
    files.write_text(registry, "")
    adders = [
        subprocess.Popen(
            [sys.executable, "-c", ADD, str(registry), name], env=os.environ | {"MANIFPT_HOME": str(tmp_path / name)}
        )
        for name in "ab"
    ]
    assert [adder.wait() for adder in adders] == [0, 0]
    assert sorted(registry.read_text().split()) == sorted(f"{name}{number}" for name in "ab" for number in range(25))


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
