"""Keys read by Gauss-Newton: exact where the generator is linear, each part against what it must be."""

import numpy as np
import pytest
import torch

from manifpt.latent import newton
from manifpt.latent.adam import latin_hypercube
from manifpt.latent.attacks import ATTACKS, attacked
from manifpt.latent.fingerprinter import LatentFingerprinter, to_float
from manifpt.latent.generators import LatentGenerator, load_generator
from manifpt.latent.keys import random_keys
from manifpt.latent.newton import NewtonEstimator, Place, Prior
from manifpt.latent.theory import ROUNDING, jacobian, linear_generator
from manifpt.latent.warm import train_warm_start
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
LENGTH, N = 8, 6
D = 6  # coordinates of the problem for Adam


@pytest.fixture(scope="module")
def toy():
    return LatentFingerprinter(linear_generator(dimension=16), key_length=LENGTH, sigma=0.5, n_pca=1000)


def marked(fingerprinter, n=N):
    """Random keys, and an image with each."""
    keys = random_keys(n, LENGTH, np.random.default_rng(0))
    return keys, fingerprinter.embed(keys, n, seed=1)


@pytest.fixture
def at_once(monkeypatch):
    """Gauss-Newton steps from the starts themselves."""
    monkeypatch.setattr(newton, "approach", lambda show, target, starts, basis: starts)


def test_keys_come_back_whole_where_the_generator_is_linear(toy):
    keys, images = marked(toy)
    read = NewtonEstimator(toy).estimate(images)
    assert (read.bits == keys).all()
    assert (read.bits.dtype, read.phi.shape, read.alpha.shape) == (np.uint8, (N, LENGTH), (N, 16 - LENGTH))
    np.testing.assert_allclose(read.alpha, toy.contents(N, seed=1), atol=0.05)
    np.testing.assert_allclose(read.loss, ROUNDING, rtol=0.5)


def test_one_step_solves_the_regularised_problem(toy):
    """Of a generator that keeps its range, against the normal equations."""
    x = to_float(marked(toy)[1])
    estimator = NewtonEstimator(toy)
    columns = estimator._render(torch.eye(16)).flatten(1) - estimator._render(torch.zeros(1, 16)).flatten(1)
    for image in x:
        place = estimator._place(image, torch.zeros(16))
        assert place.image.abs().max() < 1
        small, large = (
            estimator._derivative(place, noise).stepper(place, noise, Prior())(0.0)
            for noise in (place.rms / 5, place.rms)
        )
        noise = place.rms / 5
        matrix = columns @ columns.T / noise**2 + torch.eye(16)
        exact = torch.linalg.solve(matrix, -columns @ place.residual / noise**2)
        assert (small - exact).norm() < 0.05 * exact.norm()
        assert large.norm() < exact.norm()  # what is not explained holds back


def test_derivatives_are_those_of_automatic_differentiation():
    fingerprinter = LatentFingerprinter(load_generator(device="cpu"), key_length=LENGTH, sigma=2.0, n_pca=1000)
    estimator = NewtonEstimator(fingerprinter)
    u = 0.5 * torch.randn(256, generator=torch.Generator().manual_seed(0))
    place = estimator._place(torch.full((1, 32, 32), 0.1), u)
    model = estimator._derivative(place, ROUNDING)
    free = (place.image.abs() <= 1).flatten() | (place.residual.abs() > 0.005)
    exact = jacobian(fingerprinter.generator, estimator._origin + u @ estimator._spread).float()
    exact = (exact @ estimator._spread.t() @ model.directions.t()).t() * free
    assert len(model.directions) == 256
    assert (model.columns - exact).norm() < 0.02 * exact.norm()
    error = (model.columns - exact).norm(dim=1) / exact.norm(dim=1)
    assert error[-50:].mean() < 0.04  # of directions that change little, where weak keys are written


