"""Training synthetic models: one after another, in fp32, and seeds stacked by vmap, side by side, as one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/synthesis.py --models 8

All take the same number of steps on batches of the same size, one architecture after another, as many seeds of each as
`--models` says. "ours" is what `manifpt.synthesis.train` does: a model at a time, channels last, bf16 where the
processor has it (`bf16` tells); stacked models take fp32, since torch's batch norm cannot be stacked in bf16. Ratios
are of processor time for a model; above 1 ours is faster.
"""

import argparse
import json
import statistics
import time

import torch
from torch.func import functional_call, grad, stack_module_state, vmap

from manifpt.data.real import load_real
from manifpt.synthesis.models import architectures, build_synthetic_model
from manifpt.synthesis.train import BATCH, RATE
from manifpt.utils.compute import autocast, fast_bf16


def one_by_one(architecture, batches, models, enabled):
    """Seconds for a model."""
    started = time.process_time()
    for seed in range(models):
        model = build_synthetic_model(architecture, seed=seed).to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(model.parameters(), RATE)
        for batch in batches:
            with autocast(batch.device) if enabled else torch.autocast("cpu", enabled=False):
                given = model(batch)
            optimiser.zero_grad(set_to_none=True)
            (given.float() - batch).square().mean().backward()
            optimiser.step()
    return (time.process_time() - started) / models


def stacked(architecture, batches, models):
    """Seconds for a model, all of them in one call a step."""
    started = time.process_time()
    weights, buffers = stack_module_state([build_synthetic_model(architecture, seed=seed) for seed in range(models)])
    weights = {name: tensor.detach() for name, tensor in weights.items()}
    optimiser = torch.optim.Adam(weights.values(), RATE)
    skeleton = build_synthetic_model(architecture, seed=0).to("meta")

    def loss(weights, buffers, batch):
        given = functional_call(skeleton, (weights, buffers), (batch,))
        return (given.float() - batch).square().mean()

    gradient = vmap(grad(loss), in_dims=(0, 0, None), randomness="different")
    for batch in batches:
        for name, value in gradient(weights, buffers, batch).items():
            weights[name].grad = value
        optimiser.step()
    return (time.process_time() - started) / models


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("models", 8), ("steps", 10), ("architectures", 6), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    images = torch.from_numpy(load_real("photos")[: BATCH * options.steps]).float() / 127.5 - 1
    batches = [batch.to(memory_format=torch.channels_last) for batch in images.split(BATCH)]
    space = architectures()
    chosen = space[:: len(space) // options.architectures][: options.architectures]
    seconds = {"ours": [], "fp32": [], "stacked": []}
    for _ in range(options.repeats):
        for architecture in chosen:
            seconds["ours"].append(one_by_one(architecture, batches, options.models, True))
            seconds["fp32"].append(one_by_one(architecture, batches, options.models, False))
            seconds["stacked"].append(stacked(architecture, batches, options.models))
    ratios = {
        f"vs_{name}": round(statistics.median(b / a for a, b in zip(seconds["ours"], seconds[name], strict=True)), 2)
        for name in ("fp32", "stacked")
    }
    where = {"bf16": fast_bf16(torch.device("cpu")), "threads": torch.get_num_threads()}
    print(json.dumps(ratios | vars(options) | where))  # noqa: T201


if __name__ == "__main__":
    main()
