"""Read and check the parameters of a notebook without running it.

They stand in one cell tagged ``parameters``, one a line: ``name: type = value  # what it does``. Types are ``int``,
``float``, ``str``, ``bool``, ``list[...]`` of these and ``... | None``. (`papermill.inspect_notebook` silently leaves
out types with ``|`` and every line that it cannot read, so it cannot tell a wrong parameter from a right one.)
"""

import ast
import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from manifpt.utils.errors import InputError

FORM = "`name: type = value  # what it does`"
SCALARS = {"int": int, "float": (int, float), "str": str, "bool": bool}


class Parameter(NamedTuple):
    """One line of a parameters cell: its type as written, and its default value."""

    kind: str
    default: object


def parameters(notebook: Path | str) -> dict[str, Parameter]:
    """Read the parameters cell of a notebook.

    Raise `InputError` unless the file is a notebook with exactly one such cell, whose lines all have the form above.
    """
    try:
        cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{notebook}: cannot be read as a notebook of format 4 ({error})") from error
    sources = ["".join(cell["source"]) for cell in cells if "parameters" in cell["metadata"].get("tags", ())]
    if len(sources) != 1:
        raise InputError(f"{notebook}: {len(sources)} cells are tagged `parameters`, exactly one is expected")
    try:
        return dict(_parameter(statement) for statement in ast.parse(sources[0]).body)
    except (SyntaxError, ValueError) as error:
        raise InputError(f"{notebook}: parameters cell: {error}; each line is {FORM}") from error


def _parameter(statement: ast.stmt) -> tuple[str, Parameter]:
    if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value):
        raise ValueError(f"cannot read `{ast.unparse(statement)}`")
    name, found = statement.target.id, Parameter(ast.unparse(statement.annotation), ast.literal_eval(statement.value))
    if not fits(found.default, found.kind):
        raise ValueError(f"{name} = {found.default!r} is not of type {found.kind}")
    return name, found


def fits(value: object, kind: str) -> bool:
    """Say whether `value` has the type `kind`, as written in a notebook; an int is a float too, a bool is neither."""
    match ast.parse(kind, mode="eval").body:
        case ast.Constant(value=None):
            return value is None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return fits(value, ast.unparse(left)) or fits(value, ast.unparse(right))
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return isinstance(value, list) and all(fits(element, ast.unparse(item)) for element in value)
        case ast.Name(id=name) if name in SCALARS:
            return isinstance(value, SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
    raise ValueError(f"type `{kind}`: use int, float, str, bool, list[...] or ... | None")


def read_text(text: str, kind: str) -> object:
    """Read a value from the command line: the text itself if `kind` allows it, else the Python literal that it is."""
    if fits(text, kind):
        return text
    with contextlib.suppress(SyntaxError, ValueError):
        return ast.literal_eval(text)
    return text


def profile_values(folder: Path, profile: str) -> dict[str, dict]:
    """Read the values in ``<folder>/params/<profile>.yaml`` by notebook and parameter."""
    import yaml

    path = folder / "params" / f"{profile}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml"))) or "none"
        raise InputError(f"profile {profile!r}: {path} does not exist; profiles here: {known}")
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise InputError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(values, dict) or not all(isinstance(given, dict) for given in values.values()):
        raise InputError(f"{path}: must map notebook names to parameters, as in `04_attribution: {{n: 200}}`")
    if unknown := [stem for stem in values if not (folder / f"{stem}.ipynb").is_file()]:
        raise InputError(f"{path}: no notebook is called {', '.join(map(str, unknown))}")
    return values


def check(notebook: str, known: Mapping[str, Parameter], chosen: Mapping[str, object]) -> None:
    """Raise `InputError` if `chosen` has a name that is not in `known`, or a value of another type."""
    for name, value in chosen.items():
        if name not in known:
            raise InputError(f"{notebook}: unknown parameter {name!r}; it has: {', '.join(known) or 'none'}")
        if not fits(value, known[name].kind):
            raise InputError(f"{notebook}: parameter {name} is {value!r}, {known[name].kind} expected")
