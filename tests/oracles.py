"""Naive transcriptions of the formulas, loop by loop, that the tests hold the package against."""

import math
from itertools import pairwise, permutations

import numpy as np
import scipy.linalg


def frechet_distance(a, b, covariance=lambda x: np.cov(x, rowvar=False)):
    sa, sb = covariance(a), covariance(b)
    root = scipy.linalg.sqrtm(sa @ sb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(sa + sb - 2 * root).real)


def fd_ratio(features, labels, seed, covariance=lambda x: np.cov(x, rowvar=False)):
    rng = np.random.default_rng(seed)
    between, within = [], []
    classes = sorted(set(labels.tolist()))
    for i, first in enumerate(classes):
        x = features[labels == first]
        order, half = rng.permutation(len(x)), len(x) // 2
        within.append(frechet_distance(x[order[:half]], x[order[half : 2 * half]], covariance))
        for second in classes[i + 1 :]:
            between.append(frechet_distance(x, features[labels == second], covariance))
    return sum(between) / len(between) / (sum(within) / len(within))


def precision_recall_density_coverage(real, generated, k):
    def radius(points, i):
        return sorted(np.linalg.norm(points[i] - points[j]) for j in range(len(points)) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    generated_radii = [radius(generated, j) for j in range(len(generated))]
    precision = recall = density = coverage = 0
    for g in generated:
        balls = sum(np.linalg.norm(g - r) <= radius for r, radius in zip(real, real_radii, strict=True))
        precision += balls > 0
        density += balls / k
    for r, own in zip(real, real_radii, strict=True):
        distances = [np.linalg.norm(g - r) for g in generated]
        recall += any(d <= radius for d, radius in zip(distances, generated_radii, strict=True))
        coverage += any(d <= own for d in distances)
    n, m = len(real), len(generated)
    return {"precision": precision / m, "recall": recall / n, "density": density / m, "coverage": coverage / n}


def nmi(a, b):
    def entropy(labels):
        return -sum(p * math.log(p) for p in (labels.count(v) / len(labels) for v in set(labels)))

    a, b = list(a), list(b)
    joint = list(zip(a, b, strict=True))
    mutual = entropy(a) + entropy(b) - entropy(joint)
    return 2 * mutual / (entropy(a) + entropy(b))


def gaussian_mmd(a, b, sigma):
    def mean_kernel(x, y):
        values = [math.exp(-((p - q) ** 2).sum() / (2 * sigma**2)) for p in x for q in y]
        return sum(values) / len(values)

    return math.sqrt(mean_kernel(a, a) + mean_kernel(b, b) - 2 * mean_kernel(a, b))


def wasserstein1(a, b):
    """Minimum over all matchings of two small sets of one size (Birkhoff)."""
    costs = (
        sum(np.linalg.norm(x - b[j]) for x, j in zip(a, order, strict=True)) for order in permutations(range(len(b)))
    )
    return min(costs) / len(a)


def nearest(points, queries, k=1, exclude=None):
    exact = np.int64 if points.dtype == np.uint8 else np.float64
    distances, indices = [], []
    for i, query in enumerate(queries):
        squares = ((points.astype(exact) - query.astype(exact)) ** 2).sum(axis=1)
        allowed = [j for j in range(len(points)) if exclude is None or j not in np.atleast_1d(exclude[i])]
        order = sorted(allowed, key=lambda j: (squares[j], j))[:k]
        distances.append(squares[order])
        indices.append(order)
    return np.array(distances), np.array(indices)


def azimuthal_average(grey):
    """Pixel by pixel, of one grey image in [0, 1]: mean 20 ln|F| at each integer radius but the first and the last."""
    h, w = grey.shape
    spectrum = np.fft.fftshift(np.fft.fft2(grey)) + 1e-8
    rings = {}
    for i in range(h):
        for j in range(w):
            radius = int(math.sqrt((i - (h - 1) / 2) ** 2 + (j - (w - 1) / 2) ** 2))
            rings.setdefault(radius, []).append(20 * math.log(abs(spectrum[i, j])))
    means = [sum(rings[r]) / len(rings[r]) for r in sorted(rings)][1:-1]
    return [(mean - min(means)) / (max(means) - min(means)) for mean in means]


def co_occurrence(grey, levels):
    counts = np.zeros((levels, levels))
    for row in grey:
        for a, b in pairwise(row):
            counts[a * levels // 256, b * levels // 256] += 1
            counts[b * levels // 256, a * levels // 256] += 1
    return np.log1p(counts)


def log_power_spectrum(image, window, step, floor, *, rotate, residual):
    """Window by window and channel by channel, of one float image `(c, h, w)`; the vector `(d,)`."""
    channels = list(image.astype(np.float64))
    if rotate and len(channels) == 3:
        r, g, b = channels
        channels = [(r + g + b) / math.sqrt(3), (r - g) / math.sqrt(2), (r + g - 2 * b) / math.sqrt(6)]
    if residual:
        channels = [np.diff(np.diff(x, 2, axis=0), 2, axis=1) / 4 for x in channels]
    taper = [math.sin(math.pi * (k + 1) / (window + 1)) ** 2 for k in range(window)]
    vectors = []
    for x in channels:
        logs = []
        for top in range(0, x.shape[0] - window + 1, step):
            for left in range(0, x.shape[1] - window + 1, step):
                cut = x[top : top + window, left : left + window] * np.outer(taper, taper)
                logs.append(np.log(np.abs(np.fft.fft2(cut)) ** 2 + floor))
        vectors.append(np.mean(logs, axis=0)[:, : window // 2 + 1].ravel())
    return np.concatenate(vectors)
