"""All that README, docstrings and error messages name is there after `import manifpt`, and their examples run."""

import doctest
import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest

import manifpt
from manifpt.nn.classifiers import SCHEDULES
from manifpt.utils import paths

README = (paths.CHECKOUT / "README.md").read_text(encoding="utf-8")
PUBLIC = {"Attributor", "Fingerprint", "InputError", "Manifold", "PLDA", "embed", "key_figure", "load_gm", "load_real"}
ROOMS = {"experiments", "folders", "latent", "metrics", "plotting", "synthesis", "zoo"}
DOCUMENTED = ["attribution", "data.real", "embeddings", "fingerprints", "manifold", "metrics", "toys", "utils.arrays"]
DOCUMENTED += ["plda", "psd", "zoo.dataset"]


@pytest.fixture(autouse=True, scope="module")
def one_step(one_thread):
    """Trainings of one step an epoch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCHEDULES, "short", replace(SCHEDULES["short"], steps=1))
        yield


def test_public_names():
    assert set(dir(manifpt)) >= PUBLIC | ROOMS
    assert all(getattr(manifpt, name).__name__ == name for name in PUBLIC)
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", manifpt.__version__)
    with pytest.raises(AttributeError, match="nothing"):
        manifpt.nothing  # noqa: B018


def test_named_modules_are_attributes_of_the_package():
    sources = sorted(paths.CHECKOUT.glob("manifpt/**/*.py"))
    text = README + "".join(source.read_text(encoding="utf-8") for source in sources)
    quoted = set(re.findall(r"[`\s(]manifpt((?:\.[A-Za-z_]\w*)+)[`(]", text))
    assert len(quoted) > 20
    code = "import manifpt\nfor name in {}:\n    found = manifpt\n    for part in name.split('.')[1:]:\n"
    code += "        found = getattr(found, part)\n"
    subprocess.run([sys.executable, "-c", code.format(sorted(quoted))], check=True, timeout=120)


@pytest.mark.parametrize("name", DOCUMENTED)
def test_examples_in_docstrings(name, monkeypatch):
    module = import_module(f"manifpt.{name}")
    monkeypatch.setitem(module.__dict__, "np", np)
    failed, tried = doctest.testmod(module)
    assert tried > 0
    assert failed == 0


def test_python_blocks_of_the_readme(monkeypatch, tmp_path):
    """In order, in one namespace and an empty folder; the shell's registry of keys is made in Python."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    run(re.search(r"^manifpt latent register .*$", README, re.M)[0])
    blocks = re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S)
    assert len(blocks) >= 2
    names = {}
    for block in blocks:
        exec(block, names)
    assert names["F"].artifacts.shape == names["P"].artifact.shape
    assert set(names["search"].best_params_) == {"manifold__estimator"}
    assert names["images"].shape == (2, 1, 32, 32)


def run(command):
    """A command of the README."""
    from manifpt.cli.app import main

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command.split())
        with pytest.raises(SystemExit) as ended:
            main()
    assert not ended.value.code
