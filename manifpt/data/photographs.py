"""Crops of photographs with free licences, split by photograph; the manifest in ``data/photographs`` says whose."""

import json

import numpy as np

from manifpt.utils import files, paths
from manifpt.utils.errors import InputError

RIM = 2  # pixels on each side of a held-out crop that go beyond the 128 that are shown


def load_crops(split: str) -> np.ndarray:
    """Read the crops of a split, uint8 `(n, 3, side, side)`: of 128 pixels, or 132 in the splits that are held out."""
    from manifpt.data.pictures import decode

    folder, crops = paths.data() / "photographs", []
    try:
        records = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["photographs"]
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"{folder}/manifest.json: cannot be read ({error!r}); `git checkout` restores it") from error
    for record in records:
        if record["split"] == split:
            path, side = folder / record["file"], record["side"]
            files.check_sha256(path, record["sha256"])
            crops.append(np.asarray(decode(path)).reshape(record["n"], side, side, 3))
    found = np.concatenate(crops).transpose(0, 3, 1, 2)
    return found[np.random.default_rng(0).permutation(len(found))]
