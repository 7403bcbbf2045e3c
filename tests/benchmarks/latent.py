"""Reading keys by the released search: all images and starts in one batch against one at a time, as one JSON line.

    OMP_NUM_THREADS=1 python tests/benchmarks/latent.py --images 16

Both take the same few steps of Adam from the same starts on the same images of the StyleGAN2 that ships, and have to
end at the same keys. They take turns; processor time counts, which other programs disturb less than the clock.
"""

import argparse
import json
import statistics
import time

from manifpt.latent import adam
from manifpt.latent.fingerprinter import LatentFingerprinter
from manifpt.latent.generators import load_generator


def main():
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 16), ("starts", 4), ("steps", 10), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    fingerprinter = LatentFingerprinter(load_generator())
    images = fingerprinter.embed("benchmark", options.images)
    seconds, phi = {}, {}
    for _ in range(options.repeats):
        for name, adam.ROWS in (("batch", options.images * options.starts), ("one", 1)):
            estimator = adam.AdamEstimator(fingerprinter, starts=options.starts, steps=options.steps)
            started = time.process_time()
            phi[name] = estimator.estimate(images).phi
            seconds.setdefault(name, []).append(time.process_time() - started)
    rate = {name: options.images / statistics.median(some) for name, some in seconds.items()}
    report = {"vs_one": round(rate["batch"] / rate["one"], 2)}
    report |= {f"{name}_images_per_second": round(value, 4) for name, value in rate.items()}
    report |= {"largest_difference_of_phi": float(abs(phi["batch"] - phi["one"]).max())}
    print(json.dumps(report | vars(options) | {"threads": torch.get_num_threads()}))  # noqa: T201


if __name__ == "__main__":
    main()
