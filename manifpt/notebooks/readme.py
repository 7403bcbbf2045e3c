"""Write the README's tables and figure anew; tables stand between ``<!-- table: NAME -->`` and ``<!-- end -->``."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from manifpt.notebooks.run import discover
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError

BLOCK = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def notebook_table() -> str:
    """Return a Markdown table of the notebooks: title, question and minutes of the last smoke run.

    The title is the heading of the first cell, the question the first line below it that has a question mark. Raise
    `InputError` if a notebook asks no question or has not run.
    """
    rows = ["| notebook | what it answers | minutes |", "|---|---|---|"]
    for path in discover():
        title, question = _opening(path)
        record = paths.runs() / "notebooks" / "smoke" / f"{path.stem}.json"
        if not record.is_file():
            raise InputError(f"{record}: not there, {path.name} has not run; run `make reproduce` first")
        minutes = json.loads(record.read_text(encoding="utf-8"))["seconds"] / 60
        rows.append(f"| [{title}](notebooks/{path.name}) | {question} | {minutes:.1f} |")
    return "\n".join(rows) + "\n"


def ledger_table() -> str:
    """Return the claims that the committed results judge, in Markdown: counts of verdicts, then all claims, folded."""
    from manifpt.experiments.ledger import UNTESTED, ledger
    from manifpt.experiments.statistics import VERDICTS

    rows = ledger()
    control = "control: above " + rows["claim"].str.rpartition(" above ")[2]
    about = rows["claim"].str.partition(",")[0].where(rows["paper"] != UNTESTED, control).rename("claims about")
    order = sorted(about.unique(), key=lambda name: name.startswith("control"))  # controls last
    counts = pd.crosstab(about, rows["verdict"]).reindex(columns=VERDICTS, fill_value=0).loc[order]
    folded = f"<details><summary>All {len(rows)} claims</summary>\n\n{_markdown(rows)}\n</details>\n"
    return f"{_markdown(counts.reset_index().astype(str))}\n{folded}"


def _markdown(frame: pd.DataFrame) -> str:
    lines = [list(frame), ["---"] * len(frame.columns), *frame.to_numpy().tolist()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _opening(notebook: Path) -> tuple[str, str]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    title, *lines = text.splitlines()
    question = next((line for line in lines if "?" in line), None)
    if question is None:
        raise InputError(f"{notebook}: asks no question; one that ends in a question mark expected below its title")
    return title.lstrip("# "), question.strip("*_> ")


def overview(path: Path) -> None:
    """Draw the README's figure as a PNG: images of some classes, their nearest real images and their artifacts."""
    import numpy as np

    from manifpt import plotting
    from manifpt.manifold import Manifold
    from manifpt.zoo.dataset import load_gm

    gm = load_gm("gm-fashion").only("beta-vae", "dcgan", "ddpm", "wgan-gp")
    images = np.concatenate([gm.images(label, split="test")[:3] for label in (*gm.models, "real")])
    nearest, tangent = (Manifold(estimator=name).fit(gm.reference()).project(images) for name in ("nearest", "tangent"))
    rows = {"image": images, "nearest real image": nearest.target}
    artifacts = {"artifact": nearest.artifact, "artifact, tangent": tangent.artifact}
    plotting.style()
    groups = np.repeat([*gm.models, "held-out real"], 3)
    figure = plotting.strips(rows | artifacts, groups=groups, signed=list(artifacts))
    with files.atomic(path) as temporary:
        figure.savefig(temporary, dpi=110)


def rewrite(path: Path, tables: Mapping[str, Callable[[], str]]) -> list[str]:
    """Write the marked tables of a Markdown file anew, atomically, and return their names.

    Raise `InputError` if the file has no marked table, or one whose name is not in `tables`.
    """
    text = path.read_text(encoding="utf-8")
    names = [match[2] for match in BLOCK.finditer(text)]
    if not names or not tables.keys() >= set(names):
        raise InputError(f"{path}: marks the tables {names}; known are {', '.join(tables)}, as `<!-- table: NAME -->`")
    files.write_text(path, BLOCK.sub(lambda match: match[1] + tables[match[2]]() + match[3], text))
    return names
