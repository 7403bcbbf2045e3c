"""Kill -9 at random moments, run again, compare with an uninterrupted run: ``python tests/kill.py [TARGET …]``.

Each round has a fresh home. The first run is killed at a random moment, the second must end well; then its results must
equal those of the run that was left alone, and no temporary file may remain.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

from manifpt import files, paths

MANIFPT = [sys.executable, "-m", "manifpt.cli"]
EXAMPLE = [str(paths.data() / "example" / part) for part in ("real", "generated")]
TABLE = """
from pathlib import Path
import manifpt
from manifpt.experiments.learning_curve import learning_curve
gm = manifpt.load_gm("gm-fashion").only("beta-vae", "dcgan")
options = {"sizes": [5, 10], "seeds": [0, 1], "methods": ["control-raw", "manifpt-rgb-nearest"]}
learning_curve(gm, **options, n_reference=200, n_test=20, epochs=1, path=Path("table.csv"))
"""
COMMANDS = {
    "projection": [*MANIFPT, "fingerprint", *EXAMPLE, "--estimator", "tangent", "--out", "fp.npz"],
    "attribution": [*MANIFPT, "attribute", "train", *EXAMPLE, "--epochs", "3", "--out", "clf"],
    "table": [sys.executable, "-c", TABLE],
    "zoo": [*MANIFPT, "zoo", "train", "dcgan", "--steps", "60", "--out", "gm"],
    "reproduce": [*MANIFPT, "reproduce", "--only", "01", "--resume"],
}
TIMED = {"seconds", "threads"}  # what no two runs have in common


def start(target: str, folder: Path) -> subprocess.Popen:
    """Start a target in a folder, which is its home too, as the leader of a group that can be killed as one."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"MANIFPT_HOME": str(folder / "home"), "PYTHONPATH": str(paths.CHECKOUT)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
    return subprocess.Popen(COMMANDS[target], cwd=folder, env=environment, start_new_session=True, **quiet)


def finish(process: subprocess.Popen) -> None:
    """Wait for a run that must end well."""
    error = process.communicate()[1]
    assert process.returncode == 0, error.decode()


def kill(process: subprocess.Popen, moment: float) -> bool:
    """Kill the run and its children after some seconds; whether it was still at work."""
    time.sleep(moment)
    at_work = process.poll() is None
    if at_work:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return at_work


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


def stray(folder: Path) -> list[Path]:
    """Temporary files that were left behind."""
    return [path for path in folder.rglob("*") if ".part" in path.name]


def compare(target: str, folder: Path, expected: dict[str, object]) -> None:
    """Fail unless a folder holds the expected results and nothing temporary."""
    found = results(folder)
    assert found, f"{target}: no results"
    assert found.keys() == expected.keys(), f"{target}: {found.keys() ^ expected.keys()} in one run only"
    assert all(found[name] == expected[name] for name in found), f"{target}: results differ after a kill"
    assert not stray(folder), f"{target}: left {stray(folder)}"


def try_out(target: str, kills: int, root: Path, *, earliest: float = 0.0, seed: int = 0) -> int:
    """Kill a target so many times, each in a round of its own; how many of the runs were still at work."""
    began = time.monotonic()
    finish(start(target, root / "alone"))
    seconds = time.monotonic() - began
    expected, rng, at_work = results(root / "alone"), random.Random(seed), 0
    for number in range(kills):
        folder = root / str(number)
        at_work += kill(start(target, folder), rng.uniform(earliest, 1) * seconds)
        finish(start(target, folder))
        compare(target, folder, expected)
    return at_work


def main() -> None:
    """Try out the targets named on the command line, or all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="*", metavar="TARGET", help=", ".join(COMMANDS))
    parser.add_argument("--kills", type=int, default=20)
    given = parser.parse_args()
    for target in given.target or COMMANDS:
        with tempfile.TemporaryDirectory() as folder:
            at_work = try_out(target, given.kills, Path(folder))
        sys.stdout.write(
            f"{target}: {given.kills} kills, {at_work} of a run at work; all went on to the same results\n"
        )


if __name__ == "__main__":
    main()
