"""The commands of Model Synthesis: ``manifpt synthesis …``."""

from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli.options import flag, option

synthesis = typer.Typer(no_args_is_help=True, help="Learn fingerprints of generators from synthetic models.")


@synthesis.command("train-models", epilog="Example: manifpt synthesis train-models --seeds 2 --jobs 2")
def synthesis_train_models(
    dataset: Annotated[str, option("NAME", "Set of real colour images that the models reconstruct.")] = "photos",
    seeds: Annotated[int, option("N", "Number of seeds of each of the 288 architectures.", min=1)] = 2,
    jobs: Annotated[int, option("N", "Number of models that are trained at a time, one thread each.", min=1)] = 1,
    out: Annotated[Path | None, option("FOLDER", "Folder of checkpoints; default: in the project's home.")] = None,
) -> None:
    """Train the synthetic models; existing ones are kept, so that an interrupted command can be repeated."""
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
    name: Annotated[str, typer.Argument(help="Name of the extractor to write.")],
    dataset: Annotated[list[str], option("NAME", "Set of real images to reconstruct; may be repeated.")] = ["photos"],  # noqa: B006
    fresh: Annotated[bool, flag("--fresh", "Draw new untrained models for every batch.")] = False,
    checkpoints: Annotated[Path | None, option("FOLDER", "Folder of trained models; default: those of photos.")] = None,
    steps: Annotated[int, option("N", "Number of training steps.", min=1)] = 300,
    models: Annotated[int, option("N", "Number of models in a batch.", min=2)] = 12,
    each: Annotated[int, option("N", "Images a model; 1 draws a model for every image, as released.", min=1)] = 5,
    scale: Annotated[str, option("NAME", "Scale of the spectrum: root, linear or log.")] = "root",
    denoiser: Annotated[str, option("NAME", "Denoiser of the residual: dncnn or wavelet.")] = "dncnn",
    robust: Annotated[bool, flag("--robust", "Compress, blur and resize images at random.")] = False,
    seed: Annotated[int, option("N", "Seed of weights and batches.")] = 0,
) -> None:
    """Train a fingerprint extractor on synthetic models; interrupted training continues."""
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
    gallery: Annotated[Path, option("DIR", "Folder with a folder of images for each known model.")],
    query: Annotated[Path, option("DIR", "Folder of images whose models are to be named.")],
    extractor: Annotated[str, option("NAME", "Extractor by `manifpt synthesis train`, or a checkpoint.")] = "photos",
    out: Annotated[Path | None, option("FILE", "CSV file to write the table to.")] = None,
) -> None:
    """Name the model of the gallery that made each query image, by its fingerprint; no model needs to be trained."""
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
