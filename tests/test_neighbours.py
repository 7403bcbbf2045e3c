import subprocess
import sys

import numpy as np
import oracles
import pytest
import torch

from manifpt.search import scans
from manifpt.search.neighbours import Neighbours
from manifpt.utils.errors import InputError

BYTES = ("int8", "bfloat16", "float32")
FLOATS = ("bfloat16", "float32")


def images(rng, n, d=48):
    return rng.integers(0, 256, (n, d), dtype=np.uint8)


def vectors(rng, n, d=40, scale=1.0):
    return (rng.normal(size=(n, d)) * scale).astype(np.float32)


def check(points, queries, k=1, exclude=None, **options):
    """Distances as the oracle's; indices too, where no other point is as near within float64 rounding."""
    distance, index = Neighbours(points, **options).search(queries, k, exclude=exclude)
    truth, nearest = oracles.nearest(points, queries, k, exclude)
    assert distance.shape == index.shape == (len(queries), k)
    assert (distance.dtype, index.dtype) == (np.float64, np.int64)
    if points.dtype == np.uint8:
        assert (distance == truth).all()
        assert (index == nearest).all()
        return
    np.testing.assert_allclose(distance, truth, rtol=1e-12)
    exact = ((points[index].astype(float) - queries[:, None].astype(float)) ** 2).sum(axis=-1)
    np.testing.assert_allclose(exact, truth, rtol=1e-12)
    assert all(len(set(row)) == k for row in index.tolist())


@pytest.mark.parametrize("product", ["auto", *BYTES])
@pytest.mark.parametrize("k", [1, 7])
def test_images_agree_with_integer_arithmetic(product, k):
    rng = np.random.default_rng(0)
    check(images(rng, 300), images(rng, 50), k, product=product, chunk=64)


@pytest.mark.parametrize("product", ["auto", *FLOATS])
@pytest.mark.parametrize(("k", "offset"), [(1, 0), (7, 0), (3, 1000)])
def test_vectors_agree_with_double_precision(product, k, offset):
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(5, 40)) * 3 + offset
    points, queries = ((centres[rng.integers(0, 5, n)] + vectors(rng, n)).astype(np.float32) for n in (300, 50))
    check(points, queries, k, product=product, chunk=64)


@pytest.mark.parametrize("product", BYTES)
def test_ties_go_to_the_lowest_index(product):
    rng = np.random.default_rng(2)
    few = images(rng, 9)
    points = few[rng.integers(0, 9, 200)]
    check(points, few, 30, product=product, chunk=50)
    distance, index = Neighbours(points, product=product, chunk=50).search(points)
    assert (distance == 0).all()
    assert (index[:, 0] == [np.flatnonzero((points == p).all(axis=1))[0] for p in points]).all()


@pytest.mark.parametrize("product", BYTES)
def test_constant_and_extreme_images(product):
    levels = np.array([0, 1, 127, 128, 129, 254, 255], dtype=np.uint8)
    check(np.repeat(levels[:, None], 3072, axis=1), np.repeat(levels[::-1, None], 3072, axis=1), 7, product=product)
    black, white = np.zeros((1, scans.INT8_WIDTH), np.uint8), np.full((1, scans.INT8_WIDTH), 255, np.uint8)
    distance, _ = Neighbours(black, product=product).search(white)
    assert distance == 255**2 * scans.INT8_WIDTH


@pytest.mark.parametrize("product", BYTES)
def test_one_level_in_one_pixel_decides(product):
    rng = np.random.default_rng(3)
    query = images(rng, 1, 3072).clip(1, 254)
    points = np.repeat(query, 40, axis=0)
    points[:, :40] += np.eye(40, dtype=np.uint8)
    points[:, -1] += 1
    points[29, -1] -= 1
    distance, index = Neighbours(points, product=product, chunk=16).search(query, 3)
    assert index.tolist() == [[29, 0, 1]]
    assert distance.tolist() == [[1, 2, 2]]


