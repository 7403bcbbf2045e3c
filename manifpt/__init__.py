"""Fingerprints of generative models. Names are imported when first used: `import manifpt` loads nothing heavy.

`load_real` and `load_gm` give images; `embed` maps them into a space; a `Manifold` projects them, which gives artifacts
and a `Fingerprint`; an `Attributor` names the model behind an artifact after training, `PLDA` by a few images of each
model. Errors that users can mend are `InputError`. Beside them stand `metrics`, `zoo`, `synthesis`, `latent`,
`folders`, `experiments`, `plotting` and all other modules.
"""

from importlib.metadata import version

import lazy_loader

__version__ = version(__name__)
_NAMES = {
    "attribution": ["Attributor"],
    "data.real": ["load_real"],
    "embeddings": ["embed"],
    "fingerprints": ["Fingerprint"],
    "manifold": ["Manifold"],
    "notebooks.execute": ["key_figure"],
    "plda": ["PLDA"],
    "utils.errors": ["InputError"],
    "zoo.dataset": ["load_gm"],
}
_MODULES = [
    *("attribution", "embeddings", "fingerprints", "manifold", "metrics", "plda", "psd", "toys"),
    *("baselines", "cli", "data", "experiments", "folders", "latent", "nn", "notebooks", "plotting"),
    *("search", "synthesis", "utils", "zoo"),
]
__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, _MODULES, _NAMES)
