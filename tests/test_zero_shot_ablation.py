"""A small run of the ablations, on a folder of three made-up makers, and what each of them changes."""

import numpy as np
import pytest
from PIL import Image

from manifpt.experiments import zero_shot_ablation as module
from manifpt.experiments.zero_shot_ablation import METHODS, VARIANTS, Variant, zero_shot_ablation
from manifpt.psd import PowerSpectrum
from manifpt.synthesis import solved
from manifpt.synthesis.models import architectures
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

pytestmark = pytest.mark.usefixtures("one_thread")
TASKS = ("none", "metric: identity", "metric: 25", "metric: both", "point: nearest", "photographs: 2", "crops: 30")
TASKS += ("shots: 1", "whole pictures", "jpeg 75, queries", "resized, both", "residual")


@pytest.fixture(scope="module")
def few():
    """A tenth of the architectures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solved, "architectures", lambda: architectures()[::9])
        yield
    module._synthetic.cache_clear()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of 136x144 whose pixels are blurred noise, rougher from maker to maker."""
    path, rng = tmp_path_factory.mktemp("makers"), np.random.default_rng(0)
    for roughness, name in enumerate("abc"):
        (path / name).mkdir()
        for number in range(13):
            noise = rng.normal(128, 30, (136, 144, 3))
            smooth = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1)) / 3
            pixels = smooth + roughness * rng.normal(0, 2, noise.shape)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path / name / f"{number:02}.png")
    return load_gm(path)


@pytest.fixture(scope="module")
def table(few, folder):
    return zero_shot_ablation(folder, tasks=TASKS, n_test=13, seeds=(0,))


def test_a_row_a_task_and_method(table):
    assert table["task"].unique().tolist() == list(TASKS)
    assert (table.groupby("task")["method"].unique().map(set) == set(METHODS)).all()
    assert table["value"].between(0, 1).all()
    n = table.groupby("task")["n"].first()
    assert n["none"] == n["whole pictures"] == 3 * 3
    assert n["shots: 1"] == 3 * 12
    assert table.set_index(["task", "method"])["value"]["none", "psd-gaussian"] > 2 / 3


def test_photographs_and_crops_are_drawn_by_the_seed(few):
    two = [module._reals(Variant(photographs=2), seed) for seed in (0, 1, 1)]
    assert two[0].shape != two[1].shape or not np.array_equal(two[0], two[1])
    np.testing.assert_array_equal(two[1], two[2])
    vectors, owner = module._photographs(PowerSpectrum())
    assert len(vectors) == len(owner) == 500
    assert sum((vectors == row).all(1).any() for row in two[0]) == len(two[0])
    assert len(module._reals(Variant(crops=30), 0)) == 30
    assert [VARIANTS[task].drawn for task in ("none", "metric: 25", "metric: both", "crops: 10")] == [
        *(False, True, False, True)
    ]


def test_the_nearest_real_image_is_subtracted(few):
    reals = module._reals(Variant(), 0)
    rows = reals[:3] + 1e-3
    variant = Variant(point="nearest", metric="identity")
    artifacts, _ = module._artifacts(variant, {"": rows}, 0)
    np.testing.assert_allclose(artifacts[""], 1e-3 / (reals - reals.mean(0)).std(), rtol=1e-2)


def test_unknown_tasks_are_refused(folder):
    with pytest.raises(InputError, match="task 'window: 9' is unknown; choose one of none"):
        zero_shot_ablation(folder, tasks=("window: 9",))
