import numpy as np
import oracles
import pytest
import scipy.optimize
import torch

from manifpt import baselines
from manifpt.baselines import durall20, dzanic20, marra19, mccloskey18, nataraj19, wang20, yu19
from manifpt.baselines.base import intensity
from manifpt.data import pictures
from manifpt.data.real import load_real
from manifpt.nn.classifiers import build_classifier
from manifpt.utils.errors import InputError


def constant(level, c=1, size=32):
    return np.full((1, c, size, size), level, np.uint8)


def checkerboard():
    return np.indices((32, 32)).sum(0).astype(np.uint8)[None, None] % 2 * 255


def sinusoid(cycles):
    wave = np.cos(2 * np.pi * cycles * np.arange(32) / 32)
    return np.rint(128 + 100 * np.broadcast_to(wave, (1, 1, 32, 32))).astype(np.uint8)


class TestIntensity:
    def test_weighs_the_colours(self):
        image = np.array([255, 0, 0, 0, 255, 0, 0, 0, 255, 10, 20, 30], np.uint8).reshape(1, 4, 3).transpose(0, 2, 1)
        expected = [0.299 * 255, 0.587 * 255, 0.114 * 255, 0.299 * 10 + 0.587 * 20 + 0.114 * 30]
        np.testing.assert_allclose(intensity(image.reshape(1, 3, 2, 2)).ravel(), expected)

    def test_grey_stays(self, noise):
        np.testing.assert_array_equal(intensity(noise(2))[:, None], noise(2))


class TestMcCloskey18:
    @pytest.mark.parametrize("c", [1, 3])
    def test_constant_images(self, c):
        feature = mccloskey18.exposure
        np.testing.assert_array_equal(feature(constant(255, c)), [[1] * 4 + [0] * 4])
        np.testing.assert_array_equal(feature(constant(245, c)), [[1, 1, 0, 0] + [0] * 4])
        np.testing.assert_array_equal(feature(constant(0, c)), [[0] * 4 + [1] * 4])
        np.testing.assert_array_equal(feature(constant(10, c)), [[0] * 4 + [0, 0, 1, 1]])

    def test_shares_by_hand(self):
        image = np.array([[255, 251, 100, 3], [12, 0, 239, 240]], np.uint8)[None, None]
        np.testing.assert_array_equal(mccloskey18.exposure(image), np.array([[3, 2, 2, 1, 1, 2, 2, 3]]) / 8)


class TestNataraj19:
    def test_a_constant_image_has_one_entry(self):
        matrix = nataraj19.co_occurrence(constant(200))[0, 0]
        assert matrix[25, 25] == pytest.approx(np.log1p(2 * 32 * 31))
        assert np.count_nonzero(matrix) == 1

    def test_a_checkerboard_has_two(self):
        matrix = nataraj19.co_occurrence(checkerboard())[0, 0]
        assert matrix[0, 31] == matrix[31, 0] == pytest.approx(np.log1p(32 * 31))
        assert np.count_nonzero(matrix) == 2

    def test_equals_counting_one_by_one(self, noise):
        images = noise(3, c=3)
        matrices = nataraj19.co_occurrence(images)
        assert matrices.shape == (3, 3, 32, 32)
        for image, matrix in zip(images.reshape(9, 32, 32).astype(int), matrices.reshape(9, 32, 32), strict=True):
            np.testing.assert_allclose(matrix, oracles.co_occurrence(image, 32), rtol=1e-6)


