"""The two-covariance model: likelihood ratios by brute force, the knowledge of a gallery, and calibration."""

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from manifpt.plda import PLDA, Calibration
from manifpt.utils.errors import InputError

D = 3
MAKERS = np.random.default_rng(7).normal(size=(5, D)) * [[1], [9], [0.1], [2], [5]]


def between(makers, spread, isotropic, d=D):
    """B as the documentation of the parameters has it: mean of its diagonal `spread`."""
    if makers is None:
        return spread * np.eye(d)
    learnt = sum(np.outer(u, u) / (u @ u) for u in makers) / len(makers)
    return spread * ((1 - isotropic) * d * learnt + isotropic * np.eye(d))


def log_density(images, b, w):
    """Of the images `(n, d)` of one maker, who is unknown: one Gaussian of n d dimensions."""
    n = len(images)
    covariance = np.kron(np.ones((n, n)), b) + np.kron(np.eye(n), w)
    return multivariate_normal.logpdf(images.ravel(), np.zeros(images.size), covariance)


def log_ratio(first, second, b, w):
    both = np.concatenate([first, second])
    return log_density(both, b, w) - log_density(first, b, w) - log_density(second, b, w)


def gallery(counts=(4, 2, 1), seed=0):
    """Images of as many makers, and the name of each."""
    rng = np.random.default_rng(seed)
    names = np.repeat([f"m{i}" for i in range(len(counts))], counts)
    return np.concatenate([rng.normal(size=D) + rng.normal(size=(n, D)) for n in counts]), names


def within(x, y, prior):
    scatter = sum((x[y == name] - x[y == name].mean(0)).T @ (x[y == name] - x[y == name].mean(0)) for name in set(y))
    return (prior * np.eye(x.shape[1]) + scatter) / (prior + len(x) - len(set(y)))


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("makers", [None, MAKERS], ids=["no makers", "makers"])
@pytest.mark.parametrize(("spread", "isotropic"), [(0.3, 0.5), (2.0, 0.1), (0.05, 1.0)])
def test_log_likelihood_ratios_by_brute_force(makers, m, spread, isotropic):
    x, y = gallery()
    model = PLDA(makers, spread=spread, isotropic=isotropic, prior=5).fit(x, y)
    b, w = between(makers, spread, isotropic), within(x, y, 5)
    sets = np.random.default_rng(1).normal(size=(6, m, D))
    found = model.log_likelihood_ratios(sets.mean(1), m=m)
    assert model.classes_.tolist() == ["m0", "m1", "m2"]
    assert model.counts_.tolist() == [4, 2, 1]
    truth = [[log_ratio(x[y == name], some, b, w) for name in model.classes_] for some in sets]
    np.testing.assert_allclose(found, truth, rtol=1e-8, atol=1e-9)
    np.testing.assert_array_equal(model.predict(sets.mean(1), m=m), model.classes_[np.argmax(truth, 1)])


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 4), (3, 2)])
@pytest.mark.parametrize("makers", [None, MAKERS], ids=["no makers", "makers"])
def test_comparison_by_brute_force_and_the_other_way_round(makers, n, m):
    rng = np.random.default_rng(2)
    first, second = rng.normal(size=(6, n, D)), rng.normal(size=(6, m, D))
    model = PLDA(makers)
    found = model.compare(first.mean(1), second.mean(1), n=n, m=m)
    b = between(makers, 0.3, 0.5)
    np.testing.assert_allclose(found, [log_ratio(*pair, b, np.eye(D)) for pair in zip(first, second, strict=True)])
    np.testing.assert_allclose(model.compare(second.mean(1), first.mean(1), n=m, m=n), found)


