"""All figures of the notebooks, one file for each subject; functions take arrays or data frames, return the figure."""

import lazy_loader

_NAMES = {
    "attribution": [
        *("INPUTS", "accuracies", "clusters", "confusion", "curves", "embeddings", "gains", "learning_curves"),
        *("matrix", "published", "shares", "training"),
    ],
    "common": ["png", "style"],
    "estimation": ["errors", "four_spaces", "lengths", "manifolds", "plane", "strips", "verdicts", "views"],
    "latent": ["attack_bars", "front", "key_path", "rates"],
    "synthesis": ["ablation", "calibration", "cosines", "frequency_planes", "likelihood_ratios", "tasks"],
    "zoo": ["contact_sheet", "quality", "spectra"],
}
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, ["browser"], _NAMES)
