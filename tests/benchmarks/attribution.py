"""Training an attribution network: this package against a plain fp32 loop, side by side, as one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/attribution.py --network resnet50

Both train the same network from the same weights on the same batches at the same learning rates. The plain loop
computes in fp32, keeps images as (n, c, h, w) in memory and uses PyTorch's own convolutions and default AdamW; ours
steps fused, keeps channels last, takes 1x1 convolutions as matrix products and computes in bf16 where the processor has
it. They take turns, one training a seed; processor time counts, which other programs disturb less than the clock.
`speedup` is the ratio of the medians. Accuracies, mean and standard deviation over seeds, are those on fresh artifacts.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from manifpt.attribution import Attributor
from manifpt.nn.classifiers import NETWORKS, SCHEDULES, Pointwise, build_classifier

CLASSES = 5


def artifacts(n, seed, strength, size=32):
    """Noise with a pattern for each class, float32 (n, 3, size, size), and the class of each, (n,)."""
    patterns = np.random.default_rng(99).normal(size=(CLASSES, 3, size, size))
    labels = np.arange(n) % CLASSES
    noise = np.random.default_rng(seed).normal(size=(n, 3, size, size))
    return (strength * patterns[labels] + noise).astype(np.float32), labels


def plain(options, seed, data):
    """The loop that one writes first; the trained network."""
    x, y = (torch.from_numpy(part) for part in data)
    mean, sd = x.mean((0, 2, 3))[:, None, None], x.std((0, 2, 3))[:, None, None]  # (c, 1, 1)
    network = build_classifier(options.network, classes=CLASSES, mean=mean, sd=sd, seed=seed)
    network.to(memory_format=torch.contiguous_format)
    for module in network.modules():
        if isinstance(module, Pointwise):
            module.__class__ = nn.Conv2d
    recipe = SCHEDULES["short"]
    optimiser = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    rows = np.concatenate([recipe.rows(len(x), seed=seed, epoch=epoch + 1) for epoch in range(options.epochs)])
    for step, some in enumerate(rows):
        optimiser.param_groups[0]["lr"] = options.learning_rate * recipe.factor(step, len(rows))
        optimiser.zero_grad()
        cross_entropy(network(x[some]), y[some]).backward()
        optimiser.step()
    return network


def plain_accuracy(network, data):
    network.eval()
    with torch.inference_mode():
        return float((network(torch.from_numpy(data[0])).argmax(1).numpy() == data[1]).mean())


def timed(run):
    start = time.process_time()
    result = run()
    return time.process_time() - start, result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=NETWORKS[:2], default="resnet50", help="default resnet50")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="ours; default auto")
    parser.add_argument("--learning-rate", type=float, default=1e-3, help="default 0.001")
    parser.add_argument("--strength", type=float, default=0.3, help="of the patterns in noise of 1; default 0.3")
    for name, default in (("n", 400), ("epochs", 3), ("seeds", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    train, test = artifacts(options.n, 1, options.strength), artifacts(500, 2, options.strength)
    settings = {name: getattr(options, name) for name in ("epochs", "precision", "learning_rate")}
    seconds, accuracy = {"ours": [], "plain": []}, {"ours": [], "plain": []}
    for seed in range(options.seeds):
        elapsed, model = timed(lambda seed=seed: Attributor(options.network, seed=seed, **settings).fit(*train))
        seconds["ours"].append(elapsed)
        accuracy["ours"].append(model.score(*test))
        elapsed, network = timed(lambda seed=seed: plain(options, seed, train))
        seconds["plain"].append(elapsed)
        accuracy["plain"].append(plain_accuracy(network, test))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    report = {f"{name}_seconds": round(value, 2) for name, value in median.items()}
    report |= {"speedup": round(median["plain"] / median["ours"], 2)}
    for name, values in accuracy.items():
        report |= {f"{name}_accuracy": round(float(np.mean(values)), 3), f"{name}_sd": round(float(np.std(values)), 3)}
    print(json.dumps(report | vars(options) | {"threads": torch.get_num_threads()}))  # noqa: T201


if __name__ == "__main__":
    main()
