"""The parameters cell: read without running it, and refused in any other form."""

import json

import pytest

from manifpt.notebooks.parameters import fits, parameters, read_text
from manifpt.utils.errors import InputError


def notebook(tmp_path, declared):
    """A notebook that is only a parameters cell."""
    cell = {"cell_type": "code", "metadata": {"tags": ["parameters"]}, "source": declared.splitlines(keepends=True)}
    (tmp_path / "x.ipynb").write_text(json.dumps({"cells": [cell]}))
    return tmp_path / "x.ipynb"


def test_parameters_are_read_without_running(tmp_path):
    declared = (
        'seed: int = 0  # a\nrate: float = 0.1\nsizes: list[int] = [1, 2]\nreal: str = "photos"\nk: int | None = None'
    )
    found = parameters(notebook(tmp_path, declared))
    assert {name: tuple(p) for name, p in found.items()} == {
        "seed": ("int", 0),
        "rate": ("float", 0.1),
        "sizes": ("list[int]", [1, 2]),
        "real": ("str", "photos"),
        "k": ("int | None", None),
    }


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ("seed = 0", "cannot read `seed = 0`"),
        ("seed: int", "cannot read `seed: int`"),
        ("seed: int = 'a'", "not of type int"),
        ("seed: int = 2 * n", "malformed"),
        ("seed: dict = {}", "type `dict`"),
        ("seed: int = ", "invalid syntax"),
    ],
)
def test_parameters_refuse_another_form(tmp_path, declared, message):
    with pytest.raises(InputError, match=r"x.ipynb: parameters cell: .*" + message):
        parameters(notebook(tmp_path, declared))


def test_parameters_refuse_what_is_no_notebook(tmp_path):
    (tmp_path / "x.ipynb").write_text("[]")
    with pytest.raises(InputError, match="cannot be read as a notebook"):
        parameters(tmp_path / "x.ipynb")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (1, "int", True),
        (1, "float", True),
        (1.0, "int", False),
        (True, "int", False),
        (True, "float", False),
        (1, "bool", False),
        ("1", "int", False),
        ([1, 2], "list[int]", True),
        ([1, "a"], "list[int]", False),
        (1, "list[int]", False),
        (None, "int | None", True),
        (None, "int", False),
        ([[1]], "list[list[int]]", True),
    ],
)
def test_fits(value, kind, expected):
    assert fits(value, kind) is expected


def test_read_text():
    assert read_text("5", "int") == 5
    assert read_text("5", "str") == "5"
    assert read_text("[1, 2]", "list[int]") == [1, 2]
    assert read_text("1e-3", "float") == 1e-3
    assert read_text("photos", "int") == "photos"
