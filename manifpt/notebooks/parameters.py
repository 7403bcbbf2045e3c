r"""What a notebook lets its reader change: one cell of parameters, read and checked without running it.

The cell is tagged ``parameters`` and has a line for each: ``name: type = value  # what it does``. Types: ``int``,
``float``, ``str``, ``bool``, ``list[...]`` of one of them, and ``... | None``.
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

    Raises
    ------
    InputError
        If the file is not a notebook, has no such cell or several, or a line of it is not of the documented form.
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
    match statement:
        case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation, value=ast.expr() as value):
            found = Parameter(ast.unparse(annotation), ast.literal_eval(value))
        case _:
            raise ValueError(f"cannot read `{ast.unparse(statement)}`")
    if not fits(found.default, found.kind):
        raise ValueError(f"{name} = {found.default!r} is not of type {found.kind}")
    return name, found


def fits(value: object, kind: str) -> bool:
    """Whether `value` is of the type written `kind`; an int is a float too, a bool is neither."""
    return _fits(value, ast.parse(kind, mode="eval").body)


def _fits(value: object, kind: ast.expr) -> bool:
    match kind:
        case ast.Constant(value=None):
            return value is None
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return _fits(value, left) or _fits(value, right)
        case ast.Subscript(value=ast.Name(id="list"), slice=item):
            return isinstance(value, list) and all(_fits(element, item) for element in value)
        case ast.Name(id=name) if name in SCALARS:
            return isinstance(value, SCALARS[name]) and (name == "bool" or not isinstance(value, bool))
    raise ValueError(f"type `{ast.unparse(kind)}`: use int, float, str, bool, list[...] or ... | None")


def read_text(text: str, kind: str) -> object:
    """Read a value given as text on the command line: as a Python literal, unless the text itself is of type `kind`."""
    if fits(text, kind):
        return text
    with contextlib.suppress(SyntaxError, ValueError):
        return ast.literal_eval(text)
    return text


def profile_values(folder: Path, profile: str) -> dict[str, dict]:
    """Read ``params/<profile>.yaml`` beside the notebooks in `folder`: notebook name -> parameter -> value."""
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
    """Raise `InputError` if `chosen` has a name that `known` lacks, or a value of another type."""
    for name, value in chosen.items():
        if name not in known:
            raise InputError(f"{notebook}: unknown parameter {name!r}; it has: {', '.join(known) or 'none'}")
        if not fits(value, known[name].kind):
            raise InputError(f"{notebook}: parameter {name} is {value!r}, {known[name].kind} expected")
