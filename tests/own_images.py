"""Small folders of images that tests can spoil: real ones, and those of two models."""

import numpy as np
from PIL import Image

SIZE = 16


def save(path, pixels):
    """Write an array as a picture, with the folders it needs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def make(folder, *, real=30, of_a_model=6):
    """``real/`` with noise, ``generated/a`` darker, ``generated/b`` smoother, all PNG; returns the folder."""
    rng = np.random.default_rng(0)
    for number in range(real):
        save(folder / "real" / f"{number:03}.png", rng.integers(0, 256, (SIZE, SIZE), np.uint8))
    for number in range(of_a_model):
        noise = rng.integers(0, 256, (SIZE, SIZE), np.uint8)
        save(folder / "generated" / "a" / f"{number:03}.png", noise // 2)
        save(folder / "generated" / "b" / f"{number:03}.png", np.sort(noise, axis=0))
    return folder


def state(folder):
    """Every file and link below a folder with its content: equal before and after if nothing was touched."""
    content = {}
    for path in sorted(folder.rglob("*")):
        content[str(path)] = path.read_bytes() if path.is_file() else path.is_dir()
    return content
