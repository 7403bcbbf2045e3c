"""Spectra, losses, schedule, training and use of the fingerprint extractor."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from test_cli import main
from torch import nn

from manifpt.folders import identify
from manifpt.nn import train as loop
from manifpt.synthesis import extractor, spectrum
from manifpt.synthesis.extractor import Extractor, ExtractorConfig, degradation, triplet_loss, warm_restarts
from manifpt.synthesis.models import architectures
from manifpt.synthesis.simulators import Synthetic
from manifpt.synthesis.train import train_synthetic_models
from manifpt.utils import compute, files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
TINY = ExtractorConfig(steps=3, models=2, each=2)


class Shades:
    """A simulator of four models, each of which adds another constant to an image."""

    categories = 4
    settings = {"simulator": "shades"}  # noqa: RUF012

    def draw(self, images, *, each):
        model = torch.randperm(4)[: len(images) // each].repeat_interleave(each)
        made = (images[: len(model)] + 1) * 60 + 30 * model[:, None, None, None]
        return Synthetic(made.to(torch.uint8), model, model)


def test_spectrum_is_the_magnitude_of_each_channel_its_root_or_its_logarithm():
    residual = np.zeros((1, 3, 8, 8), np.float32)
    residual[0, 0] = 0.5  # constant: all at frequency zero, not shifted
    residual[0, 1] = np.cos(2 * np.pi * 2 * np.arange(8) / 8)
    plain, root, log = (spectrum.spectrum(residual, scale) for scale in spectrum.SCALES)
    assert plain.dtype == root.dtype == log.dtype == np.float32
    expected = np.zeros((3, 8, 8))
    expected[0, 0, 0], expected[1, 0, 2], expected[1, 0, 6] = 32, 32, 32
    np.testing.assert_allclose(plain[0], expected, atol=1e-4)
    np.testing.assert_allclose(root, np.sqrt(plain), rtol=1e-5)
    np.testing.assert_allclose(log, np.log(plain + 1e-3), rtol=1e-5)
    with pytest.raises(InputError, match="one of linear, root, log"):
        spectrum.spectrum(residual, "square")


def test_residual_of_the_core_denoiser_sees_noise(noise):
    residual = spectrum.residuals()
    flat = np.full((1, 3, 32, 32), 128, np.uint8)
    grain = (flat + np.random.default_rng(0).normal(0, 12, flat.shape)).astype(np.uint8)
    added = grain / 255 - 128 / 255
    found = residual(np.concatenate([flat, grain]))
    assert found.dtype == np.float32
    assert np.abs(found[0]).mean() < 0.2 * np.abs(found[1]).mean()
    assert np.corrcoef(found[1].ravel(), added.ravel())[0, 1] > 0.7
    grey = noise(2)
    assert np.array_equal(residual(grey), residual(grey.repeat(3, axis=1)))


def test_inference_is_in_fp32_where_training_is_in_bf16(noise, monkeypatch):
    images, extract = noise(2, c=3), Extractor(extractor.find())
    residual, features = spectrum.residuals()(images), extract(images)
    monkeypatch.setattr(compute, "fast_bf16", lambda device: True)
    assert np.array_equal(spectrum.residuals()(images), residual)
    assert np.array_equal(extract(images), features)


def test_denoisers_that_are_not_there():
    with pytest.raises(InputError, match="one of dncnn, wavelet"):
        spectrum.residuals("median")
    with pytest.raises(InputError, match="reads grey images"):
        spectrum.residuals(real="fashion-mnist")


def test_wavelet_residual_sees_noise():
    ramp = np.linspace(60, 190, 32) * np.ones((2, 3, 32, 1))
    noise = np.random.default_rng(0).normal(0, 12, ramp.shape)
    found = spectrum.residuals("wavelet")((ramp + noise).astype(np.uint8))
    assert found.shape == ramp.shape
    assert np.corrcoef(found.ravel(), noise.ravel())[0, 1] > 0.7


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


def test_rates_follow_the_warm_restarts_of_torch():
    optimiser = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], 1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(optimiser, T_0=15, T_mult=2, eta_min=1e-5)
    for epoch in range(40):
        rates = [1e-4 * warm_restarts(step, 200) for step in range(5 * epoch, 5 * epoch + 5)]
        assert rates == pytest.approx([optimiser.param_groups[0]["lr"]] * 5)
        optimiser.step()
        schedule.step()


def test_degradation_changes_some_images_and_keeps_their_range():
    images = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with seeded(0):
        degraded = degradation()(images)
    assert degraded.shape == images.shape
    changed = (degraded - images).abs().amax((1, 2, 3)) > 1e-3
    assert 15 < changed.sum() < 40
    assert degraded.min() > -0.02
    assert degraded.max() < 1.02


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"each": 0}, {"models": 1}])
def test_wrong_recipes(wrong):
    with pytest.raises(InputError, match="steps, each, models"):
        replace(TINY, **wrong)


def test_an_unknown_scale_is_refused_before_training():
    with pytest.raises(InputError, match="one of linear, root, log"):
        replace(TINY, scale="square")


def test_large_reals_are_refused(noise):
    with pytest.raises(InputError, match="32x32"):
        extractor.train_extractor(Shades(), [noise(4), noise(4, c=3, size=64)], TINY, name="large")


def test_images_of_a_grey_set_stay_grey(noise, tmp_path, monkeypatch):
    """Both sets are drawn from; what models make of grey images reaches the denoiser grey, the rest in colour."""
    seen, residuals = [], spectrum.residuals()

    def watched(images):
        seen.append((images[:, :1] == images).all())
        return residuals(images)

    class Tinted(Shades):
        def draw(self, images, *, each):
            assert images.shape[1] == 3
            made = super().draw(images, each=each)
            made.images[:, 0] += 9
            return made

    monkeypatch.setattr(extractor, "residuals", lambda *_, **__: watched)
    extractor.train_extractor(Tinted(), [noise(4), noise(4, c=3)], replace(TINY, steps=8), name="grey", folder=tmp_path)
    assert set(seen) == {True, False}


def test_encoder_ignores_the_mirrored_half():
    encoder = extractor.SpectrumEncoder().eval()
    spectra = torch.rand(2, 3, 32, 32)
    other = spectra.clone()
    other[..., 17:] = 0
    assert torch.equal(encoder(spectra), encoder(other))
    other[..., 16] = 0
    assert not torch.equal(encoder(spectra), encoder(other))


def test_encoder_starts_as_the_cosine_of_spectra_whatever_their_strength():
    with seeded(0):
        encoder = extractor.SpectrumEncoder().eval()
    spectra = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    features = encoder(spectra)
    torch.testing.assert_close(encoder(9 * spectra), features, rtol=1e-3, atol=1e-3)
    given, found = (nn.functional.normalize(some.flatten(1)) for some in (spectra[..., :17], features))
    torch.testing.assert_close(found @ found.T, given @ given.T, rtol=0, atol=0.03)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """An extractor after three steps."""
    reals = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)
    return extractor.train_extractor(Shades(), [reals], TINY, name="tiny", folder=tmp_path_factory.mktemp("extractor"))


def test_interrupted_training_ends_in_the_same_weights(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    reals = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)
    draw, calls = Shades.draw, []

    def fatal(self, images, *, each):
        calls.append(len(calls))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return draw(self, images, each=each)

    monkeypatch.setattr(Shades, "draw", fatal)
    with pytest.raises(KeyboardInterrupt):
        extractor.train_extractor(Shades(), [reals], TINY, name="tiny")
    again = extractor.train_extractor(Shades(), [reals], TINY, name="tiny")
    assert len(calls) == 4
    whole, parts = (files.load_tensors(path)[0] for path in (checkpoint, again))
    assert all(torch.equal(whole[key], parts[key]) for key in whole)
    assert checkpoint.stat().st_size < 10e6
    assert files.load_tensors(again)[1]["recipe"] == files.load_tensors(checkpoint)[1]["recipe"]


def test_robust_training_takes_other_steps(checkpoint, tmp_path):
    reals = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 32), np.uint8)
    robust = extractor.train_extractor(Shades(), [reals], replace(TINY, robust=True), name="robust", folder=tmp_path)
    plain, other = (files.load_tensors(path)[0] for path in (checkpoint, robust))
    assert not all(torch.equal(plain[key], other[key]) for key in plain)


def test_extractor_gives_a_feature_an_image(checkpoint, noise, tmp_path):
    extract = Extractor(checkpoint)
    images = noise(5, c=3)
    features = extract(images)
    assert (features.shape, features.dtype) == ((5, 896), np.float32)
    np.testing.assert_allclose(extract(images[2:3]), features[2:3], rtol=1e-3, atol=1e-4)
    assert not np.allclose(features[0], features[1])
    with pytest.raises(InputError, match="32x32 pixels expected, not 64x32"):
        extract(np.zeros((1, 3, 32, 64), np.uint8))
    files.save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {})
    with pytest.raises(InputError, match="not a fingerprint extractor"):
        Extractor(tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="'nobody': not trained yet"):
        extractor.find("nobody")


def brightness(images):
    """Stand-in for an extractor: where on a quarter circle the mean of an image lies."""
    angle = images.mean((1, 2, 3)) / 255 * np.pi / 2
    return np.stack([np.cos(angle), np.sin(angle)], 1)


@pytest.fixture
def folders(tmp_path):
    """A gallery of a dark and a bright model, two images each, and an empty query folder."""
    for name, level in (("dark", 20), ("bright", 220)):
        for number in range(2):
            save(tmp_path / "gallery" / name / f"{number}.png", level + number)
    (tmp_path / "query").mkdir()
    return tmp_path / "gallery", tmp_path / "query"


def save(path, level, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, level).save(path)


def test_query_images_are_named_one_by_one_and_together(folders):
    gallery, query = folders
    for name, level, size in (("a.png", 30, (32, 32)), ("b.png", 200, (50, 40)), ("c.png", 210, (32, 32))):
        save(query / name, level, size)
    table, remarks = identify.identify(gallery, query, brightness)
    assert table["file"].tolist() == ["a.png", "b.png", "c.png", "(all)"]
    assert table["model"].tolist() == ["dark", "bright", "bright", "bright"]
    assert table["runner_up"].tolist() == ["bright", "dark", "dark", "dark"]
    assert table["cosine"][0] == pytest.approx(np.cos((30 - 20.5) / 255 * np.pi / 2), abs=1e-6)
    assert remarks[0] == "query: images of 2 sizes (32x32, 50x40), none resized"
    assert remarks[1] == "gallery: fewer than 10 images of bright, dark"
    save(gallery / "dark" / "large.png", 20, (64, 48))
    _, remarks = identify.identify(gallery, query, brightness)
    assert remarks[1] == "gallery: images of other sizes than the query's (64x48), none resized"


def test_one_query_image_is_named_with_a_remark(folders):
    gallery, query = folders
    save(query / "a.png", 30)
    save(gallery / ".ipynb_checkpoints" / "a.png", 30)  # no model
    table, remarks = identify.identify(gallery, query, brightness)
    assert table["model"].tolist() == ["dark"]
    assert remarks[0].startswith("query: 1 image; several")


def test_folders_that_cannot_be_used_are_named(folders):
    gallery, query = folders
    with pytest.raises(InputError, match="query: holds no image"):
        identify.identify(gallery, query, brightness)
    save(query / "small.png", 30, (31, 40))
    with pytest.raises(InputError, match=r"small.png: 31x40 pixels; at least 32x32"):
        identify.identify(gallery, query, brightness)
    (query / "small.png").write_text("no image")
    with pytest.raises(InputError, match=r"small.png: cannot be read"):
        identify.identify(gallery, query, brightness)
    with pytest.raises(InputError, match="0 folders; one of images for each model"):
        identify.identify(query, gallery, brightness)
    for inner, outer in ((gallery, gallery / "dark"), (gallery.parent, gallery), (gallery, gallery)):
        with pytest.raises(InputError, match="apart from each other"):
            identify.identify(inner, outer, brightness)


def test_command_prints_and_writes_the_table(folders, checkpoint, monkeypatch, capsys, tmp_path):
    gallery, query = folders
    words = ["synthesis", "identify", "--gallery", str(gallery), "--query", str(query), "--extractor", str(checkpoint)]
    assert main(monkeypatch, *words) == 2
    assert "holds no image" in capsys.readouterr().err
    save(query / "a.png", 30)
    assert main(monkeypatch, *words, "--out", str(tmp_path / "table.csv")) == 0
    shown = capsys.readouterr()
    assert "a.png" in shown.out
    assert "query: 1 image" in shown.err
    header, row = (tmp_path / "table.csv").read_text().splitlines()
    assert header == "file,model,cosine,runner_up,runner_up_cosine"
    assert row.startswith("a.png,")
    assert main(monkeypatch, *words, "--out", str(tmp_path / "table.png")) == 2


def test_training_commands_say_what_is_missing(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    assert main(monkeypatch, "synthesis", "train", "mine") == 2
    assert "0 synthetic models, two at least" in capsys.readouterr().err
    assert main(monkeypatch, "synthesis", "train-models", "--dataset", "fashion-mnist") == 2
    assert "fashion-mnist: images are grey" in capsys.readouterr().err
    assert not list(paths.home().glob("synthesis/**/*.safetensors"))


def test_an_extractor_is_trained_on_the_models_of_a_folder(monkeypatch, capsys, tmp_path):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    list(train_synthetic_models(chosen=architectures()[:2], seeds=1, steps=1, out=tmp_path / "models"))
    words = ["synthesis", "train", "mine", "--checkpoints", str(tmp_path / "models"), "--scale", "log"]
    assert main(monkeypatch, *words, "--steps", "1", "--models", "2", "--each", "2") == 0
    path = tmp_path / "networks" / "extractor-mine.safetensors"
    assert capsys.readouterr().out.strip() == str(path)
    assert extractor.find("mine") == path
    settings = Extractor(path).settings
    assert (settings["categories"], settings["recipe"]["scale"]) == (2, "log")
