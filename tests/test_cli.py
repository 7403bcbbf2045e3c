"""The command line: help that reads well, one-line failures, exit codes."""

import subprocess
import sys

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import manifpt
from manifpt.cli import app
from manifpt.data import mosaics
from manifpt.synthesis.extractor import ExtractorConfig
from manifpt.utils import paths
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm


def commands(group=None, name=()):
    """Every command of the application as words."""
    group = group or typer.main.get_command(app.app)
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*name, word))
        else:
            yield (*name, word)


def main(monkeypatch, *words):
    """Exit code of ``manifpt words…``."""
    monkeypatch.setattr(sys, "argv", ["manifpt", *words])
    with pytest.raises(SystemExit) as end:
        app.main()
    return end.value.code


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_help_explains_and_has_an_example(words):
    shown = CliRunner().invoke(app.app, [*words, "--help"], prog_name="manifpt")
    assert shown.exit_code == 0
    usage, explanation = shown.output.strip().split("\n\n")[:2]
    assert usage.startswith("Usage: manifpt " + " ".join(words))
    assert len(explanation) > 20
    assert "Example: manifpt " + " ".join(words) in shown.output


def test_help_loads_nothing_heavy():
    heavy = {"torch", "faiss", "matplotlib", "papermill", "pandas"}
    code = f"import manifpt.cli.app, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_wrong_input_is_one_line_and_code_2(monkeypatch, capsys, tmp_path):
    words = ["reproduce", "--notebooks", str(tmp_path)]
    assert main(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"manifpt: {tmp_path}: no notebooks here")
    assert error.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["manifpt", "--debug", *words])
    with pytest.raises(InputError):
        app.main()


def test_wrong_usage_is_code_2(monkeypatch, capsys):
    assert main(monkeypatch, "reproduce", "-p", "seed") == 2
    assert "NAME=VALUE expected" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("nonsense", "No such command 'nonsense'; `manifpt --help`"),
        ("--debgu reproduce", "No such option: --debgu"),
        ("reproduce --jobs 0", "Invalid value for '--jobs': "),
        ("reproduce --jobs two", "Invalid value for '--jobs': "),
        ("zoo train dcgan --jobs 0", "Invalid value for '--jobs': "),
        ("synthesis train mine --seeds 0", "Invalid value for '--seeds': "),
        ("synthesis identify", "No such command 'identify'; `manifpt synthesis --help`"),
        ("identify --gallery makers", "Missing option '--query'; `manifpt identify --help`"),
        ("verify one", "Missing argument 'b'; `manifpt verify --help`"),
        ("fingerprint real generated --out fp.npz --workers 0", "Invalid value for '--workers': "),
        ("attribute train real generated --out clf --workers 0", "Invalid value for '--workers': "),
        ("attribute predict clf images --csv out.csv --workers 0", "Invalid value for '--workers': "),
        ("fingerprint real", "Missing argument 'generated'; `manifpt fingerprint --help`"),
        ("fingerprint real generated", "Missing option '--out'; `manifpt fingerprint --help`"),
        ("attribute train real generated more --out clf", "(more); `manifpt attribute train --help`"),
    ],
)
def test_wrong_words_are_one_line_with_the_remedy(monkeypatch, capsys, words, said):
    assert main(monkeypatch, *words.split()) == 2
    error = capsys.readouterr().err
    assert error.startswith("manifpt: ")
    assert said in error
    assert error.endswith("--help` shows what is expected\n")
    assert error.count("\n") == 1
    monkeypatch.setattr(sys, "argv", ["manifpt", "--debug", *words.split()])
    with pytest.raises(app.UsageError):
        app.main()


@pytest.mark.parametrize("words", [(), ("zoo",)])
def test_a_group_without_words_shows_its_help(monkeypatch, capsys, words):
    main(monkeypatch, *words)
    assert "Commands:" in "".join(capsys.readouterr())


def test_python_m_manifpt_is_manifpt_and_shows_its_version():
    shown = subprocess.run([sys.executable, "-m", "manifpt", "--version"], check=True, capture_output=True, text=True)
    assert shown.stdout == f"manifpt {manifpt.__version__}\n"


