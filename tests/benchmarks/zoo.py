"""Minutes that each model of the zoo takes to train, beside its limit, and bf16 beside fp32: a line of JSON a model.

    python tests/benchmarks/zoo.py [--dataset gm-fashion] [--steps 16] [MODEL …]

Times some steps after a warm-up and multiplies; penalties that come every sixteenth step are caught by the default.
`bf16_speedup` is the ratio of two medians of processor time, the two precisions taking turns.
"""

import argparse
import contextlib
import json
import statistics
import sys
import time
from unittest.mock import patch

import torch

from manifpt.data.real import load_real
from manifpt.nn.train import random_batches
from manifpt.utils.compute import seeded
from manifpt.zoo import diffusion, flow, gan, models, nvae, vae

MINUTES = {"GAN": 5, "VAE": 5, "Flow": 12, "Score": 12}
LARGE = {"GAN": 15, "VAE": 15, "Flow": 30, "Score": 30}
FAMILIES = (diffusion, flow, gan, nvae, vae)  # the modules that ask for autocast


def seconds(name, images, steps, precision):
    """Seconds and processor seconds of a step of one model."""
    with contextlib.ExitStack() as stack:
        if precision == "fp32":
            for module in FAMILIES:
                stack.enter_context(patch.object(module, "autocast", lambda device: contextlib.nullcontext()))
        with seeded(0):
            generator = models.entry(name).make(images.shape[1], torch.device("cpu"))
        batch = random_batches(images, generator.batch_size)
        times = []
        for step in range(-3, steps):
            begun = time.perf_counter(), time.process_time()
            generator.update(batch(step).to(memory_format=torch.channels_last), max(step, 0))
            times.append((time.perf_counter() - begun[0], time.process_time() - begun[1]))
    wall, processor = zip(*times[3:], strict=True)
    return statistics.mean(wall), statistics.median(processor)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", default=list(models.MODELS))
    parser.add_argument("--dataset", default="gm-fashion", choices=models.DATASETS)
    parser.add_argument("--steps", type=int, default=16)
    options = parser.parse_args()
    images = torch.from_numpy(load_real(models.real_set(options.dataset)))
    for name in options.models:
        family = models.entry(name).family
        wall, bf16 = seconds(name, images, options.steps, "auto")
        _, fp32 = seconds(name, images, options.steps, "fp32")
        steps = models.steps(name, options.dataset)
        record = {
            "model": name,
            "steps": steps,
            "ms_a_step": round(1000 * wall, 1),
            "minutes": round(wall * steps / 60, 1),
        }
        limits = LARGE if options.dataset == "gm-cifar10" else MINUTES
        record |= {"limit": limits[family], "bf16_speedup": round(fp32 / bf16, 2), "threads": torch.get_num_threads()}
        sys.stdout.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
