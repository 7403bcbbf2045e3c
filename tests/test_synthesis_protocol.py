"""Identification, verification and the open set on made-up features and scores with known answers."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import f1_score, roc_auc_score
from sklearn.metrics.pairwise import cosine_similarity

from manifpt.plda import PLDA
from manifpt.synthesis.protocol import (
    Cosine,
    cllr,
    identification,
    open_set,
    scored,
    split,
    trials,
    verification,
)
from manifpt.utils.errors import InputError


def clouds(makers=4, n=30, d=6, spread=0.0, seed=0):
    """Features around a random centre for each maker, block by block, and their labels."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(makers, d))
    return centres.repeat(n, axis=0) + spread * rng.normal(size=(makers * n, d)), np.repeat(
        list("abcdefgh")[:makers], n
    )


def content(index, labels):
    """Which of its maker's images each image is."""
    return np.array([np.flatnonzero(labels == labels[i]).tolist().index(i) for i in index])


@pytest.mark.parametrize("shots", [1, 3, 9])
def test_split_gives_all_makers_the_same_contents(shots):
    labels = np.repeat(["b", "a", "c"], 10)
    gallery, queries = split(labels, shots, seed=4)
    assert sorted([*gallery, *queries]) == list(range(30))
    by_maker = content(gallery, labels).reshape(3, shots)
    assert (by_maker == by_maker[0]).all()
    assert [list(labels[gallery]).count(name) for name in "abc"] == [shots] * 3
    assert not np.array_equal(split(labels, 5, seed=0)[0], split(labels, 5, seed=1)[0])
    assert np.array_equal(split(labels, 5, seed=0)[0], split(labels, 5, seed=0)[0])


def test_split_leaves_out_what_others_lack():
    labels = np.array(list("abbabaabbb"))
    gallery, queries = split(labels, 1, seed=0)
    assert sorted([*gallery, *queries]) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("shots", [0, 4, 5])
def test_gallery_that_leaves_no_query_is_refused(shots):
    with pytest.raises(InputError, match=f"shots: {shots} images a maker in the gallery; 1 to 3 expected"):
        split(np.array(list("aaaabbbbb")), shots, seed=0)


def test_cosine_with_the_mean_feature():
    gallery, labels = np.array([[1.0, 0], [3, 0], [0, 2]]), np.array(["x", "x", "a"])
    scorer = Cosine().fit(gallery, labels)
    assert scorer.classes_.tolist() == ["a", "x"]
    found = scorer.decision_function(np.array([[3.0, 4], [0, 0], [-1, 0]]))
    np.testing.assert_allclose(found, [[0.8, 0.6], [0, 0], [0, -1]])
    np.testing.assert_allclose(scorer.compare(np.array([[3.0, 4], [1, 0]]), np.array([[0.0, 2], [-5, 0]])), [0.8, -1])


@pytest.mark.parametrize("scorer", [Cosine(), PLDA()], ids=["cosine", "plda"])
def test_makers_that_stand_apart_are_identified(scorer):
    features, labels = clouds()
    scores, right = identification(scorer, features, labels, shots=3, seed=0)
    assert scores == {"accuracy": 1, "macro_f1": 1, "chance": 0.25}
    assert right.tolist() == [True] * (120 - 12)


def test_identification_against_a_loop():
    features, labels = clouds(spread=1.5)
    gallery, queries = split(labels, 5, seed=2)
    named = []
    for query in queries:
        scores = {}
        for maker in sorted(set(labels)):
            mean = np.mean([features[i] for i in gallery if labels[i] == maker], axis=0)
            scores[maker] = features[query] @ mean / np.linalg.norm(features[query]) / np.linalg.norm(mean)
        named.append(max(scores, key=scores.get))
    got, right = identification(Cosine(), features, labels, shots=5, seed=2)
    assert right.tolist() == (np.array(named) == labels[queries]).tolist()
    assert got["accuracy"] == pytest.approx(np.mean(np.array(named) == labels[queries]))
    assert got["macro_f1"] == pytest.approx(f1_score(labels[queries], named, average="macro"))
    assert 0.25 < got["accuracy"] < 1


def test_identification_without_a_signal_is_at_chance():
    features, labels = clouds(n=1000)
    noise = np.random.default_rng(5).normal(size=features.shape)
    scores, _ = identification(Cosine(), noise, labels, shots=10, seed=0)
    assert scores["accuracy"] == pytest.approx(scores["chance"], abs=0.04)


