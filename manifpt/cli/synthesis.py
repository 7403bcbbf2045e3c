"""The commands of Model Synthesis: ``manifpt synthesis …``."""

from pathlib import Path
from typing import Annotated

import typer

from manifpt.cli.options import option

synthesis = typer.Typer(no_args_is_help=True, help="Learn fingerprints of generators from synthetic models.")


@synthesis.command("train", epilog="Example: manifpt synthesis train mine --steps 300 --seeds 1")
def synthesis_train(
    name: Annotated[str, typer.Argument(help="Name of the extractor to write.")],
    dataset: Annotated[list[str], option("NAME", "Set of real images to reconstruct; may be repeated.")] = ["photos"],  # noqa: B006
    steps: Annotated[int, option("N", "Number of training steps.", min=1)] = 6000,
    seeds: Annotated[int, option("N", "Number of models of each of the 288 architectures.", min=1)] = 20,
    seed: Annotated[int, option("N", "Seed of models, weights and batches.")] = 0,
) -> None:
    """Train the paper's fingerprint extractor on synthetic models; interrupted training continues."""
    from manifpt.data.real import load_real
    from manifpt.synthesis.extractor import ExtractorConfig, train_extractor

    config = ExtractorConfig(steps=steps, seeds=seeds, seed=seed)
    typer.echo(train_extractor([load_real(one) for one in dataset], config, name=name, progress=True))


@synthesis.command("metric", epilog="Example: manifpt synthesis metric metric.safetensors")
def synthesis_metric(out: Annotated[Path, typer.Argument(help="The .safetensors file to write.")]) -> None:
    """Learn the metric that ships: of photographs and synthetic models, calibrated on published networks."""
    from manifpt.data.real import load_real
    from manifpt.experiments.zero_shot import calibrated
    from manifpt.synthesis.metric import Metric
    from manifpt.utils.files import check_writable
    from manifpt.zoo.dataset import PUBLISHED, load_gm

    check_writable(out, ending=".safetensors")
    metric = calibrated(Metric.learn(load_real("photographs")), load_gm(PUBLISHED))
    metric.save(out)
    typer.echo(f"{out}: {len(metric.makers)} synthetic makers, calibration {metric.calibration}")
