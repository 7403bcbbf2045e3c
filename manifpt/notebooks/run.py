r"""Run the notebooks headless: everything checked first, several at a time, resumable, one record a notebook."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from manifpt.notebooks.execute import NotebookRun, Record, make_record
from manifpt.notebooks.parameters import Parameter, check, parameters, profile_values, read_text
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError

PACKAGE = Path(__file__).resolve().parent
FOLDER_VARIABLES = ("MANIFPT_HOME", "MANIFPT_DATA", "MANIFPT_CIFAR10")


def discover(folder: Path | str | None = None, only: Iterable[str] = ()) -> list[Path]:
    """Notebooks of `folder` (default: the project's) in order; `only` keeps those whose name starts so.

    Raises
    ------
    InputError
        If there is no notebook, or an entry of `only` fits none.
    """
    folder = Path(folder or paths.notebooks()).absolute()
    found = sorted(path for path in folder.glob("*.ipynb") if not path.name.startswith("."))
    if not found:
        raise InputError(f"{folder}: no notebooks here; clone the repository, or name a folder that holds some")
    wanted = [word.removesuffix(".ipynb") for entry in only for word in entry.split(",") if word]
    for word in wanted:
        if not any(path.stem.startswith(word) for path in found):
            raise InputError(f"only {word!r}: fits none of {', '.join(path.stem for path in found)}")
    return [path for path in found if not wanted or path.stem.startswith(tuple(wanted))]


def plan(
    folder: Path | str | None = None,
    *,
    profile: str = "smoke",
    only: Iterable[str] = (),
    given: Mapping[str, str] | None = None,
    in_place: bool = False,
) -> list[NotebookRun]:
    """Check everything about a batch run before it starts.

    Parameters
    ----------
    folder
        Folder of notebooks with its ``params/``; default: those of the project.
    profile
        ``params/<profile>.yaml`` holds the values that differ from the defaults.
    only
        Beginnings of names, each possibly several with commas between.
    given
        Parameter -> value as text, for every selected notebook that has the parameter; goes before the profile.
    in_place
        Write the outputs into the notebooks themselves, which then must run with their defaults.

    Raises
    ------
    InputError
        Unknown notebook, profile or parameter, a value of the wrong type, or papermill is not installed.
    """
    if importlib.util.find_spec("papermill") is None:
        raise InputError("papermill: not installed, so no notebook can run; pip install 'manifpt[notebooks]'")
    declared = {path: parameters(path) for path in discover(folder, only)}
    values = _chosen(declared, profile, given or {})
    output = paths.runs() / "notebooks" / profile
    return [_task(path, known, values[path], output, in_place) for path, known in declared.items()]


def _task(
    path: Path, known: dict[str, Parameter], chosen: dict[str, object], output: Path, in_place: bool
) -> NotebookRun:
    changed = {name: value for name, value in chosen.items() if value != known[name].default}
    if in_place and changed:
        raise InputError(f"{path.name}: outputs in place are those of the defaults; leave out {', '.join(changed)}")
    settings = files.settings_hash({name: p.default for name, p in known.items()} | changed)
    executed = path if in_place else output / path.name
    return NotebookRun(str(path), changed, settings, _code_hash(path), str(output), str(executed))


def _code_hash(notebook: Path) -> str:
    """Hash of what a notebook computes with: the sources of its cells, and every Python file of the package."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    package = [(str(path.relative_to(PACKAGE)), files.sha256(path)) for path in sorted(PACKAGE.rglob("*.py"))]
    return files.settings_hash([sources, package])


def _chosen(
    declared: dict[Path, dict[str, Parameter]], profile: str, given: Mapping[str, str]
) -> dict[Path, dict[str, object]]:
    """Checked values for each notebook: those of the profile, and over them those given."""
    everything = sorted({name for known in declared.values() for name in known})
    if unknown := [name for name in given if name not in everything]:
        raise InputError(
            f"parameter {unknown[0]!r}: in no selected notebook; they have: {', '.join(everything) or 'none'}"
        )
    preset = profile_values(next(iter(declared)).parent, profile)
    chosen = {}
    for path, known in declared.items():
        texts = {name: read_text(text, known[name].kind) for name, text in given.items() if name in known}
        chosen[path] = preset.get(path.stem, {}) | texts
        check(path.name, known, chosen[path])
    return chosen


def run(tasks: Iterable[NotebookRun], *, jobs: int = 1, timeout: float = 600, resume: bool = False) -> Iterator[Record]:
    """Run notebooks and yield each one's record as it ends; a notebook that fails does not stop the others.

    Parameters
    ----------
    tasks
        From `plan`.
    jobs
        Notebooks at a time; they share the processors evenly through ``OMP_NUM_THREADS`` unless that is set.
    timeout
        Seconds that one whole notebook may take.
    resume
        Skip what already ran through with the same parameters, the same notebook and the same package.
    """
    waiting, running = list(tasks), []
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                task = waiting.pop(0)
                if resume and (record := _finished(task)):
                    yield record
                else:
                    running.append((task, _start(task, jobs, timeout)))
            ended = [pair for pair in running if pair[1].poll() is not None]
            running = [pair for pair in running if pair not in ended]
            yield from (_outcome(task, process) for task, process in ended)
            time.sleep(0.05)
    finally:
        for _, process in running:
            process.stdin.close()
        for _, process in running:
            process.wait()


def _read(task: NotebookRun) -> Record | None:
    try:
        return Record(**json.loads(task.file(".json").read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _finished(task: NotebookRun) -> Record | None:
    """The record of an earlier run that this task would repeat."""
    record = _read(task)
    same = record and record.ok and (record.settings, record.code) == (task.settings, task.code)
    return record if same and Path(task.executed).exists() else None


def _start(task: NotebookRun, jobs: int, timeout: float) -> subprocess.Popen:
    """Start a process that executes `task`; it ends when its standard input is closed."""
    import joblib

    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_PATH"}
    environment |= {name: str(Path(os.environ[name]).absolute()) for name in FOLDER_VARIABLES if name in os.environ}
    environment |= {
        "JUPYTER_PREFER_ENV_PATH": "1",
        "TQDM_DISABLE": "1",
    }  # this environment's kernel; no bars in outputs
    environment.setdefault("OMP_NUM_THREADS", str(max(1, joblib.cpu_count() // jobs)))
    task.file(".json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "manifpt.notebooks.execute"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, **quiet, env=environment, start_new_session=True, text=True
    )
    process.stdin.write(json.dumps([dataclasses.asdict(task), timeout]) + "\n")
    process.stdin.flush()
    return process


def _outcome(task: NotebookRun, process: subprocess.Popen) -> Record:
    process.stdin.close()
    return _read(task) or make_record(
        task, error=f"its process ended with code {process.returncode} before the notebook did"
    )
