from itertools import product

import numpy as np
import oracles
import pytest
import torch
from scipy.spatial.distance import mahalanobis
from sklearn.exceptions import NotFittedError

from manifpt.embeddings import embed
from manifpt.manifold import Manifold, tangent_foot
from manifpt.nn import dncnn
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def vectors(rng, n, k, d):
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(n, k, d)).astype(np.float32)


def orthogonal_foot(x, z):
    """Least squares in float64: the point of the affine span of `z` that is nearest to `x`."""
    x, z = x.astype(np.float64), z.astype(np.float64)
    weights = np.linalg.lstsq((z[1:] - z[0]).T, x - z[0], rcond=None)[0]
    return z[0] + weights @ (z[1:] - z[0])


def ridge_foot(x, z, ridge):
    """The closed form in float64, solved in the d dimensions of the space instead of the k of the neighbours."""
    x, z = x.astype(np.float64), z.astype(np.float64)
    v = z - z.mean(axis=0)
    penalty = ridge * (v**2).sum() / len(z)
    return z.mean(axis=0) + np.linalg.solve(v.T @ v + penalty * np.eye(len(x)), v.T @ v @ (x - z.mean(axis=0)))


@pytest.mark.parametrize("channels", [1, 3])
def test_nearest_against_the_oracle(noise, channels):
    reference, images = noise(300, channels, size=8), noise(40, channels, size=8, seed=1)
    found = Manifold("rgb").fit(reference).project(images)
    squares, index = oracles.nearest(reference.reshape(300, -1), images.reshape(40, -1))
    assert (found.index == index[:, 0]).all()
    np.testing.assert_allclose(found.distance, np.sqrt(squares[:, 0]) / 255, rtol=1e-5)
    np.testing.assert_allclose(found.target, reference[index[:, 0]] / 255, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["nearest", "tangent", "random"])
@pytest.mark.parametrize("space", ["rgb", "freq"])
def test_artifact_is_what_is_left_of_the_image(noise, space, estimator):
    images = noise(300, 3, size=8, seed=1)
    found = Manifold(space, estimator=estimator, n_neighbors=5).fit(noise(50, 3, size=8)).project(images)
    assert found.target.shape == found.artifact.shape == images.shape
    assert found.index.shape == found.distance.shape == (300,)
    assert found.index.dtype == np.int64
    assert {found.target.dtype, found.artifact.dtype, found.distance.dtype} == {np.dtype(np.float32)}
    embedded = embed(images, space).reshape(images.shape)
    np.testing.assert_allclose(found.artifact, embedded - found.target, atol=1e-5)
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.artifact.reshape(300, -1), axis=1), rtol=1e-5)


@pytest.mark.parametrize("estimator", ["nearest", "tangent"])
def test_freq_searches_in_spectra(noise, estimator):
    reference, images = noise(60, size=8), noise(20, size=8, seed=1)
    found = Manifold("freq", estimator=estimator, n_neighbors=4).fit(reference).project(images)
    points, queries = embed(reference, "freq"), embed(images, "freq")
    _, index = oracles.nearest(points, queries, 4)
    assert (found.index == index[:, 0]).all()
    if estimator == "nearest":
        truth = points[index[:, 0]]
    else:
        truth = np.stack([ridge_foot(x, points[row], 0.1) for x, row in zip(queries, index, strict=True)])
    np.testing.assert_allclose(found.target.reshape(20, -1), truth, atol=1e-4)


@pytest.mark.parametrize("space", ["rgb", "freq"])
def test_tangent_of_one_neighbour_is_nearest(noise, space):
    reference, images = noise(50, size=8), noise(20, size=8, seed=1)
    one = Manifold(space, estimator="tangent", n_neighbors=1).fit(reference).project(images)
    nearest = Manifold(space).fit(reference).project(images)
    for attribute in ("index", "distance", "target", "artifact"):
        assert (getattr(one, attribute) == getattr(nearest, attribute)).all()


