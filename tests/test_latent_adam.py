"""Keys read back: whole on a linear generator, step by step on the real StyleGAN2; claims and the command line."""

from urllib.error import URLError

import numpy as np
import pytest
import torch
from lpips import LPIPS, pretrained_networks

from manifpt.latent import adam as estimating
from manifpt.latent.adam import AdamEstimator
from manifpt.latent.attacks import attacked
from manifpt.latent.fingerprinter import LatentFingerprinter, to_float
from manifpt.latent.generators import load_generator
from manifpt.latent.keys import random_keys
from manifpt.latent.theory import linear_generator
from manifpt.latent.warm import train_warm_start
from manifpt.nn.perceptual import Lpips
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTH, N = 8, 6


@pytest.fixture(scope="module")
def toy():
    return LatentFingerprinter(linear_generator(dimension=16), key_length=LENGTH, sigma=0.5, n_pca=1000)


@pytest.fixture(scope="module")
def stylegan2():
    return LatentFingerprinter(load_generator(device="cpu"), key_length=LENGTH, sigma=4.0, n_pca=1000)


def reader(fingerprinter, **options):
    return AdamEstimator(fingerprinter, **{"loss": "pixel", "starts": 2, "steps": 150} | options)


def marked(fingerprinter, n=N):
    """Random keys, and an image with each."""
    keys = random_keys(n, LENGTH, np.random.default_rng(0))
    return keys, fingerprinter.embed(keys, n, seed=1)


@pytest.mark.parametrize("units", ["raw", "whitened"])
def test_keys_come_back_whole_where_the_generator_is_linear(toy, units):
    keys, images = marked(toy)
    read = reader(toy, units=units).estimate(images)
    assert (read.bits == keys).all()
    assert (read.bits.dtype, read.phi.shape, read.alpha.shape) == (np.uint8, (N, LENGTH), (N, 16 - LENGTH))
    made = toy.generator.render(toy.compose(*map(torch.from_numpy, (read.alpha, read.phi))))
    assert (made - to_float(images)).square().mean() < 1e-3
    assert (abs(read.alpha) <= 3.1 * toy.deviations_.numpy()).all()


