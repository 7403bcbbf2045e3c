"""`Manifold` and `Attributor` as estimators of scikit-learn, alone and in a pipeline."""

from dataclasses import replace

import numpy as np
import oracles
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_array

from manifpt.attribution import Attributor
from manifpt.embeddings import embed
from manifpt.manifold import Manifold
from manifpt.nn.classifiers import SCHEDULES
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread", "few_steps")


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCHEDULES, "short", replace(SCHEDULES["short"], steps=15))
        yield


class OnRows(Manifold):
    """A manifold of images that are one row of grey pixels each, made of vectors: what scikit-learn's checks give."""

    def fit(self, X, y=None):
        return super().fit(self.images(X))

    def fit_transform(self, X, y=None):
        return super().fit_transform(self.images(X)).reshape(len(X), -1)

    def transform(self, X):
        return super().transform(self.images(X)).reshape(len(X), -1)

    @staticmethod
    def images(X):
        levels = 255 / (1 + np.exp(-check_array(X, dtype=float)))
        return np.rint(levels).astype(np.uint8)[:, None, None]  # (n, 1, 1, d)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = tags.no_validation = True  # the latter: check_array validates, not we
        return tags


ESTIMATORS = [OnRows(), Attributor(epochs=4, batch_size=16)]
WORDS = "refused, in words of our own"
NOT_OURS = {  # checks that fail, and why that is right
    "OnRows": {
        "check_transformer_general": "fit_transform projects no image on itself, transform does",
        "check_transformer_preserve_dtypes": "artifacts are float32",
        "check_fit2d_1feature": WORDS,
    },
    "Attributor": {
        "check_classifier_data_not_an_array": "artifacts are no int64",
        "check_classifiers_one_label": "two classes are needed to tell apart",
        "check_classifiers_regression_target": WORDS,
        "check_complex_data": WORDS,
        "check_dtype_object": "artifacts are no objects",
        "check_estimator_sparse_array": WORDS,
        "check_estimator_sparse_matrix": WORDS,
        "check_estimator_sparse_tag": WORDS,
        "check_estimators_dtypes": "artifacts are no int64",
        "check_estimators_empty_data_messages": WORDS,
        "check_estimators_nan_inf": "its labels are floats",
        "check_fit2d_predict1d": WORDS,
        "check_n_features_in_after_fitting": WORDS,
        "check_requires_y_none": WORDS,
        "check_supervised_y_2d": "labels of shape (n, 1) are refused, not flattened with a warning",
    },
}
CHECKS = [pair for estimator in ESTIMATORS for pair in estimator_checks_generator(estimator)]


def name_of(pair):
    return type(pair[0]).__name__, getattr(pair[1], "func", pair[1]).__name__


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=["-".join(name_of(pair)) for pair in CHECKS])
def test_checks_of_scikit_learn(estimator, check):
    kind, name = name_of((estimator, check))
    if name == "check_array_api_input":
        pytest.skip("numpy arrays come out, whatever comes in")
    if name in NOT_OURS[kind]:
        with pytest.raises((AssertionError, ValueError)):
            check(estimator)
    else:
        check(estimator)


@pytest.fixture(scope="module")
def labelled():
    """Ninety images of two made-up models and of "reality", which differ in a faint pattern, in random order."""
    rng = np.random.default_rng(0)
    base = rng.integers(60, 190, (90, 3, 1, 1)) + rng.integers(-6, 7, (90, 3, 8, 8))
    patterns = np.stack([np.zeros((8, 8), int), 30 * (np.indices((8, 8))[0] % 2), 30 * (np.indices((8, 8))[1] % 2)])
    which = rng.permutation(np.arange(90) % 3)
    images = (base + patterns[which][:, None]).clip(0, 255).astype(np.uint8)
    return images, np.array(["real", "rows", "columns"])[which]