@pytest.mark.parametrize(("prior", "counts_for"), [(None, D), (0.5, 0.5), (40, 40)])
def test_contents_are_updated_by_the_gallery(prior, counts_for):
    """In the coordinates of the model W is I and B is diagonal: so the basis gives both of them back."""
    x, y = gallery((5, 3))
    model = PLDA(MAKERS, prior=prior).fit(x, y)
    np.testing.assert_allclose(model.basis_.T @ within(x, y, counts_for) @ model.basis_, np.eye(D), atol=1e-12)
    diagonal = model.basis_.T @ between(MAKERS, 0.3, 0.5) @ model.basis_
    np.testing.assert_allclose(diagonal, np.diag(model.between_), atol=1e-12)
    np.testing.assert_allclose(model.means_, [x[:5].mean(0) @ model.basis_, x[5:].mean(0) @ model.basis_])


def test_one_image_a_maker_teaches_nothing_of_contents():
    x, y = gallery((1, 1, 1))
    np.testing.assert_allclose(PLDA().fit(x, y).basis_.T @ PLDA().fit(x, y).basis_, np.eye(D), atol=1e-12)


def test_length_of_a_synthetic_maker_does_not_count():
    x, y = gallery()
    scaled = MAKERS * np.array([[3], [0.01], [1], [50], [2]])
    found = [PLDA(makers).fit(x, y).log_likelihood_ratios(x) for makers in (MAKERS, scaled)]
    np.testing.assert_allclose(*found)


def drawn(rng, makers, n, d, spread, w):
    """Images (makers * n, d) by the model itself."""
    centres = rng.normal(size=(makers, d)) * np.sqrt(spread)
    return (centres[:, None] + rng.normal(size=(makers, n, d)) * np.sqrt(w)).reshape(-1, d)


def accuracy(model, x, y, shots, n=60):
    own = np.arange(len(x)) % n
    return (model.fit(x[own < shots], y[own < shots]).predict(x[own >= 20]) == y[own >= 20]).mean()


