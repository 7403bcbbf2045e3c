"""The tables of latent fingerprints on a linear generator, and the shallow baseline."""

import numpy as np
import pandas as pd
import pytest

from manifpt.experiments import latent
from manifpt.experiments.latent import Point
from manifpt.latent.attacks import attacked
from manifpt.latent.fingerprinter import LatentFingerprinter, to_float
from manifpt.latent.keys import random_keys
from manifpt.latent.newton import NewtonEstimator
from manifpt.latent.shallow import ShallowFingerprinter
from manifpt.latent.theory import jacobian, linear_generator, predict_reading
from manifpt.zoo.dataset import load_gm

pytestmark = pytest.mark.usefixtures("one_thread")
STRONG, WEAK, SHALLOW = (
    Point(key_length=6, shift=8, sigma=2.0),
    Point("stylegan2", 6, 8, 0.02),
    Point("shallow", 6, 8, 0.1),
)


@pytest.fixture(scope="module")
def gm():
    return load_gm("gm-fashion")


@pytest.fixture(autouse=True)
def linear(monkeypatch):
    """Every model is a linear generator of 32 x 32 pixels."""
    generator = linear_generator(dimension=40, size=32)
    monkeypatch.setattr(latent, "load_generator", lambda *_, **__: generator)


def values(frame, point, method):
    return frame[(frame["task"] == str(point)) & (frame["method"] == method)].set_index("metric")["value"]


class TestKeys:
    def test_strong_keys_come_back_and_predictions_stand_beside(self, gm):
        frame = latent.latent_keys(gm, sweep=(STRONG, WEAK, SHALLOW), readers=("newton",), seeds=(0,), n=4)
        strong, weak = (values(frame, point, "newton") for point in (STRONG, WEAK))
        shallow = values(frame, SHALLOW, "filter")
        assert strong["key_accuracy"] == strong["bit_accuracy"] == 1
        assert shallow["key_accuracy"] == 1
        assert strong["predicted_key_accuracy"] > 0.99
        assert weak["separation"] == pytest.approx(strong["separation"] / 100, rel=0.05)
        assert "separation" not in shallow

    def test_directions_are_ranked_where_they_are_not_read_alike(self, gm):
        reading = latent.Reading(gm.name, STRONG, 20, 0)
        _, right = reading.read(reading.images)
        assert right.all()
        assert "ranking" not in reading.predict(right)
        derivative = jacobian(reading.fingerprinter.generator, reading.fingerprinter.mean_)
        weakest = predict_reading(reading.fingerprinter, derivative, prior=True).separation.argsort()
        for place, bit in enumerate(weakest):
            right[: 8 - place, bit] = False
        assert reading.predict(right)["ranking"] == pytest.approx(1)
        assert reading.predict(~right)["ranking"] == pytest.approx(-1)

    def test_other_readers_are_tried_at_short_and_long_keys(self, gm, monkeypatch):
        long = Point(key_length=8, shift=8, sigma=2.0)
        for name, value in {"DEFAULT": STRONG, "LONG": long}.items():
            monkeypatch.setattr(latent, name, value)
        monkeypatch.setitem(latent.READERS, "adam", lambda fingerprinter: NewtonEstimator(fingerprinter, starts=1))
        frame = latent.latent_keys(gm, sweep=(), readers=("newton", "adam"), seeds=(0,), n=2)
        assert [values(frame, point, "adam")["key_accuracy"] for point in (STRONG, long)] == [1, 1]
        assert set(frame["method"]) == {"adam"}

    def test_two_processes_share_the_runs(self, gm):
        shallow = Point("shallow", key_length=4, shift=240, sigma=0.1)  # of StyleGAN2: they know no patch
        options = {"sweep": (shallow,), "attacks": ("none", "blur"), "seeds": (0,), "n": 3}
        frame = latent.latent_attacks(gm, jobs=2, **options)
        assert values(frame, shallow, "none")["key_accuracy"] == 1
        assert set(frame["method"]) == {"none", "blur"}

    def test_an_interrupted_table_goes_on(self, gm, tmp_path, monkeypatch):
        path, read, taken = tmp_path / "latent_keys.csv", latent.Reading.read, []

        def once(self, *args, **options):
            if len(taken) == 1:
                raise KeyboardInterrupt
            taken.append(self.seed)
            return read(self, *args, **options)

        options = {"sweep": (STRONG,), "readers": (), "seeds": (0, 1), "n": 2, "path": path}
        monkeypatch.setattr(latent.Reading, "read", once)
        with pytest.raises(KeyboardInterrupt):
            latent.latent_keys(gm, **options)
        first = pd.read_csv(path)
        assert first["seed"].unique().tolist() == [0]
        monkeypatch.setattr(
            latent.Reading, "read", lambda self, *a, **o: taken.append(self.seed) or read(self, *a, **o)
        )
        latent.latent_keys(gm, **options)
        assert taken == [0, 1]
        latent.latent_keys(gm, **options | {"sweep": (STRONG, SHALLOW)})  # what else is asked for does not count
        assert taken == [0, 1, 0, 1]
        pd.testing.assert_frame_equal(pd.read_csv(path).head(len(first)), first)


