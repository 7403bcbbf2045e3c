"""Run one notebook headless in a process of its own, which leaves only whole files.

The process owns the Jupyter kernel and works in a temporary folder. Its parent holds the other end of its standard
input. When that end closes, however the parent ended, the process interrupts itself and stops its kernel.
"""

import dataclasses
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

from manifpt.utils import files

KEY_FIGURE = "application/vnd.manifpt.key-figure+json"
WIDGET = "application/vnd.jupyter.widget-view+json"


@dataclasses.dataclass(frozen=True)
class NotebookRun:
    """One notebook to run.

    `parameters` are the values that differ from the defaults; `settings` and `code` are the hashes of all parameters
    and of the code. The executed notebook is written to the file `executed`, its record and failures to `folder`.
    """

    notebook: str
    parameters: dict
    settings: str
    code: str
    folder: str
    executed: str

    def file(self, ending: str) -> Path:
        """Return the path ``<folder>/<name of the notebook><ending>``."""
        return Path(self.folder, Path(self.notebook).stem + ending)


@dataclasses.dataclass(frozen=True)
class Record:
    """The outcome of one run, kept as ``<name>.json``; `error` is empty if every cell ran."""

    notebook: str
    ok: bool
    seconds: float
    key_figure: str
    error: str
    parameters: dict
    settings: str
    code: str


def key_figure(text: str) -> None:
    """Show `text` as the key figure of a notebook; the summary of a batch run quotes the last one."""
    from IPython.display import display

    display({KEY_FIGURE: text, "text/plain": f"Key figure: {text}"}, raw=True)


def make_record(task: NotebookRun, *, seconds: float = 0.0, figure: str = "", error: str = "") -> Record:
    """Write and return the record of a run, which failed if there is an `error`."""
    stem = Path(task.notebook).stem
    record = Record(stem, not error, round(seconds, 1), figure, error, task.parameters, task.settings, task.code)
    files.write_text(task.file(".json"), json.dumps(dataclasses.asdict(record), indent=1) + "\n")
    return record


def execute(task: NotebookRun, timeout: float) -> Record:
    """Run a notebook within `timeout` seconds; write it executed, or as far as it ran as ``<name>.failed.ipynb``."""
    import nbformat

    start = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="manifpt-") as scratch:
        working = Path(scratch, "notebook.ipynb")
        error = _papermill(task, working, timeout)
        book = nbformat.read(working if working.exists() else task.notebook, as_version=4)
    _forget_run(book)
    failed = task.file(".failed.ipynb")
    failed.unlink(missing_ok=True)
    if error:
        task.file(".ipynb").unlink(missing_ok=True)
    files.write_text(failed if error else task.executed, nbformat.writes(book) + "\n")
    return make_record(task, seconds=time.perf_counter() - start, figure=_last_key_figure(book), error=error)


def _papermill(task: NotebookRun, working: Path, timeout: float) -> str:
    """Run the notebook into the file `working`; return its error in one line, empty if there was none."""
    import papermill
    from nbclient.exceptions import CellTimeoutError
    from traitlets.config import Config

    kernel = {"connection_file": str(working.with_name("kernel.json"))}  # goes with the folder, even after a kill
    deadline = time.monotonic() + timeout
    try:
        papermill.execute_notebook(
            task.notebook,
            working,
            task.parameters,
            kernel_name="python3",
            cwd=working.parent,
            progress_bar=False,
            timeout_func=lambda cell: max(1, round(deadline - time.monotonic())),
            iopub_timeout=60,
            shutdown_kernel="immediate",
            store_widget_state=False,
            record_timing=False,
            config=Config({"KernelManager": kernel}),
        )
    except CellTimeoutError:
        return f"not finished after {timeout:g} s; --timeout allows more"
    except papermill.PapermillExecutionError as error:
        return f"{error.ename}: {error.evalue}".splitlines()[0]
    except Exception as error:  # whatever stops this notebook must not stop the batch
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def _forget_run(book) -> None:
    """Remove papermill's notes and the widgets, which need a kernel; their pictures and texts stay."""
    book.metadata.pop("papermill", None)
    for cell in book.cells:
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)
        cell.metadata.pop("papermill", None)
        if not cell.metadata.get("tags", True):
            del cell.metadata["tags"]


def _last_key_figure(book) -> str:
    outputs = [output for cell in book.cells for output in cell.get("outputs", ())]
    return next((o.data[KEY_FIGURE] for o in reversed(outputs) if KEY_FIGURE in o.get("data", ())), "")


def _follow_starter() -> None:
    os.read(sys.stdin.fileno(), 1)  # returns when the other end is closed
    os.kill(os.getpid(), signal.SIGINT)


def main() -> None:
    """Read ``[task, timeout]`` as a line of JSON from standard input and execute it."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit it ignored
    sys.modules["rfc3987_syntax"] = None  # jsonschema would take 4 s to load it, for addresses that no notebook has
    task, timeout = json.loads(sys.stdin.readline())
    threading.Thread(target=_follow_starter, daemon=True).start()
    execute(NotebookRun(**task), timeout)


if __name__ == "__main__":
    main()
