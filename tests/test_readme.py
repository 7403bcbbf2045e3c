"""The README's tables: made from the notebooks and their records, only between the marks."""

import itertools
import json
import re

import pytest

from manifpt.notebooks.readme import BLOCK, ledger_table, notebook_table, rewrite
from manifpt.utils import paths
from manifpt.utils.errors import InputError


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "notebooks", lambda: tmp_path)
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    cell = {"cell_type": "markdown", "source": ["# Start\n", "\n", "*What is it?*\n"]}
    (tmp_path / "00_start.ipynb").write_text(json.dumps({"cells": [cell]}))
    record = tmp_path / "home/runs/notebooks/smoke/00_start.json"
    record.parent.mkdir(parents=True)
    record.write_text('{"seconds": 90.0}')
    return tmp_path / "00_start.ipynb"


def test_notebook_table(notebook):
    assert notebook_table().splitlines()[2:] == ["| [Start](notebooks/00_start.ipynb) | What is it? | 1.5 |"]


def test_notebook_table_needs_a_run_and_a_question(notebook):
    (paths.runs() / "notebooks/smoke/00_start.json").unlink()
    with pytest.raises(InputError, match=r"00_start.ipynb has not run"):
        notebook_table()
    notebook.write_text(notebook.read_text().replace("?", "."))
    with pytest.raises(InputError, match="asks no question"):
        notebook_table()


def test_rewrite_changes_only_what_is_marked(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table: a -->\nold\n<!-- end -->\nbetween\n<!-- table: b -->\n<!-- end -->\nafter\n")
    assert rewrite(readme, {"a": lambda: r"\1 new" + "\n", "b": lambda: "b\n"}) == ["a", "b"]
    expected = "before\n<!-- table: a -->\n\\1 new\n<!-- end -->\nbetween\n<!-- table: b -->\nb\n<!-- end -->\nafter\n"
    assert readme.read_text() == expected
    with pytest.raises(InputError, match="known are a,"):
        rewrite(readme, {"a": str})


def test_the_readme_has_the_ledger_of_the_committed_results():
    readme = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")
    marked = {match[2]: match[0] for match in BLOCK.finditer(readme)}
    assert marked["ledger"] == f"<!-- table: ledger -->\n{ledger_table()}<!-- end -->"


def test_imports_go_down_the_rooms_of_the_readme():
    """So there is no circle, and a reader who starts at the top meets nothing unknown."""
    lines = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8").partition("| room |")[2].splitlines()[2:]
    rows = [re.findall(r"`(\w+)(?:/|\.py)`", line.split("|")[1]) for line in itertools.takewhile(bool, lines)]
    floor = {room: number for number, rooms in enumerate(rows) for room in rooms}
    package = paths.CHECKOUT / "manifpt"
    assert set(floor) == {path.stem for path in package.iterdir() if not path.name.startswith("_")}
    for path in package.rglob("[!_]*.py"):
        room = path.relative_to(package).parts[0].removesuffix(".py")
        imported = re.findall(r"^\s*from manifpt\.(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert all(floor[other] <= floor[room] for other in imported), path
