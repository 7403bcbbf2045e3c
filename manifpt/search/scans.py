r"""Scan blocks of points for nearest neighbours by matrix products, whose rounding errors have a proven bound.

A scan finds :math:`s_{ij} = \|r_j\|^2 - 2\,q_i \cdot r_j = \|q_i - r_j\|^2 - \|q_i\|^2`, or a bound from below:

``int8``
    8-bit images minus 128 are int8; their products and sums are exact in int32 while :math:`3 \cdot 2^{14} d < 2^{31}`
    (:math:`d \le 43690`), and so are the distances: there is nothing to refine.
``bfloat16``, ``float32``
    Vectors are centred on the mean of the points, which changes no distance, and rounded; the scan finds a lower bound
    of each distance, and only pairs whose bound does not exceed the k-th best distance so far are computed in float64.

The bound: let y be the centred vectors, u the relative error of a stored number, v = 2^-23 that of an operation.

1. :math:`\hat y_j = y_j (1 + \delta_j), |\delta_j| \le u`, and a float32 sum of d products, in any order, multiplies
   each by at most :math:`1 / (1 - d v)` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 3.1).
2. Rounding that sum to the stored type multiplies it by at most :math:`1 + u`; so the computed p is
   :math:`\sum_j y_j y'_j (1 + \theta_j)` with :math:`|\theta_j| \le c = (1 + u)^3 / (1 - d v) - 1`.
3. By Cauchy and Schwarz :math:`|p - y \cdot y'| \le c \|y\| \|y'\|`, hence
   :math:`\|q - r\|^2 \ge \|y\|^2 + \|y'\|^2 - 2 p - 2 c \|y\| \|y'\|`.

Norms enter with a relative slack of 2^-20, for the float32 arithmetic of this last line, and an absolute one of 2^-40,
for underflow (points are scaled to at most 1 by a power of two). A pair is dropped only if its bound is *greater* than
the best: where numbers overflow to infinity or NaN, every pair is computed.
"""

from collections.abc import Iterable

import numpy as np
import torch

from manifpt.utils.errors import InputError

PRODUCTS = ("auto", "int8", "bfloat16", "float32")
INT8_WIDTH = 43690  # 3 * 2^14 * width < 2^31; at width 1, torch 2.14 leaves the integer product unwritten
REFINE = 2**18  # numbers a float64 batch, so that it stays in cache
SLACK = 2.0**-20


class IntegerScan:
    """Scan of 8-bit images by an integer product: its bounds are exact."""

    dtype = torch.int32  # of the bounds
    never = 2**31 - 1  # bound of a pair that no query may get

    def pack(self, rows: np.ndarray) -> tuple:
        """Turn rows of one side, uint8 (m, d), into int8 (m, d) and squared norms, int32 (m,)."""
        shifted = (rows ^ np.uint8(128)).view(np.int8)
        return torch.from_numpy(shifted), torch.from_numpy(np.einsum("ij,ij->i", shifted, shifted, dtype=np.int32))

    def bound(self, query: tuple, chunk: tuple, out):
        """Compute squared distances less the query's squared norm, int32 tensor (q, c), in `out`."""
        product = torch._int_mm(query[0], chunk[0].T, out=out)
        return torch.sub(chunk[1], product, alpha=2, out=product)

    def limit(self, best: np.ndarray, query: tuple):
        """Compute the largest bound of a pair at squared distance `best`, float64 (q,): int32 tensor (q,)."""
        return torch.from_numpy(np.minimum(best - query[1].numpy(), self.never - 1).astype(np.int32))

    def distance(self, bound, row, column, query, queries, rows) -> np.ndarray:
        """Compute the exact squared distance of the pairs (row, column), float64 (pairs,)."""
        return bound.numpy()[row, column] + query[1].numpy()[row].astype(np.float64)


