"""Spectra, losses, training and use of the paper's fingerprint extractor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from manifpt.nn import train as loop
from manifpt.synthesis import extractor, solved, spectrum
from manifpt.synthesis.extractor import Extractor, ExtractorConfig, train_extractor, triplet_loss
from manifpt.synthesis.models import architectures
from manifpt.utils import compute, files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = ExtractorConfig(steps=3, seeds=2, each=5)
FEW = architectures()[11::72]  # 4 of them


@pytest.fixture(scope="module")
def few(one_thread):
    """Four architectures in place of 288, and batches of four models."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (solved, extractor):
            patch.setattr(module, "architectures", lambda: FEW)
        patch.setattr(extractor, "MODELS", 4)
        yield


def pictures(n=16, c=3, size=32, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, c, size, size), np.uint8)


def test_spectrum_is_the_magnitude_of_each_channel():
    residual = torch.zeros(1, 3, 8, 8)
    residual[0, 0] = 0.5  # constant: all at frequency zero, not shifted
    residual[0, 1] = torch.cos(2 * torch.pi * 2 * torch.arange(8) / 8)
    expected = torch.zeros(1, 3, 8, 8)
    expected[0, 0, 0, 0], expected[0, 1, 0, 2], expected[0, 1, 0, 6] = 32, 32, 32
    found = spectrum.spectrum(residual)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_residual_of_the_core_denoiser_sees_noise(noise):
    residual = spectrum.residuals()
    flat = np.full((1, 3, 32, 32), 128, np.uint8)
    grain = (flat + np.random.default_rng(0).normal(0, 12, flat.shape)).astype(np.uint8)
    added = grain / 255 - 128 / 255
    found = residual(torch.from_numpy(np.concatenate([flat, grain])))
    assert (found.dtype, found.shape) == (torch.float32, (2, 3, 32, 32))
    assert found[0].abs().mean() < 0.2 * found[1].abs().mean()
    assert np.corrcoef(found[1].numpy().ravel(), added.ravel())[0, 1] > 0.7
    grey = torch.from_numpy(noise(2))
    assert torch.equal(residual(grey), residual(grey.repeat(1, 3, 1, 1)))


def test_denoisers_that_cannot_be_used():
    with pytest.raises(InputError, match="denoiser of 'fashion-mnist': reads grey images"):
        spectrum.residuals(real="fashion-mnist")
    with pytest.raises(InputError, match="no network was trained on nowhere"):
        spectrum.residuals(real="nowhere")


def test_triplet_loss_against_a_loop():
    rng = np.random.default_rng(0)
    features, model = rng.normal(size=(9, 5)), np.array([0, 0, 0, 1, 1, 2, 2, 2, 3])
    terms = []
    for a in range(9):
        distances = [np.linalg.norm(features[a] - features[b]) for b in range(9)]
        positive = max(distances[b] for b in range(9) if model[b] == model[a])
        negative = min(distances[b] for b in range(9) if model[b] != model[a])
        terms.append(max(0, positive - negative + 0.3))
    got = triplet_loss(torch.tensor(features), torch.tensor(model))
    assert got.item() == pytest.approx(np.mean(terms), rel=1e-4)
    assert np.mean(terms) > 0


def test_triplet_loss_of_known_places():
    """Two models on a line, 1 apart, each of two points 0.1 apart: hardest positive 0.1, hardest negative 0.9."""
    line = torch.tensor([[0.0], [0.1], [1.0], [1.1]])
    model = torch.tensor([0, 0, 1, 1])
    assert triplet_loss(line, model, margin=1).item() == pytest.approx((0.1 - 1 + 1 + 0.1 - 0.9 + 1) / 2, rel=1e-4)
    assert triplet_loss(line, model).item() == 0
    assert triplet_loss(line, torch.zeros(4)).item() == 0
    same = torch.ones(4, 3, requires_grad=True)
    triplet_loss(same, model).backward()
    assert torch.isfinite(same.grad).all()


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"seeds": 0}, {"each": 4}])
def test_wrong_recipes(wrong):
    with pytest.raises(InputError, match=r"steps, seeds, each: .*; 1, 1 and 5 at least"):
        replace(TINY, **wrong)


@pytest.mark.parametrize(
    ("reals", "message"),
    [
        ([pictures(), pictures(size=64)], "squares of one size expected"),
        ([pictures()[..., :28]], "squares of one size expected"),
        ([pictures(12)], "13 images or more"),
        ([pictures().astype(int)], "reals: of type int64"),
        ([], r"reals: images of \[\] pixels; squares of one size"),
    ],
)
def test_reals_that_cannot_be_used(few, reals, message):
    with pytest.raises(InputError, match=message):
        train_extractor(reals, TINY, name="wrong")
    assert not list(paths.home().glob("networks/extractor-wrong*"))


def test_real_sets_take_turns_and_grey_ones_stay_grey(few):
    images = extractor._synthetic([pictures(), pictures(c=1)], replace(TINY, seeds=3), torch.device("cpu"), False)
    assert (images.shape, images.dtype) == ((12, 5, 3, 32, 32), torch.uint8)
    grey = (images[:, :, :1] == images).flatten(1).all(1)
    assert grey.tolist() == [False] * 8 + [True] * 4


