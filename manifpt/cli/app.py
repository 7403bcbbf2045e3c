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

from manifpt.cli import folders, latent, synthesis
from manifpt.utils import paths
from manifpt.utils.errors import InputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
bench = typer.Typer(no_args_is_help=True, help="Measure the speed of the parts that were made fast.")
data = typer.Typer(no_args_is_help=True, help="List and fetch the sets of real images.")
zoo = typer.Typer(no_args_is_help=True, help="List, train and sample the generators of the project.")
app.add_typer(folders.attribute, name="attribute")
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.add_typer(latent.latent, name="latent")
app.add_typer(zoo, name="zoo")
app.add_typer(synthesis.synthesis, name="synthesis")
Seed = Annotated[int, typer.Option(metavar="N", help="Of the noise.")]
UsageError = typer.BadParameter.__base__  # of the click that this typer works with


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

    from manifpt.notebooks.run import plan, run

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


@app.command(epilog="Example: manifpt tables --table 2 --dataset gm-fashion --profile smoke")
def tables(
    table: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="2, resnet50, 4, 5, two-sample, feature-space, held-out, synthesis-identification, "
            "synthesis-verification, synthesis-ffd, synthesis-training, synthesis-lineage, latent-keys, "
            "latent-quality, latent-attacks, latent-claims. Default: all.",
        ),
    ] = [],  # noqa: B006
    dataset: Annotated[
        list[str], typer.Option(metavar="NAME", help="GM dataset to train on; may be repeated. Default: all.")
    ] = [],  # noqa: B006
    profile: Annotated[
        str, typer.Option(metavar="NAME", help="smoke: minutes; full: hours, into data/results.")
    ] = "smoke",
    resume: Annotated[bool, typer.Option("--resume", help="Keep the rows that are there, and go on.")] = False,
) -> None:
    """Compute result tables, row by row, and print each with mean ± sd over seeds."""
    from manifpt.experiments.tables import compute

    for frame, shown in compute(table, dataset, profile=profile, resume=resume):
        typer.echo(f"{frame['dataset'].iloc[0]}, n = {frame['n'].max()}\n{shown.to_string()}")


@app.command(epilog="Example: manifpt readme")
def readme() -> None:
    """Make the README's tables and figure anew from the notebooks, their last runs and the committed data."""
    from manifpt.notebooks.readme import ledger_table, notebook_table, overview, rewrite

    written = rewrite(paths.CHECKOUT / "README.md", {"notebooks": notebook_table, "ledger": ledger_table})
    overview(paths.notebooks() / "overview.png")
    typer.echo(f"README.md: {', '.join(written)}, notebooks/overview.png")


app.command(epilog="Example: manifpt fingerprint real/ generated/ --estimator tangent --out fp.npz")(
    folders.fingerprint
)


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
    from manifpt.data.real import DATASETS

    width = max(map(len, DATASETS))
    for name, description in DATASETS.items():
        typer.echo(f"{name:{width}}  {description}")


@data.command("fetch", epilog="Example: manifpt data fetch cifar10")
def data_fetch(name: Annotated[str, typer.Argument(help="A name from `manifpt data list`.")]) -> None:
    """Download a set of real images if need be, read it, and say what is in it."""
    from manifpt.data.real import load_real

    for split in ("reference", "train", "val", "test"):
        typer.echo(f"{name} {split}: {load_real(name, split=split).shape}")


@zoo.command("list", epilog="Example: manifpt zoo list")
def zoo_list() -> None:
    """Name the generators, with family, design choices and origin, where each is trained, and the real sets."""
    from manifpt.zoo.dataset import load_gm
    from manifpt.zoo.models import DATASETS, table

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
    from manifpt.zoo.models import DATASETS, plan

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
    from manifpt.data import mosaics
    from manifpt.utils import files
    from manifpt.zoo.dataset import load_gm
    from manifpt.zoo.sample import sample

    files.check_writable(grid, ending=".png")
    images = sample(load_gm(dataset).checkpoint(label), n, seed=seed, progress=sys.stderr.isatty())
    mosaics.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


def main() -> None:
    """Entry of ``manifpt``: a failure becomes one line and an exit code, unless ``--debug`` is given."""
    try:
        sys.exit(app(prog_name="manifpt", standalone_mode=False) or 0)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if isinstance(error, UsageError):
            error = _wrong_words(error)
        if isinstance(error, PermissionError) and error.filename:
            error = InputError(f"{error.filename}: {error.strerror}; give yourself the right to it, or name another")
        wrong_input = isinstance(error, InputError)
        text = str(error) if wrong_input else f"{type(error).__name__}: {error} (`manifpt --debug …` shows where)"
        typer.echo(f"manifpt: {text}", err=True)
        sys.exit(2 if wrong_input else 1)


def _wrong_words(error: UsageError) -> InputError:
    """What was wrong with the words of a command, with the remedy; a group without words shows its help."""
    if error.message == error.ctx.get_help():
        error.show()
        sys.exit(2)
    said = " ".join(error.format_message().split()).rstrip(".")
    return InputError(f"{said}; `{error.ctx.command_path} --help` shows what is expected")


if __name__ == "__main__":
    main()
