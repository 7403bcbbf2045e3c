"""Fingerprints of images a second: power spectra, artifacts, and the paper's spectra and network, as one JSON line.

    python tests/benchmarks/synthesis.py --images 32

``psd`` is `embed(images, "psd")`; ``artifacts`` is the whole way to a whitened artifact, by a metric that is learnt
here from real photographs in ``learn_seconds``; ``extractor`` is the paper's way: the spectrum of the noise residual,
and the network that ships, for 128 pixels, on nine crops of an image, whose features are averaged. They take turns on
the same images, by the clock; ``cpu_psd`` and its like are images a second of processor time, which other programs
disturb less.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from manifpt.data.real import load_real
from manifpt.embeddings import embed
from manifpt.synthesis import extractor
from manifpt.synthesis.metric import Metric


def nine_crops(image, size):
    """Crops (9, c, size, size) on a grid that spans the image (c, h, w)."""
    down, right = ((side - size) // 2 for side in image.shape[1:])
    corners = [(i * down, j * right) for i in range(3) for j in range(3)]
    return np.stack([image[:, top : top + size, left : left + size] for top, left in corners])


def timed(function):
    """Seconds by the clock, seconds of the processor, and what the function gives."""
    started, cpu = time.perf_counter(), time.process_time()
    found = function()
    return time.perf_counter() - started, time.process_time() - cpu, found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 32), ("size", 512), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    shape = (options.images, 3, options.size, options.size)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    learn, _, metric = timed(lambda: Metric.learn(load_real("photographs")))
    extract = extractor.Extractor(extractor.find("128"))
    ways = {
        "psd": lambda: embed(images, "psd"),
        "artifacts": lambda: metric.artifacts(images),
        "extractor": lambda: np.stack([extract(nine_crops(image, extract.size)).mean(0) for image in images]),
    }
    seconds, cpu = {name: [] for name in ways}, {name: [] for name in ways}
    for _ in range(options.repeats):
        for name, way in ways.items():
            clock, processor, _ = timed(way)
            seconds[name].append(clock)
            cpu[name].append(processor)
    report = {"learn_seconds": round(learn, 2)}
    for prefix, spent in (("", seconds), ("cpu_", cpu)):
        report |= {
            f"{prefix}{name}": round(options.images / statistics.median(some), 2) for name, some in spent.items()
        }
    print(json.dumps(report | vars(options) | {"threads": torch.get_num_threads()}))  # noqa: T201


if __name__ == "__main__":
    main()
