"""Where keys are written: principal components of a toy whose truth is known, and settings of the real StyleGAN2."""

import numpy as np
import pytest
import torch

from manifpt.latent.fingerprinter import LatentFingerprinter, to_bytes, to_float
from manifpt.latent.generators import LatentGenerator, load_generator
from manifpt.utils.errors import InputError

SPREAD = torch.tensor([5.0, 4.0, 3.0, 2.0, 1.0, 0.5])


def plain(n_codes=4000, **options):
    """A fingerprinter of a generator whose components are the axes and whose image is a hundredth of its code."""
    generator = LatentGenerator(
        "plain", 6, lambda n: 1 + torch.randn(n, 6) * SPREAD, lambda w: (w / 100)[:, None, None]
    )
    return LatentFingerprinter(generator, n_pca=n_codes, **options)


@pytest.fixture(scope="module")
def stylegan2():
    return load_generator("stylegan2", device="cpu")


def test_components_mean_and_deviations_are_those_of_the_codes():
    fingerprinter = plain(key_length=2, shift=2, sigma=3.0)
    assert fingerprinter.capacity == 4
    torch.testing.assert_close(fingerprinter.mean_, torch.ones(6), atol=0.3, rtol=0)
    torch.testing.assert_close(fingerprinter.deviations_, SPREAD[[0, 1, 4, 5]], rtol=0.05, atol=0)
    torch.testing.assert_close(fingerprinter.content_.abs(), torch.eye(6)[[0, 1, 4, 5]], atol=0.15, rtol=0)
    torch.testing.assert_close(fingerprinter.key_.abs(), 3 * torch.eye(6)[[2, 3]], atol=0.4, rtol=0)
    assert plain(key_length=2).shift == 4  # least variance by default


def test_repeated_bits():
    repeated = plain(key_length=2, shift=0, sigma=2.0, repeat=2)
    torch.testing.assert_close(repeated.key_.norm(dim=1), torch.full((2,), 2 * 2**0.5))
    assert repeated.content_.shape == (2, 6)


def test_contents_are_normal_or_those_of_sampled_codes():
    drawn = plain(key_length=2).contents(5000, seed=1)
    torch.testing.assert_close(drawn.std(0), SPREAD[:4], rtol=0.05, atol=0)
    sampled = plain(key_length=2, content="sample")
    codes = sampled.generator.latents(10, seed=1)
    kept = sampled.compose(sampled.contents(10, seed=1), torch.zeros(10, 2))
    off = codes - kept  # lies in the key's directions alone
    torch.testing.assert_close(off @ sampled.content_.t(), torch.zeros(10, 4), atol=1e-4, rtol=0)
    assert off.norm() > 1


def test_twins_differ_by_the_key_alone():
    fingerprinter = plain(key_length=2, sigma=10.0)
    images = {key: to_float(fingerprinter.embed(key, 5, seed=3)).flatten(1) for key in ("0b00", "0b10", None)}
    moved = (images["0b10"] - images["0b00"]) * 100
    torch.testing.assert_close(moved, fingerprinter.key_[0].expand(5, -1), atol=0.8, rtol=0)
    assert torch.equal(images[None], images["0b00"])
    own = fingerprinter.embed(np.array([[0, 0], [1, 0], [0, 0], [1, 0], [1, 0]]), 5, seed=3)
    assert (own[[1, 3]] == fingerprinter.embed("0b10", 5, seed=3)[[1, 3]]).all()
    assert (own[[0, 2]] == fingerprinter.embed("0b00", 5, seed=3)[[0, 2]]).all()
    assert (own != fingerprinter.embed("0b00", 5, seed=4)).any()


def test_bytes_and_floats():
    images = torch.tensor([[[[-1.2, -1.0, 0.0, 1.0, 1.7]]]])
    assert to_bytes(images).ravel().tolist() == [0, 0, 128, 255, 255]
    assert (to_bytes(to_float(np.arange(256, dtype=np.uint8))) == np.arange(256)).all()


def test_settings_make_the_same_fingerprinter(stylegan2):
    first = LatentFingerprinter(stylegan2, key_length=8, sigma=2.0, n_pca=300)
    again = LatentFingerprinter.from_settings(first.settings)
    assert again.settings == first.settings
    torch.testing.assert_close(again.key_, first.key_)
    with pytest.raises(InputError, match=r"^settings"):
        LatentFingerprinter.from_settings({"key_length": 8})
    for what, file in (("weights", "checkpoints/stylegan2"), ("directions", "-300")):
        message = rf"^settings: of gm-fashion/stylegan2 with {what} 0123456789ab, which .*copy \S*{file}\.safetensors"
        with pytest.raises(InputError, match=message):
            LatentFingerprinter.from_settings(first.settings | {what: "0123456789ab"})


@pytest.mark.parametrize(
    ("what", "value"),
    [
        ("key_length", 0),
        ("key_length", 6),
        ("repeat", 3),
        ("shift", 5),
        ("shift", -1),
        ("sigma", 0.0),
        ("n_codes", 6),
        ("content", "none"),
    ],
)
def test_wrong_input_is_named(what, value):
    with pytest.raises(InputError, match=r"^(key_length|shift|sigma|n_pca|content): .*(expected|choose|less)"):
        plain(**{"key_length": 2} | {what: value})


def test_wrong_keys_and_models_are_named():
    for key, n in (("0b1", 2), (np.zeros((3, 2)), 2), ("0b10", 0)):
        with pytest.raises(InputError, match=r"^(key|n)"):
            plain(key_length=2).embed(key, n)
    with pytest.raises(InputError, match=r"no latent code.*stylegan2 or ldm"):
        load_generator("dcgan")