def test_a_shell_completes_commands_and_options(monkeypatch, capsys):
    """What the shell asks, once `manifpt --install-completion` has told it to."""
    monkeypatch.setenv("_MANIFPT_COMPLETE", "complete_bash")
    for typed, offered in (("manifpt zoo ", "list\ntrain\nsample\n"), ("manifpt data fetch --h", "--help\n")):
        monkeypatch.setenv("COMP_WORDS", typed)
        monkeypatch.setenv("COMP_CWORD", str(typed.count(" ")))
        assert main(monkeypatch) == 0
        assert capsys.readouterr().out == offered


def test_the_script_for_a_shell_is_printed(monkeypatch, capsys):
    """What `manifpt --show-completion` prints, where the name of the shell can be found out."""
    monkeypatch.setenv("_MANIFPT_COMPLETE", "source_bash")
    assert main(monkeypatch) == 0
    assert "complete -o default -F _manifpt_completion manifpt" in capsys.readouterr().out


def test_another_failure_is_code_1(monkeypatch, capsys):
    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("manifpt.notebooks.run.plan", broken)
    assert main(monkeypatch, "reproduce") == 1
    assert capsys.readouterr().err == "manifpt: OSError: disk full (`manifpt --debug …` shows where)\n"


def test_zoo_and_data_answer(monkeypatch, capsys, tmp_path):
    assert main(monkeypatch, "zoo", "list") == 0
    listed = capsys.readouterr().out
    assert "dcgan" in listed
    assert "realesrgan-x4plus" in listed
    assert "gm-upscaled (reals: photographs)" in listed
    assert main(monkeypatch, "data", "list") == 0
    assert "fashion-mnist" in capsys.readouterr().out
    assert main(monkeypatch, "zoo", "train", "nonsense") == 2
    assert main(monkeypatch, "zoo", "sample", "nonsense", "--grid", str(tmp_path / "a.png")) == 2
    assert main(monkeypatch, "zoo", "sample", "dcgan", "--grid", "a.jpg") == 2
    assert "a .png file is written; use a name that ends so" in capsys.readouterr().err
    assert main(monkeypatch, "data", "fetch", "nonsense") == 2
    assert main(monkeypatch, "zoo", "sample", "dcgan", "--grid", str(tmp_path / "a.png"), "-n", "3") == 0
    assert mosaics.load_mosaic(tmp_path / "a.png", 3).shape == (3, 1, 32, 32)


def test_zoo_sample_of_a_published_network(monkeypatch, capsys, tmp_path):
    grid, label = tmp_path / "a.png", "waifu2x-photo-x2"
    assert main(monkeypatch, "zoo", "sample", label, "--dataset", "gm-upscaled", "-n", "3", "--grid", str(grid)) == 0
    np.testing.assert_array_equal(mosaics.load_mosaic(grid, 3, 128), load_gm("gm-upscaled").sample(label, 3))
    assert main(monkeypatch, "zoo", "sample", label, "--dataset", "gm-upscaled", "-n", "999", "--grid", str(grid)) == 2
    assert "enlarges 300 photographs" in capsys.readouterr().err


def test_synthesis_train_passes_its_options(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("manifpt.data.real.load_real", lambda name: name)
    monkeypatch.setattr("manifpt.synthesis.extractor.train_extractor", lambda *a, **o: asked.append((a, o)) or "there")
    words = ["--dataset", "photos", "--dataset", "fashion-mnist", "--steps", "3", "--seeds", "2", "--seed", "5"]
    assert main(monkeypatch, "synthesis", "train", "mine", *words) == 0
    config = ExtractorConfig(steps=3, seeds=2, seed=5)
    assert asked == [((["photos", "fashion-mnist"], config), {"name": "mine", "progress": True})]
    assert capsys.readouterr().out == "there\n"


def test_bench_needs_a_checkout_and_passes_its_option(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(paths, "CHECKOUT", tmp_path)
    assert main(monkeypatch, "bench", "projection") == 2
    assert "clone it" in capsys.readouterr().err
    script = tmp_path / "tests" / "benchmarks" / "projection.py"
    script.parent.mkdir(parents=True)
    script.write_text("import sys\nprint(__name__, sys.argv[1:])")
    assert main(monkeypatch, "bench", "projection", "--n", "7") == 0
    assert capsys.readouterr().out == "__main__ ['--n', '7']\n"
