"""Run notebooks headless: check all of them first, run several at a time, keep a record of each, resume."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import joblib

from manifpt.notebooks.execute import NotebookRun, Record, make_record
from manifpt.notebooks.parameters import Parameter, check, parameters, profile_values, read_text
from manifpt.utils import files, paths
from manifpt.utils.compute import check_jobs
from manifpt.utils.errors import InputError

PACKAGE = Path(__file__).resolve().parents[1]
FOLDER_VARIABLES = ("MANIFPT_HOME", "MANIFPT_DATA", "MANIFPT_CIFAR10")


def discover(folder: Path | str | None = None, only: Iterable[str] = ()) -> list[Path]:
    """List the notebooks of `folder`, by default the project's, whose names begin with an entry of `only`, if any.

    Raise `InputError` if there is no notebook, or an entry of `only` fits none.
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
    """Check everything about a batch run before it starts, and return its runs.

    Raise `InputError` for an unknown notebook, profile or parameter, a value of the wrong type, or a missing papermill.

    Parameters
    ----------
    folder
        Folder of notebooks and of their ``params/``; by default those of the project.
    profile
        Name of the file ``params/<profile>.yaml``, which holds the values that differ from the defaults.
    only
        Beginnings of names; one entry may hold several, separated by commas.
    given
        Values as text by parameter, for all selected notebooks that have the parameter. They override the profile.
    in_place
        Write the outputs into the notebooks themselves, which must then run with their defaults.
    """
    if importlib.util.find_spec("papermill") is None:
        raise InputError("papermill: not installed, so no notebook can run; pip install 'manifpt[notebooks]'")
    declared = {path: parameters(path) for path in discover(folder, only)}
    output, runs = paths.runs() / "notebooks" / profile, []
    for path, chosen in _chosen(declared, profile, given or {}).items():
        defaults = {name: parameter.default for name, parameter in declared[path].items()}
        changed = {name: value for name, value in chosen.items() if value != defaults[name]}
        if in_place and changed:
            raise InputError(f"{path.name}: outputs in place are those of the defaults; leave out {', '.join(changed)}")
        executed = path if in_place else output / path.name
        settings = files.settings_hash(defaults | changed)
        runs.append(NotebookRun(str(path), changed, settings, _code_hash(path), str(output), str(executed)))
    return runs


def _code_hash(notebook: Path) -> str:
    """Hash the sources of a notebook's cells and every Python file of the package."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [(cell["cell_type"], "".join(cell["source"])) for cell in cells]
    package = [(str(path.relative_to(PACKAGE)), files.sha256(path)) for path in sorted(PACKAGE.rglob("*.py"))]
    return files.settings_hash([sources, package])


def _chosen(
    declared: dict[Path, dict[str, Parameter]], profile: str, given: Mapping[str, str]
) -> dict[Path, dict[str, object]]:
    """Return the checked values of each notebook: those of the profile, overridden by those given."""
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
    """Run notebooks and yield the record of each as it ends; one that fails does not stop the others.

    Parameters
    ----------
    tasks
        From `plan`.
    jobs
        Number of notebooks at a time. They share the processors evenly, unless ``OMP_NUM_THREADS`` is set.
    timeout
        Seconds that one whole notebook may take.
    resume
        Skip notebooks that ended well with the same parameters, cells and package.
    """
    check_jobs(jobs)
    running: list[subprocess.Popen] = []

    def finish(task: NotebookRun) -> tuple[NotebookRun, int]:
        if resume and _is_done(task):
            return task, 0
        running.append(process := _start(task, jobs, timeout))
        return task, process.wait()

    pool = joblib.Parallel(jobs, backend="threading", return_as="generator_unordered")
    try:
        for task, code in pool(joblib.delayed(finish)(task) for task in tasks):
            error = f"its process ended with code {code} before the notebook did"
            yield _read(task) or make_record(task, error=error)
    finally:
        for process in running:
            process.stdin.close()
        for process in running:
            process.wait()


def _read(task: NotebookRun) -> Record | None:
    try:
        return Record(**json.loads(task.file(".json").read_text(encoding="utf-8")))
    except (FileNotFoundError, TypeError, ValueError):
        return None


def _is_done(task: NotebookRun) -> bool:
    """Say whether an earlier run came to its end that this task would only repeat."""
    record = _read(task)
    same = record is not None and (record.settings, record.code) == (task.settings, task.code)
    return same and record.ok and Path(task.executed).exists()


def _start(task: NotebookRun, jobs: int, timeout: float) -> subprocess.Popen:
    """Start a process that executes `task`, and that ends when its standard input is closed."""
    environment = {name: value for name, value in os.environ.items() if name != "JUPYTER_PATH"}
    environment |= {name: str(Path(os.environ[name]).absolute()) for name in FOLDER_VARIABLES if name in os.environ}
    environment["JUPYTER_PREFER_ENV_PATH"] = "1"  # the kernel of this environment
    environment["TQDM_DISABLE"] = "1"  # no progress bars in outputs
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