class TestDurall20:
    @pytest.mark.parametrize(("size", "bins"), [(32, 20), (64, 43), (128, 88), (256, 179)])
    def test_as_many_radii_as_released(self, noise, size, bins):
        assert durall20.azimuthal_average(noise(1, size=size)).shape == (1, bins)

    def test_equals_averaging_pixel_by_pixel(self, noise):
        images = noise(2)
        expected = [oracles.azimuthal_average(image[0] / 255) for image in images]
        np.testing.assert_allclose(durall20.azimuthal_average(images), expected, atol=1e-9)

    def test_a_constant_image_is_flat(self):
        np.testing.assert_array_equal(durall20.azimuthal_average(constant(77)), np.zeros((1, 20)))

    @pytest.mark.parametrize(("cycles", "radii"), [(8, {7, 8}), (16, {15})])
    def test_a_sinusoid_is_seen_at_its_frequency_only(self, cycles, radii):
        rings = durall20.azimuthal_average(sinusoid(cycles))[0]
        assert set(np.flatnonzero(rings > 1e-6) + 1) == radii  # ring 0 is left out; the middle lies between two pixels

    def test_a_checkerboard_lies_in_the_ring_that_is_left_out(self):
        np.testing.assert_array_equal(durall20.azimuthal_average(checkerboard()), np.zeros((1, 20)))


class TestDzanic20:
    @pytest.mark.parametrize("c", [-7.5, -2.0, -0.3, 1.0])
    def test_a_power_law_gives_its_exponent(self, c):
        x = np.linspace(0.85, 1, 7)
        assert dzanic20.exponent(x, 3.0 * (x / x[0])[None] ** c)[0] == pytest.approx(c, abs=1e-6)

    def test_equals_nelder_mead_on_noise(self):
        x, rng = np.linspace(0.85, 1, 7), np.random.default_rng(0)
        y = rng.uniform(0.5, 1.5, (20, 7))
        for row, c in zip(y, dzanic20.exponent(x, y), strict=True):
            error = lambda p, row=row: np.linalg.norm(row - row[0] * (x / x[0]) ** p[0])  # noqa: E731
            reference = scipy.optimize.minimize(error, [-2.0], method="Nelder-Mead", options={"xatol": 1e-8})
            assert error([c]) <= reference.fun * (1 + 1e-6)

    def test_a_constant_image_is_zero_and_finite(self):
        feature = dzanic20.decay(constant(128))
        assert np.isfinite(feature).all()
        np.testing.assert_allclose(feature[0, 1:], 0, atol=1e-9)

    def test_a_smooth_image_falls_and_white_noise_does_not(self, noise):
        rng = np.random.default_rng(0)
        spectrum = np.fft.fft2(rng.normal(size=(64, 32, 32)))
        radius = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
        smooth = np.fft.ifft2(spectrum / np.maximum(radius, 1 / 32) ** 3).real
        smooth = np.rint(128 + 60 * smooth / smooth.std()).clip(0, 255).astype(np.uint8)[:, None]
        assert dzanic20.decay(smooth)[:, 1].mean() < 0.2 * dzanic20.decay(noise(64))[:, 1].mean()


class TestWang20:
    def test_as_many_images_as_a_training_looks_at_evenly(self, noise):
        images, labels = noise(10, c=3), np.repeat(["a", "b"], 5)
        drawn, names = wang20.blur_and_jpeg(images, labels, 0)
        assert drawn.shape == (wang20.DRAWS, 3, 32, 32)
        assert drawn.dtype == np.uint8
        assert dict(zip(*np.unique(names, return_counts=True), strict=True)) == {"a": 4800, "b": 4800}
        np.testing.assert_array_equal(drawn, wang20.blur_and_jpeg(images, labels, 0)[0])
        assert not np.array_equal(drawn, wang20.blur_and_jpeg(images, labels, 1)[0])

    @pytest.mark.parametrize("c", [1, 3])
    def test_jpeg_loses_more_at_lower_quality(self, reals, c):
        image = reals("photos")["test"][0, :c]
        low, high = (np.abs(pictures.jpeg(image, q).astype(int) - image).mean() for q in (30, 100))
        assert pictures.jpeg(image, 30).shape == image.shape
        assert high < low


