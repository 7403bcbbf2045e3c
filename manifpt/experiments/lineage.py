r"""Is a fine-tuned model still matched to the model it comes from?

A model of the zoo goes on training on one class of its real images: with all of its weights, or, as in LoRA (Hu et al.,
2022), with low-rank updates :math:`W + BA` of the weights of its convolutions and linear layers, everything else
frozen (peft). After some steps its images are compared with the fingerprints of all models, its base among them.

A checkpoint keeps a GAN's generator alone. So a discriminator is trained first, on all real images against the base as
it is, lest the generator follow one that has learnt nothing yet.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import numpy as np
import pandas as pd
import torch
from torch import nn

from manifpt.data.real import load_real_labels
from manifpt.experiments.run import Budget, measure
from manifpt.experiments.store import Key, Scores
from manifpt.experiments.synthesis import N_IMAGES, Features
from manifpt.nn.train import random_batches
from manifpt.synthesis import protocol
from manifpt.synthesis.train import to_pixels
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import GMDataset
from manifpt.zoo.sample import load_checkpoint

BASES: Mapping[str, int | None] = {"dcgan": None, "ldm": 4}  # rank of the updates, None for all weights
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

    `known` are the real images that the model has learnt already, of the same shape; the rank is that of the updates of
    a latent diffusion model's U-Net, None trains all weights of whatever model. `InputError` for a rank and another
    model.
    """
    generator, network, settings = load_checkpoint(checkpoint, device="cpu")
    if rank is not None and "unet" not in generator.optimisers:
        raise InputError(f"{checkpoint}: a rank of updates is for latent diffusion models; None expected")
    live = generator.modules[generator.averaged]
    live.load_state_dict(network.state_dict())

    pools = {CAUGHT_UP: known, TRAINED: images}
    draws = {use: random_batches(torch.from_numpy(some), generator.batch_size) for use, some in pools.items()}

    def advance(step: int, purpose: int) -> None:
        with seeded(seed, step, purpose):
            generator.update(draws[purpose](step).to(memory_format=torch.channels_last), settings["steps"] + step)

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
    """Compare fine-tuned models with their bases, by default 100 images of each.

    `bases` are models of the dataset, and the rank by which each is fine-tuned, see `descendants`; `target` is the
    class of real images, `method` the one whose features are compared, see `manifpt.experiments.synthesis`.

    Tidy frame, task ``<base>+<steps>``: ``cosine`` of the mean feature with the base's fingerprint, ``runner_up`` with
    the nearest other one, ``matched``, the share of the `n` images that are given to the base, and ``chance``.
    `InputError` for a base that is not there, a real set without labels, an extractor that is not trained.
    """
    budget = Budget(**{"n_test": N_IMAGES} | budget)
    if unknown := set(bases) - set(gm.models):
        raise InputError(f"{gm.name} has no model {', '.join(sorted(unknown))}; train it first, or name other bases")
    features = Features(method, gm, budget)

    def compared(keys: Sequence[Key]) -> Iterator[Scores]:
        base, reference = keys[0].task.partition("+")[0], gm.reference()
        wanted = {int(key.task.partition("+")[2]): key for key in keys}
        options = {"known": reference, "steps": tuple(wanted), "n": budget.n_test, "rank": bases[base]}
        images, gallery = reference[load_real_labels(gm.real) == target], features.of(tuple(gm.models))
        for step, made in descendants(gm.checkpoint(base), images, **options, seed=keys[0].seed):
            yield Scores(wanted[step], compare(*gallery, features.function(made), base), len(made))

    grid = [
        [Key(gm.name, f"{base}+{step}", method, budget.n_test, seed) for step in steps]
        for seed in budget.seeds
        for base in bases
    ]
    how = {"bases": dict(bases), "target": target, "catch_up": CATCH_UP}
    settings = budget.settings(gm, **features.settings, **how)
    return measure(grid, compared, settings, budget, code=__name__)


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
