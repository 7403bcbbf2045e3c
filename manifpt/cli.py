r"""The command line, ``manifpt …``: reads the words, calls one function, prints what came out.

Exit codes: 0 done, 1 failed, 2 wrong input. Heavy modules are imported inside the commands, so that help is fast.
"""

import contextlib
import math
import runpy
import sys
from pathlib import Path
from typing import Annotated

import typer

from manifpt import paths
from manifpt.errors import InputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
bench = typer.Typer(no_args_is_help=True, help="Measure the speed of the parts that were made fast.")
data = typer.Typer(no_args_is_help=True, help="List and fetch the sets of real images.")
latent = typer.Typer(no_args_is_help=True, help="Write users' keys into images as they are generated; read them back.")
zoo = typer.Typer(no_args_is_help=True, help="List, train and sample the generators of the project.")
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.add_typer(latent, name="latent")
app.add_typer(zoo, name="zoo")
Users = Annotated[
    Path, typer.Option(metavar="FILE", help="JSON file of users, their keys and the fingerprint's settings.")
]
Seed = Annotated[int, typer.Option(metavar="N", help="Of the noise.")]


@app.callback(epilog="Example: manifpt reproduce --only 00")
def _manifpt(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of a failure.")] = False,
) -> None:
    """Fingerprints of generative models: which model made this image, what trace did it leave, and why."""


@app.command(epilog="Example: manifpt reproduce --only 01,04 -p seed=1 --jobs 2 --resume")
def reproduce(
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="Values of parameters: notebooks/params/NAME.yaml.")
    ] = "smoke",
    only: Annotated[
        list[str], typer.Option(metavar="NAME", help="Beginning of a notebook's name; repeat, or use commas.")
    ] = [],  # noqa: B006
    parameter: Annotated[
        list[str], typer.Option("--parameter", "-p", metavar="NAME=VALUE", help="Set a parameter; may be repeated.")
    ] = [],  # noqa: B006
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Notebooks at a time.")] = 1,
    timeout: Annotated[
        float, typer.Option(min=1, metavar="SECONDS", help="Time that one whole notebook may take.")
    ] = 600,
    resume: Annotated[
        bool, typer.Option("--resume", help="Skip what ran through with the same settings and code.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Write the outputs into the notebooks themselves.")
    ] = False,
    notebooks: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Other notebooks than the project's.")
    ] = None,
) -> None:
    """Run the notebooks headless and print what came out of each."""
    from tqdm import tqdm

    from manifpt.reproduce import plan, run

    if malformed := [text for text in parameter if "=" not in text]:
        raise InputError(f"-p {malformed[0]}: NAME=VALUE expected")
    given = dict(text.split("=", 1) for text in parameter)
    tasks = plan(notebooks, profile=profile, only=only, given=given, in_place=in_place)
    records = list(
        tqdm(run(tasks, jobs=jobs, timeout=timeout, resume=resume), total=len(tasks), unit="notebook", disable=None)
    )
    _summarise(records, tasks)


def _summarise(records, tasks) -> None:
    """A line for each notebook and one for all; exit code 1 if one failed."""
    width = max(len(record.notebook) for record in records)
    for record in sorted(records, key=lambda record: record.notebook):
        verdict, outcome = ("ok", record.key_figure) if record.ok else ("failed", record.error)
        typer.echo(f"{record.notebook:{width}}  {record.seconds:7.1f} s  {verdict:6}  {outcome}")
    failed = sum(not record.ok for record in records)
    typer.echo(f"{len(records) - failed} ok, {failed} failed; executed notebooks: {Path(tasks[0].executed).parent}")
    if failed:
        typer.echo(f"how far the failed ones came: {tasks[0].folder}/*.failed.ipynb")
        raise typer.Exit(1)


@app.command(epilog="Example: manifpt tables")
def tables() -> None:
    """Make the README's tables and figure anew from the notebooks, their last runs and the committed data."""
    from manifpt.tables import notebook_table, overview, rewrite

    written = rewrite(paths.CHECKOUT / "README.md", {"notebooks": notebook_table})
    overview(paths.notebooks() / "overview.png")
    typer.echo(f"README.md: {', '.join(written)}, notebooks/overview.png")


