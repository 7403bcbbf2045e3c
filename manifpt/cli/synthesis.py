"""The command of Model Synthesis: ``manifpt synthesis train``."""

from typing import Annotated

import typer

from manifpt.cli.options import option

synthesis = typer.Typer(no_args_is_help=True, help="Learn fingerprints of generators from synthetic models.")


@synthesis.callback()
def _group() -> None:
    """One command is a group, too."""


@synthesis.command("train", epilog="Example: manifpt synthesis train mine --steps 300 --seeds 1")
def synthesis_train(
    name: Annotated[str, typer.Argument(help="Name of the extractor to write.")],
    dataset: Annotated[list[str], option("NAME", "Set of real images to reconstruct; may be repeated.")] = ["photos"],  # noqa: B006
    steps: Annotated[int, option("N", "Number of training steps.", min=0)] = 6000,
    seeds: Annotated[int, option("N", "Number of models of each of the 288 architectures.", min=1)] = 20,
    seed: Annotated[int, option("N", "Seed of models, weights and batches.")] = 0,
) -> None:
    """Train the paper's fingerprint extractor on synthetic models; interrupted training continues."""
    from manifpt.data.real import load_real
    from manifpt.synthesis.extractor import ExtractorConfig, train_extractor

    config = ExtractorConfig(steps=steps, seeds=seeds, seed=seed)
    typer.echo(train_extractor([load_real(one) for one in dataset], config, name=name, progress=True))
