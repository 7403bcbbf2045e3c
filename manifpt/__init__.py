"""Fingerprints of generative models. Names are imported when first used: `import manifpt` loads nothing heavy."""

from importlib import import_module

_HOME = {
    "Attributor": "attribution",
    "Fingerprint": "fingerprints",
    "InputError": "utils.errors",
    "Manifold": "manifold",
    "embed": "embeddings",
    "key_figure": "notebooks.execute",
    "load_gm": "zoo.dataset",
    "load_real": "data.real",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'manifpt' has no attribute {name!r}")
    return getattr(import_module(f"manifpt.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