@pytest.mark.parametrize(("k", "d"), [(2, 3), (5, 40), (16, 100)])
def test_foot_without_ridge_is_the_orthogonal_projection(k, d):
    x, z = vectors(np.random.default_rng(0), 10, k, d)
    truth = np.stack([orthogonal_foot(*pair) for pair in zip(x, z, strict=True)])
    for ridge in (0, 1e-6):
        found = tangent_foot(x, z, ridge)
        assert (found.dtype, found.shape) == (np.float32, x.shape)
        np.testing.assert_allclose(found, truth, atol=1e-3)


@pytest.mark.parametrize("ridge", [0.1, 1.0])
@pytest.mark.parametrize(("k", "d"), [(2, 3), (5, 40), (64, 30)])
def test_foot_against_the_closed_form(k, d, ridge):
    x, z = vectors(np.random.default_rng(0), 10, k, d)
    truth = np.stack([ridge_foot(*pair, ridge) for pair in zip(x, z, strict=True)])
    np.testing.assert_allclose(tangent_foot(x, z, ridge), truth, atol=1e-4)


def test_foot_moves_and_scales_with_its_points():
    x, z = vectors(np.random.default_rng(0), 10, 5, 40)
    foot = tangent_foot(x, z, 0.1)
    np.testing.assert_allclose(tangent_foot(3 * x + 1, 3 * z + 1, 0.1), 3 * foot + 1, atol=1e-4)
    np.testing.assert_allclose(tangent_foot(x, z[:, ::-1], 0.1), foot, atol=1e-5)


def test_point_of_the_affine_span_is_its_own_foot():
    rng = np.random.default_rng(0)
    _, z = vectors(rng, 10, 6, 40)
    weights = rng.normal(size=(10, 6)).astype(np.float32)
    weights += (1 - weights.sum(axis=1, keepdims=True)) / 6
    x = np.einsum("nk,nkd->nd", weights, z)
    np.testing.assert_allclose(tangent_foot(x, z, 0), x, atol=1e-4)
    assert np.linalg.norm(x - tangent_foot(x, z, 0.5), axis=1).min() > 0.01


def test_foot_on_copies_of_points():
    x, z = vectors(np.random.default_rng(0), 10, 1, 40)
    np.testing.assert_allclose(tangent_foot(x, np.repeat(z, 7, axis=1), 0), z[:, 0], atol=1e-5)
    _, pair = vectors(np.random.default_rng(1), 10, 2, 40)
    twice = np.concatenate([pair, pair], axis=1)
    np.testing.assert_allclose(tangent_foot(x, twice, 0), tangent_foot(x, pair, 0), atol=1e-3)


