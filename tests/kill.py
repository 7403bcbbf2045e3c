"""Kill -9 at random moments, run again, compare with an uninterrupted run: ``python tests/kill.py [TARGET …]``.

Each round has a fresh home. The first run is killed at a random moment, the second must end well and not do again what
was done; then its results must equal those of the run that was left alone, and no file may be there that the other has
not left: no temporary one.
"""

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from manifpt.utils import files, paths

MANIFPT = [sys.executable, "-m", "manifpt"]
EXAMPLE = [str(paths.data() / "example" / part) for part in ("real", "generated")]
TABLE = """
import sys
from pathlib import Path
import manifpt
from manifpt.experiments.table2 import table2
gm = manifpt.load_gm("gm-fashion").only("beta-vae", "dcgan")
options = {"seeds": [0, 1], "methods": sys.argv[1:], "n_reference": 200, "n_test": 20}
table2(gm, {"all": [5]}, **options, epochs=1, path=Path("table.csv"))
"""
ZOO = """
import sys
from pathlib import Path
from manifpt.nn import train as loop
from manifpt.zoo import train
loop.SAVE_EVERY = 0.1  # seconds; so short a training would be over before it is saved for the first time
train.yardsticks = lambda real: {}  # these two take most of the time, and write nothing
train.quality = lambda images, real: {"mean": images.mean()}
checkpoint = train.train_generator("dcgan", dataset="gm-fashion", steps=int(sys.argv[1]), out=Path("gm"))
train.publish(checkpoint, n=200)
"""
COMMANDS = {
    "projection": [*MANIFPT, "fingerprint", *EXAMPLE, "--estimator", "tangent", "--out", "fp.npz"],
    "attribution": [*MANIFPT, "attribute", "train", *EXAMPLE, "--epochs", "1", "--out", "clf"],
    "table": [sys.executable, "-c", TABLE, "control-raw", "manifpt-rgb-nearest"],
    "zoo": [sys.executable, "-c", ZOO, "40"],
    "reproduce": [*MANIFPT, "reproduce", "--notebooks", "notebooks", "--resume"],
}
NOTEBOOK = paths.CHECKOUT / "tests" / "notebooks" / "good.ipynb"
NOTEBOOKS = 3
TIMED = {"seconds", "threads"}  # what no two runs have in common


def start(target: str, folder: Path) -> subprocess.Popen:
    """Start a target in a folder, which is its home too, as the leader of a group that can be killed as one."""
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    (folder / "notebooks" / "params").mkdir(parents=True, exist_ok=True)
    (folder / "notebooks" / "params" / "smoke.yaml").touch()
    for number in range(NOTEBOOKS):
        shutil.copy(NOTEBOOK, folder / "notebooks" / f"{number:02}.ipynb")
    environment = os.environ | {"MANIFPT_HOME": str(folder / "home"), "TMPDIR": str(folder / "tmp")}
    environment["PYTHONPATH"] = str(paths.CHECKOUT)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(COMMANDS[target], cwd=folder, env=environment, start_new_session=True, **quiet)


def finish(process: subprocess.Popen) -> None:
    """Wait for a run that must end well."""
    error = process.communicate()[1]
    assert process.returncode == 0, error.decode()


def kill(process: subprocess.Popen, moment: float) -> bool:
    """Kill the run and its children after some seconds; whether it was still at work."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(moment)
    at_work = process.poll() is None
    if at_work:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return at_work


def kill_once(happened: Callable[[Path], object], target: str, folder: Path) -> bool:
    """Start a target and kill it when something has happened in its folder; whether it was still at work."""
    process = start(target, folder)
    while process.poll() is None and not happened(folder):
        time.sleep(0.01)
    return kill(process, 0)


def results(folder: Path) -> dict[str, object]:
    """What a run has made, by file, without times; the state of unfinished work, in the home, is left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.suffix == ".json" and "notebooks" in inside.parts:
            record = json.loads(path.read_text(encoding="utf-8"))
            found[path.name] = record["ok"], record["key_figure"]
        elif path.is_dir() or inside.parts[0] == "home":
            continue
        elif path.suffix == ".csv":
            found[str(inside)] = pd.read_csv(path).drop(columns="seconds").to_csv()
        elif path.suffix == ".safetensors":
            tensors, header = files.load_tensors(path)
            weights = {name: tensor.tolist() for name, tensor in tensors.items()}
            found[str(inside)] = weights, {name: value for name, value in header.items() if name not in TIMED}
        elif path.suffix in (".npz", ".npy", ".png"):
            found[str(inside)] = files.sha256(path)
    return found


