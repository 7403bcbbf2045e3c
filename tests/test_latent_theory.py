"""The linearised theory where it is exact: predicted error rates and quality against simulation."""

import numpy as np
import pytest
import torch

from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.generators import LatentGenerator
from manifpt.latent.keys import random_keys
from manifpt.latent.theory import jacobian, least_squares, linear_generator, predict_reading
from manifpt.utils.errors import InputError

N = 20_000


@pytest.fixture(scope="module")
def toy():
    """A linear generator, a fingerprinter of 6 bits, and the Jacobian."""
    generator = linear_generator(dimension=20, size=6)
    fingerprinter = LatentFingerprinter(generator, key_length=6, shift=8, sigma=0.15, n_pca=2000)
    return generator, fingerprinter, jacobian(generator, fingerprinter.mean_)


def simulated(toy, noise, prior=False):
    """Share of wrong bits, float (6,), of images without rounding, read by least squares."""
    generator, fingerprinter, derivative = toy
    keys = torch.from_numpy(random_keys(N, 6, np.random.default_rng(1))).float()
    images = generator.render(fingerprinter.compose(fingerprinter.contents(N, seed=2), keys)).flatten(1)
    residual = images - generator.render(fingerprinter.mean_[None]).flatten(1)
    residual = residual + noise * torch.randn(residual.shape, generator=torch.Generator().manual_seed(3))
    if prior:
        ridge = (noise / fingerprinter.deviations_).double().diag() @ fingerprinter.content_.double()
        derivative = torch.cat([derivative, ridge])
        residual = torch.cat([residual, torch.zeros(N, len(ridge))], 1)
    read = least_squares(fingerprinter, derivative, residual)
    return ((read > 0.5) != (keys > 0.5)).double().mean(0).numpy()


@pytest.mark.parametrize("prior", [False, True])
@pytest.mark.parametrize("noise", [0.05, 0.1, 0.2])
def test_predicted_error_rates_match_simulation(toy, noise, prior):
    predicted = predict_reading(toy[1], toy[2], noise=noise, prior=prior).bit_error
    found = simulated(toy, noise, prior)
    assert (abs(found - predicted) < 4 * np.sqrt(predicted * (1 - predicted) / N) + 1e-4).all()
    assert noise < 0.2 or predicted.min() > 0.03  # that there is something to predict


def test_the_prior_helps(toy):
    for noise in (0.02, 0.05, 0.1):
        plain, informed = (predict_reading(toy[1], toy[2], noise=noise, prior=prior) for prior in (False, True))
        assert (informed.bit_error <= plain.bit_error).all()
        assert plain.change == informed.change


def test_change_is_the_mean_squared_distance_of_twins(toy):
    generator, fingerprinter, derivative = toy
    keys = torch.from_numpy(random_keys(N, 6, np.random.default_rng(1))).float()
    moved = generator.render(keys @ fingerprinter.key_).flatten(1).square().sum(1).mean()
    prediction = predict_reading(fingerprinter, derivative)
    assert prediction.change == pytest.approx(moved.item(), rel=0.02)


def test_error_falls_with_sigma_and_equals_the_formula_for_one_direction():
    flat = LatentGenerator("flat", 2, lambda n: torch.randn(n, 2) * torch.tensor([2.0, 1.0]), lambda w: flat_image(w))
    for sigma, wrong in ((1.0, 0.3085), (2.0, 0.1587), (4.0, 0.0228)):  # Q(sigma / 2), noise and |B| / sigma being 1
        fingerprinter = LatentFingerprinter(flat, key_length=1, sigma=sigma, n_pca=5000)
        prediction = predict_reading(fingerprinter, jacobian(flat, torch.zeros(2)), noise=1.0)
        assert prediction.bit_error[0] == pytest.approx(wrong, abs=1e-4)
        assert prediction.change == pytest.approx(sigma**2 / 2)
        assert prediction.separation[0] == pytest.approx(sigma / 2)


def flat_image(w):
    """Codes (n, 2) as images of three pixels, the last black."""
    return torch.nn.functional.pad(w, (0, 1))[:, None, None]


def test_a_direction_without_effect_is_a_guess():
    blind = LatentGenerator(
        "blind", 3, lambda n: torch.randn(n, 3) * torch.tensor([3.0, 2.0, 1.0]), lambda w: flat_image(w[:, :2])
    )
    fingerprinter = LatentFingerprinter(blind, key_length=2, n_pca=5000)
    fingerprinter.key_ = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    fingerprinter.content_ = torch.tensor([[1.0, 0.0, 0.0]])
    error = predict_reading(fingerprinter, jacobian(blind, torch.zeros(3)), noise=0.1).bit_error
    assert error == pytest.approx([0.0, 0.5], abs=1e-5)


def test_the_jacobian_is_that_of_finite_differences():
    curved = LatentGenerator("curved", 3, torch.randn, lambda w: flat_image(w[:, :2].sin() * w[:, 2:]))
    code, step = torch.tensor([0.3, -0.5, 0.7]), 1e-3
    ahead, behind = (curved.render(code + sign * step * torch.eye(3)).flatten(1) for sign in (1, -1))
    torch.testing.assert_close(jacobian(curved, code).float(), ((ahead - behind) / (2 * step)).t(), atol=1e-3, rtol=0)


def test_wrong_input_is_named(toy):
    with pytest.raises(InputError, match=r"^noise"):
        predict_reading(toy[1], toy[2], noise=0)
    with pytest.raises(InputError, match=r"^dimension"):
        linear_generator(dimension=64, size=8)
