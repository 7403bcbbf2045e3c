import numpy as np
import pytest
from PIL import Image

from manifpt.data.mosaics import load_mosaic, save_mosaic
from manifpt.utils.errors import InputError


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 50, 73])
def test_mosaic_round_trip(tmp_path, noise, channels, n):
    path = tmp_path / "mosaic.png"
    images = noise(n, channels)
    save_mosaic(path, images)
    found = load_mosaic(path, n)
    assert (found.dtype, found.shape) == (np.uint8, images.shape)
    assert (found == images).all()
    assert (load_mosaic(path, 1) == images[:1]).all()


def test_mosaic_is_a_picture_of_fifty_tiles_a_row_read_left_to_right(tmp_path, noise):
    images = noise(51, 3, size=8)
    save_mosaic(tmp_path / "mosaic.png", images)
    with Image.open(tmp_path / "mosaic.png") as picture:
        pixels = np.asarray(picture)
    assert pixels.shape == (16, 400, 3)
    assert (pixels[:8, 8:16] == images[1].transpose(1, 2, 0)).all()
    assert (pixels[8:, :8] == images[50].transpose(1, 2, 0)).all()
    assert not pixels[8:, 8:].any()
    assert (load_mosaic(tmp_path / "mosaic.png", 51, size=8) == images).all()


def test_mosaic_that_is_too_small_or_no_picture_is_named(tmp_path, noise):
    path = tmp_path / "mosaic.png"
    save_mosaic(path, noise(3))
    with pytest.raises(InputError, match=r"mosaic\.png: holds 3 tiles of 32 pixels, 4 expected"):
        load_mosaic(path, 4)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match=r"mosaic\.png: cannot be read"):
        load_mosaic(path, 3)
    Image.new("L", (100, 64)).save(path)
    with pytest.raises(InputError, match=r"mosaic\.png: 100x64 pixels; whole tiles of 32x32 expected"):
        load_mosaic(path, 3)
    for mode in ("P", "RGBA", "1", "I;16"):  # the palette's numbers are no grey levels
        Image.new(mode, (64, 64)).save(path)
        with pytest.raises(InputError, match=rf"mosaic\.png: its mode is {mode}; .* expected"):
            load_mosaic(path, 3)


def test_mosaic_of_unknown_length_ends_at_its_last_tile_that_is_not_black(tmp_path, noise):
    images = noise(5, 1)
    images[1] = 0
    save_mosaic(tmp_path / "mosaic.png", images, columns=3)
    found = load_mosaic(tmp_path / "mosaic.png")
    assert (found == images).all()
    assert found.flags.writeable
    save_mosaic(tmp_path / "mosaic.png", np.zeros((4, 1, 32, 32), np.uint8), columns=2)
    assert len(load_mosaic(tmp_path / "mosaic.png")) == 1
