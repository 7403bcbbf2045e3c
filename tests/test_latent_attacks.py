"""Attacks against values worked out by hand, and their gradients."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter

from manifpt.latent.attacks import ATTACKS, attacked, brightness, crop_resize
from manifpt.latent.fingerprinter import to_float
from manifpt.utils.errors import InputError


def smooth(c=1):
    """Two images whose content is low in frequency, uint8 (2, c, 32, 32)."""
    noise = np.random.default_rng(0).normal(size=(2, c, 32, 32))
    soft = gaussian_filter(noise, (0, 0, 3, 3), mode="wrap")
    return np.clip(128 + 60 * soft / soft.std(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("c", [1, 3])
def test_every_attack_keeps_shape_and_range_and_lets_gradients_through(name, c):
    images = to_float(smooth(c)).requires_grad_()
    after = ATTACKS[name](images)
    assert after.shape == images.shape
    assert after.min() >= -1.0001
    assert after.max() <= 1.0001
    after.sum().backward()
    assert (images.grad != 0).float().mean() > 0.5
    changed = (attacked(smooth(c), name) != smooth(c)).mean()
    assert changed == 0 if name == "none" else changed > 0.2


def test_blur_is_the_gaussian_of_half_a_pixel():
    images = smooth()
    wanted = gaussian_filter(images.astype(float), (0, 0, 0.5, 0.5), mode="mirror", truncate=24)
    assert abs(attacked(images, "blur") - wanted).max() <= 0.51
    assert attacked(images[..., :8, :8], "blur").shape == (2, 1, 8, 8)


def test_wrong_images_are_named():
    for images in (np.zeros((2, 1, 8, 8), int), np.zeros((8, 8), np.uint8)):
        with pytest.raises(InputError, match=r"^images: .* expected"):
            attacked(images, "blur")


def test_noise_has_its_standard_deviation_and_seed():
    grey = np.full((4, 1, 64, 64), 128, np.uint8)
    after = attacked(grey, "noise", seed=1)
    assert after.std() == pytest.approx(0.1 * 127.5, rel=0.03)
    assert (after == attacked(grey, "noise", seed=1)).all()
    assert (after != attacked(grey, "noise", seed=2)).mean() > 0.9


@pytest.mark.parametrize("c", [1, 3])
def test_jpeg_is_the_file_at_quality_50(c):
    images = smooth(c)
    for image, after in zip(images, attacked(images, "jpeg"), strict=True):
        buffer = io.BytesIO()
        Image.fromarray(image.transpose(1, 2, 0).squeeze()).save(buffer, format="jpeg", quality=50)
        wanted = np.asarray(Image.open(buffer)).reshape(32, 32, c).transpose(2, 0, 1)
        assert (after == wanted).all()


def test_jpeg_with_gradients_has_the_same_values():
    images = to_float(smooth(3))
    torch.testing.assert_close(ATTACKS["jpeg"](images.clone().requires_grad_()).detach(), ATTACKS["jpeg"](images))


def test_crop_and_brightness_by_hand():
    ramp = torch.linspace(-0.5, 0.5, 32).expand(1, 1, 32, 32)
    cut = crop_resize(ramp)[0, 0, 5]
    step = 1 / 31 * 28 / 32  # 28 of 32 columns are spread over 32
    torch.testing.assert_close(cut[4:28].diff(), torch.full((23,), step), atol=1e-4, rtol=0)
    assert cut.mean() == pytest.approx(0, abs=1e-5)
    torch.testing.assert_close(brightness(torch.tensor([[[[-1.0, 0.0, 0.95]]]])), torch.tensor([[[[-0.8, 0.2, 1.0]]]]))


def test_combination_is_blur_noise_jpeg_in_that_order():
    images = smooth()
    torch.manual_seed(3)
    wanted = ATTACKS["jpeg"](ATTACKS["noise"](ATTACKS["blur"](to_float(images))))
    torch.manual_seed(3)
    assert torch.equal(ATTACKS["combination"](to_float(images)), wanted)


def test_an_unknown_attack_is_named():
    with pytest.raises(InputError, match="attack: 'rain' is unknown; choose one of none, blur"):
        attacked(smooth(), "rain")
