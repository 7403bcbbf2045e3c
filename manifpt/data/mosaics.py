"""Image batches kept as mosaics: one lossless PNG of equal tiles, row by row."""

from pathlib import Path

import numpy as np
from PIL import Image

from manifpt.utils import files
from manifpt.utils.errors import InputError

COLUMNS = 50


def save_mosaic(path: Path | str, images: np.ndarray, columns: int = COLUMNS) -> None:
    """Write an image batch, uint8 `(n, c, h, w)` with c 1 or 3, atomically as a mosaic of `columns` tiles a row."""
    import torch
    from torchvision.utils import make_grid

    grid = make_grid(torch.from_numpy(np.ascontiguousarray(images)), nrow=columns, padding=0)  # (3, height, width)
    picture = grid[: images.shape[1]].permute(1, 2, 0).numpy()
    with files.atomic(path) as temporary:
        Image.fromarray(picture[..., 0] if len(images[0]) == 1 else picture).save(temporary, optimize=True)


def load_mosaic(path: Path | str, n: int | None = None, size: int = 32) -> np.ndarray:
    """Read the first `n` tiles of a mosaic, by default all except black ones at its end, as uint8 `(n, c, size, size)`.

    c is 1 for a greyscale file and 3 for a colour file. Raise `InputError` if the file is not a picture, has another
    mode, is not made of whole tiles, or holds fewer than `n`.
    """
    try:
        with Image.open(path) as image:
            mode, picture = image.mode, np.atleast_3d(np.asarray(image))
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a mosaic of images ({error})") from error
    height, width, c = picture.shape
    rows, columns = height // size, width // size
    if mode not in ("L", "RGB"):
        raise InputError(f"{path}: its mode is {mode}; 8-bit greyscale (L) or colour (RGB) expected")
    if height % size or width % size:
        raise InputError(f"{path}: {width}x{height} pixels; whole tiles of {size}x{size} expected")
    if n is not None and rows * columns < n:
        raise InputError(f"{path}: holds {rows * columns} tiles of {size} pixels, {n} expected")
    tiles = picture.reshape(rows, size, columns, size, c).transpose(0, 2, 4, 1, 3).reshape(-1, c, size, size)
    if n is None:
        n = int(np.flatnonzero(tiles.any((1, 2, 3)))[-1:].sum()) + 1
    return tiles[:n].copy()
