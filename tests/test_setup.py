"""What a stranger meets first: make, the environment files, the speed of the import."""

import os
import re
import statistics
import subprocess
import sys
import time
import tomllib

import pytest
import yaml

from manifpt.utils import paths

ROOT = paths.CHECKOUT
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
TARGETS = "setup reproduce test lint bench tables notebooks clean"


def make(*arguments, cwd=ROOT, **environment):
    command = ["make", "--no-print-directory", *arguments]
    clean = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, env=clean | environment, timeout=60)


@pytest.fixture
def copy(tmp_path):
    """A folder with a space in its name that holds the Makefile, and a Python that only pretends to install."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    for name in ("Makefile", "pyproject.toml"):
        (folder / name).write_text((ROOT / name).read_text())
    python = tmp_path / "python"
    python.write_text(f"""#!/bin/sh
case "$*" in
  *venv*) mkdir -p .venv/bin && cp "$0" .venv/bin/python && cp "$0" .venv/bin/pip && cp "$0" .venv/bin/manifpt ;;
  *-c*) exec "{sys.executable}" "$@" ;;
  *install*) echo "$*" >> installs; [ ! -e offline ] ;;
esac
""")
    python.chmod(0o755)
    return folder, python


def test_help_is_the_default_and_lists_every_target():
    shown = make()
    assert shown.stdout == make("help").stdout
    listed = [line.split(maxsplit=1) for line in shown.stdout.splitlines()]
    assert set(TARGETS.split()) | {"help"} == {name for name, text in listed if len(text) > 10}


def test_setup_installs_once_and_again_when_the_project_changes(copy):
    folder, python = copy
    for _ in range(2):
        assert make("setup", f"PYTHON={python}", cwd=folder).returncode == 0
    assert (folder / "installs").read_text().splitlines() == ["-m pip install -e .[all]"]
    (folder / "pyproject.toml").touch()
    make("setup", f"PYTHON={python}", cwd=folder)
    assert len((folder / "installs").read_text().splitlines()) == 1
    (folder / "pyproject.toml").write_text("changed")
    make("setup", f"PYTHON={python}", cwd=folder)
    assert len((folder / "installs").read_text().splitlines()) == 2


def test_setup_goes_on_offline_with_what_is_installed_and_tries_again(copy):
    folder, python = copy
    (folder / "offline").touch()
    for attempts in (1, 2):
        done = make("setup", f"PYTHON={python}", cwd=folder)
        assert done.returncode == 0
        assert "offline" in done.stderr
        assert len((folder / "installs").read_text().splitlines()) == attempts


def test_setup_fails_when_nothing_could_be_installed(copy):
    folder, python = copy
    (folder / "offline").touch()
    python.write_text(python.read_text().replace(' && cp "$0" .venv/bin/manifpt', ""))
    assert make("setup", f"PYTHON={python}", cwd=folder).returncode != 0


def test_setup_names_the_python_that_it_needs(copy):
    folder, python = copy
    python.write_text("#!/bin/sh\nexit 1\n")
    done = make("setup", f"PYTHON={python}", cwd=folder)
    assert done.returncode != 0
    assert "is not Python 3.11 or newer" in done.stderr
    assert not (folder / ".venv").exists()


def test_makefile_and_environment_agree_with_the_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    assert environment["name"] == PROJECT["name"]
    assert conda == ["python" + PROJECT["requires-python"], "pip"]
    assert pip == {"pip": ["-e .[all]"]}
    extras = set(PROJECT["optional-dependencies"]) - {"all"}
    assert set(re.findall(r"\w+", PROJECT["optional-dependencies"]["all"][0])) == {"manifpt"} | extras
    minimum = PROJECT["requires-python"].removeprefix(">=")
    assert f"Python {minimum} or newer" in (ROOT / "Makefile").read_text()


def test_citation_agrees_with_the_project():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert (citation["version"], citation["license"]) == (PROJECT["version"], PROJECT["license"])


def test_continuous_integration_calls_make_test():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text().splitlines()


def test_import_is_fast_and_loads_nothing_heavy():
    heavy = ["torch", "faiss", "matplotlib", "sklearn", "pandas", "numpy"]
    code = f"import manifpt, sys; assert not set({heavy}) & set(sys.modules), sorted(sys.modules)"

    def seconds(code):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        return time.perf_counter() - start

    assert statistics.median(seconds(code) - seconds("pass") for _ in range(5)) < 0.3
