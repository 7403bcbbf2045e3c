"""The batch runner: what it refuses before it starts, what it leaves behind, what it repeats."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import joblib
import pytest

import manifpt
from manifpt.notebooks import run
from manifpt.notebooks.execute import Record, make_record
from manifpt.utils.errors import InputError

PARAMETERS = """\
seed: int = 0  # of everything
rate: float = 0.1  # step
sizes: list[int] = [1, 2]  # images
real: str = "photos"  # set
"""


def cell(source, *tags):
    kind = {"outputs": [], "execution_count": None}
    return {
        "cell_type": "code",
        "id": f"c{abs(hash(source)) % 10**8}",
        "metadata": {"tags": list(tags)},
        "source": source,
    } | kind


def write(path, *sources, declared=PARAMETERS):
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    cells = [cell(declared, "parameters"), *map(cell, sources)]
    path.write_text(
        json.dumps({"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5})
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of two notebooks with an empty smoke profile, and a home of its own for what they leave."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    folder = tmp_path / "note books"
    (folder / "params").mkdir(parents=True)
    (folder / "params" / "smoke.yaml").write_text("# nothing\n")
    write(folder / "00_first.ipynb", "from manifpt.notebooks.execute import key_figure\nkey_figure(f'{seed} {sizes}')")
    write(folder / "01_second.ipynb", "print(1)", declared="epochs: int = 3  # passes")
    return folder


def texts(path):
    """Everything a notebook shows: streams, plain texts and the names of errors."""
    outputs = [output for c in json.loads(path.read_text())["cells"] for output in c.get("outputs", [])]
    shown = [o.get("text") or o.get("data", {}).get("text/plain") or o.get("ename") for o in outputs]
    return "".join("".join(text) for text in shown)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sead": "1"}, "'sead'.*seed"),
        ({"seed": "one"}, "seed is 'one', int expected"),
        ({"epochs": "1.5"}, "01_second.ipynb: parameter epochs is 1.5, int expected"),
    ],
)
def test_plan_refuses_values_on_the_command_line(folder, given, message):
    with pytest.raises(InputError, match=message):
        run.plan(folder, given=given)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("00_first: {sed: 1}", "00_first.ipynb: unknown parameter 'sed'; it has: seed"),
        ("00_first: {rate: fast}", "rate is 'fast', float expected"),
        ("00_frst: {seed: 1}", "no notebook is called 00_frst"),
        ("00_first: 3", "must map notebook names to parameters"),
        ("{", "not valid YAML"),
    ],
)
def test_plan_refuses_a_profile(folder, text, message):
    (folder / "params" / "full.yaml").write_text(text)
    with pytest.raises(InputError, match=message):
        run.plan(folder, profile="full")


def test_plan_refuses_unknown_names(folder, tmp_path):
    with pytest.raises(InputError, match=r"profile 'big'.*profiles here: smoke"):
        run.plan(folder, profile="big")
    with pytest.raises(InputError, match=r"'07'.*00_first"):
        run.plan(folder, only=["00,07"])
    with pytest.raises(InputError, match="no notebooks here"):
        run.plan(tmp_path)
    with pytest.raises(InputError, match="leave out seed"):
        run.plan(folder, given={"seed": "1"}, in_place=True)


def test_plan_puts_the_command_line_over_the_profile_over_the_defaults(folder):
    (folder / "params" / "full.yaml").write_text("00_first: {seed: 1, rate: 0.1, sizes: [3]}")
    first, second = run.plan(folder, profile="full", given={"seed": "2"})
    assert first.parameters == {"seed": 2, "sizes": [3]}  # the rate is the default
    assert second.parameters == {}
    assert [task.file("").name for task in run.plan(folder, only=["01"])] == ["01_second"]


def test_hashes_follow_parameters_notebook_and_package(folder, tmp_path, monkeypatch):
    def hashes(**options):
        task = run.plan(folder, only=["00"], **options)[0]
        return task.settings, task.code

    settings, code = hashes()
    assert hashes() == (settings, code)
    assert hashes(given={"seed": "0"}) == (settings, code)
    assert hashes(given={"seed": "1"}) == (hashes(given={"seed": "1"})[0], code) != (settings, code)
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "a.py").write_text("a = 1")
    assert Path(manifpt.__file__).parent == run.PACKAGE
    monkeypatch.setattr(run, "PACKAGE", tmp_path / "package")
    before = hashes()[1]
    (tmp_path / "package" / "a.py").write_text("a = 2")
    after = hashes()[1]
    write(folder / "00_first.ipynb", "print(2)")
    assert len({code, before, after, hashes()[1]}) == 4


def test_resume_skips_only_what_would_be_repeated(folder, monkeypatch):
    started = []

    def start(task, jobs, timeout):
        started.append(task)
        return subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE)

    monkeypatch.setattr(run, "_start", start)
    task = run.plan(folder, only=["00"])[0]
    record = make_record(task, figure="42")
    assert list(run.run([task], resume=True))
    assert len(started) == 1  # the executed notebook is missing
    task.file(".ipynb").write_text("{}")
    assert list(run.run([task], resume=True)) == [record]
    assert len(started) == 1
    list(run.run(run.plan(folder, only=["00"], given={"seed": "1"}), resume=True))
    write(folder / "00_first.ipynb", "print(2)")
    list(run.run(run.plan(folder, only=["00"]), resume=True))
    make_record(task, error="broke")
    list(run.run([task], resume=True))
    list(run.run([task]))
    assert len(started) == 5


@pytest.mark.parametrize("jobs", [0, -2])
def test_jobs_that_are_no_number_of_notebooks_are_refused(folder, jobs):
    with pytest.raises(InputError, match=r"jobs: .* from 1 on expected"):
        list(run.run(run.plan(folder), jobs=jobs))


def test_a_process_that_dies_is_a_failed_notebook(folder, monkeypatch):
    def start(task, jobs, timeout):
        task.file(".json").unlink(missing_ok=True)
        return subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"], stdin=subprocess.PIPE)

    monkeypatch.setattr(run, "_start", start)
    records = list(run.run(run.plan(folder), jobs=2))
    assert [record.ok for record in records] == [False, False]
    assert "code 3" in records[0].error


@pytest.fixture
def another_kernel(tmp_path, monkeypatch):
    """A kernel of the user's, of the same name, that must not be used."""
    kernel = tmp_path / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    spec = {"argv": ["false", "{connection_file}"], "display_name": "Another", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))