def test_encoder_ignores_the_mirrored_half():
    encoder = extractor.SpectrumEncoder(32).eval()
    spectra = torch.rand(2, 3, 32, 32)
    other = spectra.clone()
    other[..., 17:] = 0
    assert torch.equal(encoder(spectra), encoder(other))
    other[..., 16] = 0
    assert not torch.equal(encoder(spectra), encoder(other))


@pytest.mark.parametrize("size", [16, 32])
def test_encoder_does_not_see_the_strength_of_a_spectrum(size):
    with seeded(0):
        encoder = extractor.SpectrumEncoder(size).eval()
    spectra = torch.rand(4, 3, size, size, generator=torch.Generator().manual_seed(0))
    features = encoder(spectra)
    assert features.shape == (4, 256)
    torch.testing.assert_close(encoder(9 * spectra), features, rtol=1e-3, atol=1e-4)
    assert torch.isfinite(encoder(torch.zeros(2, 3, size, size))).all()


@pytest.fixture(scope="module")
def checkpoint(few, tmp_path_factory):
    """An extractor after three steps."""
    return train_extractor([pictures()], TINY, name="tiny", folder=tmp_path_factory.mktemp("extractor"))


def test_interrupted_training_ends_in_the_same_weights(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    loss, calls = extractor.triplet_loss, []

    def fatal(*given, **options):
        calls.append(len(calls))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return loss(*given, **options)

    monkeypatch.setattr(extractor, "triplet_loss", fatal)
    with pytest.raises(KeyboardInterrupt):
        train_extractor([pictures()], TINY, name="tiny")
    again = train_extractor([pictures()], TINY, name="tiny")
    assert len(calls) == 4
    assert again == extractor.find("tiny")
    (whole, about), (parts, settings) = (files.load_tensors(path) for path in (checkpoint, again))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert checkpoint.stat().st_size < 10e6
    assert about["recipe"] == settings["recipe"]
    assert about["reals"] == settings["reals"]


def test_the_seed_decides_the_weights(checkpoint, few, tmp_path):
    other = train_extractor([pictures()], replace(TINY, seed=1), name="other", folder=tmp_path)
    weights = [files.load_tensors(path)[0]["resnet.0.conv1.weight"] for path in (checkpoint, other)]
    assert not torch.allclose(*weights, atol=1e-2)


def test_extractor_gives_a_feature_an_image(checkpoint, noise, tmp_path):
    extract, images = Extractor(checkpoint), noise(5, c=3)
    features = extract(images)
    assert (features.shape, features.dtype) == ((5, 256), np.float32)
    np.testing.assert_allclose(extract(images[2:3]), features[2:3], rtol=1e-3, atol=1e-4)
    assert not np.allclose(features[0], features[1])
    with pytest.raises(InputError, match="images: 64x32 pixels; 32x32 expected"):
        extract(np.zeros((1, 3, 32, 64), np.uint8))
    files.save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"size": 32})
    with pytest.raises(InputError, match="not a fingerprint extractor"):
        Extractor(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="'nobody': not trained yet"):
        extractor.find("nobody")


def test_untrained_extractor_standardises_as_the_trained_one_and_has_first_weights(checkpoint):
    trained, plain, again = (
        Extractor(checkpoint),
        Extractor(checkpoint, trained=False),
        Extractor(checkpoint, trained=False),
    )
    spectra = torch.rand(3, 3 * 32 * 17)
    assert torch.equal(trained.network.standardise(spectra), plain.network.standardise(spectra))
    with seeded(0):
        first = extractor.SpectrumEncoder(32)
    for (name, weight), other in zip(first.named_parameters(), plain.network.parameters(), strict=True):
        assert torch.equal(weight, other), name
    images = pictures(3)
    assert np.array_equal(plain(images), again(images))
    assert not np.allclose(plain(images), trained(images))


@pytest.mark.parametrize("size", [32, 128])
def test_extractors_that_ship(size, noise):
    path = extractor.find(str(size))
    assert path == paths.data() / "networks" / f"extractor-{size}.safetensors"
    extract = Extractor(path)
    features = extract(noise(3, c=3, size=size))
    assert features.shape == (3, 256)
    assert np.isfinite(features).all()
    assert extract(noise(1, size=size)).shape == (1, 256)
    assert extract.settings["recipe"]["seed"] == 0
    assert path.stat().st_size < 3e6


def test_inference_is_in_fp32_where_training_is_in_bf16(noise, monkeypatch, checkpoint):
    images, extract = noise(2, c=3), Extractor(checkpoint)
    features = extract(images)
    monkeypatch.setattr(compute, "fast_bf16", lambda device: True)
    assert np.array_equal(extract(images), features)


def test_head_and_encoder_learn_the_models(few, tmp_path):
    """In forty steps the entropy falls below that of guessing among eight models."""
    seen, entropy = [], nn.functional.cross_entropy

    def watched(*given):
        seen.append(entropy(*given).item())
        return entropy(*given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extractor.F, "cross_entropy", watched)
        train_extractor([pictures()], replace(TINY, steps=40), name="longer", folder=tmp_path)
    assert np.mean(seen[-5:]) < 0.8 * np.log(8)
