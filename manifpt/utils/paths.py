"""Where data, cache, runs and results live: the only module that knows.

``MANIFPT_HOME`` overrides where things are written; ``MANIFPT_DATA`` where the data that ships with the project is
read.
"""

import os
from pathlib import Path

from manifpt.utils.errors import InputError

CHECKOUT = Path(__file__).resolve().parent.parent.parent


def home() -> Path:
    """Folder of everything that can be computed again: ``.manifpt`` in a checkout, else ``~/.cache/manifpt``."""
    if "MANIFPT_HOME" in os.environ:
        return Path(os.environ["MANIFPT_HOME"]).expanduser().absolute()
    in_checkout = (CHECKOUT / "pyproject.toml").exists()
    return CHECKOUT / ".manifpt" if in_checkout else Path("~/.cache/manifpt").expanduser()


def cache() -> Path:
    """Computed arrays, keyed by what they depend on."""
    return home() / "cache"


def downloads() -> Path:
    """Real data sets fetched by torchvision."""
    return home() / "downloads"


def runs() -> Path:
    """State of interrupted and finished training and notebook runs."""
    return home() / "runs"


def data() -> Path:
    """The committed data.

    Raises
    ------
    InputError
        If the package was installed without its checkout and ``MANIFPT_DATA`` is not set.
    """
    folder = Path(os.environ.get("MANIFPT_DATA", CHECKOUT / "data")).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; the data ships with the repository, not with the wheel: "
            "clone it and set MANIFPT_DATA to its data/ folder"
        )
    return folder


def results() -> Path:
    """Committed result tables, ``<experiment>.csv``."""
    return data() / "results"


def notebooks() -> Path:
    """The committed notebooks."""
    return CHECKOUT / "notebooks"