@pytest.mark.parametrize("product", FLOATS)
def test_one_unit_in_the_last_place_decides(product):
    rng = np.random.default_rng(4)
    query = vectors(rng, 1, 1280) + 2
    points = np.repeat(query + np.float32(0.5), 60, axis=0)
    points[41, 7] = np.nextafter(points[41, 7], np.float32(-9))
    points[50, 8] = np.nextafter(points[50, 8], np.float32(9))
    distance, index = Neighbours(points, product=product, chunk=16).search(query, 60)
    assert index[0, 0] == 41
    assert index[0, -1] == 50
    assert index[0, 1:-1].tolist() == sorted(index[0, 1:-1])
    assert (np.diff(distance[0]) >= 0).all()


@pytest.mark.parametrize("product", FLOATS)
@pytest.mark.parametrize("scale", [1e-30, 1e4, 1e18, 1e37])
def test_norms_of_any_size(product, scale):
    rng = np.random.default_rng(5)
    points, queries = vectors(rng, 200, scale=scale), vectors(rng, 20, scale=scale)
    check(points, queries, 3, product=product, chunk=64)
    points[3] *= 1e-9
    check(points, np.concatenate([queries, points[:9], queries * np.float32(1e-12)]), 3, product=product, chunk=64)


@pytest.mark.parametrize("product", FLOATS)
def test_far_queries_and_an_outlier_among_the_points(product):
    rng = np.random.default_rng(6)
    points, queries = vectors(rng, 150, scale=1e-3), vectors(rng, 20, scale=1e-3)
    check(points, np.concatenate([queries, queries * np.float32(1e30)]), 2, product=product, chunk=32)
    points[70] = 1e30
    check(points, queries, 2, product=product, chunk=32)


@pytest.mark.parametrize("product", FLOATS)
def test_bound_is_below_the_distance_and_close(product):
    rng = np.random.default_rng(7)
    points, queries = vectors(rng, 500, 3072) + 5, vectors(rng, 30, 3072) + 5
    scan = scans.choose(product, points.dtype, 3072, [(0, points)])
    query, chunk = scan.pack(queries), scan.pack(points)
    bound = scan.bound(query, chunk, torch.empty(30, 500)).numpy()
    below = (bound + query[2].numpy()[:, None]) / np.float64(scan.scale) ** 2
    truth = ((queries[:, None].astype(float) - points.astype(float)) ** 2).sum(axis=-1)
    assert (below <= truth).all()
    assert (below > truth * (0.97 if product == "bfloat16" else 0.999)).all()


def test_few_pairs_are_refined(monkeypatch):
    rng = np.random.default_rng(8)
    plane = vectors(rng, 20, 640)
    points, queries = vectors(rng, 4000, 20) @ plane, vectors(rng, 100, 20) @ plane
    pairs, refine = [], scans.pair_distance
    monkeypatch.setattr(
        scans, "pair_distance", lambda q, r, row, column: pairs.append(len(row)) or refine(q, r, row, column)
    )
    Neighbours(points, product="bfloat16", chunk=500).search(queries)
    assert sum(pairs) < 20 * len(queries)


@pytest.mark.parametrize("make", [images, vectors])
@pytest.mark.parametrize("d", [1, 2])
def test_few_dimensions(make, d):
    rng = np.random.default_rng(9)
    points, queries = make(rng, 90, d), make(rng, 40, d)
    for product in ("auto", *FLOATS):
        check(points, queries, 5, product=product, chunk=32)


@pytest.mark.parametrize("make", [images, vectors])
def test_all_neighbours_and_any_chunk(make):
    rng = np.random.default_rng(10)
    points, queries = make(rng, 70), make(rng, 9)
    expected = Neighbours(points).search(queries, 70)
    assert (np.sort(expected[1]) == np.arange(70)).all()
    for chunk in (1, 3, 69, 70, 1000):
        for one, other in zip(expected, Neighbours(points, chunk=chunk).search(queries, 70), strict=True):
            np.testing.assert_array_equal(one, other)


