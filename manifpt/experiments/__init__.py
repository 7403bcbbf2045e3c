"""One file a table or curve of the papers.

An experiment is a function of one or two GM datasets. It builds the keys of its rows, the grid, and has those computed
that its file lacks (`manifpt.experiments.run.measure`). Its options ``**budget`` are the fields of
`manifpt.experiments.run.Budget`; ``methods`` are rows of `manifpt.experiments.run`, ``n_per_class`` is the number of
training images a class, unless it says otherwise. It returns its rows as a tidy frame (`manifpt.experiments.store`).
"""

from pkgutil import iter_modules

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(__name__, [module.name for module in iter_modules(__path__)])
