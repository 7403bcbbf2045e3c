"""Generators as functions of a code, and the directions of their codes, which are the same everywhere."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.generators import CHUNK, CODES, LatentGenerator, load_generator
from manifpt.latent.keys import Registry
from manifpt.latent.newton import NewtonEstimator
from manifpt.utils import files, paths
from manifpt.utils.errors import InputError

SHIPPED = "stylegan2", "ldm"


@pytest.fixture(scope="module")
def stylegan2():
    return load_generator("stylegan2", device="cpu")


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """A small generator with a checkpoint in a GM dataset's folder; a list grows with each chunk that it draws."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("manifpt.latent.generators.CODES", 1000)
    drawn = []
    spread = torch.tensor([3.0, 2.0, 1.0, 0.5])
    draw = lambda n: drawn.append(n) or torch.randn(n, 4) * spread  # noqa: E731
    checkpoint = tmp_path / "gm" / "checkpoints" / "mine.safetensors"
    return LatentGenerator("gm/mine", 4, draw, lambda w: w.view(-1, 1, 2, 2), "a" * 64, "cpu", checkpoint), drawn


def test_stylegan2_makes_one_image_of_a_code_wherever_it_stands(stylegan2):
    codes = stylegan2.latents(3, seed=0)
    assert torch.equal(codes[:2], stylegan2.latents(2, seed=0))
    images = stylegan2.render(codes)
    assert images.shape == (3, 1, 32, 32)
    torch.testing.assert_close(stylegan2.render(codes[[2]])[0], images[2], atol=1e-4, rtol=0)
    torch.manual_seed(1)
    torch.testing.assert_close(stylegan2.render(codes.flip(0)).flip(0), images, atol=1e-4, rtol=0)


def test_ldm_has_a_flat_code(monkeypatch):
    monkeypatch.setattr("manifpt.zoo.diffusion.SAMPLING_STEPS", 2)
    monkeypatch.setattr("manifpt.latent.generators.CHUNK", 4)
    ldm = load_generator("ldm", device="cpu")
    codes = ldm.latents(4, seed=0).requires_grad_()
    assert codes.shape == (4, ldm.dimension) == (4, 256)
    images = ldm.render(codes)
    assert images.shape == (4, 1, 32, 32)
    images.sum().backward()
    assert (codes.grad != 0).all()


def flipped(svd):
    """A decomposition as valid as that of `svd`, with the opposite signs."""

    def other(*arguments, **options):
        u, s, v = svd(*arguments, **options)
        return -u, s, -v

    return other


def equal(one, other):
    return all(torch.equal(getattr(one, name), getattr(other, name)) for name in vars(one))


@pytest.mark.parametrize("label", SHIPPED)
def test_the_directions_of_shipped_generators_are_stored(label, monkeypatch):
    """Nothing is drawn or decomposed: whatever another machine would make of it, it reads the same keys."""
    generator = load_generator(label, device="cpu")
    monkeypatch.setattr(torch.linalg, "svd", None)
    directions = replace(generator, draw=None).directions()
    d = generator.dimension
    assert [tuple(part.shape) for part in vars(directions).values()] == [(d,), (d, d), (d,)]
    torch.testing.assert_close(directions.components @ directions.components.t(), torch.eye(d), atol=1e-5, rtol=0)
    _, about = files.load_tensors(generator.places()[0])
    assert (about["checkpoint"], about["n_pca"]) == (generator.checksum, CODES)


def test_flipped_signs_of_a_decomposition_do_not_change_keys(monkeypatch):
    def fingerprinter():
        generator = LatentGenerator("toy", 6, lambda n: torch.randn(n, 6), lambda w: 0.2 * w.view(-1, 1, 2, 3))
        return LatentFingerprinter(generator, key_length=2, sigma=3.0, n_pca=1000)

    here = fingerprinter()
    monkeypatch.setattr(torch.linalg, "svd", flipped(torch.linalg.svd))
    there = fingerprinter()
    assert there.settings == here.settings
    keys = np.array([[0, 1], [1, 0], [1, 1]])
    assert (NewtonEstimator(there).estimate(here.embed(keys, 3)).bits == keys).all()


def test_directions_are_named_in_settings():
    def made(spread):
        generator = LatentGenerator("toy", 6, lambda n: torch.randn(n, 6) * spread, lambda w: w.view(-1, 1, 2, 3))
        return LatentFingerprinter(generator, key_length=2, n_pca=1000).settings

    assert made(1.0) == made(1.0)
    assert made(1.0)["directions"] != made(1.0 + 1e-6)["directions"]


def test_directions_are_computed_once_and_lie_beside_the_checkpoint(trained):
    generator, drawn = trained
    first = generator.directions(1000)
    assert len(drawn) == 1000 // CHUNK
    assert (generator.checkpoint.parent.parent / "directions" / "mine.safetensors").is_file()
    assert equal(replace(generator, draw=None).directions(1000), first)
    other = replace(generator, checksum="b" * 64)  # trained anew
    other.directions(1000)
    assert len(drawn) == 2 * 1000 // CHUNK
    assert files.load_tensors(generator.places(1000)[0])[1]["checkpoint"] == other.checksum


def test_directions_of_another_number_of_codes_or_of_a_closed_folder_lie_below_home(trained):
    generator, _ = trained
    folder = generator.checkpoint.parent.parent
    folder.mkdir(parents=True)
    (folder / "directions").write_text("a file, where no folder can be made")
    for n in (1000, 700):
        directions = generator.directions(n)
        assert (paths.home() / "directions" / f"{'a' * 12}-{n}.safetensors").is_file()
        assert equal(replace(generator, draw=None).directions(n), directions)
    assert not equal(generator.directions(1000), generator.directions(700))


def test_damaged_directions_are_named(trained):
    generator, _ = trained
    generator.directions(1000)
    path = generator.places(1000)[0]
    tensors, about = files.load_tensors(path)
    files.save_tensors(path, tensors | {"mean": tensors["mean"] + 1}, about)
    with pytest.raises(InputError, match=r"mine\.safetensors: damaged file, .*restore it"):
        generator.directions(1000)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match=r"mine\.safetensors"):
        generator.directions(1000)


def test_codes_of_a_truncated_file_are_drawn_anew(trained):
    generator, drawn = trained
    codes = generator.latents(3, seed=0)
    assert torch.equal(generator.latents(3, seed=0), codes)
    (path,) = (paths.cache() / "latents").glob("*.npy")
    path.write_bytes(path.read_bytes()[:-100])
    assert torch.equal(generator.latents(3, seed=0), codes)
    assert len(drawn) == 2


EMBED = """
import sys, numpy as np
from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.keys import Registry
users = Registry(sys.argv[1])
np.save(sys.argv[2], LatentFingerprinter.from_settings(users.settings).embed(users.users["ada"], 2, seed=1))
"""


def test_another_process_with_other_threads_and_home_writes_the_same_images(stylegan2, tmp_path):
    fingerprinter = LatentFingerprinter(stylegan2, key_length=16, sigma=4.0)
    registry = Registry.create(tmp_path / "users.json", fingerprinter.settings)
    key = registry.add("ada", seed=0)
    elsewhere = os.environ | {"MANIFPT_HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1", "MKL_CBWR": "COMPATIBLE"}
    command = [sys.executable, "-c", EMBED, registry.path, tmp_path / "images.npy"]
    subprocess.run(command, check=True, env=elsewhere)
    there, here = (
        images.astype(int) for images in (np.load(tmp_path / "images.npy"), fingerprinter.embed(key, 2, seed=1))
    )
    assert abs(there - here).max() <= 1
