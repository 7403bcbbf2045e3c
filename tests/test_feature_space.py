import numpy as np
import pytest

from manifpt.experiments.feature_space import feature_space, features, plane
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

GM = load_gm("gm-fashion").only("beta-vae", "dcgan")


def test_features_of_each_kind():
    pixels, labels = features(GM, "pixels", n_test=3)
    assert pixels.shape == (9, 1024)
    assert labels.tolist() == np.repeat(GM.classes, 3).tolist()
    assert features(GM, "durall20", n_test=3, n_per_class=5)[0].shape[0] == 9
    learned, _ = features(GM, "manifpt-rgb-nearest", n_test=3, n_per_class=5, n_reference=100, epochs=1)
    assert learned.shape == (9, 64)  # the penultimate layer of the small ResNet


def test_plane_keeps_far_groups_apart():
    rows = np.random.default_rng(0).normal(0, 1, (60, 80))
    rows[30:] += 30
    points = plane(rows.astype(np.float32))
    assert points.shape == (60, 2)
    near = np.linalg.norm(points[:30] - points[:30].mean(0), axis=1).max()
    assert np.linalg.norm(points[:30].mean(0) - points[30:].mean(0)) > near


def test_plane_of_constant_columns():
    assert np.isfinite(plane(np.pad(np.eye(12, dtype=np.float32), ((0, 0), (0, 3))))).all()


def test_rows_are_kept(tmp_path):
    options = {"methods": ["pixels", "durall20"], "counts": (5, 10), "n_per_class": 5, "seeds": (0,)}
    frame = feature_space(GM, **options, path=tmp_path / "f.csv")
    assert frame["metric"].eq("fdr").all()
    assert frame["n"].tolist() == [15, 30, 15, 30]
    assert (frame["value"] > 0).all()
    assert feature_space(GM, **options, path=tmp_path / "f.csv").equals(frame)


def test_too_many_test_images():
    with pytest.raises(InputError, match="test images"):
        feature_space(GM, counts=(10**4,))
