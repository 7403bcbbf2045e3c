"""What every committed notebook keeps to; the checker itself is tried on small notebooks that each break one rule."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from manifpt.notebooks.execute import KEY_FIGURE
from manifpt.notebooks.parameters import parameters
from manifpt.utils import paths
from manifpt.utils.errors import InputError

FIXTURES = Path(__file__).parent / "notebooks"
MOST_LINES, MOST_BYTES = 40, 1_000_000
MACHINE_PATH = re.compile(r"(?<![\w.])/(home|root|Users|work|tmp|mnt|opt|var)/\w|\b[A-Z]:\\Users\b")
WIDGET = "application/vnd.jupyter.widget-view+json"


def violations(path: Path) -> list[str]:
    """The names of the rules that a notebook breaks, each once."""
    book = json.loads(path.read_text(encoding="utf-8"))
    cells = book["cells"]
    found = [rule for rule, broken in _broken(path, book, cells) if broken]
    try:
        parameters(path)
    except InputError:
        found.append("parameters")
    return found


def _broken(path: Path, book: dict, cells: list[dict]) -> Iterator[tuple[str, bool]]:
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    sources = ["".join(cell["source"]) for cell in cells]
    outputs = [output for cell in code for output in cell["outputs"]]
    written = [*sources, *_strings(outputs), *_strings(book["metadata"])]
    uncommented = [
        line
        for cell in code
        if "parameters" in cell["metadata"].get("tags", ())
        for line in "".join(cell["source"]).splitlines()
        if "  # " not in line
    ]
    yield "title", cells[0]["cell_type"] != "markdown" or not sources[0].startswith("# ")
    yield "order", [cell["execution_count"] for cell in code] != list(range(1, len(code) + 1))
    yield "error", any(output["output_type"] == "error" for output in outputs)
    yield "stderr", any(output.get("name") == "stderr" for output in outputs)
    yield "size", path.stat().st_size > MOST_BYTES
    yield "machine path", any(map(MACHINE_PATH.search, written))
    yield "long cell", any(len(source.splitlines()) > MOST_LINES for source in sources)
    yield "widget", "widgets" in book["metadata"] or any(WIDGET in output.get("data", {}) for output in outputs)
    yield "key figure", not any(KEY_FIGURE in output.get("data", {}) for output in outputs)
    yield "parameter comments", bool(uncommented)


def _strings(value: object) -> Iterator[str]:
    """Every text in a JSON value, except encoded images."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        value = [item for name, item in value.items() if not name.startswith("image/")]
    if isinstance(value, list):
        for item in value:
            yield from _strings(item)


@pytest.mark.parametrize("path", sorted(paths.notebooks().glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebook_keeps_every_rule(path):
    assert violations(path) == []


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.ipynb")), ids=lambda path: path.stem)
def test_checker_finds_the_one_rule_that_a_broken_notebook_breaks(path):
    rule = path.stem.replace("_", " ")
    assert violations(path) == ([] if rule == "good" else [rule])


def test_there_is_a_broken_notebook_for_every_rule():
    book = json.loads((FIXTURES / "good.ipynb").read_text())
    rules = {rule for rule, _ in _broken(FIXTURES / "good.ipynb", book, book["cells"])} | {"parameters"}
    assert {path.stem.replace("_", " ") for path in FIXTURES.glob("*.ipynb")} == rules - {"size"} | {"good"}


def test_checker_finds_a_notebook_that_is_too_large(tmp_path):
    large = tmp_path / "large.ipynb"
    large.write_text((FIXTURES / "good.ipynb").read_text() + " " * MOST_BYTES)
    assert violations(large) == ["size"]
