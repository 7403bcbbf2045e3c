"""Enter a trained model into the manifest of its GM dataset: samples, checksums, quality."""

import json
from pathlib import Path

import numpy as np

from manifpt import files, metrics
from manifpt.embeddings import embed
from manifpt.gm import GMDataset
from manifpt.real import load_real
from manifpt.zoo import registry
from manifpt.zoo.sample import sample

SAMPLES = 2000
QUALITY_N = 1000


def publish(checkpoint: Path, *, n: int = SAMPLES, seed: int = 0) -> dict:
    """Draw samples of a checkpoint that lies in a GM dataset's folder, measure them, and record both in its manifest.

    Returns
    -------
    The model's entry: family, citation, design, parameters, steps, seconds, seed, checkpoint, samples, quality.
    """
    folder, label = checkpoint.parent.parent, checkpoint.stem
    _, settings = files.load_tensors(checkpoint)
    real = registry.real_set(settings["dataset"])
    images = sample(checkpoint, n, seed=seed)
    mosaic = folder / "samples" / f"{label}.png"
    files.save_mosaic(mosaic, images)
    record = registry.entry(settings["model"]).describe()
    record |= {key: settings[key] for key in ("parameters", "steps", "seconds", "seed")}
    record["checkpoint"] = {"file": f"checkpoints/{checkpoint.name}", "sha256": files.sha256(checkpoint)}
    record["samples"] = {"file": f"samples/{mosaic.name}", "sha256": files.sha256(mosaic), "n": n, "seed": seed}
    record["quality"] = quality(images, real)
    path = folder / "manifest.json"
    models = (GMDataset(folder).models if path.exists() else {}) | {label: record}
    manifest = {"name": settings["dataset"], "real": real, "models": dict(sorted(models.items()))}
    files.write_text(path, json.dumps(manifest, indent=1) + "\n")
    return record


def quality(images: np.ndarray, real: str) -> dict:
    """FD, precision, recall, density and coverage in ``sl`` against as many held-out reals, up to 1,000."""
    held_out = np.concatenate([load_real(real, split=split) for split in ("train", "val", "test")])
    n = min(QUALITY_N, len(images), len(held_out))
    real_features, features = embed(held_out[:n], "sl"), embed(images[:n], "sl")
    scores = {"n": n, "fd": metrics.frechet_distance(real_features, features)}
    scores |= metrics.precision_recall_density_coverage(real_features, features)
    return {key: round(value, 4) for key, value in scores.items()}
