"""The metric of makers: what it learns from real images, and its file."""

import numpy as np
import pytest
import torch

from manifpt.data.real import load_real
from manifpt.embeddings import embed
from manifpt.manifold import Manifold
from manifpt.plda import Calibration
from manifpt.synthesis import metric, solved
from manifpt.synthesis.metric import Metric
from manifpt.synthesis.models import architectures
from manifpt.synthesis.solved import synthesise
from manifpt.utils import files
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
FEW = architectures()[5::36]  # 8 of them


def scenes(n, c=3, h=40, w=40, seed=0):
    """Images uint8 (n, c, h, w) of one random gradient and a little grain each."""
    rng = np.random.default_rng(seed)
    ends = rng.uniform(40, 215, (2, n, c, 1, 1))
    ramp = ends[0] + (ends[1] - ends[0]) * np.linspace(0, 1, w) * np.linspace(0.5, 1, h)[:, None]
    return (ramp + rng.normal(0, 4, ramp.shape)).clip(0, 255).round().astype(np.uint8)


@pytest.fixture(scope="module")
def few():
    """Eight architectures in place of 288."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solved, "architectures", lambda: FEW)
        yield


@pytest.fixture(scope="module")
def learnt(few):
    return Metric.learn(scenes(60), calibration=Calibration(2.0, -1.0))


def test_what_is_learnt(learnt):
    """The Gaussian of the reals, and how far each model moves the images that it is given, on average."""
    manifold = Manifold("psd", estimator="gaussian").fit(scenes(60))
    images = scenes(5, seed=1)
    np.testing.assert_allclose(learnt.artifacts(images), manifold.transform(images), atol=1e-3)
    middles = scenes(60)[:, :, 4:36, 4:36]
    assert (learnt.makers.shape, learnt.whitening.shape) == ((8, 432), (432, 432))
    index, made = next(synthesise(middles, each=16))
    moved = (embed(made, "psd") - embed(middles[index], "psd")).mean(0) @ manifold.whitening_
    np.testing.assert_allclose(learnt.makers[0], moved, rtol=1e-3, atol=1e-2)


def test_seed_draws_the_images_that_models_are_given(few, learnt):
    again, other = (Metric.learn(scenes(60), seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(again.makers, learnt.makers)
    np.testing.assert_array_equal(other.mean, learnt.mean)
    assert not np.allclose(other.makers, learnt.makers)


def test_a_gallery_of_synthetic_models(learnt):
    """Sixteen of them, two of each architecture, are known by five images each."""
    reals = scenes(40, h=32, w=32, seed=5)
    made = np.stack([learnt.artifacts(images) for _, images in synthesise(reals, each=20, seeds=2)])  # (16, 20, d)
    known, asked = (np.repeat(np.arange(16), n) for n in (5, 15))
    model = learnt.plda(prior=50).fit(made[:, :5].reshape(80, -1), known)
    named = model.predict(made[:, 5:].reshape(240, -1))
    assert (named == asked).mean() > 0.8
    assert (named // 2 == asked // 2).mean() > 0.9
    assert (model.prior, model.calibration) == (50, learnt.calibration)


def test_file_gives_the_metric_back(learnt, tmp_path):
    path = tmp_path / "metric.safetensors"
    learnt.save(path)
    assert path.stat().st_size < 1e6
    loaded, images = Metric.load(path), scenes(5, seed=1)
    np.testing.assert_allclose(loaded.artifacts(images), learnt.artifacts(images), atol=1e-3)
    np.testing.assert_array_equal(loaded.whitening, loaded.whitening.T)
    np.testing.assert_allclose(loaded.makers, learnt.makers, rtol=1e-3, atol=1e-4)
    assert loaded.calibration == learnt.calibration
    pair = learnt.artifacts(images), learnt.artifacts(images[::-1])
    np.testing.assert_allclose(loaded.plda().compare(*pair), learnt.plda().compare(*pair), atol=1e-2)


def test_metric_without_a_calibration_of_grey_images(few, tmp_path):
    grey = Metric.learn(scenes(30, 1))
    grey.save(tmp_path / "grey.safetensors")
    loaded = Metric.load(tmp_path / "grey.safetensors")
    assert loaded.calibration is None
    assert loaded.makers.shape == (8, 144)
    assert loaded.artifacts(scenes(2, 1, 50, 16)).shape == (2, 144)
    with pytest.raises(InputError, match="learnt from images of one channel"):
        loaded.artifacts(scenes(2))


def test_reals_of_several_sizes(few, learnt):
    reals = [*scenes(20, h=50, w=41), *scenes(20, h=32, w=70)]
    found = Metric.learn(reals)
    np.testing.assert_allclose(found.mean, embed(reals, "psd").mean(0), rtol=1e-5)
    with pytest.raises(InputError, match="learnt from images of three channels"):
        learnt.artifacts(scenes(2, 1))


@pytest.mark.parametrize(
    ("reals", "message"),
    [
        (scenes(23), "reals: 23 images; at least 24 expected"),
        ([*scenes(23)], "reals: 23 images"),
        ([*scenes(24), *scenes(1, h=31, w=50)], "reals: one of 50x31; at least 32x32 pixels expected"),
        (scenes(24, h=20), "reals: one of 40x20"),
        ([*scenes(24), *scenes(1, 1, h=50)], r"reals: of \[1, 3\] channels"),
        (np.zeros((24, 3, 32, 32), int), "reals: of type int64"),
        (np.zeros((24, 3, 32, 32), np.uint8), "24 images that are all the same"),
    ],
)
def test_reals_that_teach_nothing(few, reals, message):
    with pytest.raises(InputError, match=message):
        Metric.learn(reals)


def test_other_files_are_refused(learnt, tmp_path):
    learnt.save(path := tmp_path / "metric.safetensors")
    tensors, settings = files.load_tensors(path)
    tensors = {name: tensor.clone() for name, tensor in tensors.items()}
    whole = path.read_bytes()
    for damaged in (whole[:2000], b"", b"\x00" * 3000):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"metric.safetensors: not a checkpoint"):
            Metric.load(path)
    some = {name: tensors[name] for name in ("mean", "makers")}
    short = tensors | {"whitening": torch.zeros(5)}
    for others, about in (({}, {}), (tensors, {"recipe": 1}), (some, settings), (short, settings), (tensors, [1])):
        files.save_tensors(path, others or {"a": torch.zeros(1)}, about)
        with pytest.raises(InputError, match=r"metric.safetensors: no metric; a file that `Metric.save` wrote"):
            Metric.load(path)
    with pytest.raises(InputError, match="no such file"):
        Metric.load(tmp_path / "nowhere.safetensors")
    with pytest.raises(InputError, match="is a folder"):
        learnt.save(tmp_path)


def test_the_metric_that_ships(monkeypatch):
    """It is what the committed photographs teach today, has calibrated odds, and is read once."""
    found = metric.shipped()
    assert found is metric.shipped()
    assert found.calibration.slope > 0
    assert metric.SHIPPED.stat().st_size < 1e6
    monkeypatch.setattr(solved, "architectures", architectures)
    learnt = Metric.learn(load_real("photographs"))
    np.testing.assert_allclose(found.mean, learnt.mean, rtol=1e-4)
    np.testing.assert_allclose(found.whitening, learnt.whitening, atol=1e-3 * np.abs(learnt.whitening).max())
    cosines = (found.makers * learnt.makers).sum(1)
    cosines /= np.linalg.norm(found.makers, axis=1) * np.linalg.norm(learnt.makers, axis=1)
    assert found.makers.shape == (288, 432)
    assert np.median(cosines) > 0.999  # a few models magnify how a processor rounds
    assert cosines.min() > 0.95
