"""Exact nearest neighbours in squared L2, in bounded memory; approximate ones by name."""

from collections.abc import Iterator

import numpy as np
import torch
from sklearn.utils import gen_batches
from tqdm.auto import tqdm

from manifpt.search import scans
from manifpt.utils.arrays import is_mapped, release
from manifpt.utils.errors import InputError, check_choice

INDICES = ("exact", "ivf", "hnsw")
QUERIES = 2048  # queries a block
TIGHTEN = 4  # candidates for each neighbour wanted, above which a block is asked for its smallest bounds first


class Neighbours:
    r"""The k nearest of a fixed set of points in squared L2.

    Parameters
    ----------
    points : ndarray, uint8 or float32, shape (n, d)
        8-bit images, flattened, or finite vectors. A `numpy.memmap` stays on disk and each search reads it through its
        mapping, one chunk at a time, so a file that is replaced or deleted meanwhile changes nothing. Other arrays are
        packed once, which takes n d more bytes (int8), 2 n d (bfloat16) or 4 n d (float32).
    index : {"exact", "ivf", "hnsw"}
        ``ivf`` and ``hnsw`` are approximate faiss indices, which hold a float32 copy of the points; see `recall`.
        ``hnsw`` is built by several threads and may differ from run to run.
    product : {"auto", "int8", "bfloat16", "float32"}
        How an exact search scans, see `manifpt.search.scans`; the answer is always the same. ``auto`` is the fastest
        on this processor.
    chunk : int
        Number of points in a block of the scan; the answer is always the same.

    Raises
    ------
    InputError
        Points of another shape or type, NaN or infinity, an unknown name.
    """

    def __init__(self, points: np.ndarray, *, index: str = "exact", product: str = "auto", chunk: int = 4096):
        _check_rows("points", points)
        check_choice("index", index, INDICES)
        check_choice("product", product, scans.PRODUCTS)
        if len(points) == 0 or chunk < 1:
            raise InputError(f"points, chunk: at least one of each expected, not {len(points)} and {chunk}")
        self.points, self.chunk = points, chunk
        self._index = self._scan = self._packed = None
        if index != "exact":
            self._index = self._approximate(index)
            return
        self._scan = scans.choose(product, points.dtype, points.shape[1], self._read())
        if not is_mapped(points):
            self._packed = [self._scan.pack(rows) for _, rows in self._read()]

    def search(
        self, queries: np.ndarray, k: int = 1, *, exclude: np.ndarray | None = None, progress: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        r"""Find the `k` nearest points of each query, nearest first; of equally near points, the one of lowest index.

        Parameters
        ----------
        queries : ndarray of the type of the points, shape (q, d)
        k : int
            From 1 to n, less the excluded points.
        exclude : ndarray of int, shape (q,) or (q, m), optional
            Rows of the points that a query may not get, -1 for none, so that an image is not its own neighbour.
        progress : bool
            Show a progress bar over the points.

        Returns
        -------
        distance : ndarray, float64, shape (q, k)
            :math:`\|q_i - r_j\|_2^2 \ge 0` in squared units of the input; exact integers for 8-bit images.
        index : ndarray, int64, shape (q, k)
            Rows of the points; -1, at distance infinity, where an approximate index finds fewer than k.

        Raises
        ------
        InputError
            Queries of another type or width, NaN or infinity, an impossible `k` or `exclude`.
        """
        exclude = self.check(queries, k, exclude)
        distance, index = np.full((len(queries), k), np.inf), np.full((len(queries), k), -1)
        if len(queries) == 0:
            return distance, index
        if self._index is not None:
            self._search_approximately(_Best(distance, index), queries, exclude)
            return distance, index
        blocks = list(gen_batches(len(queries), QUERIES))
        packed = [self._scan.pack(queries[block]) for block in blocks]
        # fresh memory for the bounds of each block would take a third of the time of its product
        memory = torch.empty(min(QUERIES, len(queries)) * min(self.chunk, len(self.points)), dtype=self._scan.dtype)
        for number, (start, rows) in enumerate(self._read(progress)):
            chunk = self._packed[number] if self._packed else self._scan.pack(rows)
            for block, query in zip(blocks, packed, strict=True):
                best = _Best(distance[block], index[block])
                out = memory[: len(query[0]) * len(rows)].view(-1, len(rows))
                bound = self._scan.bound(query, chunk, out)
                row, column = np.nonzero((exclude[block] >= start) & (exclude[block] < start + len(rows)))
                bound[row, exclude[block][row, column] - start] = self._scan.never
                self._take(best, bound, query, queries[block], rows, start)
        return distance, index

    def recall(self, queries: np.ndarray, k: int = 1, *, exclude: np.ndarray | None = None) -> float:
        """Return the fraction of true neighbours that `search` finds; an equally near point counts as found."""
        truth, _ = Neighbours(self.points, chunk=self.chunk).search(queries, k, exclude=exclude)
        found, _ = self.search(queries, k, exclude=exclude)
        return float((found <= truth[:, -1:]).mean())

    def _take(self, best, bound, query, queries, rows, start):
        """Update `best` with the pairs of one block, whose points begin at index `start`."""

        def add(row, column):
            best.add(row, column + start, self._scan.distance(bound, row, column, query, queries, rows))

        pairs = self._near(best, bound, query) if start else None
        if pairs is None or len(pairs[0]) > TIGHTEN * best.distance.size:
            place = bound.topk(min(best.distance.shape[1], len(rows)), dim=1, largest=False).indices.numpy()
            row = np.repeat(np.arange(len(place)), place.shape[1])
            possible = bound.numpy()[row, place.ravel()] != self._scan.never
            row, column = row[possible], place.ravel()[possible]
            add(row, column)
            bound[row, column] = self._scan.never
            pairs = self._near(best, bound, query)
        add(*pairs)

    def _near(self, best, bound, query):
        """Return the pairs (query row, column) of a block that may be as near as the k-th best so far, ascending."""
        limit = self._scan.limit(best.distance[:, -1], query)
        some = (bound.amin(dim=1) > limit).logical_not_().nonzero()[:, 0]  # this settles most queries
        near = (bound[some] > limit[some, None]).logical_not_()
        row, column = np.divmod(np.flatnonzero(near.numpy()), bound.shape[1])
        return some.numpy()[row], column

    def _approximate(self, index):
        """Build a faiss index: 4 sqrt(n) inverted lists, of which a sixteenth is searched, or a navigable graph."""
        import faiss

        n, d = self.points.shape
        scans.moments(self._read())
        lists = max(1, min(int(4 * n**0.5), n // 39))  # faiss asks for 39 points a list
        built = faiss.index_factory(d, f"IVF{lists},Flat" if index == "ivf" else "HNSW32,Flat")
        if index == "ivf":
            built.nprobe = max(1, lists // 16)
            built.train(np.asarray(self.points[:: max(1, n // (64 * lists))], np.float32))
        else:
            built.hnsw.efSearch = 128
        for _, rows in self._read():
            built.add(rows.astype(np.float32))
        return built

    def _search_approximately(self, best, queries, exclude):
        wanted = min(best.distance.shape[1] + exclude.shape[1], len(self.points))
        _, found = self._index.search(queries.astype(np.float32), wanted)
        allowed = (found >= 0) & ~(found[:, :, None] == exclude[:, None, :]).any(axis=2)
        row, index = np.nonzero(allowed)[0], found[allowed]
        best.add(row, index, scans.pair_distance(queries, self.points, row, index))

    def _read(self, progress: bool = False) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the first index and the rows of each chunk; pages of a mapped file do not stay resident."""
        starts = range(0, len(self.points), self.chunk)
        for start in tqdm(starts, desc="nearest points", unit="chunk", disable=not progress):
            yield start, self.points[start : start + self.chunk]
            release(self.points)

    def check(self, queries: np.ndarray, k: int, exclude: np.ndarray | None) -> np.ndarray:
        """Raise `InputError` if `search` cannot answer; return `exclude` as int64 (q, m)."""
        n, d = self.points.shape
        _check_rows("queries", queries)
        if queries.dtype != self.points.dtype:
            raise InputError(
                f"queries: {queries.dtype}, but the points are {self.points.dtype}; distances need one unit: "
                "convert both to uint8 (8-bit images) or both to float32"
            )
        if queries.shape[1] != d:
            raise InputError(f"queries: {queries.shape[1]} numbers a row, but the points have {d}")
        scans.check_finite("queries", queries)
        exclude = np.full((len(queries), 1), -1) if exclude is None else np.asarray(exclude)
        exclude = exclude[:, None] if exclude.ndim == 1 else exclude
        if exclude.ndim != 2 or len(exclude) != len(queries) or exclude.dtype.kind not in "iu":
            raise InputError(f"exclude: integers of shape ({len(queries)},) or ({len(queries)}, m) expected")
        if exclude.size and not -1 <= exclude.min() <= exclude.max() < n:
            raise InputError(f"exclude: rows of the points, 0 to {n - 1}, or -1 for none expected")
        exclude = np.sort(exclude.astype(np.int64), axis=1)
        most = (np.diff(exclude, axis=1, prepend=-1) > 0).sum(axis=1).max(initial=0)  # different points
        if not 1 <= k <= n - most:
            raise InputError(f"k: 1 to {n - most} expected ({n} points, at most {most} of them excluded), not {k}")
        return exclude


class _Best:
    """The k nearest points so far, ascending: distance (q, k) and index (q, k), which `add` changes in place."""

    def __init__(self, distance: np.ndarray, index: np.ndarray):
        self.distance, self.index = distance, index

    def add(self, row: np.ndarray, index: np.ndarray, distance: np.ndarray) -> None:
        """Merge pairs (query row, point index, distance), in any order."""
        k = self.distance.shape[1]
        changed = np.unique(row)
        row = np.concatenate([np.repeat(changed, k), row])
        index = np.concatenate([self.index[changed].ravel(), index])
        distance = np.concatenate([self.distance[changed].ravel(), distance])
        order = np.lexsort((index, distance, row))
        row, index, distance = row[order], index[order], distance[order]
        rank = np.arange(len(row)) - np.searchsorted(row, row)
        keep = rank < k
        self.index[row[keep], rank[keep]] = index[keep]
        self.distance[row[keep], rank[keep]] = distance[keep]


def _check_rows(name: str, rows: np.ndarray) -> None:
    known = isinstance(rows, np.ndarray) and rows.dtype in (np.uint8, np.float32)
    if not known or rows.ndim != 2 or rows.shape[1] == 0:
        found = f"{rows.dtype} {rows.shape}" if isinstance(rows, np.ndarray) else type(rows).__name__
        raise InputError(f"{name}: a uint8 or float32 array of shape (rows, d) expected, not {found}")
