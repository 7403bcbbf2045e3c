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

from manifpt import cli_folders, paths
from manifpt.errors import InputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
bench = typer.Typer(no_args_is_help=True, help="Measure the speed of the parts that were made fast.")
data = typer.Typer(no_args_is_help=True, help="List and fetch the sets of real images.")
synthesis = typer.Typer(
    no_args_is_help=True, help="Fingerprints of generators never trained on, learned from synthetic models."
)
zoo = typer.Typer(no_args_is_help=True, help="List, train and sample the generators of the project.")
app.add_typer(cli_folders.attribute, name="attribute")
app.add_typer(bench, name="bench")
app.add_typer(data, name="data")
app.add_typer(zoo, name="zoo")
app.add_typer(synthesis, name="synthesis")


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


@app.command(epilog="Example: manifpt tables --table 2 --dataset gm-fashion --profile smoke")
def tables(
    table: Annotated[
        list[str], typer.Option(metavar="NAME", help="2, 4, 5 or held-out; may be repeated. Default: all.")
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
    from manifpt.experiments.batch import compute, summary

    for frame in compute(table, dataset, profile=profile, resume=resume):
        typer.echo(f"{frame['dataset'].iloc[0]}, n = {frame['n'].max()}\n{summary(frame).to_string()}")


@app.command(epilog="Example: manifpt readme")
def readme() -> None:
    """Make the README's tables and figure anew from the notebooks, their last runs and the committed data."""
    from manifpt.tables import notebook_table, overview, rewrite

    written = rewrite(paths.CHECKOUT / "README.md", {"notebooks": notebook_table})
    overview(paths.notebooks() / "overview.png")
    typer.echo(f"README.md: {', '.join(written)}, notebooks/overview.png")


app.command(epilog="Example: manifpt fingerprint real/ generated/ --estimator tangent --out fp.npz")(
    cli_folders.fingerprint
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
    seed: Annotated[int, typer.Option(metavar="N", help="Of the noise.")] = 0,
) -> None:
    """Draw images from a trained generator."""
    from manifpt import files
    from manifpt.gm import load_gm
    from manifpt.zoo.sample import sample

    if grid.suffix.lower() != ".png":
        raise InputError(f"{grid}: the images are written as PNG; use a name that ends in .png")
    if not grid.resolve().parent.is_dir():
        raise InputError(f"{grid}: {grid.parent} is no folder")
    images = sample(load_gm(dataset).checkpoint(label), n, seed=seed, progress=sys.stderr.isatty())
    files.save_mosaic(grid, images, columns=math.ceil(math.sqrt(n)))


@synthesis.command("train-models", epilog="Example: manifpt synthesis train-models --seeds 2 --jobs 2")
def synthesis_train_models(
    dataset: Annotated[str, typer.Option(metavar="NAME", help="Real images in colour to learn.")] = "photos",
    seeds: Annotated[int, typer.Option(min=1, metavar="N", help="Of each of the 288 architectures.")] = 2,
    jobs: Annotated[int, typer.Option(min=1, metavar="N", help="Models at a time, a thread each.")] = 1,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of checkpoints; default: synthesis/ in the project's home.")
    ] = None,
) -> None:
    """Train the synthetic models; those that are there are kept, so an interrupted call can be repeated."""
    from collections import Counter

    from tqdm import tqdm

    from manifpt.synthesis.models import architectures
    from manifpt.synthesis.train import train_models

    done = train_models(dataset=dataset, seeds=seeds, jobs=jobs, out=out)
    records = list(tqdm(done, total=seeds * len(architectures()), unit="model", disable=None))
    ends = ", ".join(f"{n} by {reason}" for reason, n in sorted(Counter(r["stopped"] for r in records).items()))
    seconds = sum(record["seconds"] for record in records) / len(records)
    typer.echo(f"{len(records)} synthetic models of {dataset}, {seconds:.1f} s each; stopped: {ends}")


@synthesis.command("train", epilog="Example: manifpt synthesis train photos --steps 1500")
def synthesis_train(
    name: Annotated[str, typer.Argument(help="Of the extractor to write.")] = "photos",
    dataset: Annotated[
        str, typer.Option(metavar="NAME", help="Real images in colour for the models to give back.")
    ] = "photos",
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make models for every batch, in place of the trained ones.")
    ] = False,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of training.")] = 1500,
    robust: Annotated[bool, typer.Option("--robust", help="Compress, blur and resize images at random.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights and batches.")] = 0,
) -> None:
    """Train a fingerprint extractor on synthetic models, going on where an earlier call was interrupted."""
    from manifpt.real import load_real
    from manifpt.synthesis import extractor, simulators
    from manifpt.synthesis.train import folder_of

    if fresh:
        simulator = simulators.FreshModels()
    else:
        simulator = simulators.TrainedModels(sorted(folder_of(dataset).glob("*.safetensors")))
    recipe = extractor.Recipe(steps=steps, robust=robust, seed=seed)
    typer.echo(extractor.train(simulator, load_real(dataset), recipe, name=name))


@synthesis.command("identify", epilog="Example: manifpt synthesis identify --gallery models/ --query unknown/")
def synthesis_identify(
    gallery: Annotated[Path, typer.Option(metavar="DIR", help="A folder of images for each known model.")],
    query: Annotated[Path, typer.Option(metavar="DIR", help="Images to name the model of.")],
    extractor: Annotated[
        str, typer.Option(metavar="NAME", help="Of `manifpt synthesis train`, or a checkpoint.")
    ] = "photos",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="CSV to write the table to.")] = None,
) -> None:
    """Name the model of the gallery that made each query image, by fingerprints; none of them needs to be trained."""
    from manifpt import files
    from manifpt.synthesis.extractor import Extractor, find
    from manifpt.synthesis.identify import identify

    if out and not out.resolve().parent.is_dir():
        raise InputError(f"{out}: {out.parent} is no folder")
    is_file = extractor.endswith(".safetensors")
    table, remarks = identify(gallery, query, Extractor(Path(extractor) if is_file else find(extractor)))
    typer.echo(table.to_string(index=False, float_format="%.3f"))
    for remark in remarks:
        typer.echo(remark, err=True)
    if out:
        files.write_text(out, table.to_csv(index=False))


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