def test_duplicates_in_the_reference(noise):
    """An image among copies of itself has no artifact; one whose neighbours are all black has itself as artifact."""
    images = noise(3, size=8)
    reference = np.concatenate([np.zeros((60, 1, 8, 8), np.uint8), np.repeat(images, 8, axis=0)])
    found = (
        Manifold("rgb", estimator="tangent", n_neighbors=7)
        .fit(reference)
        .project(np.concatenate([images, images // 8]))
    )
    np.testing.assert_allclose(found.artifact[:3], 0, atol=1e-6)
    np.testing.assert_allclose(found.artifact[3:], (images // 8) / 255, atol=1e-6)


def test_an_excluded_image_is_never_its_own_neighbour(noise):
    reference = noise(50, size=8)
    chosen = np.array([3, 40, 0])
    for estimator in ("nearest", "tangent", "random"):
        manifold = Manifold("rgb", estimator=estimator, n_neighbors=5).fit(reference)
        found = manifold.project(reference[chosen], exclude=chosen)
        assert (found.index != chosen).all()
        assert (found.distance > 1).all()
    assert (Manifold("rgb").fit(reference).project(reference[chosen]).index == chosen).all()


def test_exclude_of_several_and_none(noise):
    reference = noise(50, size=8)
    manifold = Manifold("rgb").fit(reference)
    exclude = np.array([[0, -1], [1, 2], [-1, -1]])
    points = reference.reshape(50, -1)
    _, index = oracles.nearest(points, points[:3], exclude=exclude)
    assert (manifold.project(reference[:3], exclude=exclude).index == index[:, 0]).all()


def test_random_never_draws_what_is_excluded(noise):
    reference = noise(3, size=8)
    images = noise(500, size=8, seed=1)
    manifold = Manifold("rgb", estimator="random").fit(reference)
    assert set(manifold.project(images, exclude=np.full(500, 1)).index) == {0, 2}
    assert set(manifold.project(images, exclude=np.tile([2, 0], (500, 1))).index) == {1}


def test_random_control_is_seeded(noise):
    reference, images = noise(50, size=8), noise(300, size=8, seed=1)

    def index(seed):
        return Manifold("rgb", estimator="random", seed=seed).fit(reference).project(images).index

    state = np.random.get_state()[1].copy()  # noqa: NPY002
    assert (index(0) == index(0)).all()
    assert (index(0) != index(1)).mean() > 0.9
    assert set(index(0)) == set(range(50))
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


def test_random_draws_by_the_image_whatever_else_is_in_the_batch(noise):
    manifold, images = Manifold("rgb", estimator="random").fit(noise(50, size=8)), noise(300, size=8, seed=1)
    whole, reverse = manifold.project(images).index, manifold.project(images[::-1]).index
    assert (whole == reverse[::-1]).all()
    assert (whole[:150] != whole[150:]).mean() > 0.9  # two batches lose other reals


def test_an_approximate_search_that_finds_too_few_is_refused(noise):
    manifold = Manifold("rgb", estimator="tangent", n_neighbors=300, index="ivf").fit(noise(400, size=8))
    with pytest.raises(InputError, match="'ivf' found fewer than 300 neighbours; lower n_neighbors"):
        manifold.project(noise(5, size=8, seed=1))


def test_function_as_space(noise):
    reference, images = noise(50, 3, size=8), noise(20, 3, size=8, seed=1)

    def colour(batch):
        return batch.mean(axis=(2, 3))

    found = Manifold(colour, estimator="tangent", n_neighbors=3).fit(reference).project(images)
    assert found.artifact.shape == found.target.shape == (20, 3)
    _, index = oracles.nearest(embed(reference, colour), embed(images, colour), 3)
    assert (found.index == index[:, 0]).all()
    fingerprint = Manifold(colour).fit(reference).fingerprint(images, model="toy")
    assert (fingerprint.model, fingerprint.space, fingerprint.estimator) == ("toy", "colour", "nearest")
    assert fingerprint.artifacts.shape == (20, 3)


def test_fingerprint_is_the_set_of_artifacts(noise):
    reference, images = noise(50, size=8), noise(20, size=8, seed=1)
    manifold = Manifold("rgb").fit(reference)
    assert (manifold.fingerprint(images, model="toy").artifacts == manifold.project(images).artifact).all()
    own = manifold.fingerprint(reference, model="real", exclude=np.arange(50))
    assert np.linalg.norm(own.artifacts.reshape(50, -1), axis=1).min() > 1


@pytest.mark.parametrize("estimator", ["nearest", "tangent"])
def test_reference_on_disk_gives_the_same(noise, tmp_path, estimator):
    reference, images = noise(500, 3, size=8), noise(20, 3, size=8, seed=1)
    np.save(tmp_path / "reference.npy", reference)
    mapped = np.load(tmp_path / "reference.npy", mmap_mode="r")
    on_disk = Manifold("rgb", estimator=estimator, n_neighbors=5).fit(mapped)
    assert isinstance(on_disk.neighbours_.points, np.memmap)
    found, truth = (
        m.project(images) for m in (on_disk, Manifold("rgb", estimator=estimator, n_neighbors=5).fit(reference))
    )
    for attribute in ("index", "distance", "target", "artifact"):
        assert (getattr(found, attribute) == getattr(truth, attribute)).all()


@pytest.mark.parametrize("index", ["ivf", "hnsw"])
def test_approximate_index_finds_most_neighbours(noise, index):
    reference, images = noise(400, size=8), noise(40, size=8, seed=1)
    images = (reference[:40] // 2 + images // 2).astype(np.uint8)
    found = Manifold("rgb", index=index).fit(reference).project(images).index
    assert (found == Manifold("rgb").fit(reference).project(images).index).mean() > 0.5


def shrunk(vectors, shrinkage):
    """Mean and shrunk covariance of vectors `(n, d)`, as the formula has them."""
    mean, d = vectors.mean(0), vectors.shape[1]
    covariance = (vectors - mean).T @ (vectors - mean) / len(vectors)
    return mean, (1 - shrinkage) * covariance + shrinkage * np.trace(covariance) / d * np.eye(d)


@pytest.mark.parametrize(
    ("space", "shrinkage"),
    [*product(["rgb", "freq", "psd"], [0.003, 0.5]), ("sl", 0.003), (lambda x: x.mean(3).reshape(len(x), -1), 0.1)],
)
def test_gaussian_distance_is_that_of_mahalanobis(noise, space, shrinkage):
    size = 16 if space in ("psd", "sl") else 6
    reference, images = noise(60, size=size), noise(5, size=size, seed=1) // 2
    manifold = Manifold(space, estimator="gaussian", shrinkage=shrinkage).fit(reference)
    found = manifold.project(images)
    known, asked = (embed(some, space).astype(np.float64) for some in (reference, images))
    mean, covariance = shrunk(known, shrinkage)
    np.testing.assert_allclose(manifold.covariance_, covariance, atol=1e-6 * np.trace(covariance))
    inverse = np.linalg.inv(covariance)
    np.testing.assert_allclose(found.distance, [mahalanobis(x, mean, inverse) for x in asked], rtol=1e-2)
    np.testing.assert_allclose(found.target.reshape(5, -1), np.tile(mean, (5, 1)), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(
        manifold.whitening_, manifold.whitening_.T, atol=1e-6 * np.abs(manifold.whitening_).max()
    )
    assert (found.index == -1).all()
    assert found.artifact.dtype == np.float32
    assert found.artifact.shape == (images.shape if space in ("rgb", "freq") else asked.shape)


def test_whitened_reals_vary_alike_in_all_directions(noise):
    reals = np.cumsum(noise(4000, size=6), axis=3, dtype=int)  # neighbours in a row depend on each other
    reals = (reals // 6).astype(np.uint8)
    artifacts = Manifold(estimator="gaussian", shrinkage=1e-6).fit(reals[:3000]).transform(reals).reshape(-1, 36)
    np.testing.assert_allclose(np.cov(artifacts[:3000].T), np.eye(36), atol=2e-3)
    np.testing.assert_allclose(np.cov(artifacts[3000:].T), np.eye(36), atol=0.25)


def test_no_image_is_whitened_by_a_gaussian_that_it_is_part_of(noise):
    reference, s = noise(53, size=6), 0.01
    manifold = Manifold(estimator="gaussian", shrinkage=s)
    own = manifold.fit_transform(reference)
    excluded = manifold.project(reference[[40, 3]], exclude=np.array([[40], [3]])).artifact
    vectors = reference.reshape(53, -1) / 255
    for index in range(53):
        mean, covariance = shrunk(vectors[np.arange(53) % 5 != index % 5], s)
        distance = mahalanobis(vectors[index], mean, np.linalg.inv(covariance))
        assert np.linalg.norm(own[index]) == pytest.approx(distance, rel=1e-3)
    np.testing.assert_allclose(excluded, own[[40, 3]], atol=1e-4)
    assert np.linalg.norm(own) > 1.2 * np.linalg.norm(manifold.transform(reference))


def test_generated_images_are_whitened_by_all_reals(noise):
    images, labels = noise(60, size=6), np.repeat(["real", "toy"], [40, 20])
    manifold = Manifold(estimator="gaussian", shrinkage=0.01)
    found = manifold.fit_transform(images, labels)
    np.testing.assert_allclose(found[40:], manifold.transform(images[40:]), atol=1e-4)
    np.testing.assert_allclose(
        found[:40], Manifold(estimator="gaussian", shrinkage=0.01).fit_transform(images[:40]), atol=1e-4
    )


def test_gaussian_of_images_of_several_sizes(noise):
    reals = [*noise(30, 3, size=40), *noise(30, 3, size=33, seed=1)]
    labels = ["real"] * 30 + ["toy"] * 30
    manifold = Manifold("psd", estimator="gaussian").fit(reals)
    mixed = [noise(1, 3, size=70, seed=2)[0], noise(1, 3, size=16, seed=3)[0]]
    found = manifold.transform(mixed)
    assert found.shape == (2, 432)
    for one, image in zip(found, mixed, strict=True):
        np.testing.assert_allclose(manifold.transform(image[None])[0], one, atol=1e-4)
    own = manifold.fit_transform(reals, labels)
    np.testing.assert_allclose(manifold.mean_, embed(reals[:30], "psd").mean(0), rtol=1e-5)
    np.testing.assert_allclose(own[30:], manifold.transform(reals[30:]), atol=1e-3)
    assert isinstance(manifold.reference_, list)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            np.zeros((3, 3, 64, 64), np.uint8),
            "reference: 3 images of 12,288 dimensions; at least 2 images and",
        ),
        (np.zeros((1, 1, 8, 8), np.uint8), "reference: 1 images of 64 dimensions"),
        (np.full((9, 1, 8, 8), 77, np.uint8), "reference: 9 images that are all the same; different ones expected"),
        (np.tile(np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8), (7, 1, 1, 1)), "7 images that are all the same"),
    ],
)
def test_references_that_have_no_gaussian(images, message):
    with pytest.raises(InputError, match=message):
        Manifold(estimator="gaussian").fit(images)


def test_copies_of_one_image_have_no_gaussian_in_any_space(noise):
    for space in ("psd", "freq"):
        with pytest.raises(InputError, match="7 images that are all the same"):
            Manifold(space, estimator="gaussian").fit(noise(1, 3, size=16).repeat(7, axis=0))


@pytest.fixture(scope="module")
def toy_denoiser(one_thread):
    """Sixty colour images, and a denoiser that took two steps on them; it lies in the session's home."""
    reference = np.random.default_rng(5).integers(0, 256, (60, 3, 16, 16), np.uint8)
    dncnn.train_denoiser(reference, dataset="toy", steps=2, device="cpu")
    return reference


def test_denoiser_artifact_is_its_estimate_of_the_noise(toy_denoiser, noise):
    images = noise(300, 3, size=16)
    by_name = Manifold("rgb", estimator="denoiser", dataset="toy").fit(noise(5, 3, size=16)).project(images)
    network = dncnn.load_denoiser(dataset="toy")
    with torch.inference_mode():
        residual = network(torch.from_numpy(images.astype(np.float32) / 255)).numpy()
    np.testing.assert_allclose(by_name.artifact, residual, atol=1e-5)
    np.testing.assert_allclose(by_name.target, images / 255 - residual, atol=1e-5)
    np.testing.assert_allclose(by_name.distance, np.linalg.norm(residual.reshape(300, -1), axis=1), rtol=1e-3)
    assert (by_name.index == -1).all()
    recognised = Manifold("rgb", estimator="denoiser").fit(toy_denoiser).project(images)
    assert (recognised.artifact == by_name.artifact).all()


def test_committed_denoiser_takes_most_of_the_noise_off_held_out_garments(reals):
    clean = reals("fashion-mnist")["val"][:100]
    noise = np.random.default_rng(0).normal(0, 0.06, clean.shape)
    noisy = np.rint((clean / 255 + noise).clip(0, 1) * 255).astype(np.uint8)
    found = Manifold("rgb", estimator="denoiser").fit(reals("fashion-mnist")["reference"]).project(noisy)
    before, after = (((images - clean / 255) ** 2).mean() for images in (noisy / 255, found.target))
    assert after < before / 2


def test_denoiser_of_an_unknown_set(toy_denoiser, noise):
    with pytest.raises(InputError, match=r"denoiser: no network was trained on these.*toy.*train_denoiser"):
        Manifold(estimator="denoiser").fit(noise(5, 3, size=16))
    with pytest.raises(InputError, match="denoiser: no network was trained on nowhere"):
        Manifold(estimator="denoiser", dataset="nowhere").fit(toy_denoiser)


@pytest.mark.parametrize("space", ["freq", "sl", "ssl", embed])
def test_denoiser_works_on_pixels_alone(space):
    with pytest.raises(InputError, match="estimator 'denoiser' works on pixels: space 'rgb' expected"):
        Manifold(space, estimator="denoiser").check()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"estimator": "mean"},
            "estimator 'mean' is unknown; choose one of nearest, tangent, denoiser, gaussian, random",
        ),
        ({"estimator": "gaussian", "shrinkage": 0}, "shrinkage must be a number above 0 and at most 1, not 0"),
        ({"shrinkage": 1.5}, "shrinkage must be a number above 0"),
        ({"shrinkage": "a"}, "shrinkage must be a number above 0"),
        ({"estimator": "tangent", "n_neighbors": 0}, "n_neighbors must be a whole number from 1"),
        ({"estimator": "tangent", "ridge": -0.1}, "ridge must be a number from 0 on"),
        ({"ridge": float("nan")}, "ridge must be a number from 0 on"),
        ({"estimator": "tangent", "n_neighbors": 6}, "n_neighbors: 6, but the reference set has 5 images"),
        ({"index": "lsh"}, "index 'lsh' is unknown"),
        ({"space": "pixels"}, "space 'pixels' is unknown"),
        ({"space": "ssl"}, "ssl: no network was trained on these reference images"),
    ],
)
def test_impossible_options(noise, options, message):
    with pytest.raises(InputError, match=message):
        Manifold(**options).fit(noise(5, 3, size=8))


