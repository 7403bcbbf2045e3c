import numpy as np
import pytest

from manifpt import toys
from manifpt.utils.errors import InputError

TOYS = [toys.circle(), toys.sphere(), toys.swiss_roll(), toys.subspace()]
NAMES = [toy.name for toy in TOYS]


@pytest.fixture(params=TOYS, ids=NAMES)
def toy(request):
    return request.param


def equation(toy, x):
    """How far `x` is from obeying the equation of the manifold, without any projection."""
    if toy.name == "subspace":
        drawn = toy.sample(50, seed=1).astype(np.float64)
        return np.abs(x - x @ np.linalg.pinv(drawn, rcond=1e-4) @ drawn).max(1)
    if toy.name == "swiss roll":
        radius, angle = np.hypot(x[:, 0], x[:, 2]) * 10, np.arctan2(x[:, 2], x[:, 0])
        return np.abs((radius - angle + np.pi) % (2 * np.pi) - np.pi)
    return np.abs(np.linalg.norm(x, axis=1) - 1)


def test_names_and_dimensions():
    assert [(t.name, t.dimension, t.sample(1, seed=0).shape[1]) for t in TOYS] == [
        ("circle", 1, 2),
        ("sphere", 2, 3),
        ("swiss roll", 2, 3),
        ("subspace", 3, 20),
    ]


def test_sample_lies_on_the_manifold_and_depends_on_its_seed_alone(toy):
    points = toy.sample(300, seed=3)
    assert points.dtype == np.float32
    assert equation(toy, points).max() < 2e-6
    np.testing.assert_allclose(toy.foot(points), points, atol=1e-6)
    np.testing.assert_array_equal(points, toy.sample(300, seed=3))
    assert not np.array_equal(points, toy.sample(300, seed=4))


def test_sample_has_the_intrinsic_dimension(toy):
    points = toy.sample(4000, seed=0).astype(np.float64)
    near = points[np.argsort(np.linalg.norm(points - points[[0]], axis=1))[:40]]
    values = np.linalg.svd(near - near.mean(0), compute_uv=False)
    assert (values > 0.2 * values[0]).sum() == toy.dimension


def test_no_point_of_the_manifold_is_nearer_than_the_foot_point(toy):
    known = toy.sample(4000, seed=0)
    x = known[:200] + np.random.default_rng(1).normal(scale=0.6, size=(200, known.shape[1]))
    foot = toy.foot(x)
    distance = np.linalg.norm(x - foot, axis=1)
    nearest = np.linalg.norm(x[:, None] - known, axis=2).min(1)
    assert foot.dtype == np.float64
    assert equation(toy, foot).max() < 1e-6
    assert (distance <= nearest + 1e-6).all()
    assert (nearest - distance).mean() < 0.05


def test_swiss_roll_agrees_with_a_dense_scan_of_its_spiral_everywhere():
    low, high = np.array([-1.6, -0.5, -1.6]), np.array([1.6, 2.6, 1.6])
    x = np.random.default_rng(0).uniform(low, high, (200, 3))
    t = np.linspace(1.5 * np.pi, 4.5 * np.pi, 20001)
    spiral = np.stack([t * np.cos(t), t * np.sin(t)], axis=1) / 10
    across = np.linalg.norm(x[:, None, [0, 2]] - spiral, axis=2).min(1)
    along = x[:, 1] - np.clip(x[:, 1], 0, 2.1)
    distance = np.linalg.norm(x - toys.swiss_roll().foot(x), axis=1)
    np.testing.assert_allclose(distance, np.hypot(across, along), atol=4e-4)  # half a step of the scan


def test_points_beside_are_at_the_height_asked_for(toy):
    x, foot = toy.beside(300, height=0.1, seed=5)
    assert x.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(x - foot, axis=1), 0.1, rtol=1e-5)
    np.testing.assert_allclose(toy.foot(x), foot, atol=2e-6)
    again, _ = toy.beside(300, height=0.1, seed=5)
    np.testing.assert_array_equal(x, again)


def test_points_at_height_zero_are_their_own_foot_points(toy):
    x, foot = toy.beside(50, height=0, seed=5)
    np.testing.assert_array_equal(x, foot.astype(np.float32))
    assert equation(toy, foot).max() < 1e-7


def test_what_has_no_answer_is_refused():
    with pytest.raises(InputError, match="row 1 is the centre"):
        toys.circle().foot(np.array([[1.0, 0], [0, 0]]))
    with pytest.raises(InputError, match="1 to ambient = 3"):
        toys.subspace(4, 3)
