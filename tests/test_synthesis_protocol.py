"""Identification, verification, crops and FFD on made-up features with known answers."""

import numpy as np
import pytest
from oracles import frechet_distance
from sklearn.metrics import f1_score

from manifpt.synthesis import validation
from manifpt.synthesis.protocol import (
    best_threshold,
    crop_features,
    identification,
    nine_crops,
    pairs,
    similarities,
    split,
    verification,
)
from manifpt.utils.errors import InputError


def clouds(models=4, n=30, d=6, spread=0.0, seed=0):
    """Features around a random centre for each model, and their labels, shuffled."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat([f"m{i}" for i in range(models)], n))
    centres = dict(zip(np.unique(labels), rng.normal(size=(models, d)), strict=True))
    centred = np.stack([centres[label] for label in labels])
    return centred + spread * rng.normal(size=centred.shape), labels


@pytest.mark.parametrize("seed", [None, 3])
def test_split_takes_as_many_of_each_model_and_leaves_the_rest(seed):
    labels = np.array(list("abcabbcacbbca"))
    gallery, queries = split(labels, 2, seed=seed)
    assert sorted([*gallery, *queries]) == list(range(13))
    assert [list(labels[gallery]).count(name) for name in "abc"] == [2, 2, 2]
    if seed is None:
        assert sorted(gallery) == [0, 1, 2, 3, 4, 6]


@pytest.mark.parametrize("shots", [0, 4])
def test_gallery_that_leaves_no_query_is_refused(shots):
    with pytest.raises(InputError, match="4 that a has; 1 to 3 expected"):
        split(np.array(list("aaaabbbbb")), shots, seed=0)


def test_similarities_are_cosines_with_the_mean_feature():
    gallery, labels = np.array([[1.0, 0], [3, 0], [0, 2]]), np.array(["x", "x", "a"])
    models, cosine = similarities(gallery, labels, np.array([[3.0, 4], [0, 0], [-1, 0]]))
    assert models.tolist() == ["a", "x"]
    np.testing.assert_allclose(cosine, [[0.8, 0.6], [0, 0], [0, -1]])


def test_identification_of_models_that_stand_apart_is_perfect_and_scale_does_not_count():
    features, labels = clouds()
    scaled = features * np.random.default_rng(1).uniform(0.1, 10, (len(labels), 1))
    scores, right = identification(scaled, labels, shots=3, seed=0)
    assert scores == {"accuracy": 1, "macro_f1": 1, "chance": 0.25}
    assert right.tolist() == [True] * (120 - 12)


def test_identification_against_a_loop():
    features, labels = clouds(spread=1.5)
    gallery, queries = split(labels, 5, seed=2)
    named = []
    for query in queries:
        scores = {}
        for model in sorted(set(labels)):
            mean = np.mean([features[i] for i in gallery if labels[i] == model], axis=0)
            scores[model] = features[query] @ mean / np.linalg.norm(features[query]) / np.linalg.norm(mean)
        named.append(max(scores, key=scores.get))
    got, right = identification(features, labels, shots=5, seed=2)
    assert right.tolist() == (np.array(named) == labels[queries]).tolist()
    assert got["accuracy"] == pytest.approx(np.mean(np.array(named) == labels[queries]))
    assert got["macro_f1"] == pytest.approx(f1_score(labels[queries], named, average="macro"))
    assert 0.25 < got["accuracy"] < 1


def test_identification_without_a_signal_is_at_chance():
    features, labels = clouds(n=1000)
    noise = np.random.default_rng(5).normal(size=features.shape)
    scores, _ = identification(noise, labels, shots=10, seed=0)
    assert scores["accuracy"] == pytest.approx(scores["chance"], abs=0.04)


def test_pairs_are_balanced_true_and_of_two_images():
    labels = np.array(list("aaaabbbccd"))
    drawn, same = pairs(labels, 400, seed=0)
    assert drawn.shape == (400, 2)
    assert same.sum() == 200
    assert ((labels[drawn[:, 0]] == labels[drawn[:, 1]]) == same).all()
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert len({tuple(pair) for pair in drawn[same]}) == 12 + 6 + 2
    assert not np.array_equal(drawn, pairs(labels, 400, seed=1)[0])


@pytest.mark.parametrize(("labels", "n"), [("aaa", 4), ("abc", 4), ("aabb", 3), ("aabb", 0), ("", 2)])
def test_pairs_that_cannot_be_drawn(labels, n):
    with pytest.raises(InputError, match=r"labels: |n: "):
        pairs(np.array(list(labels)), n, seed=0)


def test_best_threshold_is_the_best_of_all():
    rng = np.random.default_rng(0)
    same = np.arange(60) < 30
    scores = rng.normal(size=60).round(1) + same
    best = max(np.mean((scores >= t) == same) for t in [*scores, np.inf])
    assert np.mean((scores >= best_threshold(scores, same)) == same) == best
    assert best_threshold(np.array([0.1, 0.9]), np.array([False, True])) == 0.9


def test_verification_of_models_that_stand_apart():
    features, labels = clouds(spread=1e-3)
    scores, right = verification(features, labels, held_out=np.arange(120) < 60, seed=0, n_pairs=200)
    assert right.tolist() == [True] * 200
    assert (scores["auc"], scores["accuracy"], scores["accuracy_oracle"]) == (1, 1, 1)


def test_threshold_comes_from_the_held_out_pairs_alone():
    """Where scores of the judged images are all higher, the held-out threshold fails and the oracle does not."""
    axes, labels = np.eye(3), np.tile([0, 1], 40)
    held_out = np.arange(80) < 40
    near = np.where(labels[:, None] == 0, axes[0], axes[0] + 0.5 * axes[1])
    far = np.where(labels[:, None] == 0, axes[0], axes[1])
    far[::4] += 0.8 * axes[2]  # half of one model: the cosine within it falls below that of the near models
    scores, right = verification(np.where(held_out[:, None], far, near), labels, held_out=held_out, seed=0, n_pairs=400)
    assert right.sum() == 200
    assert scores["auc"] == scores["accuracy_oracle"] == 1
    assert scores["accuracy"] == 0.5
    assert 0 < scores["threshold"] < np.cos(np.arctan(0.5))


def test_features_that_do_not_fit_their_labels():
    features, labels = clouds()
    for wrong in (features[:-1], features[:, 0], np.where(features > 0, np.nan, features)):
        with pytest.raises(InputError, match="finite"):
            identification(wrong, labels, shots=1, seed=0)


def test_nine_crops_lie_on_the_released_grid():
    image = np.arange(3 * 11 * 8).reshape(3, 11, 8)
    crops = nine_crops(image, 4)
    assert crops.shape == (9, 3, 4, 4)
    corners = [(top, left) for top in (0, 3, 6) for left in (0, 2, 4)]
    assert all(
        (crop == image[:, t : t + 4, left : left + 4]).all() for crop, (t, left) in zip(crops, corners, strict=True)
    )
    assert nine_crops(image[:, :4, :4], 4).shape == (1, 3, 4, 4)
    with pytest.raises(InputError, match="image of 8x11: smaller"):
        nine_crops(image, 9)


def test_crop_features_are_means_over_the_crops_of_each_image():
    images = [np.full((3, 4, 4), 2.0), np.arange(3 * 9 * 9.0).reshape(3, 9, 9)]
    got = crop_features(images, lambda crops: crops.mean((2, 3)), size=4)
    expected = [crop.mean((1, 2)) for crop in nine_crops(images[1], 4)]
    np.testing.assert_allclose(got, [[2, 2, 2], np.mean(expected, 0)])


def test_spectrum_vector_against_a_loop():
    residuals = np.random.default_rng(0).normal(size=(3, 2, 8, 8))
    power = np.mean(np.abs(np.fft.fft2(residuals)) ** 2, axis=(0, 1))
    rings = {}
    for i in range(8):
        for j in range(8):
            y, x = (f - 8 if f >= 4 else f for f in (i, j))
            rings.setdefault(int(np.hypot(x, y)), []).append(power[i, j])
    expected = [np.log10(np.mean(rings[radius])) for radius in sorted(rings)]
    np.testing.assert_allclose(validation.spectrum_vector(residuals), expected)


def test_one_frequency_is_one_ring():
    wave = np.cos(2 * np.pi * 5 * np.arange(32) / 32) * np.ones((1, 1, 32, 1))
    vector = validation.spectrum_vector(wave)
    assert len(vector) == 23
    assert vector.argmax() == 5
    assert np.delete(vector, 5).max() < vector[5] - 20


def test_ffd_is_the_frechet_distance_with_a_ridge():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(30, 4)), rng.normal(1, 2, size=(40, 4))
    ridge = frechet_distance(a, b, lambda x: np.cov(x, rowvar=False) + 1e-6 * np.eye(4))
    assert validation.ffd(a, b) == pytest.approx(ridge)
    assert validation.ffd(a, a) == pytest.approx(0, abs=1e-9)
    assert validation.ffd(a[:3], a[:3] + 2) == pytest.approx(16)


def test_diversity_of_a_square():
    corners = np.array([[0, 0], [0, 2], [2, 0], [2, 2]])
    got = validation.diversity(corners)
    assert got == {"distance": pytest.approx((4 * 2 + 2 * 8**0.5) / 6), "trace": pytest.approx(8 / 3)}
    assert validation.diversity(np.ones((5, 3))) == {"distance": 0, "trace": 0}
    with pytest.raises(InputError, match="two models"):
        validation.diversity(corners[:1])
