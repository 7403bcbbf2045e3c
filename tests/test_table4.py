import numpy as np
import pytest

from manifpt.experiments import table4
from manifpt.experiments.run import ROWS
from manifpt.experiments.store import KEY
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

SMALL = {"n_per_class": 10, "n_reference": 150, "n_test": 12, "epochs": 1}


@pytest.fixture(scope="module")
def gms():
    common = "dcgan", "lsgan"
    return load_gm("gm-fashion").only(*common), load_gm("gm-photo").only(*common)


class TestChannels:
    def test_grey_three_times_and_back(self, noise):
        images = noise(3)
        colour = table4.in_channels(images, 3)
        assert colour.shape == (3, 3, 32, 32)
        np.testing.assert_array_equal(table4.in_channels(colour, 1), images)

    def test_luma(self):
        green = np.zeros((1, 3, 2, 2), np.uint8)
        green[:, 1] = 100
        np.testing.assert_array_equal(table4.in_channels(green, 1), np.full((1, 1, 2, 2), 59))


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("method", ROWS)
def test_what_is_shown_has_one_shape_on_both_sides(gms, method, direction):
    source, target = gms[::direction]
    train, tests = table4.views(method, source, target, 1, n_reference=100)
    images = [table4.in_channels(gm.preview("dcgan", 2), 1) for gm in (source, target)]
    shapes = {train(images[0]).shape} | {see(images[1]).shape for see in tests.values()}
    assert len(shapes) == 1
    assert len(tests) == 1 + (method in table4.PROJECTING)


def test_a_test_image_is_projected_on_its_own_reals(gms):
    source, target = gms
    _, tests = table4.views("control-target-rgb", source, target, 1, n_reference=100)
    images = table4.in_channels(target.preview("dcgan", 5), 1)
    for ending, reals in (("", target), (table4.SOURCE_REALS, source)):
        reference = table4.in_channels(reals.reference()[:100], 1) / np.float32(255)
        distance = np.abs(tests[ending](images)[:, None] - reference).reshape(5, 100, -1).max(2)
        assert (distance.min(1) < 1e-6).all()


class TestTable4:
    def test_rows_of_a_pair(self, gms, tmp_path):
        methods, path = ("durall20", "manifpt-sl-nearest"), tmp_path / "table4.csv"
        frame = table4.table4(*gms, tasks=("all",), methods=methods, seeds=(0,), path=path, **SMALL)
        assert set(frame["dataset"]) == {"gm-fashion > gm-photo"}
        assert frame.groupby("method")["task"].apply(sorted).to_dict() == {
            "durall20": ["all"],
            "manifpt-sl-nearest": ["all", "all, source reals"],
        }
        assert frame["value"].between(0, 1).all()
        assert (frame["n"] == 36).all()  # dcgan, lsgan and the reals
        again = table4.table4(*gms, tasks=("all",), methods=methods, seeds=(0,), path=path, **SMALL)
        assert again[KEY].reset_index(drop=True).equals(frame[KEY].reset_index(drop=True))

    def test_wrong_input(self, gms):
        with pytest.raises(InputError, match="L2"):
            table4.table4(*gms, tasks=("L2",), **SMALL)
        with pytest.raises(InputError, match="in common"):
            table4.table4(gms[0], gms[1], tasks=("L1",), **SMALL)