def test_quality_falls_with_the_strength(gm):
    stronger = Point(key_length=6, shift=8, sigma=1.0)
    frame = latent.latent_quality(gm, sweep=(WEAK, stronger), seeds=(0,), n=40)
    weak, strong = (values(frame, point, "twins") for point in (WEAK, stronger))
    assert strong["fd"] > weak["fd"]
    assert strong["perceptual"] > 10 * weak["perceptual"] > 0
    assert strong["rms"] > 10 * weak["rms"] > 0
    assert strong["fd_floor"] == pytest.approx(weak["fd_floor"], rel=0.05)


def test_attacks_and_what_the_owner_of_the_generator_can_do(gm):
    frame = latent.latent_attacks(
        gm, sweep=(STRONG, SHALLOW), attacks=("none", "brightness", "remove"), seeds=(0,), n=8
    )
    assert values(frame, STRONG, "none")["bit_accuracy"] == 1
    assert values(frame, STRONG, "brightness known")["bit_accuracy"] == 1
    assert values(frame, STRONG, "remove")["bit_accuracy"] < 0.9
    assert values(frame, SHALLOW, "brightness known").empty
    assert values(frame, STRONG, "brightness")["rms"] == pytest.approx(0.2, abs=0.02)


def test_own_images_are_claimed_and_others_are_not(gm, tmp_path):
    point = Point(key_length=24, shift=8, sigma=1.0)
    options = {"point": point, "users": 3, "seeds": (1,), "n": 6, "steps": 8, "path": tmp_path / "latent_claims.csv"}
    frame = latent.latent_claims(gm.only("dcgan"), **options)
    own, real, dcgan = (values(frame, point, method) for method in ("own", "real", "dcgan"))
    assert (own["claimed"], own["wrong"], own["nearest"]) == (1, 0, 0)
    for stranger in (real, dcgan):
        assert stranger["claimed"] == stranger["wrong"] == 0
        assert stranger["residual"] > 5 * own["residual"]


def test_points_are_read_from_their_names():
    frame = latent.points(pd.DataFrame({"task": [str(Point("ldm", 32, 5, 0.25)), str(SHALLOW)]}))
    assert frame["model"].tolist() == ["ldm", "shallow"]
    assert frame[["key_length", "shift", "sigma"]].to_numpy().tolist() == [[32, 5, 0.25], [6, 8, 0.1]]


def test_the_shallow_pattern_is_read_and_is_as_strong_as_it_says():
    plain = LatentFingerprinter(linear_generator(dimension=16, size=16), key_length=6, n_pca=1000)
    keys = random_keys(30, 6, np.random.default_rng(0))
    shallow = ShallowFingerprinter(plain, sigma=0.05)
    images = shallow.embed(keys, 30, seed=1)
    assert (shallow.read(images) == keys).all()
    change = to_float(images) - to_float(plain.embed(None, 30, seed=1))
    assert change.square().mean().sqrt().item() == pytest.approx(0.05 * 6**0.5, rel=0.02)
    assert 0.3 < (shallow.read(plain.embed(None, 30, seed=1)) == keys).mean() < 0.7
    assert (shallow.read(attacked(images, "jpeg")) == keys).mean() > 0.6
