"""Whose image is it: claims with their false-positive rate, and the command line."""

import re
import sys

import numpy as np
import pytest

from manifpt.cli import app
from manifpt.data import mosaics
from manifpt.latent.attribute import NOT_OURS, attribute, false_positive_rate
from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.keys import Registry, random_keys
from manifpt.latent.newton import NewtonEstimator
from manifpt.latent.theory import linear_generator
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def toy():
    return LatentFingerprinter(linear_generator(dimension=16), key_length=8, sigma=0.5, n_pca=1000)


def test_the_false_positive_rate_is_the_binomial_tail():
    assert false_positive_rate(0, 16) == pytest.approx(2**-16)
    assert false_positive_rate(1, 10, users=3) == pytest.approx(3 * 11 / 1024)
    assert false_positive_rate(10, 10, users=5) == 1
    keys = random_keys(100_000, 10, np.random.default_rng(0))
    assert ((keys != keys[0]).sum(1) <= 2).mean() == pytest.approx(false_positive_rate(2, 10), abs=0.003)


def test_users_are_named_and_strangers_are_not_ours(toy, tmp_path):
    registry = Registry.create(tmp_path / "users.json", toy.settings, min_distance=4)
    with pytest.raises(InputError, match="no user"):
        attribute(toy.embed(None, 2), NewtonEstimator(toy), registry)
    registry.add("ada", "0x0f")
    registry.add("bob", "0xaa")
    images = np.concatenate([toy.embed(key, 2, seed=5) for key in ("0xaa", "0x0f", "0x30")])
    with pytest.raises(InputError, match=r"max_p: 1e-06, but keys of 8 bits and 2 users reach 0\.008 at best"):
        attribute(images, NewtonEstimator(toy), registry)
    claims = attribute(images, NewtonEstimator(toy), registry, max_p=0.01)
    assert claims.decision.tolist() == ["bob", "bob", "ada", "ada", NOT_OURS, NOT_OURS]
    assert claims.users.tolist() == ["ada", "bob"]
    assert claims.distances[::2].tolist() == [[4, 0], [0, 4], [6, 4]]
    assert claims.p[0] == pytest.approx(2 / 256)
    for options, what in (
        ({"sigma": 1.0, "n_pca": 1000}, "sigma"),
        ({"sigma": 0.5, "n_pca": 900}, "n_pca, directions"),
    ):
        other = LatentFingerprinter(toy.generator, key_length=8, **options)
        with pytest.raises(InputError, match=rf"users\.json: made for a fingerprint that differs in {what};"):
            attribute(images, NewtonEstimator(other), registry, max_p=0.01)


def run(monkeypatch, *words):
    """Exit code of ``manifpt latent words…``."""
    monkeypatch.setattr(sys, "argv", ["manifpt", "latent", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        app.main()
    return end.value.code


def test_the_command_line_registers_embeds_and_attributes(monkeypatch, capsys, tmp_path):
    users, grid = ("--registry", tmp_path / "users.json"), tmp_path / "ada.png"
    assert run(monkeypatch, "register", "ada", *users, "--key", "0b12") == 2
    assert run(monkeypatch, "register", NOT_OURS, *users) == 2
    assert not users[1].exists()  # whose settings would have stayed
    assert run(monkeypatch, "register", "ada", *users, "--key", "0xa5c3", "--key-length", 16) == 0
    assert run(monkeypatch, "register", "bob", *users) == 0
    assert capsys.readouterr().out.startswith("ada: 0b1010010111000011\nbob: 0b")
    assert run(monkeypatch, "embed", "ada", *users, "--grid", grid, "-n", 2) == 0
    assert mosaics.load_mosaic(grid, 2).shape == (2, 1, 32, 32)
    reading = ("attribute", grid, "-n", 2, *users)
    assert run(monkeypatch, *reading) == 2  # 16 bits cannot reach 1e-6
    assert run(monkeypatch, *reading, "--max-p", 1e-4, "--loss", "pixel") == 2
    assert "only --search adam has a choice" in capsys.readouterr().err
    for wrong, message in (
        (("--max-p", 2), "max_p: 2; a probability between 0 and 1 expected"),
        (("--attack", "sepia"), "attack: 'sepia' is unknown"),
    ):
        assert run(monkeypatch, *reading, *wrong) == 2
        assert message in capsys.readouterr().err
    assert run(monkeypatch, "attribute", grid, *users, "--max-p", 1e-4, "--attack", "none") == 0
    read = r"\d: ada \(p = 3e-05, 0 bits from ada, residual 0\.\d grey levels\)\n"
    assert re.fullmatch(f"({read}){{2}}", capsys.readouterr().out)
    assert run(monkeypatch, "register", "ada", *users) == 2
    assert "registered already" in capsys.readouterr().err
    assert run(monkeypatch, "register", "lu", *users, "--key-length", 16, "--model", "stylegan2") == 0
    assert run(monkeypatch, "register", "eve", *users, "--key-length", 32, "--model", "ldm", "--sigma", 2) == 2
    assert "was made with --key-length 16, --model stylegan2; leave that out" in capsys.readouterr().err
    assert run(monkeypatch, "embed", "eve", *users, "--grid", grid) == 2
    assert "no user 'eve'" in capsys.readouterr().err