@bench.command("projection", epilog="Example: manifpt bench projection --n 50000")
def bench_projection(
    n: Annotated[int, typer.Option(min=1, metavar="N", help="Reference images.")] = 50_000,
) -> None:
    """Exact projection against faiss and the per-image loop, side by side; prints one line of JSON."""
    script = paths.CHECKOUT / "tests" / "benchmarks" / "projection.py"
    if not script.is_file():
        raise InputError(f"{script}: not there; benchmarks live in the repository: clone it and `pip install -e .`")
    sys.argv = [str(script), "--n", str(n)]
    runpy.run_path(str(script), run_name="__main__")


@data.command("list", epilog="Example: manifpt data list")
def data_list() -> None:
    """Name the sets of real images, and what each is."""
    from manifpt.real import DATASETS

    width = max(map(len, DATASETS))
    for name, description in DATASETS.items():
        typer.echo(f"{name:{width}}  {description}")


@data.command("fetch", epilog="Example: manifpt data fetch cifar10")
def data_fetch(name: Annotated[str, typer.Argument(help="A name from `manifpt data list`.")]) -> None:
    """Download a set of real images if need be, read it, and say what is in it."""
    from manifpt.real import load_real

    for split in ("reference", "train", "val", "test"):
        typer.echo(f"{name} {split}: {load_real(name, split=split).shape}")


@zoo.command("list", epilog="Example: manifpt zoo list")
def zoo_list() -> None:
    """Name the generators, with family, design choices and origin, where each is trained, and the real sets."""
    from manifpt.gm import load_gm
    from manifpt.zoo.registry import DATASETS, table

    def here(dataset: str) -> set[str]:
        with contextlib.suppress(InputError):
            return {record.get("model") for record in load_gm(dataset).models.values()}
        return set()

    frame, trained = table(), {dataset: here(dataset) for dataset in DATASETS}
    at = [", ".join(name for name, models in trained.items() if model in models) or "-" for model in frame["model"]]
    frame.insert(1, "trained in", at)
    typer.echo(frame.to_string(index=False))
    typer.echo("datasets: " + ", ".join(f"{name} (reals: {real})" for name, real in DATASETS.items()))


@zoo.command("train", epilog="Example: manifpt zoo train dcgan --dataset gm-fashion --seed 1")
def zoo_train(
    name: Annotated[str, typer.Argument(help="A name from `manifpt zoo list`.")] = "",
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="GM dataset, whose reals to train on; with --all: default is each.")
    ] = "",
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights, data order and noise.")] = 0,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Of training; default: the model's own.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of GM datasets; default: gm/ in the home of the project.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every model and seed; what is there is kept.")] = False,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Models at a time, which share the processor.")] = 1,
) -> None:
    """Train a generator, going on where an earlier call was interrupted; enter it, with samples, into its dataset."""
    from manifpt.zoo.batch import train_all
    from manifpt.zoo.registry import DATASETS, plan

    if everything == bool(name):
        raise InputError("either the name of a model or --all expected; `manifpt zoo list` shows the names")
    todo = plan([dataset] if dataset else DATASETS) if everything else [(dataset or "gm-fashion", name, seed)]
    for label, quality in train_all(todo, steps=steps, out=out, jobs=jobs):
        typer.echo(f"{label}: " + ", ".join(f"{key} {value}" for key, value in quality.items()))


@zoo.command("sample", epilog="Example: manifpt zoo sample dcgan --dataset gm-fashion -n 64 --grid garments.png")
def zoo_sample(
    label: Annotated[str, typer.Argument(help="A model of the dataset's manifest.")],
    grid: Annotated[Path, typer.Option(metavar="FILE", help="PNG to write: a square of images.")],
    dataset: Annotated[str, typer.Option(metavar="NAME", help="GM dataset: a name, or its folder.")] = "gm-fashion",
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Images.")] = 64,
    seed: Seed = 0,
) -> None:
    """Draw images from a trained generator."""
    from manifpt import files
    from manifpt.gm import load_gm
    from manifpt.zoo.sample import sample

    _check_grid(grid)
    images = sample(load_gm(dataset).checkpoint(label), n, seed=seed, progress=sys.stderr.isatty())
    files.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@latent.command("register", epilog="Example: manifpt latent register ada --registry users.json --key-length 32")