def test_project_before_fit(noise):
    with pytest.raises(NotFittedError, match="Manifold instance is not fitted yet"):
        Manifold().project(noise(1))


@pytest.mark.parametrize("shape", [(2, 1, 8, 8), (2, 3, 8, 9), (2, 3, 32, 32)])
def test_images_unlike_the_reference(noise, shape):
    with pytest.raises(InputError, match=r"shape \(n, 3, 8, 8\) as the reference set expected, not"):
        Manifold().fit(noise(5, 3, size=8)).project(np.zeros(shape, np.uint8))


def test_images_of_another_type(noise):
    with pytest.raises(InputError, match="X: of type int64; uint8 from 0 to 255, or floats"):
        Manifold().fit(np.zeros((5, 1, 8, 8), int))
    with pytest.raises(InputError, match=r"images: floats from 0 to 255; floats in \[0, 1\] expected: perhaps x / 255"):
        Manifold().fit(noise(5, size=8)).project(noise(50, size=8).astype(float))


def test_exclude_that_leaves_too_few(noise):
    reference = noise(5, size=8)
    with pytest.raises(InputError):
        Manifold(estimator="tangent", n_neighbors=5).fit(reference).project(reference, exclude=np.arange(5))


@pytest.mark.parametrize("estimator", ["nearest", "random"])
@pytest.mark.parametrize("exclude", [np.arange(3), np.full(5, 99), np.zeros(5)])
def test_impossible_exclude(noise, estimator, exclude):
    with pytest.raises(InputError, match="exclude"):
        Manifold(estimator=estimator).fit(noise(5, size=8)).project(noise(5, size=8, seed=1), exclude=exclude)


def test_failed_fit_leaves_nothing_fitted(noise):
    manifold = Manifold(estimator="denoiser")
    with pytest.raises(InputError, match="no network was trained on these"):
        manifold.fit(noise(20))
    with pytest.raises(NotFittedError):
        manifold.project(noise(2))


def test_denoiser_of_other_channels_is_refused_by_fit(noise):
    with pytest.raises(InputError, match="reference: 1 channels, but the denoiser of 'photos' has 3"):
        Manifold(estimator="denoiser", dataset="photos").fit(noise(20))


@pytest.mark.parametrize(
    "options", [{"n_neighbors": 2.5}, {"n_neighbors": "a"}, {"ridge": "x"}, {"seed": -1}, {"seed": 0.5}, {"space": 3}]
)
def test_options_of_another_type_are_refused(options):
    with pytest.raises(InputError, match=r"must be a|is unknown"):
        Manifold(**options).check()
