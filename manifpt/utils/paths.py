"""Folders of data, cache, runs and results; no other module names them.

``MANIFPT_HOME`` overrides the folder that everything is written to, ``MANIFPT_DATA`` that of the project's data.
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
    """Folder of computed arrays; see `manifpt.utils.cache`."""
    return home() / "cache"


def downloads() -> Path:
    """Folder of real data sets that torchvision downloads."""
    return home() / "downloads"


def runs() -> Path:
    """Folder of the state of training and notebook runs, finished or not."""
    return home() / "runs"


def data() -> Path:
    """Folder of the committed data; `InputError` if there is neither a checkout nor ``MANIFPT_DATA``."""
    folder = Path(os.environ.get("MANIFPT_DATA", CHECKOUT / "data")).expanduser().absolute()
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder; the data ships with the repository, not with the wheel: "
            "clone it and set MANIFPT_DATA to its data/ folder"
        )
    return folder


def results() -> Path:
    """Folder of the committed result tables, ``<experiment>.csv``."""
    return data() / "results"


def notebooks() -> Path:
    """Folder of the committed notebooks."""
    return CHECKOUT / "notebooks"
