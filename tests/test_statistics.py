import numpy as np
import pytest

from manifpt.experiments.statistics import holm, paired_bootstrap, together, verdict
from manifpt.utils.errors import InputError


def answers(share, *, seeds=3, n=1000, seed=0):
    return np.random.default_rng(seed).random((seeds, n)) < share


class TestPairedBootstrap:
    def test_a_clear_difference(self):
        gain, p = paired_bootstrap(answers(0.9), answers(0.6, seed=1))
        assert gain == pytest.approx(0.3, abs=0.03)
        assert p <= 0.001

    def test_changes_sign_with_the_sides(self):
        ours, theirs = answers(0.7), answers(0.68, seed=1)
        (gain, p), (loss, q) = paired_bootstrap(ours, theirs), paired_bootstrap(theirs, ours)
        assert gain == -loss
        assert p == pytest.approx(q, abs=0.08)  # of other draws

    def test_equal_answers_differ_in_nothing(self):
        assert paired_bootstrap(answers(0.7), answers(0.7)) == (0.0, 1.0)

    def test_pairs_count(self):
        """A method that is right wherever the other one is, and 1 % more, is better beyond chance."""
        theirs = answers(0.5)
        ours = theirs | answers(0.02, seed=1)
        assert paired_bootstrap(ours, theirs)[1] < 0.01
        assert paired_bootstrap(answers(0.51, seed=2), theirs)[1] > 0.05

    @pytest.mark.parametrize(("sd", "at_most"), [(0.0, 0.05), (0.03, 0.15)])
    def test_holds_its_level(self, sd, at_most):
        """Equal methods: cautious where seeds differ by chance alone, somewhat liberal where trainings do differ."""
        p = []
        for i in range(100):
            rng = np.random.default_rng(i)
            ours, theirs = (rng.random((3, 300)) < 0.6 + sd * rng.normal(size=(3, 1)) for _ in range(2))
            p.append(paired_bootstrap(ours, theirs)[1])
        assert np.mean(np.array(p) < 0.05) <= at_most

    @pytest.mark.parametrize("pairs", [False, True])
    def test_seeds_that_ask_about_the_same_images_again_are_no_news(self, pairs):
        """Two methods, each right about an image or not, whatever the seed; five seeds ask about most of the images."""
        p = []
        for i in range(100):
            rng = np.random.default_rng(i)
            ours, theirs = rng.random((2, 200)) < 0.5
            if pairs:
                images = rng.integers(200, size=(5, 600, 2))
                right = [(one[images[..., 0]] + one[images[..., 1]]) > 0 for one in (ours, theirs)]
            else:
                images = np.stack([rng.permutation(200)[:180] for _ in range(5)])
                right = ours[images], theirs[images]
            p.append(paired_bootstrap(*right, images=images)[1])
        assert 0 < np.mean(np.array(p) < 0.05) <= 0.1

    def test_images_of_other_answers_are_refused(self):
        with pytest.raises(InputError, match=r"images: shape \(3, 8\) for answers of shape \(3, 9\)"):
            paired_bootstrap(answers(0.5, n=9), answers(0.5, n=9), images=np.zeros((3, 8), int))

    def test_what_one_seed_alone_gives_is_not_significant(self):
        theirs = np.zeros((3, 500), bool)
        ours = theirs.copy()
        ours[0, :250] = True
        theirs[1, :200] = True
        assert paired_bootstrap(ours, theirs)[1] > 0.05

    def test_seeds_that_only_one_method_has_are_refused(self):
        with pytest.raises(InputError, match=r"shapes \(3, 9\) and \(1, 9\)"):
            paired_bootstrap(answers(0.5, n=9), answers(0.5, n=9, seeds=1))


def test_repetitions_of_one_test_together():
    assert together([0.001, 0.02, 0.9]) == 0.04
    assert together([0.7, 0.6, 0.8]) == 1
    rng = np.random.default_rng(0)
    p = rng.random((2000, 1)) + 0.02 * rng.random((2000, 3))  # three that depend on each other
    assert np.mean([together(row % 1) < 0.05 for row in p]) <= 0.05


class TestHolm:
    def test_by_hand(self):
        np.testing.assert_allclose(holm([0.04, 0.01, 0.03]), [0.06, 0.03, 0.06])

    def test_one_and_capped(self):
        np.testing.assert_allclose(holm([0.2]), [0.2])
        np.testing.assert_allclose(holm([0.6, 0.7]), [1, 1])


@pytest.mark.parametrize(
    ("gains", "p", "expected"),
    [
        ([0.1, 0.2], [0.01, 0.01], "agrees"),
        ([0.1, 0.2], [0.01, 0.2], "weaker"),
        ([0.1, -0.2], [0.01, 0.2], "weaker"),
        ([0.1, -0.2], [0.01, 0.01], "contradicts"),
    ],
)
def test_verdict(gains, p, expected):
    assert verdict(gains, p) == expected
