"""The commands for real sets and generators: ``manifpt data …`` and ``manifpt zoo …``."""

import contextlib
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli.options import Count, Grid, NoiseSeed, flag, option
from manifpt.utils.errors import InputError

data = typer.Typer(no_args_is_help=True, help="List and fetch the sets of real images.")
zoo = typer.Typer(no_args_is_help=True, help="List, train and sample the generators of the project.")


@data.command("list", epilog="Example: manifpt data list")
def data_list() -> None:
    """List the names of the sets of real images, each with a description."""
    from manifpt.data.real import DATASETS

    width = max(map(len, DATASETS))
    for name, description in DATASETS.items():
        typer.echo(f"{name:{width}}  {description}")


@data.command("fetch", epilog="Example: manifpt data fetch cifar10")
def data_fetch(name: Annotated[str, typer.Argument(help="A name from `manifpt data list`.")]) -> None:
    """Read a set of real images, downloaded if need be, and print the shapes of its splits."""
    from manifpt.data.real import load_real

    for split in ("reference", "train", "val", "test"):
        typer.echo(f"{name} {split}: {load_real(name, split=split).shape}")


@zoo.command("list", epilog="Example: manifpt zoo list")
def zoo_list() -> None:
    """List the generators with their datasets, family, design choices and origin, the published ones, the datasets."""
    import pandas as pd

    from manifpt.zoo.dataset import PUBLISHED, load_gm
    from manifpt.zoo.models import DATASETS, table

    def records(dataset: str) -> list[dict]:
        with contextlib.suppress(InputError):
            return [*load_gm(dataset).models.values()]
        return []

    frame, trained = table(), {dataset: {record.get("model") for record in records(dataset)} for dataset in DATASETS}
    at = [", ".join(name for name, models in trained.items() if model in models) or "-" for model in frame["model"]]
    frame.insert(1, "trained in", at)
    typer.echo(frame.to_string(index=False))
    design = ["network.scale", *(f"design.{choice}" for choice in ("up", "nonlinearity", "loss"))]
    published = pd.json_normalize(records(PUBLISHED))
    published = published.reindex(columns=["model", "family", *design, "training", "citation", "licence"])
    typer.echo(f"\n{published.rename(columns=lambda name: name.rpartition('.')[2]).to_string(index=False)}\n")
    datasets = DATASETS | {PUBLISHED: "photographs"}
    typer.echo("datasets: " + ", ".join(f"{name} (reals: {real})" for name, real in datasets.items()))


@zoo.command("train", epilog="Example: manifpt zoo train dcgan --dataset gm-fashion --seed 1")
def zoo_train(
    name: Annotated[str, typer.Argument(help="A name from `manifpt zoo list`.")] = "",
    dataset: Annotated[str, option("NAME", "GM dataset to train for; default: gm-fashion, with --all every one.")] = "",
    seed: Annotated[int, option("N", "Seed of weights, data order and noise.")] = 0,
    steps: Annotated[int | None, option("N", "Number of training steps; default: that of the generator.")] = None,
    out: Annotated[Path | None, option("FOLDER", "Folder of GM datasets; default: gm/ in the project's home.")] = None,
    everything: Annotated[bool, flag("--all", "Train every generator and seed that is missing.")] = False,
    jobs: Annotated[int, option("N", "Number of generators that are trained at a time.", min=1)] = 1,
) -> None:
    """Train a generator and add it, with samples, to its dataset; interrupted training continues."""
    from manifpt.zoo.models import DATASETS, plan
    from manifpt.zoo.train import train_generators

    if everything == bool(name):
        raise InputError("either the name of a generator or --all expected; `manifpt zoo list` shows the names")
    todo = plan([dataset] if dataset else DATASETS) if everything else [(dataset or "gm-fashion", name, seed)]
    for label, quality in train_generators(todo, steps=steps, out=out, jobs=jobs):
        typer.echo(f"{label}: " + ", ".join(f"{key} {value}" for key, value in quality.items()))


@zoo.command("sample", epilog="Example: manifpt zoo sample dcgan --dataset gm-fashion -n 64 --grid garments.png")
def zoo_sample(
    label: Annotated[str, typer.Argument(help="Label of a model in the manifest of the dataset.")],
    grid: Grid,
    dataset: Annotated[str, option("NAME", "GM dataset: its name or folder.")] = "gm-fashion",
    n: Count = 64,
    seed: NoiseSeed = 0,
) -> None:
    """Sample images from a generator; of a published network, the first that it makes of the held-out photographs."""
    from manifpt.data import mosaics
    from manifpt.utils import files
    from manifpt.zoo.dataset import load_gm

    files.check_writable(grid, ending=".png")
    images = load_gm(dataset).sample(label, n, seed=seed, progress=sys.stderr.isatty())
    mosaics.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))
