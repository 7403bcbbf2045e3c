import numpy as np
import oracles
import pytest
from sklearn.covariance import LedoitWolf

from manifpt import metrics
from manifpt.utils.errors import InputError


def gaussian(n, d, seed, scale=1.0, shift=0.0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * scale + shift


def shrunk(x):
    return LedoitWolf().fit(x).covariance_


@pytest.mark.parametrize("n", [40, 6])
def test_frechet_distance_is_torchmetrics(n):
    import torch
    from torchmetrics.image.fid import _compute_fid

    a, b = gaussian(n, 8, 0), gaussian(n + 3, 8, 1, shift=0.3)
    moments = [torch.from_numpy(m) for x in (a, b) for m in (x.mean(0), np.cov(x, rowvar=False))]
    assert metrics.frechet_distance(a, b) == pytest.approx(float(_compute_fid(*moments)), rel=1e-5)


def test_frechet_distance_is_the_formula():
    a, b = gaussian(50, 6, 2), gaussian(70, 6, 3, scale=2)
    assert metrics.frechet_distance(a, b) == pytest.approx(oracles.frechet_distance(a, b), rel=1e-8)


def test_frechet_distance_with_a_ridge_is_the_formula():
    a, b = gaussian(5, 6, 2), gaussian(9, 6, 3)
    expected = oracles.frechet_distance(a, b, lambda x: np.cov(x, rowvar=False) + 0.01 * np.eye(6))
    assert metrics.frechet_distance(a, b, ridge=0.01) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_closed_forms():
    sphere = np.concatenate([np.eye(3), -np.eye(3)]) * np.sqrt(5 / 2)  # its covariance is the identity
    assert metrics.frechet_distance(sphere, sphere + 2) == pytest.approx(12)
    assert metrics.frechet_distance(2 * sphere, 3 * sphere) == pytest.approx(3)
    line = np.outer([1, -1], [1, 2, 2]) / np.sqrt(2)
    assert metrics.frechet_distance(line, np.zeros((4, 3))) == pytest.approx(9)
    a = gaussian(30, 4, 5)
    assert metrics.frechet_distance(a, a + 1) == pytest.approx(4)
    assert metrics.frechet_distance(np.full((5, 2), 0.1), np.full((7, 2), 0.1)) == 0
    for seed in range(9):
        x = gaussian(9, 4, seed)
        assert 0 <= metrics.frechet_distance(x, x[::-1]) < 1e-12


def test_fd_ratio_is_the_formula():
    sizes, labels = [20, 25, 31], np.repeat(["vae", "dcgan", "ddpm"], [20, 25, 31])
    features = np.concatenate([gaussian(n, 5, i, shift=i) for i, n in enumerate(sizes)])
    order = np.random.default_rng(1).permutation(len(labels))
    features, labels = features[order], labels[order]
    for seed in (0, 1):
        assert metrics.fd_ratio(features, labels, seed=seed) == pytest.approx(
            oracles.fd_ratio(features, labels, seed), rel=1e-8
        )
    assert metrics.fd_ratio(features, labels, seed=0) != metrics.fd_ratio(features, labels, seed=1)


def test_fd_ratio_shrinks_where_features_outnumber_a_half():
    labels = np.repeat([0, 1], 12)
    features = gaussian(24, 9, 8) + labels[:, None]  # a half has 6 samples, a class 12
    expected = oracles.fd_ratio(features, labels, 3, shrunk)
    assert metrics.fd_ratio(features, labels, seed=3) == pytest.approx(expected, rel=1e-5)
    few = oracles.fd_ratio(features[:, :3], labels, 3), oracles.fd_ratio(features[:, :3], labels, 3, shrunk)
    assert metrics.fd_ratio(features[:, :3], labels, seed=3) == pytest.approx(few[0], rel=1e-5)
    named = [metrics.fd_ratio(features[:, :3], labels, seed=3, covariance=c) for c in ("empirical", "ledoit-wolf")]
    assert named == pytest.approx(few, rel=1e-5)


def test_fd_ratio_of_equal_classes_is_a_half_and_grows_with_distance():
    labels = np.repeat([0, 1], 1000)
    noise = np.random.default_rng(0).normal(size=(2000, 30))
    assert metrics.fd_ratio(noise, labels, seed=0) == pytest.approx(0.5, rel=0.15)
    assert metrics.fd_ratio(noise + labels[:, None], labels, seed=0) > 15


def test_fd_ratio_of_constant_classes():
    labels = np.repeat([0, 1], 8)
    assert metrics.fd_ratio(np.repeat([[0.1, 0.3], [0.7, 0.3]], 8, axis=0), labels, seed=0) == np.inf
    assert np.isnan(metrics.fd_ratio(np.full((16, 2), 0.1), labels, seed=0))


@pytest.mark.parametrize(("k", "block"), [(1, 2**24), (4, 2**24), (4, 90)])
def test_precision_recall_density_coverage_are_the_formulas(k, block, monkeypatch):
    monkeypatch.setattr(metrics, "BLOCK", block)
    real, generated = gaussian(40, 3, 9), gaussian(33, 3, 9, scale=0.6, shift=0.4)
    scores = metrics.precision_recall_density_coverage(real, generated, k=k)
    assert scores == pytest.approx(oracles.precision_recall_density_coverage(real, generated, k))
    assert 0 < scores["precision"] < 1
    assert 0 < scores["recall"] < 1


def test_precision_recall_density_coverage_with_ties_and_duplicates():
    rng = np.random.default_rng(10)
    real, generated = rng.integers(0, 4, (30, 2)) * 0.1 + 7, rng.integers(0, 6, (25, 2)) * 0.1 + 7
    expected = oracles.precision_recall_density_coverage(np.round(real * 10), np.round(generated * 10), 3)
    assert metrics.precision_recall_density_coverage(real, generated, k=3) == pytest.approx(expected)


def test_precision_recall_density_coverage_of_special_sets():
    real = gaussian(30, 3, 11)
    same = metrics.precision_recall_density_coverage(real, real, k=5)
    assert same == pytest.approx({"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1})
    half, offset = real[:15] * 0.9, 2.0**24
    shifted = metrics.precision_recall_density_coverage(real + offset, half + offset, k=5)
    assert shifted == metrics.precision_recall_density_coverage(real, half, k=5)
    far = metrics.precision_recall_density_coverage(real, real + 1e6, k=5)
    assert set(far.values()) == {0}
    one_image = np.full((10, 3, 2, 2), 0.3)
    constant = metrics.precision_recall_density_coverage(one_image, one_image[:8], k=5)
    assert constant == pytest.approx({"precision": 1, "recall": 1, "density": 2, "coverage": 1})
    other = metrics.precision_recall_density_coverage(one_image, one_image + 1e-3, k=5)
    assert set(other.values()) == {0}


def test_nmi_is_the_formula():
    rng = np.random.default_rng(12)
    a = rng.choice(["nearest", "bilinear", "transposed"], 60)
    b = np.where(rng.random(60) < 0.6, np.unique(a, return_inverse=True)[1], rng.integers(0, 4, 60))
    assert metrics.nmi(a, b) == pytest.approx(oracles.nmi(a, b))
    assert metrics.nmi(a, a) == pytest.approx(1)
    assert metrics.nmi(a, np.zeros(60)) == 0


def test_nmi_permutation_null():
    rng = np.random.default_rng(13)
    labels = rng.integers(0, 3, 90)
    chance = metrics.nmi_permutation(labels, rng.integers(0, 20, 90), n_permutations=199, seed=0)
    assert chance["nmi"] > 0.1
    assert abs(chance["adjusted"]) < 0.1
    assert chance["p_value"] > 0.05
    aligned = metrics.nmi_permutation(labels, labels, n_permutations=199, seed=0)
    assert aligned["nmi"] == aligned["adjusted"] == pytest.approx(1)
    assert aligned["p_value"] == 1 / 200
    assert 0 < aligned["null_sd"] < 0.1
    assert aligned == metrics.nmi_permutation(labels, labels, n_permutations=199, seed=0)
    assert aligned != metrics.nmi_permutation(labels, labels, n_permutations=199, seed=1)


def test_nmi_permutation_null_is_the_formula_on_permuted_models():
    rng = np.random.default_rng(15)
    groups = rng.permutation(np.repeat(np.arange(7), [3, 9, 5, 8, 12, 4, 9]))
    labels, clusters = np.array([0, 2, 1, 1, 0, 2, 2])[groups], rng.integers(0, 4, 50)
    again = np.random.default_rng(3)
    null = [oracles.nmi(again.permutation([0, 2, 1, 1, 0, 2, 2])[groups], clusters) for _ in range(60)]
    scores = metrics.nmi_permutation(labels, clusters, n_permutations=60, seed=3, groups=groups)
    assert scores["null_mean"] == pytest.approx(np.mean(null))
    assert scores["null_sd"] == pytest.approx(np.std(null))
    assert scores["p_value"] == (1 + sum(value >= scores["nmi"] for value in null)) / 61
    assert scores["adjusted"] == pytest.approx((scores["nmi"] - np.mean(null)) / (1 - np.mean(null)))


def test_nmi_permutation_of_whole_models():
    """Clusters that are the models say nothing about a choice that two of four models share."""
    groups = np.repeat(["a", "b", "c", "d"], 25)
    labels = np.repeat(["up", "up", "down", "down"], 25)
    clusters = np.unique(groups, return_inverse=True)[1]
    images = metrics.nmi_permutation(labels, clusters, n_permutations=99, seed=0)
    models = metrics.nmi_permutation(labels, clusters, n_permutations=99, seed=0, groups=groups)
    assert images["p_value"] == 0.01
    assert models["p_value"] == 1
    assert models["null_mean"] == pytest.approx(models["nmi"])
    assert models["null_sd"] == pytest.approx(0)
    by_label = metrics.nmi_permutation(labels, labels, n_permutations=300, seed=0, groups=groups)
    assert by_label["p_value"] == pytest.approx(1 / 3, abs=0.1)  # 2 of the 6 ways to deal two labels to four models


def test_nmi_permutation_where_chance_is_perfect():
    scores = metrics.nmi_permutation(np.arange(6), np.arange(6), n_permutations=5, seed=0)
    assert scores["null_mean"] == pytest.approx(1)
    assert scores["adjusted"] == 0


X, Y = gaussian(12, 3, 14), np.repeat([0, 1], 6)
NAN = np.where(np.arange(36).reshape(12, 3) == 7, np.nan, X)


@pytest.mark.parametrize(
    ("named", "call"),
    [
        ("a", lambda: metrics.frechet_distance(X[:1], X)),
        ("b", lambda: metrics.frechet_distance(X, NAN)),
        ("b", lambda: metrics.frechet_distance(X, X[:, :2])),
        ("covariance", lambda: metrics.fd_ratio(X, Y, seed=0, covariance="oas")),
        ("labels", lambda: metrics.fd_ratio(X, 0 * Y, seed=0)),
        ("labels", lambda: metrics.fd_ratio(X, np.repeat([0, 1], [9, 3]), seed=0)),
        ("labels", lambda: metrics.fd_ratio(X, Y[:-1], seed=0)),
        ("features", lambda: metrics.fd_ratio(NAN, Y, seed=0)),
        ("k", lambda: metrics.precision_recall_density_coverage(X, X[:5], k=5)),
        ("k", lambda: metrics.precision_recall_density_coverage(X, X, k=0)),
        ("generated", lambda: metrics.precision_recall_density_coverage(X, NAN)),
        ("b", lambda: metrics.nmi(Y, Y[:-1])),
        ("a", lambda: metrics.nmi(Y[:1], Y[:1])),
        ("a", lambda: metrics.nmi(np.where(Y, np.nan, 0.0), Y)),
        ("a", lambda: metrics.nmi(np.array(["x", None] * 6, object), Y)),
        ("labels", lambda: metrics.nmi_permutation(0 * Y, Y, n_permutations=9, seed=0)),
        ("labels", lambda: metrics.nmi_permutation(Y, Y, n_permutations=9, seed=0, groups=np.arange(12) % 5)),
        ("groups", lambda: metrics.nmi_permutation(Y, Y, n_permutations=9, seed=0, groups=Y[:-1])),
        ("n_permutations", lambda: metrics.nmi_permutation(Y, Y, n_permutations=0, seed=0)),
    ],
)
def test_wrong_input_is_named(named, call):
    with pytest.raises(InputError, match=rf"^[a-z_, ]*\b{named}\b[a-z_, ]*: "):
        call()
