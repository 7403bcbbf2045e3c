"""The first part of a search: nearer from every start, one image like another, the best end first."""

import numpy as np
import pytest
import torch

from manifpt.latent.approach import BEST, TRUSTED, approach, noise_of
from manifpt.latent.theory import ROUNDING

pytestmark = pytest.mark.usefixtures("one_thread")
D = 6


@pytest.fixture(scope="module")
def problem():
    """A linear map of 6 coordinates to 2x8 pixels, its eigenvectors, and images that it makes of known coordinates."""
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(D, 16, generator=rng) * torch.logspace(0, -1.5, D)[:, None]
    _, vectors = torch.linalg.eigh(matrix @ matrix.T)
    truth = torch.randn(5, D, generator=rng) / 2

    def show(u):
        return (0.2 * u @ matrix).view(-1, 1, 2, 8)

    return show, show(truth), truth, vectors.T.contiguous()


def residuals(show, ends, images):
    pairs = zip(ends, images, strict=True)
    return torch.stack([(show(end) - image).square().flatten(1).mean(1).sqrt() for end, image in pairs])


def test_the_truth_is_approached_and_the_best_comes_first(problem):
    show, images, truth, basis = problem
    starts = torch.randn(5, 3, D, generator=torch.Generator().manual_seed(1))
    ends = approach(show, images, starts, basis)
    left = residuals(show, ends, images)
    assert (left[:, 0] < 3 * ROUNDING).all()
    assert (left[:, 0] <= left.min(1).values + 1e-6).all()
    assert (left < residuals(show, starts, images).amin(1, keepdim=True)).all()
    np.testing.assert_allclose(ends[:, 0], truth, atol=0.3)


def test_an_image_walks_alike_alone_and_among_others(problem):
    show, images, _, basis = problem
    starts = torch.zeros(5, 2, D)
    starts[:, 1] = 1
    together = approach(show, images, starts, basis)
    np.testing.assert_allclose(approach(show, images[2:3], starts[2:3], basis)[0], together[2], atol=1e-3)


def test_the_noise_falls_as_the_square_down_to_the_rounding():
    noise = noise_of(torch.tensor([1.0, TRUSTED, TRUSTED / 2, 0.0]))
    np.testing.assert_allclose(noise, [1.0, TRUSTED, max(TRUSTED / 4, ROUNDING), ROUNDING], rtol=1e-6)
    assert BEST[2] < BEST[1]