def everything(folder: Path) -> set[str]:
    """Every file of a run, those of its home and temporary ones included, by its path in the folder.

    Locks are left out: they stay for the next run.
    """
    there = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")
    return {str(path.relative_to(folder)) for path in there}


def saved(folder: Path) -> bool:
    """Whether a run has written a whole file, of its results or to go on from."""
    written = [Path(name) for name in everything(folder) if not name.startswith(("notebooks/", "tmp/"))]
    return any((folder / path).stat().st_size for path in written if not path.name.startswith("."))


def done(folder: Path) -> set[tuple | str]:
    """Rows of tables, and the moments when records of notebooks and checkpoints were written: what stays as it is."""
    rows = {row for path in folder.glob("[!.]*.csv") for row in path.read_text(encoding="utf-8").splitlines()[1:]}
    whole = [*folder.glob("home/runs/notebooks/*/[!.]*.json"), *folder.glob("gm/*/checkpoints/[!.]*")]
    return rows | {(path.name, path.stat().st_mtime_ns) for path in whole}


def go_on(target: str, folder: Path) -> None:
    """Start a target again that was killed; it must end well, and leave what was done as it was.

    But for a classifier that is finished: no run would replace it.
    """
    if target == "attribution" and (folder / "clf" / "settings.json").exists():
        return
    before = done(folder)
    finish(start(target, folder))
    assert not (again := before - done(folder)), f"{target}: did again {again}"


def stray(folder: Path, alone: Path, patience: float = 30.0) -> set[str]:
    """Files that a run has left and the one left alone has not; what a killed run had started has time to go."""
    deadline = time.monotonic() + patience
    while (extra := everything(folder) - everything(alone)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return extra


def compare(target: str, folder: Path, alone: Path) -> None:
    """Fail unless a folder holds the results of the run left alone, and no file besides."""
    found, expected = results(folder), results(alone)
    assert found, f"{target}: no results"
    assert found.keys() == expected.keys(), f"{target}: {found.keys() ^ expected.keys()} in one run only"
    assert all(found[name] == expected[name] for name in found), f"{target}: results differ after a kill"
    assert not (extra := stray(folder, alone)), f"{target}: left {extra}"


def try_out(target: str, kills: int, root: Path, *, seed: int = 0) -> int:
    """Kill a target so many times while it is at work, each in a round of its own.

    A run that ends before its moment is tried again, at an earlier one.

    Returns
    -------
    How many of the killed runs had written a whole file.
    """
    alone, began = root / "alone", time.monotonic()
    finish(start(target, alone))
    seconds = time.monotonic() - began
    rng, begun, killed = random.Random(seed), 0, 0
    while killed < kills:
        folder, began = root / "killed", time.monotonic()
        if kill(start(target, folder), rng.uniform(0, 1) * seconds):
            killed += 1
            begun += saved(folder)
        else:
            seconds = min(seconds, time.monotonic() - began)
        go_on(target, folder)
        compare(target, folder, alone)
        shutil.rmtree(folder)
    return begun


def main() -> None:
    """Try out the targets named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="*", metavar="TARGET", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    for target in given.target or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            begun = try_out(target, given.kills, Path(folder))
        sys.stdout.write(
            f"{target}: {given.kills} kills of a run at work, {begun} with something saved; "
            "all went on to the same results and left no other file\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
