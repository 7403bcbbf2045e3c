r"""The program ``manifpt``: the groups of commands, those without a group, and exit codes.

Exit codes: 0 done, 1 failed, 2 wrong input.
"""

import runpy
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli import folders, latent, synthesis, zoo
from manifpt.cli.options import flag, option
from manifpt.utils import paths
from manifpt.utils.errors import InputError

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None)
bench = typer.Typer(no_args_is_help=True, help="Measure the speed of the exact projection.")
app.add_typer(folders.attribute, name="attribute")
app.add_typer(bench, name="bench")
app.add_typer(zoo.data, name="data")
app.add_typer(latent.latent, name="latent")
app.add_typer(synthesis.synthesis, name="synthesis")
app.add_typer(zoo.zoo, name="zoo")
UsageError = typer.BadParameter.__base__  # of the click that this typer works with


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"manifpt {version('manifpt')}")
        raise typer.Exit


@app.callback(epilog="Example: manifpt reproduce --only 00")
def _manifpt(
    debug: Annotated[bool, flag("--debug", "Show the traceback of a failure.")] = False,
    shown: Annotated[
        bool, flag("--version", "Show the version and exit.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Fingerprints of generative models: which model made this image, what trace did it leave, and why."""


@app.command(epilog="Example: manifpt reproduce --only 01,04 -p seed=1 --jobs 2 --resume")
def reproduce(
    profile: Annotated[str, option("NAME", "Values of the parameters: notebooks/params/NAME.yaml.")] = "smoke",
    only: Annotated[list[str], option("NAME", "Beginning of a notebook's name; repeat, or use commas.")] = [],  # noqa: B006
    parameter: Annotated[list[str], option("NAME=VALUE", "Set a parameter; repeatable.", "--parameter", "-p")] = [],  # noqa: B006
    jobs: Annotated[int, option("N", "Number of notebooks that run at a time.", min=1)] = 1,
    timeout: Annotated[float, option("SECONDS", "Time limit of one whole notebook.", min=1)] = 600,
    resume: Annotated[bool, flag("--resume", "Skip notebooks that succeeded with these settings and code.")] = False,
    in_place: Annotated[bool, flag("--in-place", "Write outputs into the notebooks themselves.")] = False,
    notebooks: Annotated[Path | None, option("FOLDER", "Other notebooks than the project's.")] = None,
) -> None:
    """Run the notebooks, and print the main result of each."""
    from tqdm import tqdm

    from manifpt.notebooks.run import plan, run

    if malformed := [text for text in parameter if "=" not in text]:
        raise InputError(f"-p {malformed[0]}: NAME=VALUE expected")
    given = dict(text.split("=", 1) for text in parameter)
    tasks = plan(notebooks, profile=profile, only=only, given=given, in_place=in_place)
    running = run(tasks, jobs=jobs, timeout=timeout, resume=resume)
    records = list(tqdm(running, total=len(tasks), unit="notebook", disable=None))
    width = max(len(record.notebook) for record in records)
    for record in sorted(records, key=lambda record: record.notebook):
        verdict, outcome = ("ok", record.key_figure) if record.ok else ("failed", record.error)
        typer.echo(f"{record.notebook:{width}}  {record.seconds:7.1f} s  {verdict:6}  {outcome}")
    failed = sum(not record.ok for record in records)
    typer.echo(f"{len(records) - failed} ok, {failed} failed; executed notebooks: {Path(tasks[0].executed).parent}")
    if failed:
        typer.echo(f"notebooks that failed, up to the error: {tasks[0].folder}/*.failed.ipynb")
        raise typer.Exit(1)


@app.command(epilog="Example: manifpt tables --table 2 --dataset gm-fashion --profile smoke")
def tables(
    table: Annotated[
        list[str],
        option(
            "NAME",
            "2, resnet50, 4, 5, two-sample, feature-space, held-out, zero-shot, zero-shot-ablation, latent-keys, "
            "latent-quality, latent-attacks, latent-claims. Default: all.",
        ),
    ] = [],  # noqa: B006
    dataset: Annotated[list[str], option("NAME", "GM dataset to train on; may be repeated. Default: all.")] = [],  # noqa: B006
    profile: Annotated[str, option("NAME", "smoke: minutes; full: hours, into data/results.")] = "smoke",
    resume: Annotated[bool, flag("--resume", "Keep the rows that exist, and compute the others.")] = False,
) -> None:
    """Compute result tables, and print mean ± sd over seeds."""
    from manifpt.experiments.tables import compute

    kept = 0
    for frame, shown, old in compute(table, dataset, profile=profile, resume=resume):
        typer.echo(f"{frame['dataset'].iloc[0]}, n = {frame['n'].max()}\n{shown.to_string()}")
        kept += old
    if kept:
        again = "to compute them anew, remove their files and drop --resume"
        typer.echo(f"kept {kept:,} rows that other code than today's computed; {again}", err=True)


@app.command(epilog="Example: manifpt readme")
def readme() -> None:
    """Generate the tables and the figure of the README from notebooks, their last runs and committed data."""
    from manifpt.notebooks.readme import ledger_table, notebook_table, overview, rewrite

    written = rewrite(paths.CHECKOUT / "README.md", {"notebooks": notebook_table, "ledger": ledger_table})
    overview(paths.notebooks() / "overview.png")
    typer.echo(f"README.md: {', '.join(written)}, notebooks/overview.png")


app.command(epilog="Example: manifpt fingerprint real/ generated/ --out fp.npz")(folders.fingerprint)
app.command(epilog="Example: manifpt identify --gallery makers/ --query unknown/")(folders.identify)
app.command(epilog="Example: manifpt verify one/ other/")(folders.verify)


@bench.command("projection", epilog="Example: manifpt bench projection --n 50000")
def bench_projection(n: Annotated[int, option("N", "Number of reference images.", min=1)] = 50_000) -> None:
    """Time the exact projection, faiss and a loop over images; print one line of JSON."""
    script = paths.CHECKOUT / "tests" / "benchmarks" / "projection.py"
    if not script.is_file():
        raise InputError(f"{script}: not there; benchmarks live in the repository: clone it and `pip install -e .`")
    sys.argv = [str(script), "--n", str(n)]
    runpy.run_path(str(script), run_name="__main__")


def main() -> None:
    """Run ``manifpt``; print a failure as one line and exit with its code, unless ``--debug`` is given."""
    try:
        sys.exit(app(prog_name="manifpt", standalone_mode=False) or 0)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        if isinstance(error, UsageError):
            error = _usage(error)
        if isinstance(error, PermissionError) and error.filename:
            error = InputError(f"{error.filename}: {error.strerror}; give yourself the right to it, or name another")
        wrong_input = isinstance(error, InputError)
        text = str(error) if wrong_input else f"{type(error).__name__}: {error} (`manifpt --debug …` shows where)"
        typer.echo(f"manifpt: {text}", err=True)
        sys.exit(2 if wrong_input else 1)


def _usage(error: UsageError) -> InputError:
    """The usage error of a command as one line with the remedy; a group without words prints its help and exits."""
    if error.message == error.ctx.get_help():
        error.show()
        sys.exit(2)
    said = " ".join(error.format_message().split()).rstrip(".")
    return InputError(f"{said}; `{error.ctx.command_path} --help` shows what is expected")