def test_an_image_is_read_alike_alone_and_among_others(toy):
    _, images = marked(toy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(estimating, "ROWS", 5)
        together = reader(toy).estimate(images)
    alone = reader(toy).estimate(images[3:4])
    np.testing.assert_allclose(together.phi[3], alone.phi[0], atol=1e-3)
    np.testing.assert_allclose(together.loss[3], alone.loss[0], atol=1e-5)


def test_the_lowest_loss_wins(toy, monkeypatch):
    """Each start ends where it began, with a loss of our choice."""
    ends = []

    def stay(self, x, target, seed):
        ends.append(x)
        return x, torch.tensor([3.0, 1.0, 2.0, 2.0, 3.0, 1.0])

    monkeypatch.setattr(AdamEstimator, "_descend", stay)
    read = reader(toy, starts=3).estimate(marked(toy, 2)[1])
    assert read.loss.tolist() == [1.0, 1.0]
    m = read.alpha.shape[1]
    np.testing.assert_allclose(read.alpha, ends[0][[1, 5], :m])


def test_starts_are_a_latin_hypercube_within_a_deviation(toy):
    alpha, kappa = reader(toy, starts=10)._begin(torch.zeros(2, 1, 8, 8), seed=0)
    strata = ((alpha[0] / toy.deviations_ + 1) / 2 * 10 - 0.5).sort(dim=0).values
    torch.testing.assert_close(strata, torch.arange(10.0)[:, None].expand_as(strata), atol=1e-3, rtol=0)
    assert torch.equal(alpha[0], alpha[1])
    assert not kappa.any()


def test_a_plateau_ends_the_search(toy, monkeypatch):
    steps = []
    loss = AdamEstimator._loss
    monkeypatch.setattr(AdamEstimator, "_loss", lambda self, x, *rest: steps.append(len(x)) or loss(self, x, *rest))
    keys, images = marked(toy)
    monkeypatch.setattr(estimating, "PLATEAU", 0.5)
    read = reader(toy, steps=1000).estimate(images)
    assert (read.bits == keys).all()
    assert len(steps) < 900
    assert steps == [*sorted(steps[:-1], reverse=True), 2 * N]  # rows only leave; at the end all are compared


def test_the_rate_falls_as_in_the_released_code(toy, monkeypatch):
    rates = []
    step = torch.optim.Adam.step
    monkeypatch.setattr(torch.optim.Adam, "step", lambda self: rates.append(self.param_groups[0]["lr"]) or step(self))
    monkeypatch.setattr(estimating, "PLATEAU", -np.inf)
    reader(toy, steps=100, starts=1).estimate(marked(toy, 1)[1])
    released = 0.2 * np.exp(-0.001 * np.arange(1, 2001))
    np.testing.assert_allclose(rates, released[19::20])  # as many steps in one


def test_knowing_the_attack_helps(toy):
    keys, images = marked(toy)
    spoilt = attacked(images, "brightness")
    unknown, known = (reader(toy, attack=name).estimate(spoilt) for name in ("none", "brightness"))
    assert (known.bits == keys).all()
    assert known.loss.mean() < 0.3 * unknown.loss.mean()


def test_a_warm_start_alone_and_before_the_search(toy, tmp_path):
    keys, images = marked(toy, 40)
    warm = train_warm_start(toy, steps=60, folder=tmp_path)
    alone = reader(toy, steps=0, starts=1, warm_start=warm).estimate(images)
    assert (alone.bits == keys).mean() > 0.8
    short = {"steps": 2, "starts": 1}
    cold, after = (reader(toy, **short, warm_start=first).estimate(images) for first in (None, warm))
    assert after.loss.mean() < cold.loss.mean()
    (state,) = tmp_path.glob("*.safetensors")
    written = state.read_bytes()
    for content in (written, written[:-100]):  # taken up; damaged, so trained anew
        state.write_bytes(content)
        again = train_warm_start(toy, steps=60, folder=tmp_path)
        assert torch.equal(again(to_float(images))[1], warm(to_float(images))[1])


def test_stylegan2_is_searched_with_features_and_pixels(stylegan2):
    _, images = marked(stylegan2, 2)
    few, more = (reader(stylegan2, loss="perceptual+pixel", steps=n, starts=1).estimate(images) for n in (1, 12))
    assert (more.loss < 0.8 * few.loss).all()


@pytest.mark.parametrize("wrong", [{"loss": "ssim"}, {"units": "cm"}, {"starts": 0}, {"steps": -1}, {"steps": 0}])
def test_wrong_options_are_named(toy, wrong):
    with pytest.raises(InputError, match=rf"^{next(iter(wrong))}: .*(expected|choose)"):
        reader(toy, **wrong)
    with pytest.raises(InputError, match=r"^steps"):
        train_warm_start(toy, steps=0)


def test_the_papers_distance_is_lpips(monkeypatch, stylegan2):
    built = pretrained_networks.tv.vgg16
    monkeypatch.setattr(pretrained_networks.tv, "vgg16", lambda pretrained: built())  # random, for want of a download
    with seeded(0):
        theirs = LPIPS(net="vgg", verbose=False)
    with seeded(0):
        ours = Lpips()
    some, others = to_float(stylegan2.embed(None, 4)).split(2)
    expected = theirs(some.expand(-1, 3, -1, -1), others.expand(-1, 3, -1, -1)).flatten()
    torch.testing.assert_close(ours.to_features(some, ours.features(others)), expected)
    first, last = (
        AdamEstimator(stylegan2, loss="lpips", starts=1, steps=steps).estimate(stylegan2.embed(None, 1)).loss
        for steps in (1, 10)
    )
    assert last < first


def test_a_network_that_cannot_be_had_is_named(monkeypatch, toy):
    def offline(pretrained):
        raise URLError("no route to host")

    monkeypatch.setattr(pretrained_networks.tv, "vgg16", offline)
    with pytest.raises(InputError, match=r"^lpips: the weights of VGG16 .*no route to host.*or use 'perceptual'"):
        reader(toy, loss="lpips")


def test_wrong_images_are_named(toy):
    for images in (np.zeros((2, 1, 8, 8), int), np.zeros((2, 3, 8, 8), np.uint8), np.zeros((0, 1, 8, 8), np.uint8)):
        with pytest.raises(InputError, match=r"images: .*expected"):
            reader(toy).estimate(images)
