import numpy as np
import oracles
import pytest

from manifpt import fingerprints
from manifpt.fingerprints import Fingerprint, Statement
from manifpt.utils.errors import InputError


def make(n=40, shape=(3, 4, 4), seed=0):
    artifacts = np.random.default_rng(seed).normal(0.2, 1, (n, *shape)).astype(np.float32)
    return Fingerprint("dcgan", "rgb", "nearest", artifacts)


def nearest(points, reference):
    return reference[np.linalg.norm(points[:, None] - reference, axis=2).argmin(1)]


def circle(n, seed, radius=1.0):
    angle = np.random.default_rng(seed).uniform(0, 2 * np.pi, n)
    return radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def test_moments_of_a_fingerprint():
    fingerprint = make()
    flat = fingerprint.artifacts.reshape(40, 48).astype(np.float64)  # (n, d)
    assert len(fingerprint) == 40
    np.testing.assert_allclose(fingerprint.mean, flat.mean(0).reshape(3, 4, 4))
    np.testing.assert_allclose(fingerprint.norms, [np.sqrt((row**2).sum()) for row in flat])
    assert Fingerprint("m", "rgb", "nearest", flat).artifacts.dtype == np.float32


def test_save_and_load(tmp_path):
    fingerprint, path = make(), tmp_path / "new" / "dcgan.npz"
    fingerprint.save(path)
    again = Fingerprint.load(path)
    assert (again.model, again.space, again.estimator) == ("dcgan", "rgb", "nearest")
    np.testing.assert_array_equal(again.artifacts, fingerprint.artifacts)
    assert again.artifacts.dtype == np.float32
    assert [p.name for p in path.parent.iterdir()] == ["dcgan.npz"]


def test_load_refuses_what_save_did_not_write(tmp_path):
    np.savez(tmp_path / "pickle.npz", model=np.array([{}], object), space="", estimator="", artifacts=np.ones((2, 2)))
    np.savez(tmp_path / "other.npz", x=np.ones(3))
    np.save(tmp_path / "array.npy", np.ones(3))
    (tmp_path / "text.npz").write_text("no archive")
    (tmp_path / "empty.npz").write_bytes(b"")
    make().save(tmp_path / "cut.npz")
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:-200])
    for name in ["pickle.npz", "other.npz", "array.npy", "text.npz", "empty.npz", "cut.npz", "absent.npz"]:
        with pytest.raises(InputError, match=rf"{name}: not a fingerprint"):
            Fingerprint.load(tmp_path / name)


def test_precision_and_recall_statements_on_the_circle():
    generated = np.concatenate([circle(30, 0), circle(10, 1, radius=1.2)])
    foot = generated / np.linalg.norm(generated, axis=1, keepdims=True)
    norms = np.linalg.norm(generated - foot, axis=1)
    on_circle = np.isclose((generated**2).sum(1), 1)
    precision = fingerprints.precision_statement(norms, on_circle, atol=1e-9)
    assert precision == Statement(0.75, "==", 0.75)
    assert fingerprints.precision_statement(norms[:30], on_circle[:30], atol=1e-9).left == 1
    assert not fingerprints.precision_statement(norms, ~on_circle, atol=1e-9).holds
    # S is the right half of the circle; its nearest point to a real x on the left is an end of the half.
    real = circle(50, 2)
    ends = np.stack([np.zeros(50), np.sign(real[:, 1])], 1)
    reverse = np.linalg.norm(real - np.where(real[:, :1] >= 0, real, ends), axis=1)
    recall = fingerprints.recall_statement(reverse, real[:, 0] >= 0)
    assert recall.holds
    assert 0 < recall.left < 1


def test_shares_of_zero_artifacts():
    norms, none = np.array([0, 0, 0.1, 2]), np.zeros(4, bool)
    assert fingerprints.precision_statement(norms, none).left == 0.5
    assert fingerprints.precision_statement(norms, none, atol=0.1).left == 0.75
    assert fingerprints.recall_statement(np.array([0, 1.0]), none[:2]).left == 0.5


