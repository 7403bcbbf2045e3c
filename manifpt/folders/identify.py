"""Identification of the models behind images by fingerprints of known models; see `manifpt.synthesis.protocol`."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from manifpt.data.pictures import decode, find
from manifpt.synthesis.extractor import SIZE
from manifpt.synthesis.protocol import crop_features, similarities
from manifpt.utils.errors import InputError

FEW = 10  # images of a model below which its fingerprint is uncertain


def identify(
    gallery: Path | str, query: Path | str, extract: Callable[[np.ndarray], np.ndarray]
) -> tuple[pd.DataFrame, list[str]]:
    """Name the model of the gallery whose fingerprint is nearest to each query image.

    Of images larger than 32x32, the features of nine crops at their own resolution are averaged. `InputError`, before
    any feature is computed, for a folder that does not exist, holds no image or lies in the other one; fewer than two
    models; a file that is not an image, or is smaller than 32x32.

    Parameters
    ----------
    gallery
        Folder with a sub-folder of images for each of at least two models.
    query
        Folder of images, searched with its sub-folders.
    extract
        uint8 images `(n, 3, 32, 32)` to features `(n, d)`: a `manifpt.synthesis.extractor.Extractor`.

    Returns
    -------
    table
        One row an image: ``file``, ``model``, ``cosine``, ``runner_up``, ``runner_up_cosine``; with several images, a
        last row for their mean feature, whose file is ``(all)``.
    remarks
        Reasons for doubt: a single image, sizes that differ, few images of a model in the gallery.
    """
    for inner, outer in ((gallery, query), (query, gallery)):
        if Path(inner).resolve().is_relative_to(Path(outer).resolve()):
            raise InputError(f"{inner}: lies in {outer}; gallery and query apart from each other expected")
    folders = sorted(path for path in Path(gallery).glob("[!.]*") if path.is_dir())
    if len(folders) < 2:
        raise InputError(f"{gallery}: {len(folders)} folders; one of images for each model expected, at least two")
    known, asked = {folder.name: read_images(folder) for folder in folders}, read_images(query)
    names = np.repeat(list(known), [len(images) for images in known.values()])
    features = crop_features([image for images in known.values() for image in images.values()], extract, size=SIZE)
    queries = crop_features(list(asked.values()), extract, size=SIZE)
    files = [str(file.relative_to(query)) for file in asked]
    if len(queries) > 1:
        queries, files = np.concatenate([queries, queries.mean(0, keepdims=True)]), [*files, "(all)"]
    models, cosine = similarities(features, names, queries)
    second, first = np.argsort(cosine, axis=1, kind="stable")[:, -2:].T
    rows = np.arange(len(cosine))
    columns = {"file": files, "model": models[first], "cosine": cosine[rows, first]}
    columns |= {"runner_up": models[second], "runner_up_cosine": cosine[rows, second]}
    return pd.DataFrame(columns), _remarks(known, asked)


def read_images(folder: Path | str) -> dict[Path, np.ndarray]:
    """File to image for all images below a folder, uint8 `(3, h, w)`; `InputError` for one smaller than 32x32."""
    images = {file: np.asarray(decode(file).convert("RGB")).transpose(2, 0, 1) for file in find(folder)}
    for file, image in images.items():
        if min(image.shape[1:]) < SIZE:
            raise InputError(f"{file}: {image.shape[2]}x{image.shape[1]} pixels; at least {SIZE}x{SIZE} expected")
    return images


def _remarks(known: dict[str, dict], asked: dict[Path, np.ndarray]) -> list[str]:
    """Reasons to doubt the answer, one line each."""
    sizes = {image.shape[:0:-1] for image in asked.values()}  # (w, h)
    others = {image.shape[:0:-1] for images in known.values() for image in images.values()} - sizes
    few = [name for name, images in known.items() if len(images) < FEW]
    listed, listed_others = (", ".join(f"{w}x{h}" for w, h in sorted(some)[:4]) for some in (sizes, others))
    lines = {
        "query: 1 image; several of one model, judged together, are more certain": len(asked) == 1,
        f"query: images of {len(sizes)} sizes ({listed}), none resized": len(sizes) > 1,
        f"gallery: images of other sizes than the query's ({listed_others}), none resized": others,
        f"gallery: fewer than {FEW} images of {', '.join(few)}": few,
    }
    return [line for line, applies in lines.items() if applies]
