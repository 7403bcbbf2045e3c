"""A short version of `tests/kill.py`: one kill when something is saved or done, and two processes on one cache."""

import os

import kill
import pytest


def kill_and_compare(target, folder, moment):
    """Leave a run alone, kill another, which may have ended before; compare what it comes to when it has gone on."""
    kill.finish(kill.start(target, folder / "alone"))
    killed = next(below for below in map(folder.joinpath, "01234") if kill.kill_once(moment, target, below))
    kill.go_on(target, killed)
    kill.compare(target, killed, folder / "alone")


def in_a_second_notebook(folder):
    """Whether a notebook is done and the kernel of another has been told where to listen, by a file."""
    return kill.done(folder) and any(folder.glob("tmp/**/*.json"))


@pytest.mark.parametrize(
    ("target", "words", "moment"),
    [("zoo", ["20"], kill.saved), ("table", ["control-raw"], kill.done), ("reproduce", [], in_a_second_notebook)],
)
def test_killed_run_goes_on(target, words, moment, tmp_path, monkeypatch):
    if words:
        monkeypatch.setitem(kill.COMMANDS, target, [*kill.COMMANDS[target][:3], *words])
    kill_and_compare(target, tmp_path, moment)


def test_killed_projection_goes_on_and_two_at_once_agree(tmp_path):
    kill_and_compare("projection", tmp_path, kill.saved)
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


def test_what_was_done_may_not_be_done_again(tmp_path, monkeypatch):
    record = tmp_path / "home/runs/notebooks/smoke/00.json"
    record.parent.mkdir(parents=True)
    record.touch()
    (tmp_path / "table.csv").write_text("seconds\n1.5\n")
    assert len(kill.done(tmp_path)) == 2
    monkeypatch.setattr(kill, "start", lambda *_: None)
    for again in (lambda: os.utime(record, (0, 0)), lambda: (tmp_path / "table.csv").write_text("seconds\n1.6\n")):
        monkeypatch.setattr(kill, "finish", lambda _: None)
        kill.go_on("table", tmp_path)
        monkeypatch.setattr(kill, "finish", lambda _, again=again: again())
        with pytest.raises(AssertionError, match="did again"):
            kill.go_on("table", tmp_path)


def test_a_finished_classifier_is_not_trained_again(tmp_path, monkeypatch):
    monkeypatch.setattr(kill, "start", lambda *_: pytest.fail("it has begun"))
    (tmp_path / "clf").mkdir()
    (tmp_path / "clf" / "settings.json").touch()
    kill.go_on("attribution", tmp_path)


def test_what_counts_as_saved(tmp_path):
    for name, counts in (("notebooks/a", 0), ("tmp/b", 0), ("home/.c.1.part", 0), ("home/runs/d", 1)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
        assert kill.saved(tmp_path) == bool(counts)
