"""The commands of Model Synthesis: ``manifpt synthesis …``."""

from pathlib import Path
from typing import Annotated

import typer

synthesis = typer.Typer(
    no_args_is_help=True, help="Fingerprints of generators never trained on, learned from synthetic models."
)


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
    from manifpt.synthesis.train import folder_of, train_synthetic_models

    done = train_synthetic_models(dataset=dataset, seeds=seeds, jobs=jobs, out=out)
    records = list(tqdm(done, total=seeds * len(architectures()), unit="model", disable=None))
    ends = ", ".join(f"{n} by {reason}" for reason, n in sorted(Counter(r["stopped"] for r in records).items()))
    seconds = sum(record["seconds"] for record in records) / len(records)
    typer.echo(f"{len(records)} synthetic models of {dataset}, {seconds:.1f} s each; stopped: {ends}")
    typer.echo(out or folder_of(dataset))


@synthesis.command("train", epilog="Example: manifpt synthesis train mine --fresh --steps 300")
def synthesis_train(
    name: Annotated[str, typer.Argument(help="Of the extractor to write.")],
    dataset: Annotated[
        list[str], typer.Option(metavar="NAME", help="Real images for the models to give back; may be repeated.")
    ] = ["photos"],  # noqa: B006
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Make models for every batch, in place of the trained ones.")
    ] = False,
    checkpoints: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Of trained models; default: those that learnt photos.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, metavar="N", help="Of training.")] = 300,
    models: Annotated[int, typer.Option(min=2, metavar="N", help="In a batch.")] = 12,
    each: Annotated[
        int, typer.Option(min=1, metavar="N", help="Images of each; 1 draws a model for every image, as released.")
    ] = 5,
    scale: Annotated[str, typer.Option(help="Of the spectrum: root, linear or log.")] = "root",
    denoiser: Annotated[str, typer.Option(help="Whose residual: dncnn or wavelet.")] = "dncnn",
    robust: Annotated[bool, typer.Option("--robust", help="Compress, blur and resize images at random.")] = False,
    seed: Annotated[int, typer.Option(metavar="N", help="Of weights and batches.")] = 0,
) -> None:
    """Train a fingerprint extractor on synthetic models, going on where an earlier call was interrupted."""
    from manifpt.data.real import load_real
    from manifpt.synthesis import extractor, simulators
    from manifpt.synthesis.train import folder_of

    if fresh:
        simulator = simulators.FreshModels()
    else:
        simulator = simulators.TrainedModels(sorted((checkpoints or folder_of("photos")).glob("*.safetensors")))
    options = {"steps": steps, "models": models, "each": each, "scale": scale, "denoiser": denoiser}
    recipe = extractor.ExtractorConfig(**options, robust=robust, seed=seed)
    typer.echo(extractor.train_extractor(simulator, [load_real(one) for one in dataset], recipe, name=name))


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
    from manifpt.folders.identify import identify
    from manifpt.synthesis.extractor import Extractor, find
    from manifpt.utils import files

    if out:
        files.check_writable(out, ending=".csv")
    is_file = extractor.endswith(".safetensors")
    table, remarks = identify(gallery, query, Extractor(Path(extractor) if is_file else find(extractor)))
    typer.echo(table.to_string(index=False, float_format="%.3f"))
    for remark in remarks:
        typer.echo(remark, err=True)
    if out:
        files.write_text(out, table.to_csv(index=False))