@pytest.mark.parametrize(("n", "m"), [(6, 6), (3, 2)])
def test_w1_and_mmd_are_the_formulas(n, m):
    rng = np.random.default_rng(3)
    generated, projection, reference = (rng.normal(size=(k, 3)) for k in (n, n, m))
    bounds = fingerprints.ipm_bounds(generated, projection, reference, sigma=0.7)
    alike = (np.repeat(x, 6 // len(x), axis=0) for x in (generated, reference))
    assert bounds["w1_data"].right == pytest.approx(oracles.wasserstein1(*alike))
    assert bounds["mmd"].left == pytest.approx(oracles.gaussian_mmd(generated, projection, 0.7))


@pytest.mark.parametrize("m", [60, 45])
def test_ipm_bounds_hold_on_a_finite_manifold(m):
    rng = np.random.default_rng(6)
    generated, reference = rng.normal(0.5, 1, (60, 3)), rng.normal(size=(m, 3))
    projection = nearest(generated, reference)
    functions = {"norm": lambda x: np.linalg.norm(x, axis=1), "first": lambda x: np.sin(x[:, 0])}
    bounds = fingerprints.ipm_bounds(generated, projection, reference, functions=functions)
    expected = np.mean([np.linalg.norm(x - y) for x, y in zip(generated, projection, strict=True)])
    assert set(bounds) == {"mmd", "w1_projection", "w1_minimum", "w1_data", "linear", "norm", "first"}
    assert all(statement.holds for statement in bounds.values())
    assert bounds["w1_projection"].left == pytest.approx(expected)
    assert bounds["w1_minimum"].left == pytest.approx(expected)
    assert bounds["w1_data"].right > 1.1 * expected
    norm = abs(np.linalg.norm(generated, axis=1).mean() - np.linalg.norm(projection, axis=1).mean())
    assert bounds["norm"].left == pytest.approx(norm)


def test_the_mmd_bound_is_sharp_for_small_artifacts_of_few_points():
    bound = fingerprints.ipm_bounds(np.array([[1e-3, 0]]), np.zeros((1, 2)), np.zeros((1, 2)), sigma=2.0)["mmd"]
    assert bound.left == pytest.approx(bound.right, rel=1e-3)
    assert bound.right == pytest.approx(5e-4)


def test_ipm_bounds_hold_for_the_foot_point_and_tell_a_wrong_projection():
    generated, reference = circle(50, 7, radius=1.3), circle(50, 8)
    foot = fingerprints.ipm_bounds(generated, generated / 1.3, reference)
    assert all(statement.holds for statement in foot.values())
    assert foot["w1_minimum"].left == pytest.approx(0.3)
    wrong = fingerprints.ipm_bounds(generated, reference, reference)
    assert wrong["w1_projection"].holds
    assert wrong["mmd"].holds
    assert not wrong["w1_minimum"].holds


def test_ipm_bounds_of_a_perfect_and_of_a_constant_model():
    reference = np.random.default_rng(9).normal(size=(20, 4))
    for points in (reference, np.full((20, 4), 0.3)):
        bounds = fingerprints.ipm_bounds(points, points, points)
        assert all(statement.holds for statement in bounds.values())
        assert {statement.right for statement in bounds.values()} == {0}


def test_calibrated_against_held_out_reals():
    rng = np.random.default_rng(10)
    generated, held_out = rng.random(50) + 0.5, rng.random(80)
    scores = fingerprints.calibrated(generated, held_out)
    pairs = [(g > h) + 0.5 * (g == h) for g in generated for h in held_out]
    assert scores["auc"] == pytest.approx(np.mean(pairs))
    assert scores["ratio"] == pytest.approx(generated.mean() / held_out.mean())
    assert fingerprints.calibrated(held_out, held_out)["auc"] == 0.5
    assert fingerprints.calibrated(generated, np.zeros(3))["ratio"] == np.inf
    assert np.isnan(fingerprints.calibrated(np.zeros(2), np.zeros(3))["ratio"])


X, NORMS = np.ones((4, 2)), np.ones(4)


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("artifacts", lambda: Fingerprint("m", "rgb", "nearest", np.array([[np.nan, 1]]))),
        ("artifacts", lambda: Fingerprint("m", "rgb", "nearest", np.ones((0, 3)))),
        ("artifact_norms", lambda: fingerprints.precision_statement(X, NORMS > 0)),
        ("artifact_norms", lambda: fingerprints.precision_statement(-NORMS, NORMS > 0)),
        ("reverse_norms", lambda: fingerprints.recall_statement(NORMS * np.nan, NORMS > 0)),
        ("on_manifold", lambda: fingerprints.precision_statement(NORMS, NORMS)),
        ("in_support", lambda: fingerprints.recall_statement(NORMS, np.zeros(0, bool))),
        ("in_support", lambda: fingerprints.recall_statement(NORMS, np.ones(3, bool))),
        ("sigma", lambda: fingerprints.ipm_bounds(X, X, X, sigma=0)),
        ("projection", lambda: fingerprints.ipm_bounds(X, X[:1], X)),
        ("reference", lambda: fingerprints.ipm_bounds(X, X, X[:, :1])),
        ("projection", lambda: fingerprints.ipm_bounds(X, X[:3], X)),
        ("reference", lambda: fingerprints.ipm_bounds(X, X, X * np.inf)),
        ("held_out_norms", lambda: fingerprints.calibrated(NORMS, NORMS[:0])),
    ],
)
def test_wrong_input_is_named(named, call):
    with pytest.raises(InputError, match=rf"^[a-z_, ]*\b{named}\b[a-z_, ]*: "):
        call()
