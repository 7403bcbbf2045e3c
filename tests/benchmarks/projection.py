"""Nearest real image: this package, faiss and the authors' loop side by side, as one JSON line.

    python tests/benchmarks/projection.py --n 50000 --queries 2000

On CIFAR-10 where it is present, else on random 8-bit images of the same shape. The contenders take turns, each is timed
`--repeats` times and the median counts; building an index counts in none (`build_seconds` is ours). The loop, the
authors' released code, compares one query at a time with all points, and is timed on `--loop` queries. `peak_gib` is
that of the whole process, the contenders' float32 copies of the points included.
"""

import argparse
import json
import resource
import statistics
import sys
import time

import numpy as np

from manifpt.search.neighbours import Neighbours
from manifpt.utils.errors import InputError


def images(n, queries, seed=0):
    """Points and queries, uint8 (rows, 3072), and the name of what they are."""
    from manifpt.data.real import load_real

    try:
        reference, held_out = load_real("cifar10", split="reference"), load_real("cifar10", split="test")
        if n <= len(reference) and queries <= len(held_out):
            return reference[:n].reshape(n, -1), held_out[:queries].reshape(queries, -1), "cifar10"
    except InputError:
        pass
    rng = np.random.default_rng(seed)
    return *(rng.integers(0, 256, (rows, 3072), dtype=np.uint8) for rows in (n, queries)), "random"


def loop(points, queries):
    """Index and squared distance of each query's nearest point, as in the authors' released code."""
    nearest = [((query - points) ** 2).sum(dim=1).min(dim=0) for query in queries]
    return [int(one.indices) for one in nearest], [float(one.values) for one in nearest]


def oracle(points, queries, batch=100):
    """Smallest squared distance of each query: float64 products of integers, exact below 2^53."""
    norms = np.einsum("ij,ij->i", points, points, dtype=np.int64)
    smallest = []
    for i in range(0, len(queries), batch):
        some = queries[i : i + batch].astype(np.float64)
        best = np.full(len(some), np.inf)
        for j in range(0, len(points), 10_000):
            product = some @ points[j : j + 10_000].astype(np.float64).T
            best = np.minimum(best, (norms[j : j + 10_000] - 2 * product).min(axis=1))
        smallest.append(best + np.square(some).sum(axis=1))
    return np.concatenate(smallest)


def timed(run):
    start = time.perf_counter()
    result = run()
    return time.perf_counter() - start, result


def main():
    import faiss
    import torch

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("n", 50_000), ("queries", 2000), ("repeats", 5), ("loop", 10)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    points, queries, data = images(options.n, options.queries)
    build_seconds, neighbours = timed(lambda: Neighbours(points))
    flat = faiss.IndexFlatL2(points.shape[1])
    flat.add(points.astype(np.float32))
    points32, queries32 = (torch.from_numpy(x.astype(np.float32)) for x in (points, queries))
    looped = queries32[: options.loop]
    runs = {
        "ours": lambda: neighbours.search(queries),
        "faiss": lambda: flat.search(queries32.numpy(), 1),
        "loop": lambda: loop(points32, looped),
    }
    seconds = {name: [] for name in runs}
    for turn in range(options.repeats + 1):
        for name, run in runs.items():
            elapsed, result = timed(run)
            if turn > 0:  # the first turn warms up
                seconds[name].append(elapsed)
            if name == "ours":
                distance = result[0][:, 0]
    rate = {name: len(looped if name == "loop" else queries) / statistics.median(s) for name, s in seconds.items()}
    report = {f"{name}_qps": round(value, 2) for name, value in rate.items()}
    report |= {f"vs_{name}": round(rate["ours"] / rate[name], 2) for name in ("faiss", "loop")}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    report |= {"equal": float((distance == oracle(points, queries)).mean()), "peak_gib": round(peak / 2**30, 2)}
    report |= {"n": len(points), "d": points.shape[1], "queries": len(queries), "loop_queries": len(looped)}
    report |= {"data": data, "threads": torch.get_num_threads(), "build_seconds": round(build_seconds, 2)}
    print(json.dumps(report))  # noqa: T201


if __name__ == "__main__":
    main()
