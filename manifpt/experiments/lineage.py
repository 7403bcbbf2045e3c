r"""Is a fine-tuned model still matched to the model it comes from?

A model of the zoo goes on training on one class of its real images: with all of its weights, or, as in LoRA (Hu et al.,
2022), with low-rank updates :math:`W + BA` of the weights of its convolutions and linear layers, everything else
frozen (peft). After some steps its images are compared with the fingerprints of all models, its base among them.

A checkpoint keeps a GAN's generator alone. So a discriminator is trained first, on all real images against the base as
it is, lest the generator follow one that has learnt nothing yet.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import nn
from tqdm.auto import tqdm

from manifpt.data.real import load_real_labels
from manifpt.experiments.runner import Budget
from manifpt.experiments.zero_shot import N_IMAGES, Features
from manifpt.nn.train import random_batches
from manifpt.synthesis import protocol
from manifpt.synthesis.train import to_pixels
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset
from manifpt.zoo.sample import load_checkpoint

BASES: Mapping[str, int | None] = {"dcgan": None, "ldm": 4}  # how: rank of the updates, None for all weights
STEPS = (0, 25, 50, 100, 200)
METHOD = "synthesis-photos"
CATCH_UP = 200  # steps of a discriminator alone
TRAINED, MADE, CAUGHT_UP = range(3)  # what random numbers are for


def restrict(network: nn.Module, optimiser: torch.optim.Optimizer, rank: int) -> None:
    """Freeze a network, and let the optimiser train low-rank updates of its convolutions and linear layers instead."""
    from peft import LoraConfig, inject_adapter_in_model

    names = [name for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=names), network)
    optimiser.add_param_group({"params": [weight for weight in network.parameters() if weight.requires_grad]})


def descendants(
    checkpoint, images: np.ndarray, *, known: np.ndarray, steps: Sequence[int], n: int, rank: int | None, seed: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Fine-tune a model of the zoo on images, uint8 `(m, c, 32, 32)`; after each of the given steps, n of its own.

    Parameters
    ----------
    known
        The real images that the model has learnt already, of the same shape.
    rank
        Of the updates of a latent diffusion model's U-Net; None trains all weights of whatever model.

    Raises
    ------
    InputError
        A rank for another model.
    """
    generator, network, settings = load_checkpoint(checkpoint, device="cpu")
    if rank is not None and "unet" not in generator.optimisers:
        raise InputError(f"{checkpoint}: a rank of updates is for latent diffusion models; None expected")
    live = generator.modules[generator.averaged]
    live.load_state_dict(network.state_dict())

    draws = {
        purpose: random_batches(torch.from_numpy(some), generator.batch_size)
        for purpose, some in ((CAUGHT_UP, known), (TRAINED, images))
    }

    def advance(step: int, purpose: int) -> None:
        with seeded(seed, step, purpose):
            batch = draws[purpose](step).to(memory_format=torch.channels_last)
            generator.update(batch, settings["steps"] + step)

    if "discriminator" in generator.modules:
        with _unchanged(live, generator.optimisers["G"]):
            for step in range(CATCH_UP):
                advance(step, CAUGHT_UP)
    if rank is not None:
        with seeded(seed):
            restrict(live.unet, generator.optimisers["unet"], rank)
    for step in range(max(steps) + 1):
        if step in steps:
            with torch.no_grad(), seeded(seed, step, MADE):
                yield step, to_pixels(generator.sample(live.eval(), n)).numpy()
            live.train()
        advance(step, TRAINED)


@contextmanager
def _unchanged(network: nn.Module, optimiser: torch.optim.Optimizer) -> Iterator[None]:
    """Leave a network as it is while its optimiser takes steps inside the block, of length zero."""
    (group,), before = optimiser.param_groups, {key: value.clone() for key, value in network.state_dict().items()}
    rate, group["lr"] = group["lr"], 0.0
    yield
    group["lr"] = rate
    network.load_state_dict(before)


def lineage(
    gm: GMDataset,
    *,
    bases: Mapping[str, int | None] = BASES,
    steps: Sequence[int] = STEPS,
    target: int = 0,
    method: str = METHOD,
    **budget,
) -> pd.DataFrame:
    """Compare fine-tuned models with their bases; rows already at the budget's path are kept.

    Parameters
    ----------
    bases
        Models of the dataset, and how each is fine-tuned; see `descendants`.
    target
        The class of real images.
    method
        Whose features; see `manifpt.experiments.zero_shot`.
    **budget
        Fields of `manifpt.experiments.runner.Budget`; by default 100 images a model.

    Returns
    -------
    Tidy frame, task ``<base>+<steps>``: ``cosine`` of the mean feature with the base's fingerprint, ``runner_up`` with
    the nearest other one, ``matched``, the share of the `n` images that are given to the base, and ``chance``.

    Raises
    ------
    InputError
        A base that is not there; a real set without labels; an extractor that is not trained.
    """
    budget = Budget(**({"n_test": N_IMAGES} | budget))
    if unknown := set(bases) - set(gm.models):
        raise InputError(f"{gm.name} has no model {', '.join(sorted(unknown))}; train it first, or name other bases")
    reference = gm.reference()
    images = reference[load_real_labels(gm.real) == target]
    features = Features(method, gm, budget, bases=dict(bases), target=target, catch_up=CATCH_UP)
    results = features.results()
    runs = [(base, seed) for base in bases for seed in budget.seeds]
    for base, seed in tqdm(runs, desc=f"{gm.name}, lineage", unit="run", disable=not budget.progress):
        keys = {
            step: {"dataset": gm.name, "task": f"{base}+{step}", "method": method, "n_per_class": budget.n_test}
            for step in steps
        }
        if all(results.has(**key, seed=seed) for key in keys.values()):
            continue
        known, started = features.of(tuple(gm.models)), time.perf_counter()
        options = {"known": reference, "steps": steps, "n": budget.n_test, "rank": bases[base], "seed": seed}
        for step, made in descendants(gm.checkpoint(base), images, **options):
            scores = compare(*known, features.function(made), base)
            seconds = time.perf_counter() - started
            if not results.has(**keys[step], seed=seed):
                results.add(scores, n=len(made), seconds=seconds, **keys[step], seed=seed)
    return results.of(dataset=gm.name, methods=[method])


def compare(gallery: np.ndarray, labels: np.ndarray, rows: np.ndarray, base: str) -> dict[str, float]:
    """Features `(m, d)` of a descendant beside those of all models; see `lineage`."""
    models, cosine = protocol.similarities(gallery, labels, np.concatenate([rows, rows.mean(0, keepdims=True)]))
    own = models == base
    return {
        "cosine": float(cosine[-1, own][0]),
        "runner_up": float(cosine[-1, ~own].max()),
        "matched": float((models[cosine[:-1].argmax(1)] == base).mean()),
        "chance": 1 / len(models),
    }