@pytest.mark.parametrize("size", [1, 4, 10])
def test_trials_are_balanced_and_never_pair_equal_contents(size):
    labels = np.repeat(list("cab"), 20)
    sets, pairs, same = trials(labels, size, seed=1)
    assert sets.shape == (3 * (20 // size), size)
    owner, shown = labels[sets], content(sets.ravel(), labels).reshape(sets.shape)
    assert (owner == owner[:, :1]).all()
    assert len(np.unique(sets)) == sets.size
    assert same.sum() * 2 == len(same)
    assert ((owner[pairs[:, 0], 0] == owner[pairs[:, 1], 0]) == same).all()
    assert len({tuple(sorted(pair)) for pair in pairs}) == len(pairs)
    assert all(not set(shown[a]) & set(shown[b]) for a, b in pairs)
    of_one = 3 * (20 // size) * (20 // size - 1) // 2
    assert same.sum() == of_one  # all that there are: there are more of two makers


def test_trials_are_drawn_by_the_seed_up_to_a_number():
    labels = np.repeat(list("ab"), 30)
    first, again, other = (trials(labels, 1, seed=seed, n=50) for seed in (0, 0, 1))
    assert len(first[1]) == 50
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert not np.array_equal(first[1], other[1])


@pytest.mark.parametrize(("labels", "size"), [("aaabbb", 2), ("aaaa", 1), ("ab", 1), ("aabb", 0), ("aabb", -1)])
def test_trials_that_cannot_be_drawn(labels, size):
    with pytest.raises(InputError, match="two sets of each of two makers expected"):
        trials(np.array(list(labels)), size, seed=0)


def test_pairs_are_scored_by_the_means_of_their_sets():
    features, labels = clouds(spread=1.0)
    sets, pairs, _ = trials(labels, 5, seed=0)
    a, b = (features[sets[pairs[:, side]]].mean(1) for side in (0, 1))
    np.testing.assert_allclose(scored(Cosine(), features, sets, pairs), cosine_similarity(a, b).diagonal())
    np.testing.assert_allclose(scored(PLDA(), features, sets, pairs), PLDA().compare(a, b, n=5, m=5))


SAME = np.repeat([True, False], 50)


def test_cost_of_answers_that_are_perfect_empty_and_wrong():
    sure = np.where(SAME, 50.0, -50.0)
    assert cllr(sure, SAME) == pytest.approx(0, abs=1e-9)
    assert cllr(np.zeros(100), SAME) == pytest.approx(1)
    assert cllr(-sure, SAME) == pytest.approx(50 / np.log(2))
    assert cllr(np.where(SAME, 800.0, -800.0), SAME) == 0  # nothing overflows


def test_cost_against_a_loop_with_unequal_numbers():
    rng = np.random.default_rng(0)
    same, ratios = rng.random(80) < 0.2, rng.normal(size=80)
    both = [np.log2(1 + np.exp(-r)) for r, s in zip(ratios, same, strict=True) if s]
    apart = [np.log2(1 + np.exp(r)) for r, s in zip(ratios, same, strict=True) if not s]
    assert cllr(ratios, same) == pytest.approx((np.mean(both) + np.mean(apart)) / 2)


def test_verification_of_perfect_and_of_empty_answers():
    sure = verification(np.where(SAME, 9.0, -9.0), SAME)
    assert sure == pytest.approx({"auc": 1, "eer": 0, "accuracy": 1, "cllr": 0, "cllr_min": 0}, abs=1e-3)
    empty = verification(np.zeros(100), SAME)
    assert empty == pytest.approx({"auc": 0.5, "eer": 0.5, "accuracy": 0.5, "cllr": 1, "cllr_min": 1})


def test_verification_by_hand():
    """At a threshold between 2 and 3 either side errs in half of the cases."""
    scores, same = np.array([4.0, 2, 3, 1]), np.array([True, True, False, False])
    found = verification(scores, same)
    assert (found["auc"], found["eer"], found["accuracy"]) == (0.75, 0.5, 0.5)
    assert found["cllr_min"] == pytest.approx(0.5, abs=1e-3)  # 2 and 3 in the wrong order: one answer, no knowledge


def test_verification_of_gaussian_scores():
    """Honest ratios of two Gaussians: the rate of equal errors is known, and hindsight betters nothing."""
    rng, same = np.random.default_rng(0), np.arange(40_000) % 2 == 0
    d = 2.0
    ratios = d * (np.where(same, d / 2, -d / 2) + rng.normal(size=len(same)))
    found = verification(ratios, same)
    assert found["eer"] == pytest.approx(norm.cdf(-d / 2), abs=0.006)
    assert found["auc"] == pytest.approx(norm.cdf(d / np.sqrt(2)), abs=0.006)
    assert found["accuracy"] == pytest.approx(norm.cdf(d / 2), abs=0.006)
    assert found["cllr_min"] == pytest.approx(found["cllr"], abs=0.01)
    trusting = verification(3 * ratios, same)
    assert trusting["cllr"] > found["cllr"] + 0.1
    assert trusting["cllr_min"] == pytest.approx(found["cllr_min"])


@pytest.mark.parametrize(
    ("known", "unknown", "auroc", "fpr95"),
    [
        ([3, 4, 5], [0, 1, 2], 1, 0),
        ([0, 1, 2], [3, 4, 5], 0, 1),
        ([1, 1, 1], [1, 1], 0.5, 1),
        ([2, 4], [1, 3, 5, 0], 5 / 8, 0.5),
    ],
)
def test_open_set_by_hand(known, unknown, auroc, fpr95):
    found = open_set(np.array(known, float), np.array(unknown, float))
    assert found == pytest.approx({"auroc": auroc, "fpr95": fpr95})


def test_open_set_threshold_accepts_95_percent_of_the_known():
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(1, 1, 5000), rng.normal(0, 1, 5000)
    found = open_set(known, unknown)
    assert found["fpr95"] == pytest.approx(norm.sf(1 + norm.ppf(0.05)), abs=0.02)
    assert found["auroc"] == pytest.approx(roc_auc_score(np.repeat([1, 0], 5000), np.concatenate([known, unknown])))


def test_scores_of_single_precision_cost_no_more():
    """Probabilities of a perfect calibration are kept below 1, which single precision would round them to."""
    scores = np.float32([5, 4, 3, 0.5, 0.4, -3, -4])
    same = np.array([True, True, True, False, True, False, False])
    found = verification(scores, same)
    assert found == pytest.approx(verification(scores.astype(float), same))
    assert np.isfinite([*found.values()]).all()
