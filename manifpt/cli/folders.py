"""The commands for folders of other people's images: ``manifpt fingerprint`` and ``manifpt attribute``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

attribute = typer.Typer(no_args_is_help=True, help="Train on folders of images which model made them, and predict.")

Real = Annotated[Path, typer.Argument(help="Folder of real images.")]
Generated = Annotated[Path, typer.Argument(help="Folder whose sub-folders are the models.")]
Space = Annotated[str, typer.Option(metavar="NAME", help="rgb, freq, sl, ssl:<dataset>.")]
Estimator = Annotated[str, typer.Option(metavar="NAME", help="nearest (the paper's) or tangent.")]
Neighbours = Annotated[int, typer.Option("-k", "--k", metavar="N", help="Neighbours of tangent.")]
RuleName = Annotated[str, typer.Option(metavar="NAME", help="centre-crop, patches or resize.")]
Size = Annotated[int | None, typer.Option(metavar="PIXELS", help="Default: the smallest side, 64 at most.")]
Equalise = Annotated[bool, typer.Option("--equalise", help="Re-encode all images as JPEG of one quality first.")]
Workers = Annotated[int, typer.Option(metavar="N", help="Threads that decode images.")]


def fingerprint(
    real: Real,
    generated: Generated,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .npz file to write.")],
    space: Space = "rgb",
    estimator: Estimator = "nearest",
    k: Neighbours = 64,
    rule: RuleName = "centre-crop",
    size: Size = None,
    equalise: Equalise = False,
    workers: Workers = 1,
) -> None:
    """Write the artifacts of every model in a folder, and of held-out real images, to one file."""
    from manifpt.folders.fingerprint import make_manifold, write_fingerprints
    from manifpt.utils import files

    files.check_writable(out, ending=".npz")
    chosen = make_manifold(space, estimator, k)
    folders = _survey(real, generated, rule, size, equalise, workers)
    typer.echo(write_fingerprints(folders, chosen, out).to_string(index=False, float_format="%.3f"))
    typer.echo(f"{out}: {len(folders.classes)} classes; auc 0.5: no longer than the artifacts of real images")


@attribute.command("train", epilog="Example: manifpt attribute train real/ generated/ --out clf/")
def train(
    real: Real,
    generated: Generated,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The classifier's folder, new or empty.")],
    space: Space = "rgb",
    estimator: Estimator = "nearest",
    k: Neighbours = 64,
    rule: RuleName = "centre-crop",
    size: Size = None,
    equalise: Equalise = False,
    workers: Workers = 1,
    epochs: Annotated[int | None, typer.Option(metavar="N", help="Of training; default: 10.")] = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of training.")] = 0,
) -> None:
    """Train a classifier on the artifacts of every model and of held-out reals; write it with an HTML report."""
    from manifpt.folders.classifier import check_free, train_classifier
    from manifpt.folders.fingerprint import make_manifold

    check_free(out)
    chosen = make_manifold(space, estimator, k)
    folders = _survey(real, generated, rule, size, equalise, workers)
    frame = train_classifier(folders, chosen, out, epochs=epochs, seed=seed)
    typer.echo(frame.to_string(index=False, float_format="%.3f"))
    typer.echo(f"{out / 'report.html'}: the report")


@attribute.command("predict", epilog="Example: manifpt attribute predict clf/ images/ --csv out.csv")
def predict(
    classifier: Annotated[Path, typer.Argument(help="A folder of `manifpt attribute train`.")],
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    csv: Annotated[Path, typer.Option(metavar="FILE", help="The table to write.")],
    workers: Workers = 1,
) -> None:
    """Name the model that made each image, with its probability."""
    from manifpt.folders.classifier import predict_models

    _warn(predict_models(classifier, images, csv, workers=workers, progress=sys.stderr.isatty()))
    typer.echo(f"{csv}: a row an image")


def _survey(real: Path, generated: Path, rule: str, size: int | None, equalise: bool, workers: int):
    """The folders, surveyed; their warnings go to the standard error stream."""
    from manifpt.folders.survey import survey_folders

    progress = sys.stderr.isatty()
    found = survey_folders(real, generated, rule=rule, size=size, equalise=equalise, workers=workers, progress=progress)
    _warn(found.warnings)
    return found


def _warn(lines: list[str]) -> None:
    for line in lines:
        typer.echo(f"warning: {line}", err=True)