def test_a_gallery_improves():
    """More images help, and where contents vary otherwise than reals', it helps to learn that from the gallery."""
    rng, d = np.random.default_rng(0), 40
    w = np.repeat([0.2, 4.0], d // 2)
    x, y = drawn(rng, 12, 60, d, 0.3, w), np.repeat(np.arange(12), 60)
    one, ten = (accuracy(PLDA(), x, y, shots) for shots in (1, 10))
    assert 1 / 12 < one < ten - 0.1
    assert ten > accuracy(PLDA(prior=1e9), x, y, 10) + 0.02


def test_makers_that_vary_in_known_directions_are_told_apart_better():
    rng, d = np.random.default_rng(0), 60
    directions = rng.normal(size=(4, d))
    centres = rng.normal(size=(12, 4)) @ directions / 4
    x, y = np.repeat(centres, 60, 0) + rng.normal(size=(720, d)), np.repeat(np.arange(12), 60)
    others = rng.normal(size=(50, 4)) @ directions
    assert accuracy(PLDA(others, isotropic=0.1), x, y, 2) > accuracy(PLDA(), x, y, 2) + 0.1


def test_ratios_are_honest_where_the_model_is_true():
    """Of images drawn by the model, exp(−ℓ) is 1 on average for the true maker, and exp(ℓ) for another."""
    rng, d = np.random.default_rng(0), 2
    x = drawn(rng, 4000, 2, d, 0.3, 1.0).reshape(4000, 2, d)
    same = PLDA().compare(x[:, 0], x[:, 1])
    other = PLDA().compare(x[:, 0], np.roll(x[:, 1], 1, axis=0))
    assert np.exp(-same).mean() == pytest.approx(1, abs=0.05)
    assert np.exp(other).mean() == pytest.approx(1, abs=0.05)
    assert same.mean() > 0 > other.mean()


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_calibration_recovers_known_log_likelihood_ratios(share):
    """Two Gaussians of one width have a ratio that is linear in the score; the share of either does not matter."""
    rng, n = np.random.default_rng(0), 200_000
    same = rng.random(n) < share
    t = np.where(same, 1.5, -0.5) + 0.8 * rng.normal(size=n)
    found = Calibration.fit(30 * np.sinh(t), same)
    assert found.slope == pytest.approx(2 / 0.8**2, rel=0.03)
    assert found.intercept == pytest.approx(-(1.5**2 - 0.5**2) / (2 * 0.8**2), rel=0.05)
    np.testing.assert_allclose(found(30 * np.sinh(t[:9])), found.slope * t[:9] + found.intercept)


def test_calibration_is_that_of_all_answers():
    x, y = gallery()
    raw, honest = PLDA(), PLDA(calibration=Calibration(2.0, -1.0))
    expected = 2 * np.arcsinh(raw.fit(x, y).decision_function(x) / 30) - 1
    np.testing.assert_allclose(honest.fit(x, y).decision_function(x), expected)
    np.testing.assert_allclose(honest.compare(x, x[::-1]), 2 * np.arcsinh(raw.compare(x, x[::-1]) / 30) - 1)
    assert (honest.predict(x) == raw.predict(x)).all()
    np.testing.assert_allclose(honest.log_likelihood_ratios(x), raw.log_likelihood_ratios(x))


def test_scikit_learn_can_copy_it_and_set_parameters():
    model = PLDA(MAKERS, spread=0.2, calibration=Calibration(1.0, 0.0))
    again = clone(model).set_params(prior=7)
    assert again.get_params()["spread"] == 0.2
    assert (model.prior, again.prior) == (None, 7)
    np.testing.assert_array_equal(again.makers, MAKERS)
    x, y = gallery((20, 20))
    assert model.fit(x, y).score(x, y) == (model.predict(x) == y).mean()


X, Y = gallery()


@pytest.mark.parametrize(
    ("model", "x", "y", "message"),
    [
        (PLDA(), np.full_like(X, np.nan), Y, "X: holds NaN or infinity"),
        (PLDA(), X[0], Y, "X: float64 of shape"),
        (PLDA(), X, Y[:-1], "y: of shape"),
        (PLDA(), X, X[:, 0], "y: of type float64"),
        (PLDA(MAKERS[:, :2]), X, Y, "makers: 2 coordinates; 3 expected"),
        (PLDA(np.full((2, D), np.inf)), X, Y, "makers: holds NaN"),
        (PLDA(spread=0), X, Y, "spread, isotropic, prior: 0, "),
        (PLDA(isotropic=1.1), X, Y, "spread, isotropic, prior: "),
        (PLDA(MAKERS, isotropic=float("nan")), X, Y, "spread, isotropic, prior: "),
        (PLDA(prior=0), X, Y, "spread, isotropic, prior: "),
    ],
)
def test_galleries_and_parameters_that_are_refused(model, x, y, message):
    with pytest.raises(InputError, match=message):
        model.fit(x, y)


def test_queries_that_are_refused():
    with pytest.raises(NotFittedError):
        PLDA().predict(X)
    model = PLDA().fit(X, Y)
    with pytest.raises(InputError, match="X: 2 coordinates; 3 expected, as in the gallery"):
        model.decision_function(X[:, :2])
    with pytest.raises(InputError, match="points of"):
        model.compare(X, X[:, :2])
    with pytest.raises(InputError, match="n, m: 4, 0 images"):
        model.predict(X, m=0)
    with pytest.raises(InputError, match="A, B: 7 and 2 rows"):
        model.compare(X, X[:2])
    with pytest.raises(InputError, match="makers: 2 coordinates"):
        PLDA(MAKERS[:, :2]).compare(X, X)


@pytest.mark.parametrize("unit", [1e-4, 1.0, 1e3])
def test_scores_of_any_unit_are_calibrated(unit):
    """Small numbers, as cosines of pixels are, are no reason to stop at a slope of zero."""
    rng = np.random.default_rng(0)
    same = np.arange(2000) < 1000
    scores = unit * (rng.normal(size=2000) + 0.5 * same)
    calibration = Calibration.fit(scores, same)
    assert calibration.slope > 0
    assert np.mean((calibration(scores) > 0) == same) > 0.57