def pipeline(**options):
    return make_pipeline(Manifold("rgb", estimator="tangent", **options), Attributor(epochs=3, batch_size=16))


def test_a_pipeline_learns_who_made_an_image(labelled):
    images, labels = labelled
    fitted = pipeline(n_neighbors=8).fit(images[:60], labels[:60])
    assert fitted.score(images[60:], labels[60:]) > 0.7
    assert fitted.classes_.tolist() == ["columns", "real", "rows"]
    probabilities = fitted.predict_proba(images[60:])
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)


def test_cross_validation_and_a_grid_of_estimators(labelled):
    assert cross_val_score(pipeline(n_neighbors=8), *labelled, cv=2).mean() > 0.6
    grid = {"manifold__estimator": ["nearest", "tangent"], "manifold__n_neighbors": [2, 8]}
    quick = pipeline().set_params(attributor__epochs=1)
    search = GridSearchCV(quick, grid, cv=2, error_score="raise").fit(*labelled)
    assert set(search.best_params_) == set(grid)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_the_reference_of_a_pipeline_is_what_is_labelled_real(labelled):
    images, labels = labelled
    manifold = Manifold()
    artifacts = manifold.fit_transform(images, labels)
    real = labels == "real"
    assert (manifold.reference_ == images[real]).all()
    points, queries = images[real].reshape(real.sum(), -1), images.reshape(90, -1)
    exclude = np.full(90, -1)
    exclude[real] = np.arange(real.sum())
    _, index = oracles.nearest(points, queries, exclude=exclude)
    expected = queries / 255 - points[index[:, 0]] / 255
    np.testing.assert_allclose(artifacts.reshape(90, -1), expected, atol=1e-6)
    assert np.abs(artifacts[real]).max(axis=(1, 2, 3)).min() > 0


def test_no_image_of_a_fold_that_is_tested_is_in_its_reference(labelled):
    seen = []

    class Spy(Manifold):
        def transform(self, X):
            seen.append((X, self.reference_))
            return super().transform(X)

    cross_val_score(make_pipeline(Spy(), Attributor(epochs=1, batch_size=16)), *labelled, cv=3)
    assert len(seen) == 3
    for tested, reference in seen:
        assert not (tested[:, None] == reference[None]).all(axis=(2, 3, 4)).any()


def test_a_reference_of_its_own_is_kept_whatever_fit_is_given(labelled, noise):
    images, labels = labelled
    reference = noise(20, 3, size=8)
    manifold = Manifold(reference=reference)
    for y in (None, labels, np.repeat("vae", 90)):
        artifacts = manifold.fit_transform(images, y)
        assert (manifold.reference_ == reference).all()
        assert (artifacts == Manifold().fit(reference).transform(images)).all()
    assert (clone(manifold).reference == reference).all()


def test_labels_without_real_ones_are_refused(labelled):
    images, labels = labelled
    with pytest.raises(InputError, match=r"y: no image is labelled 'real'; .* pass Manifold\(reference=images\)"):
        Manifold().fit(images, np.where(labels == "real", "vae", labels))
    with pytest.raises(InputError, match=r"y: of shape \(89,\)"):
        Manifold().fit(images, labels[1:])


@pytest.mark.parametrize("estimator", ["nearest", "tangent", "random"])
def test_fit_transform_projects_no_image_on_itself(noise, estimator):
    images = noise(40, size=8)
    manifold = Manifold(estimator=estimator, n_neighbors=5)
    artifacts = manifold.fit_transform(images)
    assert (artifacts == manifold.project(images, exclude=np.arange(40)).artifact).all()
    assert (artifacts == manifold.fingerprint(images, model="real", exclude=np.arange(40)).artifacts).all()
    assert (np.linalg.norm(artifacts.reshape(40, -1), axis=1) > 1).all()
    assert (Manifold().fit(images).transform(images) == 0).all()


