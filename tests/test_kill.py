"""A short version of `tests/kill.py`: one kill late in a run, and two processes on one cache."""

import kill
import pytest


def test_killed_projection_goes_on_and_two_at_once_agree(tmp_path):
    kill.try_out("projection", 1, tmp_path, earliest=0.7)
    both = [kill.start("projection", tmp_path / "shared") for _ in range(2)]
    for process in both:
        kill.finish(process)
    kill.compare("projection", tmp_path / "shared", kill.results(tmp_path / "alone"))


def test_comparison_finds_what_is_missing_different_and_stray(tmp_path):
    (tmp_path / "fp.npz").write_bytes(b"1")
    expected = kill.results(tmp_path)
    kill.compare("projection", tmp_path, expected)
    (tmp_path / ".fp.1.part.npz").touch()
    with pytest.raises(AssertionError, match="in one run only"):
        kill.compare("projection", tmp_path, expected)
    (tmp_path / ".fp.1.part.npz").unlink()
    (tmp_path / ".x.1.part").touch()
    with pytest.raises(AssertionError, match="left"):
        kill.compare("projection", tmp_path, expected)
    (tmp_path / "fp.npz").write_bytes(b"2")
    with pytest.raises(AssertionError, match="differ after a kill"):
        kill.compare("projection", tmp_path, expected)
