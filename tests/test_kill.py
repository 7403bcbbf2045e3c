"""A short version of `tests/kill.py`: one kill when something is saved, and two processes on one cache."""

import kill
import pytest


def test_killed_projection_goes_on_and_two_at_once_agree(tmp_path):
    kill.finish(kill.start("projection", tmp_path / "alone"))
    killed = next(folder for folder in map(tmp_path.joinpath, "01234") if kill.kill_once_saved("projection", folder))
    kill.finish(kill.start("projection", killed))
    kill.compare("projection", killed, tmp_path / "alone")
    both = [kill.start("projection", tmp_path / "shared") for _ in range(2)]
    for process in both:
        kill.finish(process)
    kill.compare("projection", tmp_path / "shared", tmp_path / "alone")


def test_comparison_finds_what_is_missing_different_and_stray(tmp_path, monkeypatch):
    monkeypatch.setattr(kill.stray, "__defaults__", (0.0,))
    alone, folder = tmp_path / "alone", tmp_path / "other"
    for path in (alone, folder):
        path.mkdir()
        (path / "fp.npz").write_bytes(b"1")
    kill.compare("projection", folder, alone)
    for name in (".x.1.part", "home/half"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
        with pytest.raises(AssertionError, match=f"left .'{name}'"):
            kill.compare("projection", folder, alone)
        (folder / name).unlink()
    (folder / "clf.npy").touch()
    with pytest.raises(AssertionError, match="in one run only"):
        kill.compare("projection", folder, alone)
    (folder / "clf.npy").unlink()
    (folder / "fp.npz").write_bytes(b"2")
    with pytest.raises(AssertionError, match="differ after a kill"):
        kill.compare("projection", folder, alone)


def test_what_counts_as_saved(tmp_path):
    for name, counts in (("notebooks/a", 0), ("tmp/b", 0), ("home/.c.1.part", 0), ("home/runs/d", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
        assert kill.saved(tmp_path) == bool(counts)