def test_parameters_are_checked_by_fit_alone(noise):
    manifold = clone(Manifold(estimator="tangent", n_neighbors=0))
    assert manifold.get_params()["n_neighbors"] == 0
    with pytest.raises(InputError, match="n_neighbors must be a whole number"):
        manifold.fit(noise(5, size=8))
    attributor = clone(Attributor().set_params(epochs=0, network="vgg"))
    with pytest.raises(InputError, match="network: 'vgg'"):
        attributor.fit(noise(5, size=8), list("ababa"))


def forms(images):
    """The same images (n, 3, h, w) as users bring them."""
    last = np.moveaxis(images, 1, 3)
    return {
        "channels last": last,
        "floats": images / 255,
        "PIL": [Image.fromarray(image) for image in last],
        "tensor": torch.from_numpy(images),
        "float tensor": torch.from_numpy(images).float() / 255,
    }


@pytest.mark.parametrize("form", ["channels last", "floats", "PIL", "tensor", "float tensor"])
def test_every_form_of_images_gives_the_same(noise, form):
    reference, images = noise(30, 3, size=8), noise(6, 3, size=8, seed=1)
    manifold = Manifold(estimator="tangent", n_neighbors=4).fit(forms(reference)[form])
    found = manifold.project(forms(images)[form])
    expected = Manifold(estimator="tangent", n_neighbors=4).fit(reference).project(images)
    assert (found.artifact == expected.artifact).all()
    assert (manifold.fingerprint(forms(images)[form], model="a").artifacts == expected.artifact).all()
    assert (embed(forms(images)[form], "freq") == embed(images, "freq")).all()


def test_a_torch_network_is_a_space(noise):
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(192, 8))
    reference, images = noise(30, 3, size=8), noise(6, 3, size=8, seed=1)
    manifold = Manifold(network).fit(reference)
    found = manifold.project(images)
    assert [part.training for part in network.modules()] == [True] * 4
    tensors = [torch.from_numpy(some / np.float32(255)) for some in (reference, images)]
    with torch.inference_mode():
        points, queries = (network.eval()(some).numpy() for some in tensors)
    _, index = oracles.nearest(points, queries)
    np.testing.assert_allclose(found.artifact, queries - points[index[:, 0]], atol=1e-6)
    assert all(parameter.grad is None for parameter in network.parameters())
    assert manifold.fingerprint(images, model="a").space == "Sequential"
    assert clone(manifold).fit(reference).project(images).artifact.shape == (6, 8)


def test_a_module_that_gives_no_tensor_is_named(noise):
    class Pair(torch.nn.Module):
        def forward(self, images):
            return images, images

    with pytest.raises(InputError, match="space 'Pair': gave tuple; one tensor expected"):
        embed(noise(2), Pair())


def test_settings_tell_all_that_a_projection_depends_on(noise):
    images = noise(30)
    plain = Manifold("rgb", estimator="tangent", n_neighbors=4, index="ivf", seed=3).fit(images)
    assert plain.settings_ == {
        "space": "rgb",
        "dataset": None,
        "estimator": "tangent",
        "n_neighbors": 4,
        "ridge": 0.1,
        "shrinkage": 0.003,
        "index": "ivf",
        "seed": 3,
    }
    assert plain.weights_ == []
    learned = Manifold("ssl", dataset="fashion-mnist").fit(images)
    assert (learned.settings_["space"], learned.settings_["dataset"]) == ("ssl:fashion-mnist", "fashion-mnist")
    assert [path.name for path in learned.weights_] == ["ssl-fashion-mnist.safetensors"]
    denoiser = Manifold(estimator="denoiser", dataset="fashion-mnist").fit(images)
    assert [path.name for path in denoiser.weights_] == ["denoiser-fashion-mnist.safetensors"]
    own = [Manifold(lambda x: x.mean(axis=(2, 3))).fit(images).settings_["space"] for _ in range(2)]
    assert own[0] != own[1]
    assert own[0].startswith("<lambda>#")
