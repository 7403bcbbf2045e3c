"""Power spectra: against a loop, against scipy where Welch's method applies, and of images of several sizes."""

import numpy as np
import oracles
import pytest
import scipy.signal

from manifpt.embeddings import embed
from manifpt.psd import PowerSpectrum
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(n, c, h, w, seed=0):
    """Float images (n, c, h, w) in [0, 1]: noise, so that no frequency is empty."""
    return np.random.default_rng(seed).random((n, c, h, w), np.float32)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("window", "step", "h", "w"),
    [(8, 8, 70, 45), (8, 3, 39, 34), (16, 8, 61, 70), (16, 5, 45, 39), (32, 16, 34, 70), (32, 32, 34, 34)],
)
@pytest.mark.parametrize("options", [{}, {"residual": True}, {"rotate": False}, {"floor": 0.1}], ids=str)
def test_against_the_oracle(channels, window, step, h, w, options):
    images, space = pictures(2, channels, h, w), PowerSpectrum(window=window, step=step, **options)
    found = space(images)
    chosen = {name: getattr(space, name) for name in ("window", "step", "floor", "rotate", "residual")}
    truth = np.stack([oracles.log_power_spectrum(image, **chosen) for image in images])
    assert (found.dtype, found.shape) == (np.float32, (2, channels * window * (window // 2 + 1)))
    np.testing.assert_allclose(found, truth, atol=1e-2)  # where a single window has next to no power
    assert np.abs(found - truth).mean() < 1e-4


def taper(window):
    return scipy.signal.windows.hann(window + 2)[1:-1]


@pytest.mark.parametrize("window", [8, 16, 30])
def test_one_window_is_the_periodogram_of_scipy(window):
    """An image that is constant along its columns has the power of one row, times that of the taper along them."""
    row, w = np.random.default_rng(0).random(window), taper(window)
    image = np.tile(row, (window, 1)).astype(np.float32)
    found = PowerSpectrum(window, window, floor=1e-12)(image[None, None]).reshape(window, -1)
    options = {"window": w, "detrend": False, "scaling": "spectrum", "return_onesided": False}
    for function in (scipy.signal.periodogram, scipy.signal.welch):
        density = function(row, **options, **({"nperseg": window} if function is scipy.signal.welch else {}))[1]
        expected = np.log(density * w.sum() ** 4)[: window // 2 + 1]
        np.testing.assert_allclose(found[0], expected, atol=1e-3)
        turned = PowerSpectrum(window, window, floor=1e-12)(image.T[None, None]).reshape(window, -1)
        np.testing.assert_allclose(turned[: window // 2 + 1, 0], expected, atol=1e-3)


@pytest.mark.parametrize(("window", "step", "width"), [(16, 8, 64), (16, 8, 70), (8, 3, 41)])
def test_many_windows_are_the_mean_log_of_scipys_spectrogram(window, step, width):
    row, w = np.random.default_rng(0).random(width), taper(window)
    image = np.tile(row, (window + 5, 1)).astype(np.float32)
    found = PowerSpectrum(window, step, floor=1e-12)(image[None, None]).reshape(window, -1)
    options = {"nperseg": window, "noverlap": window - step, "detrend": False, "return_onesided": False}
    power = scipy.signal.spectrogram(row, window=w, scaling="spectrum", **options)[2]  # (frequencies, windows)
    expected = np.log(power * w.sum() ** 4).mean(1)[: window // 2 + 1]
    np.testing.assert_allclose(found[0], expected, atol=1e-3)


def test_a_brighter_image_moves_all_frequencies_alike():
    images = pictures(2, 3, 40, 40)
    space = PowerSpectrum(floor=1e-12)
    np.testing.assert_allclose(space(images) - space(images / 2), np.log(4), atol=1e-3)


@pytest.mark.parametrize("channels", [1, 3])
def test_list_of_sizes_is_embedded_as_one_by_one(channels):
    rng = np.random.default_rng(0)
    sizes = [(32, 32), (70, 33), (16, 90), (32, 32)]
    images = [rng.integers(0, 256, (channels, *size), np.uint8) for size in sizes]
    together = embed(images, "psd")
    alone = np.concatenate([embed(image[None], "psd") for image in images])
    assert together.shape == (4, 144 * channels)
    assert np.array_equal(together, alone)
    np.testing.assert_allclose(embed(images, PowerSpectrum()), together)
    with pytest.raises(InputError):
        embed(images, "rgb")


def test_batches_do_not_matter(noise):
    images = noise(70, 3, size=64)
    whole = embed(images, "psd")
    np.testing.assert_allclose(embed(images, "psd", batch_size=7), whole, atol=1e-5)
    np.testing.assert_allclose(embed(list(images), "psd"), whole, atol=1e-5)
    np.testing.assert_allclose(embed(images / 255, "psd"), whole, atol=1e-5)


@pytest.mark.parametrize(("h", "w"), [(16, 16), (32, 48), (200, 70)])
def test_grey_images_have_144_numbers_whatever_their_size(h, w):
    assert embed(np.zeros((2, 1, h, w), np.uint8), "psd").shape == (2, 144)


@pytest.mark.parametrize("level", [0, 7, 255])
@pytest.mark.parametrize("residual", [False, True])
def test_constant_images_are_finite(level, residual):
    found = PowerSpectrum(residual=residual)(np.full((2, 3, 40, 40), level / 255, np.float32))
    assert np.isfinite(found).all()
    if level == 0:
        np.testing.assert_allclose(found, np.log(1e-7), rtol=1e-5)


def test_opponents_of_a_grey_image_in_colour_are_empty(noise):
    found = embed(noise(2, 1).repeat(3, axis=1), "psd").reshape(2, 3, 144)
    np.testing.assert_allclose(found[:, 1:], np.log(1e-7), atol=1e-3)
    np.testing.assert_allclose(found[:, 0], embed(noise(2, 1), "psd") + np.log(3), atol=1e-3)


@pytest.mark.parametrize(
    "options",
    [{"window": 15}, {"window": 2}, {"step": 0}, {"step": 17}, {"floor": 0}, {"floor": -1}, {"floor": float("nan")}],
)
def test_impossible_windows(options):
    with pytest.raises(InputError, match="window, step, floor: "):
        PowerSpectrum(**options)


def test_images_smaller_than_a_window():
    with pytest.raises(InputError, match="40x15 pixels; 16x16 at least expected for windows of 16"):
        embed(np.zeros((2, 1, 15, 40), np.uint8), "psd")
    with pytest.raises(InputError, match="17x40 pixels; 18x18 at least"):
        embed(np.zeros((2, 1, 40, 17), np.uint8), PowerSpectrum(residual=True))
    with pytest.raises(InputError, match="8x9 pixels; 16x16"):
        embed([np.zeros((1, 30, 30), np.uint8), np.zeros((1, 9, 8), np.uint8)], "psd")


def test_grey_images_among_colour():
    with pytest.raises(InputError, match=r"images: of \[1, 3\] channels; all grey or all in colour expected"):
        embed([np.zeros((1, 30, 30), np.uint8), np.zeros((3, 40, 30), np.uint8)], "psd")