def test_corrected_derivatives_tell_what_the_step_did_and_are_else_the_same():
    rng = torch.Generator().manual_seed(0)
    directions = torch.linalg.qr(torch.randn(6, 3, generator=rng)).Q.t()
    before, after = (
        Place(torch.randn(6, generator=rng), torch.zeros(1), torch.randn(5, generator=rng)) for _ in range(2)
    )
    model = newton.Linear(directions, torch.randn(3, 5, generator=rng))
    corrected = model.corrected(before, after)
    step = directions @ (after.u - before.u)
    torch.testing.assert_close(step @ corrected.columns, after.residual - before.residual)
    across = torch.linalg.svd(step[None]).Vh[1:]  # directions that the step did not take
    torch.testing.assert_close(across @ corrected.columns, across @ model.columns)


def test_derivatives_are_taken_anew_where_the_corrected_ones_mislead(toy, monkeypatch):
    """A correction that turns every step round costs derivatives, not keys."""

    def turned(model, before, after):
        return newton.Linear(model.directions, -model.columns)

    monkeypatch.setattr(newton.Linear, "corrected", turned)
    keys, images = marked(toy)
    assert (NewtonEstimator(toy).estimate(images).bits == keys).all()


def test_an_image_is_read_alike_alone_and_among_others(toy):
    _, images = marked(toy)
    together = NewtonEstimator(toy).estimate(images)
    alone = NewtonEstimator(toy).estimate(images[3:4])
    np.testing.assert_allclose(together.phi[3], alone.phi[0], atol=1e-3)


def test_pixels_beyond_the_range_that_fit_say_nothing():
    """A second pixel, 3 times as steep and beyond white, would pull the code of an image that is one below."""
    matrix = torch.tensor([[1.0, 0.0], [0.0, 1.0]])

    def render(w):
        pixels = torch.stack([0.2 * w[:, 0], 2 + 0.1 * w[:, 0], 0.2 * w[:, 1], 0.1 * w[:, 1]], 1)
        return pixels.view(-1, 1, 2, 2)

    generator = LatentGenerator("beyond", 2, lambda n: torch.randn(n, 2) @ matrix, render)
    fingerprinter = LatentFingerprinter(generator, key_length=1, sigma=2.0, n_pca=1000)
    keys = random_keys(20, 1, np.random.default_rng(0))
    read = NewtonEstimator(fingerprinter).estimate(fingerprinter.embed(keys, 20, seed=1))
    assert (read.bits == keys).all()
    assert (read.loss < 3 * ROUNDING).all()


def test_the_lowest_residual_wins(toy, at_once, monkeypatch):
    ends = [torch.full((64,), level) for level in (3.0, 1.0, 2.0, 1.0, 2.0, 3.0)]
    residuals = iter(ends)
    monkeypatch.setattr(NewtonEstimator, "_descend", lambda self, x, u: Place(u, x, next(residuals)))
    read = NewtonEstimator(toy, starts=3).estimate(marked(toy, 2)[1], seed=4)
    assert read.loss.tolist() == [1.0, 1.0]
    np.testing.assert_allclose(read.alpha, torch.stack([latin_hypercube(toy, 3, 4)[1], torch.zeros(8)]), atol=1e-6)


def test_an_undecided_bit_is_decided_by_what_each_value_leaves(toy):
    keys, images = marked(toy)
    estimator = NewtonEstimator(toy)
    alpha = toy.contents(N, seed=1) / toy.deviations_
    truth = torch.cat([alpha, 2.0 * torch.from_numpy(keys) - 1], 1)
    for x, u in zip(to_float(images), truth, strict=True):
        middle = u.clone()
        middle[-1] = -0.1 * u[-1]  # a little on the wrong side
        place = estimator._place(x, middle)
        decided = estimator._decide(x, place)
        np.testing.assert_allclose(decided.u[-LENGTH:], u[-LENGTH:], atol=2e-2)
        sure = estimator._place(x, u)
        assert estimator._decide(x, sure) is sure