class TestMarra19:
    def test_correlations_of_known_patterns(self):
        rows = np.array([[1.0, -1, 1, -1], [2, 2, 0, 0], [5, 5, 5, 5]])
        normalised = marra19.normalised(rows)
        np.testing.assert_allclose(normalised @ normalised.T, [[1, 0, 0], [0, 1, 0], [0, 0, 0]], atol=1e-12)

    def test_finds_a_faint_pattern_again(self):
        rng = np.random.default_rng(0)
        images = load_real("photos")[:160].astype(int)
        patterns = rng.choice([-6, 6], (2, *images.shape[1:]))
        labels = np.repeat(["first", "second"], 80)
        marked = (images + patterns.repeat(80, axis=0)).clip(0, 255).astype(np.uint8)
        rows = rng.permutation(160)
        method = baselines.build("marra19", real="photos").fit(marked[rows[:100]], labels[rows[:100]])
        features = method.features(marked[rows[100:]])
        assert features.shape == (60, 2)
        assert np.abs(features).max() <= 1
        assert (method.predict(marked[rows[100:]]) == labels[rows[100:]]).mean() > 0.9

    def test_predict_before_fit(self, noise):
        with pytest.raises(InputError, match="not trained"):
            baselines.build("marra19", real="photos").predict(noise(2, c=3))


def test_yu19_adds_mirror_images(noise):
    images, labels = yu19.with_flips(noise(3), np.arange(3))
    np.testing.assert_array_equal(images[3:, ..., ::-1], noise(3))
    np.testing.assert_array_equal(labels, [0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(("name", "width"), [("xception", 128), ("yu", 128)])
@pytest.mark.parametrize(("c", "size"), [(1, 32), (3, 64)])
def test_networks_of_the_baselines(name, width, c, size):
    network = build_classifier(name, classes=5, mean=np.zeros((c, 1, 1)), sd=np.ones((c, 1, 1)))
    batch = torch.randn(4, c, size, size)
    assert network.features(batch).shape == (4, width)
    assert network(batch).shape == (4, 5)
    network(batch).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in network.body.parameters() if p.ndim > 1)


@pytest.fixture(scope="module")
def stripes():
    """Images of two made-up models, one with fine bars, one with coarse and bright ones, and of noise: easy to tell."""
    rng, position = np.random.default_rng(0), np.broadcast_to(np.arange(32), (32, 32))
    bars = position.T % 4 // 2 * 160, position % 8 // 4 * 195
    images = [level + rng.integers(0, 60, (40, 1, 32, 32)) for level in bars] + [rng.integers(0, 256, (40, 1, 32, 32))]
    images = np.concatenate(images).astype(np.uint8)
    return images, np.repeat(["fine", "coarse", "noise"], 40)


@pytest.mark.parametrize("name", list(baselines.BASELINES))
class TestProtocol:
    def test_learns_what_is_easy(self, name, stripes):
        images, labels = stripes
        train, test = np.arange(0, 120, 2), np.arange(1, 120, 2)
        method = baselines.build(name, real="fashion-mnist", epochs=3)
        assert method.fit(images[train], labels[train], val=(images[test], labels[test])) is method
        predicted = method.predict(images[test])
        assert predicted.shape == (60,)
        assert set(predicted) <= set(labels)
        assert (predicted == labels[test]).mean() > 0.55  # chance is a third, with a standard deviation of 0.06
        features = method.features(images[test])
        assert features.ndim == 2
        assert features.dtype == np.float32
        assert np.isfinite(features).all()

    @pytest.mark.parametrize(
        ("images", "labels", "message"),
        [
            (np.zeros((4, 1, 32, 32), int), list("abab"), "of type int64; uint8"),
            (np.zeros((4, 2, 32, 32), np.uint8), list("abab"), "shape"),
            (np.zeros((4, 1, 32, 32), np.uint8), list("aba"), "labels"),
            (np.zeros((4, 1, 32, 32), np.uint8), list("aaaa"), "two at least"),
        ],
    )
    def test_wrong_input(self, name, images, labels, message):
        with pytest.raises(InputError, match=message):
            baselines.build(name, real="fashion-mnist", epochs=1).fit(images, labels)


def test_unknown_name():
    with pytest.raises(InputError, match="yu19"):
        baselines.build("yu", real="photos")
