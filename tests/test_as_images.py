"""The door for images."""

import numpy as np
import pytest
import torch
from PIL import Image

from manifpt.utils.arrays import as_images
from manifpt.utils.errors import InputError


@pytest.fixture
def colour(noise):
    return noise(4, 3, size=8)


@pytest.fixture
def grey(noise):
    return noise(4, size=8)


def pictures(images, mode="RGB"):
    return [Image.fromarray(np.moveaxis(image, 0, 2).squeeze()).convert(mode) for image in images]


def test_uint8_batches_pass_as_they_are(colour, grey, tmp_path):
    for images in (colour, grey, colour[::2], np.zeros((6, 1, 2, 3), np.uint8), np.zeros((1, 1, 1, 2), np.uint8)):
        assert as_images(images) is images
    np.save(tmp_path / "images.npy", colour)
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert as_images(mapped) is mapped


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_to_levels(dtype):
    levels = np.arange(256, dtype=np.uint8).reshape(1, 1, 16, 16)
    assert (as_images((levels / 255).astype(dtype)) == levels).all()
    between = np.full((130, 8, 8), (100.4) / 255, dtype)  # more than are converted at a time
    assert (as_images(between) == 100).all()


def test_layouts_and_kinds_of_a_colour_batch(colour):
    last = np.moveaxis(colour, 1, 3)
    tensor = torch.from_numpy(colour)
    brought = [last, last / 255, pictures(colour), tuple(pictures(colour)), list(colour), list(last), list(last / 255)]
    brought += [tensor, tensor / 255, (tensor / 255).bfloat16().float(), tensor.permute(0, 2, 3, 1), list(tensor)]
    brought += [(tensor / 255).requires_grad_()]
    for images in brought:
        found = as_images(images)
        assert (found.dtype, found.shape) == (np.uint8, colour.shape)
        assert np.abs(found.astype(int) - colour).max() <= (0 if images is not brought[9] else 1)


def test_layouts_and_kinds_of_a_grey_batch(grey):
    flat = grey[:, 0]
    for images in (flat, flat / 255, flat[..., None], pictures(grey, "L"), list(flat), torch.from_numpy(flat)):
        assert (as_images(images) == grey).all()
    assert (as_images(list(flat[:3])) == grey[:3]).all()  # a list is never one image in colour
    assert as_images(pictures(grey[:3], "L")).shape == (3, 1, 8, 8)
    assert as_images(flat[:1]).shape == (1, 1, 8, 8)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_tensors_come_from_any_device(colour):
    assert (as_images(torch.from_numpy(colour).cuda()) == colour).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.astype(int), "batch: of type int64; uint8 from 0 to 255, or floats in [0, 1], expected"),
        (lambda x: x > 4, "batch: of type bool; uint8"),
        (lambda x: x.astype(float), "batch: floats from 0 to 255; floats in [0, 1] expected: perhaps x / 255"),
        (lambda x: x / 127.5 - 1, "batch: floats from -1 to 1; floats in [0, 1] expected: perhaps (x + 1) / 2"),
        (lambda x: x / 250, "batch: floats from 0 to 1.02; floats in [0, 1] expected: perhaps x.clip(0, 1)"),
        (lambda x: np.where(x == 0, np.nan, x / 255), "batch: floats from nan to nan; floats in [0, 1] expected"),
        (lambda x: x[0], "batch: shape (3, 8, 8) may be a single image; a batch expected: x[None] if it is one image"),
        (lambda x: x[0].transpose(1, 2, 0), "batch: shape (8, 8, 3) may be a single image"),
        (lambda x: x[:3, 0], "batch: shape (3, 8, 8) may be a single image"),
        (lambda x: x[0, 0], "batch: shape (8, 8) may be a single image; a batch expected: x[None]"),
        (lambda x: x[..., :3], "batch: shape (4, 3, 8, 3) may be (n, c, h, w) or (n, h, w, c); pad it to 4 pixels"),
        (lambda x: x[:, :2], "batch: of shape (4, 2, 8, 8); (n, c, h, w), (n, h, w, c) or grey (n, h, w) with n > 0"),
        (lambda x: x[:0], "batch: of shape (0, 3, 8, 8); (n, c, h, w)"),
        (lambda x: x[None], "batch: of shape (1, 4, 3, 8, 8); (n, c, h, w)"),
        (lambda x: pictures(x)[0], "batch: one PIL image; a list of images expected, [image]"),
        (lambda x: pictures(x, "RGBA"), "batch: a PIL image of mode RGBA; L or RGB expected: image.convert('RGB')"),
        (lambda x: pictures(x, "P"), "batch: a PIL image of mode P; L or RGB expected"),
        (lambda x: [x[0], x[1][:, 1:]], "batch: 2 of 2 sizes, modes or types; some of one kind expected"),
        (lambda x: pictures(x)[:1] + pictures(x, "L"), "batch: 5 of 2 sizes, modes or types; some of one kind"),
        (lambda x: [], "batch: 0 of 0 sizes, modes or types; some of one kind expected"),
        (lambda x: "photos", "batch: of shape (); (n, c, h, w)"),
        (lambda x: None, "batch: of shape (); (n, c, h, w)"),
    ],
)
def test_what_is_wrong_or_ambiguous_is_refused_with_the_remedy(colour, change, message):
    colour[0, 0, 0, :2] = 0, 255
    with pytest.raises(InputError) as refused:
        as_images(change(colour), "batch")
    assert str(refused.value).startswith(message)