def test_blocks_of_queries_change_nothing(monkeypatch):
    rng = np.random.default_rng(11)
    points, queries = images(rng, 100), images(rng, 50)
    expected = Neighbours(points).search(queries, 3)
    monkeypatch.setattr("manifpt.search.neighbours.QUERIES", 7)
    for one, other in zip(expected, Neighbours(points, chunk=30).search(queries, 3), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("make", [images, vectors])
def test_excluded_points_are_never_returned(make, index):
    rng = np.random.default_rng(12)
    points = make(rng, 60)
    _, own = Neighbours(points, index=index, chunk=25).search(points, 5, exclude=np.arange(60))
    assert not (own == np.arange(60)[:, None]).any()
    if index == "exact":
        check(points, points, 5, np.arange(60), chunk=25)
        check(points, points, 4, np.stack([np.arange(60), np.arange(60)[::-1], np.full(60, -1)], axis=1), chunk=25)
        check(points, points, 59, np.arange(60), chunk=25)


@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
def test_no_queries(index):
    rng = np.random.default_rng(13)
    distance, found = Neighbours(images(rng, 50), index=index).search(images(rng, 0), 3)
    assert distance.shape == found.shape == (0, 3)


@pytest.mark.parametrize("index", ["exact", "ivf", "hnsw"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_not_finite(value, index):
    points = vectors(np.random.default_rng(14), 60)
    bad = points.copy()
    bad[41, 3] = value
    with pytest.raises(InputError, match="queries: row 41"):
        Neighbours(points, index=index).search(bad)
    with pytest.raises(InputError, match="points: row 41"):
        Neighbours(bad, index=index, chunk=16)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": np.zeros((2, 8), np.float32)}, "queries: float32, but the points are uint8"),
        ({"queries": np.zeros((2, 7), np.uint8)}, "queries: 7 numbers a row, but the points have 8"),
        ({"queries": np.zeros((2, 2, 4), np.uint8)}, "queries: a uint8 or float32 array"),
        ({"queries": [[0] * 8]}, "queries: a uint8 or float32 array"),
        ({"k": 6}, "k: 1 to 5 expected"),
        ({"k": 0}, "k: 1 to 5 expected"),
        ({"k": 4, "exclude": np.array([[0, 1, 1], [2, -1, -1]])}, "k: 1 to 3 expected"),
        ({"exclude": np.array([0])}, "exclude: integers of shape"),
        ({"exclude": np.array([0.0, 1.0])}, "exclude: integers of shape"),
        ({"exclude": np.array([0, 5])}, "exclude: rows of the points, 0 to 4"),
        ({"exclude": np.array([0, -2])}, "exclude: rows of the points, 0 to 4"),
    ],
)
def test_impossible_searches_say_what_is_wrong(options, message):
    neighbours = Neighbours(np.zeros((5, 8), np.uint8))
    with pytest.raises(InputError, match=message):
        neighbours.search(**{"queries": np.zeros((2, 8), np.uint8), **options})


@pytest.mark.parametrize(
    ("points", "options", "message"),
    [
        (np.zeros((0, 8), np.uint8), {}, "at least one"),
        (np.zeros((5, 8)), {}, "points: a uint8 or float32 array"),
        (np.zeros((5, 8), np.uint8), {"chunk": 0}, "at least one"),
        (np.zeros((5, 8), np.uint8), {"index": "lsh"}, "index 'lsh' is unknown"),
        (np.zeros((5, 8), np.uint8), {"product": "int4"}, "product 'int4' is unknown"),
        (np.zeros((5, 1), np.uint8), {"product": "int8"}, "product: int8 needs uint8"),
        (np.zeros((5, 8), np.float32), {"product": "int8"}, "product: int8 needs uint8"),
        (np.zeros((1, scans.INT8_WIDTH + 1), np.uint8), {"product": "int8"}, "product: int8 needs uint8"),
    ],
)
def test_impossible_points_say_what_is_wrong(points, options, message):
    with pytest.raises(InputError, match=message):
        Neighbours(points, **options)


def test_processor_without_matrix_units(monkeypatch):
    rng = np.random.default_rng(15)
    monkeypatch.setattr(scans, "_has", lambda unit: False)
    assert scans.choose("auto", np.dtype(np.uint8), 48, [(0, images(rng, 5))]).product.itemsize == 4
    check(images(rng, 200), images(rng, 30), 3)
    check(vectors(rng, 200), vectors(rng, 30), 3)


@pytest.mark.parametrize("make", [images, vectors])
def test_memory_map_equals_memory(tmp_path, make):
    rng = np.random.default_rng(16)
    points, queries = make(rng, 300), make(rng, 20)
    np.save(tmp_path / "points.npy", points.reshape(300, 4, -1))
    mapped = np.load(tmp_path / "points.npy", mmap_mode="r").reshape(300, -1)
    for part in (slice(0, 300), slice(100, 250)):
        neighbours = Neighbours(mapped[part], chunk=64)
        assert neighbours._packed is None
        expected = Neighbours(points[part]).search(queries, 4)
        for one, other in zip(expected, neighbours.search(queries, 4), strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("index", ["exact", "ivf"])
def test_file_that_is_replaced_or_deleted_under_a_search_changes_no_answer(tmp_path, index):
    rng = np.random.default_rng(19)
    points, path = images(rng, 300), tmp_path / "points.npy"

    def others():
        np.save(tmp_path / "others.npy", 255 - points)
        (tmp_path / "others.npy").replace(path)

    np.save(path, points)
    early, late = np.load(path, mmap_mode="r"), np.load(path, mmap_mode="r")
    neighbours = Neighbours(early, index=index, chunk=64)
    for change in (others, path.unlink):
        change()
        for found in (neighbours, Neighbours(late, index=index, chunk=64)):
            distance, index_found = found.search(points[:5])
            assert index_found[:, 0].tolist() == [0, 1, 2, 3, 4]
            assert (distance == 0).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_memory_map_is_never_wholly_resident(tmp_path, dtype):
    """Search a file of 160 MB; the process may grow by 60 MB."""
    n = 160_000_000 // 3072 // np.dtype(dtype).itemsize
    points = np.memmap(tmp_path / "points", dtype, "w+", shape=(n, 3072))
    points[:] = np.arange(n)[:, None] % 200
    points[-1] = 255
    points.flush()
    program = f"""
import resource, numpy as np
from manifpt.search.neighbours import Neighbours
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
few = np.zeros((600, 3072), "{dtype}")
Neighbours(few, chunk=256).search(few[:10])
before = peak()
points = np.memmap({str(tmp_path / "points")!r}, "{dtype}", "r").reshape(-1, 3072)
distance, index = Neighbours(points, chunk=256).search(few[:10] + few.dtype.type(255))
assert (index == len(points) - 1).all() and (distance == 0).all()
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 60e6


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_recall_of_approximate_indices(index):
    rng = np.random.default_rng(17)
    centres = vectors(rng, 40, 16, scale=10)
    points, queries = (centres[rng.integers(0, 40, n)] + vectors(rng, n, 16, 0.1) for n in (4000, 100))
    easy = Neighbours(points, index=index)
    assert easy.recall(points[:100]) == 1
    distance, found = easy.search(queries, 3)
    exact = ((points[found].astype(float) - queries[:, None].astype(float)) ** 2).sum(axis=-1)
    np.testing.assert_allclose(distance, exact, rtol=1e-12)
    hard = Neighbours(vectors(rng, 4000, 200), index=index)
    assert 0 < hard.recall(vectors(rng, 100, 200), 5) < 1


def test_recall_of_the_exact_index_is_one():
    rng = np.random.default_rng(18)
    assert Neighbours(images(rng, 100)).recall(images(rng, 10), 3) == 1