def latent_register(
    user: Annotated[str, typer.Argument(help="Name of a new user.")],
    registry: Users,
    key: Annotated[str, typer.Option(metavar="KEY", help="0b…, 0x… or text; default: random bits.")] = "",
    model: Annotated[str, typer.Option(metavar="NAME", help="New file: stylegan2 or ldm.")] = "stylegan2",
    dataset: Annotated[str, typer.Option(metavar="NAME", help="New file: GM dataset of the model.")] = "gm-fashion",
    key_length: Annotated[int, typer.Option(metavar="N", help="New file: bits of a key.")] = 32,
    shift: Annotated[
        int | None, typer.Option(metavar="N", help="New file: first component; default: last ones.")
    ] = None,
    sigma: Annotated[float, typer.Option(metavar="X", help="New file: strength of the key.")] = 1.0,
) -> None:
    """Give a user a key; the first user makes the file, and settles the fingerprint's settings in it."""
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.generators import load_generator
    from manifpt.latent.keys import Registry, show_key

    if not registry.exists():
        repeated = {"repeat": 3, "content": "sample"} if model == "ldm" else {}
        generator = load_generator(model, dataset=dataset)
        made = LatentFingerprinter(generator, key_length=key_length, shift=shift, sigma=sigma, **repeated)
        Registry.create(registry, made.settings)
    typer.echo(f"{user}: {show_key(Registry(registry).add(user, key or None))}")


@latent.command("embed", epilog="Example: manifpt latent embed ada --registry users.json --grid ada.png -n 16")
def latent_embed(
    user: Annotated[str, typer.Argument(help="Whose key to write.")],
    registry: Users,
    grid: Annotated[Path, typer.Option(metavar="FILE", help="PNG to write: a square of images.")],
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Images.")] = 16,
    seed: Seed = 0,
) -> None:
    """Generate images that carry a user's key."""
    from manifpt import files
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.keys import Registry

    _check_grid(grid)
    known = Registry(registry)
    if user not in known.users:
        raise InputError(f"{registry}: no user {user!r}; register, or choose one of {', '.join(known.users) or 'none'}")
    images = LatentFingerprinter.from_settings(known.settings).embed(known.users[user], n, seed)
    files.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@latent.command("attribute", epilog="Example: manifpt latent attribute ada.png -n 16 --registry users.json")
def latent_attribute(
    grid: Annotated[Path, typer.Argument(help="PNG of tiles of 32 pixels.")],
    registry: Users,
    n: Annotated[int, typer.Option("-n", min=1, metavar="N", help="Tiles to read.")] = 1,
    starts: Annotated[int, typer.Option(min=1, metavar="N", help="Starts for each image.")] = 20,
    steps: Annotated[int, typer.Option(min=0, metavar="N", help="Of the search.")] = 2000,
    warm: Annotated[int, typer.Option(min=0, metavar="N", help="Train a first guess for N steps; 0: none.")] = 0,
    max_p: Annotated[float, typer.Option(metavar="X", help="False-positive rate of a claim.")] = 1e-6,
) -> None:
    """Name the user whose key each image carries, or say that it is not ours."""
    from manifpt import files
    from manifpt.latent.claims import attribute, check_claims
    from manifpt.latent.directions import LatentFingerprinter
    from manifpt.latent.estimate import LatentEstimator
    from manifpt.latent.keys import Registry
    from manifpt.latent.warm import train_warm_start

    known, images = Registry(registry), files.load_mosaic(grid, n)
    check_claims(known.settings, known, max_p)
    fingerprinter = LatentFingerprinter.from_settings(known.settings)
    first = train_warm_start(fingerprinter, steps=warm) if warm else None
    estimator = LatentEstimator(fingerprinter, starts=starts, steps=steps, warm_start=first)
    claims = attribute(images, estimator, known, max_p=max_p)
    for number, (decision, p) in enumerate(zip(claims.decision, claims.p, strict=True)):
        typer.echo(f"{number}: {decision} (p = {p:.1g})")


def _check_grid(grid: Path) -> None:
    """Raise `InputError` unless a PNG can be written there."""
    if grid.suffix.lower() != ".png":
        raise InputError(f"{grid}: the images are written as PNG; use a name that ends in .png")
    if not grid.resolve().parent.is_dir():
        raise InputError(f"{grid}: {grid.parent} is no folder")


def main() -> None:
    """Entry of ``manifpt``: a failure becomes one line and an exit code, unless ``--debug`` is given."""
    try:
        app()
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        wrong_input = isinstance(error, InputError)
        text = str(error) if wrong_input else f"{type(error).__name__}: {error} (`manifpt --debug …` shows where)"
        typer.echo(f"manifpt: {text}", err=True)
        sys.exit(2 if wrong_input else 1)


if __name__ == "__main__":
    main()