class RoundedScan:
    """Scan of any vectors by a product of rounded ones: lower bounds, in units of the scaled vectors."""

    dtype = torch.float32  # of the bounds
    never = np.inf

    def __init__(self, product: str, centre: np.ndarray, largest: float):
        self.product = getattr(torch, product)
        self.scale = np.float32(2.0 ** -max(int(np.frexp(largest)[1]), -100))
        self.centre = (centre * np.float64(self.scale)).astype(np.float32)
        u = torch.finfo(self.product).eps / 2 + 2.0**-23  # stored, after one float32 subtraction
        self.c = (1 + u) ** 3 / (1 - len(centre) * 2.0**-23) - 1 + 2 * SLACK

    def pack(self, rows: np.ndarray) -> tuple:
        """Round rows (m, d); bound their norms, float32 (m,), from above and squares, float64 (m,), from below."""
        with np.errstate(over="ignore"):
            centred = torch.from_numpy(rows * self.scale - self.centre)
        norm = torch.linalg.vector_norm(centred, dim=1, dtype=torch.float64)
        above = norm * (1 + SLACK) + 2.0**-40
        above[norm > 2.0**60] = torch.inf
        return centred.to(self.product), above.float(), norm.square() * (1 - SLACK)

    def bound(self, query: tuple, chunk: tuple, out):
        """Bound squared distances less the query's squared norm from below, float32 tensor (q, c), in `out`."""
        if self.product == torch.float32:  # numpy, since torch may be set to round float32 products
            np.matmul(query[0].numpy(), chunk[0].numpy().T, out=out.numpy())
        else:
            out.copy_(torch.mm(query[0], chunk[0].T))
        return out.addr_(query[1], chunk[1], beta=-2, alpha=-2 * self.c).add_(chunk[2].float())

    def limit(self, best: np.ndarray, query: tuple):
        """Compute the largest bound of a pair at squared distance `best`, float64 (q,): float32 tensor (q,)."""
        limit = best * (1 + SLACK) * np.float64(self.scale) ** 2 - query[2].numpy()
        highest = np.finfo(np.float32).max
        return torch.from_numpy(np.nextafter(limit.clip(-highest, highest).astype(np.float32), highest))

    def distance(self, bound, row, column, query, queries, rows) -> np.ndarray:
        """Compute the squared distance of the pairs (queries[row], rows[column]), float64 (pairs,)."""
        return pair_distance(queries, rows, row, column)


def choose(
    product: str, dtype: np.dtype, d: int, chunks: Iterable[tuple[int, np.ndarray]]
) -> IntegerScan | RoundedScan:
    """Return the scan named by `product`, or the fastest on this processor; it reads the `chunks` only if it rounds."""
    integers = dtype == np.uint8 and 1 < d <= INT8_WIDTH
    if product == "int8" and not integers:
        raise InputError(f"product: int8 needs uint8 points of 2 to {INT8_WIDTH} numbers a row; use auto")
    if product == "int8" or (product == "auto" and integers and _has("vnni") and hasattr(torch, "_int_mm")):
        return IntegerScan()
    fastest = "bfloat16" if _has("amx_tile") else "float32"
    return RoundedScan(fastest if product == "auto" else product, *moments(chunks))


def moments(chunks: Iterable[tuple[int, np.ndarray]]) -> tuple[np.ndarray, float]:
    """Return the mean, float64 (d,), and largest magnitude of points that come as (index of the first, rows)."""
    total, largest, n = 0.0, 0.0, 0
    for start, rows in chunks:
        check_finite("points", rows, start)
        total = total + rows.sum(axis=0, dtype=np.float64)
        largest = max(largest, float(rows.max()), -float(rows.min()))
        n += len(rows)
    return total / n, largest


def check_finite(name: str, rows: np.ndarray, start: int = 0) -> None:
    """Raise `InputError` naming the first row, counted from `start`, that holds NaN or infinity."""
    if rows.dtype != np.uint8 and len(bad := np.flatnonzero(~np.isfinite(rows).all(axis=1))):
        raise InputError(f"{name}: row {start + bad[0]} holds NaN or infinity; finite numbers expected")


def pair_distance(queries: np.ndarray, rows: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """Compute the squared L2 of the pairs (queries[row], rows[column]), float64 (pairs,), in bounded memory."""
    step = max(1, REFINE // queries.shape[1])
    distance = np.empty(len(row))
    for i in range(0, len(row), step):
        part = slice(i, i + step)
        difference = np.subtract(queries[row[part]], rows[column[part]], dtype=np.float64)
        distance[part] = np.einsum("ij,ij->i", difference, difference)
    return distance


def _has(unit: str) -> bool:
    """Say whether torch reports this unit of the processor."""
    return getattr(torch.cpu, f"_is_{unit}_supported", lambda: False)()