def test_a_plateau_ends_the_search(toy, at_once, monkeypatch):
    taken, whole = [], newton.Linear.stepper

    def little(self, place, noise, prior):
        taken.append(place.rms)
        step = whole(self, place, noise, prior)
        return lambda damping: 1e-3 * step(damping)

    monkeypatch.setattr(newton.Linear, "stepper", little)
    NewtonEstimator(toy, starts=1, steps=30).estimate(marked(toy, 1)[1])
    assert len(taken) == newton.PATIENCE
    assert taken == sorted(taken, reverse=True)


def test_the_search_goes_on_below_the_noise_of_eight_bits(toy):
    keys, images = marked(toy, 1)
    estimator, x = NewtonEstimator(toy), to_float(images)[0]
    truth = torch.cat([toy.contents(1, seed=1)[0] / toy.deviations_, 2.0 * torch.from_numpy(keys)[0] - 1])
    best, weakest = estimator._descend(x, truth), estimator._averaged()[1][-1]
    start = estimator._place(x, best.u + 0.04 * weakest)
    assert start.rms < 1.05 * ROUNDING
    assert (estimator._descend(x, start.u).u - best.u).norm() < 0.01


@pytest.mark.parametrize("attack", [name for name in ATTACKS if name != "none"])
def test_a_known_attack_is_no_worse_than_an_unknown_one(toy, attack):
    keys, images = marked(toy, 20)
    spoilt = attacked(images, attack)
    unknown, known = (NewtonEstimator(toy, attack=name).estimate(spoilt) for name in ("none", attack))
    shares = [(read.bits == keys).mean() for read in (unknown, known)]
    assert shares[1] >= shares[0] - 0.02
    if attack in ("brightness", "crop-resize"):
        assert shares[1] > 0.95
        assert known.loss.mean() < 0.5 * unknown.loss.mean()


def test_a_warm_start_alone_and_before_the_search(toy, tmp_path):
    keys, images = marked(toy, 40)
    warm = train_warm_start(toy, steps=60, folder=tmp_path)
    alone = NewtonEstimator(toy, steps=0, warm_start=warm).estimate(images)
    assert (alone.bits == keys).mean() > 0.8
    after = NewtonEstimator(toy, warm_start=warm).estimate(images)
    assert (after.bits == keys).all()


def test_stylegan2_comes_nearer_with_every_step(at_once):
    fingerprinter = LatentFingerprinter(load_generator(device="cpu"), key_length=LENGTH, sigma=2.0, n_pca=1000)
    _, images = marked(fingerprinter, 2)
    few, more = (NewtonEstimator(fingerprinter, steps=n).estimate(images) for n in (1, 5))
    assert (more.loss < 0.8 * few.loss).all()


@pytest.mark.parametrize("wrong", [{"starts": 0}, {"steps": -1}, {"steps": 0}, {"attack": "rain"}])
def test_wrong_options_are_named(toy, wrong):
    with pytest.raises(InputError, match=rf"^{next(iter(wrong))}: .*(expected|choose)"):
        NewtonEstimator(toy, **wrong)


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
    ends = newton.approach(show, images, starts, basis)
    left = residuals(show, ends, images)
    assert (left[:, 0] < 3 * ROUNDING).all()
    assert (left[:, 0] <= left.min(1).values + 1e-6).all()
    assert (left < residuals(show, starts, images).amin(1, keepdim=True)).all()
    np.testing.assert_allclose(ends[:, 0], truth, atol=0.3)


def test_adam_moves_an_image_alike_alone_and_among_others(problem):
    show, images, _, basis = problem
    starts = torch.zeros(5, 2, D)
    starts[:, 1] = 1
    together = newton.approach(show, images, starts, basis)
    np.testing.assert_allclose(newton.approach(show, images[2:3], starts[2:3], basis)[0], together[2], atol=1e-3)


def test_the_noise_falls_as_the_square_down_to_the_rounding():
    noise = newton.noise_of(torch.tensor([1.0, newton.TRUSTED, newton.TRUSTED / 2, 0.0]))
    np.testing.assert_allclose(noise, [1.0, newton.TRUSTED, max(newton.TRUSTED / 4, ROUNDING), ROUNDING], rtol=1e-6)
    assert newton.BEST[2] < newton.BEST[1]
