"""The commands for folders of a user's images: ``manifpt fingerprint``, ``attribute``, ``identify`` and ``verify``."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli.options import flag, option

attribute = typer.Typer(no_args_is_help=True, help="Learn which model made an image, from folders of images.")

Real = Annotated[Path, typer.Argument(help="Folder of real images.")]
Generated = Annotated[Path, typer.Argument(help="Folder whose sub-folders are the models.")]
Space = Annotated[str, option("NAME", "Space of the artifacts: rgb, freq, psd (in seconds), sl or ssl:<dataset>.")]
Estimator = Annotated[
    str | None,
    option("NAME", "Estimator of the manifold: nearest (the paper's) or tangent; of psd alone, gaussian."),
]
Neighbours = Annotated[int, option("N", "Number of neighbours of the estimator tangent.", "-k", "--k")]
RuleName = Annotated[
    str | None,
    option("NAME", "How pictures become images: centre-crop, patches, resize, or whole, in psd alone and its default."),
]
Size = Annotated[
    int | None, option("PIXELS", "Side of the images; default: the smallest side of a picture, at most 64.")
]
Equalise = Annotated[bool, flag("--equalise", "Re-encode all pictures as JPEG of one quality first.")]
Workers = Annotated[int, option("N", "Number of threads that decode pictures.", min=1)]

Photographs = Annotated[Path | None, option("DIR", "Photographs to learn the metric from, 24 at least.", "--real")]
Table = Annotated[Path | None, option("FILE", "CSV file to write the table to.", "--out")]
MEANING = (
    "llr is the calibrated decimal logarithm of a likelihood ratio: 2 says that the image is 100 times likelier if the "
    "maker named made it than if one who is not in the gallery did, 0 that it is as likely; low and high are its 90 % "
    "interval. The verdict is the maker, or none of these unless llr is above 0."
)


def fingerprint(
    real: Real,
    generated: Generated,
    out: Annotated[Path, option("FILE", "The .npz file to write.")],
    space: Space = "rgb",
    estimator: Estimator = None,
    k: Neighbours = 64,
    rule: RuleName = None,
    size: Size = None,
    equalise: Equalise = False,
    workers: Workers = 1,
) -> None:
    """Write the artifacts of every model, and of held-out real images, to one file."""
    from manifpt.folders.fingerprint import make_manifold, write_fingerprints
    from manifpt.utils.files import check_writable

    check_writable(out, ending=".npz")
    manifold = make_manifold(space, estimator, k)
    rule = rule or ("whole" if space == "psd" else "centre-crop")
    folders = _survey(real, generated, rule=rule, size=size, equalise=equalise, workers=workers)
    typer.echo(write_fingerprints(folders, manifold, out).to_string(index=False, float_format="%.3f"))
    typer.echo(f"{out}: {len(folders.classes)} classes; auc 0.5: no longer than the artifacts of real images")


@attribute.command("train", epilog="Example: manifpt attribute train real/ generated/ --out clf/")
def attribute_train(
    real: Real,
    generated: Generated,
    out: Annotated[Path, option("FOLDER", "The folder of the classifier, new or empty.")],
    space: Space = "rgb",
    estimator: Estimator = None,
    k: Neighbours = 64,
    rule: RuleName = None,
    size: Size = None,
    equalise: Equalise = False,
    workers: Workers = 1,
    epochs: Annotated[int | None, option("N", "Number of epochs of training; default: 10.")] = None,
    seed: Annotated[int, option("N", "Seed of the training.")] = 0,
) -> None:
    """Train a classifier on the artifacts of every model and of held-out real images; write it with an HTML report."""
    from manifpt.folders.classifier import check_free, train_classifier
    from manifpt.folders.fingerprint import make_manifold

    check_free(out)
    manifold = make_manifold(space, estimator, k)
    rule = rule or ("whole" if space == "psd" else "centre-crop")
    folders = _survey(real, generated, rule=rule, size=size, equalise=equalise, workers=workers)
    frame = train_classifier(folders, manifold, out, epochs=epochs, seed=seed)
    typer.echo(frame.to_string(index=False, float_format="%.3f"))
    typer.echo(f"{out / 'report.html'}: the report")


@attribute.command("predict", epilog="Example: manifpt attribute predict clf/ images/ --csv out.csv")
def attribute_predict(
    classifier: Annotated[Path, typer.Argument(help="Folder of a classifier by `manifpt attribute train`.")],
    images: Annotated[Path, typer.Argument(help="An image, or a folder of images.")],
    csv: Annotated[Path, option("FILE", "The CSV file to write.")],
    workers: Workers = 1,
) -> None:
    """Name the model that made each image, with its probability."""
    from manifpt.folders.classifier import predict_models

    _warn(predict_models(classifier, images, csv, workers=workers, progress=sys.stderr.isatty()))
    typer.echo(f"{csv}: a row an image")


def identify(
    gallery: Annotated[Path, option("DIR", "Folder with a sub-folder of images for each known maker.")],
    query: Annotated[Path, option("DIR", "An image, or a folder of images, whose makers are asked for.")],
    real: Photographs = None,
    out: Table = None,
    report: Annotated[Path | None, option("FILE", "HTML file to write the table and its warnings to.")] = None,
    equalise: Equalise = False,
    workers: Workers = 1,
) -> None:
    """Name the maker of each image by a few images of each maker known, or none of them; nothing is trained.

    llr is a decimal logarithm: 2 says 100 times likelier by that maker than by one who is not in the gallery.
    """
    from manifpt.folders.identify import identify
    from manifpt.folders.report import answer_html
    from manifpt.utils import files

    for path, ending in ((out, ".csv"), (report, ".html")):
        if path:
            files.check_writable(path, ending=ending)
    table, warnings, about = identify(gallery, query, real=real, equalise=equalise, workers=workers, progress=True)
    _warn(warnings)
    typer.echo(table.to_string(index=False, float_format="%.2f", na_rep=""))
    if out:
        files.write_text(out, table.to_csv(index=False, float_format="%.4f"))
    if report:
        page = answer_html("Who made these images?", table, about=about, warnings=warnings, meaning=MEANING)
        files.write_text(report, page)


def verify(
    a: Annotated[Path, typer.Argument(help="An image, or a folder of images of one maker.")],
    b: Annotated[Path, typer.Argument(help="Another image or folder.")],
    real: Photographs = None,
    out: Table = None,
    equalise: Equalise = False,
    workers: Workers = 1,
) -> None:
    """Say whether one maker made both sets of images, or two did; no gallery is needed."""
    from manifpt.folders.identify import sentence, verify
    from manifpt.utils import files

    if out:
        files.check_writable(out, ending=".csv")
    answer = verify(a, b, real=real, equalise=equalise, workers=workers, progress=True)
    _warn(answer.warnings)
    typer.echo(sentence(answer))
    if out:
        files.write_text(out, answer.table.to_csv(index=False, float_format="%.4f"))


def _survey(real: Path, generated: Path, **options):
    """Survey the folders, and print their warnings to the standard error stream."""
    from manifpt.folders.survey import survey_folders

    found = survey_folders(real, generated, **options, progress=sys.stderr.isatty())
    _warn(found.warnings)
    return found


def _warn(lines: list[str]) -> None:
    for line in lines:
        typer.echo(f"warning: {line}", err=True)