@pytest.mark.usefixtures("another_kernel")
def test_a_failing_notebook_does_not_stop_the_others(folder, tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    write(folder / "01_second.ipynb", "print('so far')", "1 / 0", "print('never')")
    where = "import os, sys\nprint(sys.prefix, os.getcwd(), os.environ['OMP_NUM_THREADS'], sep='\\n')"
    write(
        folder / "00_first.ipynb",
        where,
        "open('litter', 'w').close()\nfrom manifpt.notebooks.execute import key_figure\nkey_figure(f'{seed} {sizes}')",
    )
    command = [
        sys.executable,
        "-m",
        "manifpt",
        "reproduce",
        "--notebooks",
        str(folder),
        "--jobs",
        "2",
        "-p",
        "seed=7",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=100)
    first, second, total, _ = done.stdout.splitlines()
    assert done.returncode == 1, done.stderr
    assert re.fullmatch(r"00_first +[0-9.]+ s  ok      7 \[1, 2\]", first)
    assert re.fullmatch(r"01_second +[0-9.]+ s  failed  ZeroDivisionError: division by zero", second)
    output = tmp_path / "home" / "runs" / "notebooks" / "smoke"
    assert total == f"1 ok, 1 failed; executed notebooks: {output}"
    assert texts(output / "01_second.failed.ipynb") == "so far\nZeroDivisionError"
    prefix, cwd, threads, _ = texts(output / "00_first.ipynb").splitlines()
    assert (prefix, threads) == (sys.prefix, str(max(1, joblib.cpu_count() // 2)))
    assert not os.path.exists(cwd)
    left = {"00_first.ipynb", "00_first.json", "01_second.failed.ipynb", "01_second.json"}
    assert {path.name for path in output.iterdir()} == left
    assert str(folder) not in (output / "00_first.ipynb").read_text()


def test_an_endless_notebook_is_stopped_and_keeps_its_output(folder):
    write(folder / "00_first.ipynb", "import time\nprint('so far')", "time.sleep(60)")
    (record,) = run.run(run.plan(folder, only=["00"]), timeout=3)
    assert record.error == "not finished after 3 s; --timeout allows more"
    assert record.seconds < 30
    assert texts(run.plan(folder)[0].file(".failed.ipynb")) == "so far\n"


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_process_and_no_half_file_outlive_the_runner(folder, tmp_path, how):
    pid_file, release = tmp_path / "pid", tmp_path / "release"
    body = f"import os, pathlib, time\npathlib.Path({str(pid_file)!r}).write_text(str(os.getpid()))"
    wait = f"for _ in range(600):\n    if os.path.exists({str(release)!r}):\n        break\n    time.sleep(0.1)"
    write(folder / "00_first.ipynb", body, wait)
    command = [
        sys.executable,
        "-m",
        "manifpt",
        "reproduce",
        "--notebooks",
        str(folder),
        "--only",
        "00",
        "--resume",
    ]
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if how == signal.SIGKILL else []  # as a background job starts
    listen = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731  the tests may be a background job
    runner = subprocess.Popen([*shell, *command], env={**os.environ, "TMPDIR": str(scratch)}, preexec_fn=listen)
    wait_until(lambda: pid_file.exists() and pid_file.read_text())
    kernel = int(pid_file.read_text())
    runner.send_signal(how)
    assert runner.wait(30) != 0
    wait_until(lambda: not alive(kernel))
    wait_until(lambda: not any(scratch.iterdir()))
    assert not [path for path in tmp_path.rglob("*first*") if "home" in path.parts]
    if how == signal.SIGKILL:
        release.touch()
        assert subprocess.run(command, timeout=60).returncode == 0
        record = Record(**json.loads((tmp_path / "home/runs/notebooks/smoke/00_first.json").read_text()))
        assert record.ok


def test_in_place_keeps_the_source_and_adds_the_outputs(folder):
    path = folder / "00_first.ipynb"
    sources = [c["source"] for c in json.loads(path.read_text())["cells"]]
    (record,) = run.run(run.plan(folder, only=["00"], in_place=True))
    assert record.ok, record.error
    cells = json.loads(path.read_text())["cells"]
    assert ["".join(c["source"]) for c in cells] == sources
    assert [c["execution_count"] for c in cells] == [1, 2]
    assert "papermill" not in path.read_text()
