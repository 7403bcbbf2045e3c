import numpy as np
import pandas as pd
import pytest

from manifpt.experiments.two_sample import adjusted, halves, mmd_test, pairs_of, told_apart, two_sample
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm


def normal(n, shift=0.0, seed=0, d=5):
    return np.random.default_rng(seed).normal(shift, 1, (n, d))


class TestMMD:
    def test_statistic_pair_by_pair(self):
        x, y = normal(6), normal(6, 0.5, 1)
        points = np.concatenate([x, y])
        distances = [((a - b) ** 2).sum() for i, a in enumerate(points) for b in points[:i]]

        def k(a, b):
            return np.exp(-((a - b) ** 2).sum() / np.median(distances))

        expected = sum(
            k(a, b) + k(c, d) - 2 * k(a, d) for a, c in zip(x, y, strict=True) for b, d in zip(x, y, strict=True)
        )
        assert mmd_test(x, y, n_permutations=1)[0] == pytest.approx(expected / 36)

    def test_finds_a_shift(self):
        assert mmd_test(normal(60), normal(60, 0.7, 1), n_permutations=200)[1] == pytest.approx(1 / 201)

    def test_holds_its_level(self):
        p = np.array(
            [mmd_test(normal(20, seed=2 * i), normal(20, seed=2 * i + 1), n_permutations=99)[1] for i in range(200)]
        )
        assert 0.01 <= (p <= 0.05).mean() <= 0.1
        assert p.mean() == pytest.approx(0.5, abs=0.08)

    def test_the_same_sample_twice(self):
        assert mmd_test(normal(10), normal(10), n_permutations=50) == (pytest.approx(0, abs=1e-12), 1.0)

    def test_wrong_input(self):
        with pytest.raises(InputError, match="one shape"):
            mmd_test(normal(4), normal(5))


def test_models_differ_and_halves_do_not(tmp_path):
    gm = load_gm("gm-fashion").only("beta-vae", "dcgan")
    options = {"methods": ["control-sl"], "n": 60, "n_permutations": 200, "seeds": [0], "path": tmp_path / "t.csv"}
    frame = two_sample(gm, **options)
    assert two_sample(gm, **options).equals(frame)  # nothing is computed twice
    pairs = pairs_of(frame)
    assert pairs[["first", "second"]].drop_duplicates().shape == (6, 2)
    between = pairs["first"] != pairs["second"]
    p = adjusted(pairs)
    assert (p[between] < 0.05).all()
    assert (pairs.loc[~between, "p"] > 0.01).all()
    assert p[~between].isna().all()


def test_seeds_draw_other_images():
    gm = load_gm("gm-fashion").only("beta-vae")
    one, other = (halves(gm, "control-raw", n=5, seed=seed)["beta-vae"] for seed in (0, 1))
    assert one.shape == other.shape == (10, 1024)
    assert not np.array_equal(one, other)


def test_too_few_images():
    with pytest.raises(InputError, match="n_per_class"):
        two_sample(load_gm("gm-fashion").only("beta-vae"), n=10**4, n_reference=50)


def test_told_apart_by_hand():
    def rows(first, second, p):
        key = {"dataset": "d", "method": "m", "seed": 0, "task": f"{first} | {second}"}
        return [key | {"metric": "mmd2", "value": 0.1}, key | {"metric": "p", "value": p}]

    tests = [("a", "a", 0.04), ("a", "b", 0.001), ("b", "b", 0.5), ("a", "c", 0.03), ("b", "c", 0.03), ("c", "c", 0.9)]
    frame = pd.DataFrame([row for test in tests for row in rows(*test)])
    told = told_apart(frame).loc[("d", "m", 0)]
    assert told["pairs"] == told["halves"] == 3
    assert told["pairs told apart"] == pytest.approx(1 / 3)  # 0.03 twice is 0.06
    assert told["halves told apart"] == 1
