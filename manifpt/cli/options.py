"""Options that several commands share. Commands import heavy modules inside their functions, so that help is fast."""

from pathlib import Path
from typing import Annotated

import typer


def option(metavar: str, text: str, *names: str, **limits: float):
    """An option with a value, by placeholder, help text, names (default: the parameter's) and limits (``min``)."""
    return typer.Option(*names, metavar=metavar, help=text, **limits)


def flag(name: str, text: str, **options):
    """An option without a value."""
    return typer.Option(name, help=text, **options)


Count = Annotated[int, option("N", "Number of images.", "-n", min=1)]
Grid = Annotated[Path, option("FILE", "PNG file to write: a square of images.")]
NoiseSeed = Annotated[int, option("N", "Seed of the noise.")]
