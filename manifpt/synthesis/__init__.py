"""Model Synthesis (Yang et al., TMM 2025): a fingerprint extractor trained on synthetic models alone."""

from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [module.name for module in iter_modules(__path__)])
