from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from torch import nn

from manifpt.attribution import Attributor
from manifpt.nn import train as loop
from manifpt.nn.classifiers import SCHEDULES, Pointwise, Schedule, build_classifier, train_classifier
from manifpt.utils.errors import InputError

FAST = {"batch_size": 8, "epochs": 3}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="module")
def few_steps():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SCHEDULES, "short", replace(SCHEDULES["short"], steps=4))
        yield


def images(n=40, classes=("dcgan", "real"), size=8, seed=0):
    """Noise plus a pattern fixed for each class: artifacts (n, 3, size, size) and their labels (n,)."""
    patterns = np.random.default_rng(99).normal(size=(len(classes), 3, size, size))
    rng = np.random.default_rng(seed)
    which = rng.permutation(np.arange(n) % len(classes))
    return (patterns[which] + rng.normal(size=(n, 3, size, size))).astype(np.float32), np.array(classes)[which]


def vectors(n=60, seed=0):
    artifacts, labels = images(n, seed=seed)
    return artifacts.reshape(n, -1), labels  # (n, 3 h w)


@pytest.fixture(scope="module")
def fitted():
    return Attributor(**FAST).fit(*images(), val=images(seed=1))


@pytest.mark.parametrize("data", [images, vectors])
def test_learns_a_constant_pattern(data):
    artifacts, labels = data(96)
    model = Attributor(batch_size=8).fit(artifacts, labels, val=data(20, seed=1))
    assert model.score(*data(100, seed=2)) > 0.95
    assert set(model.predict(artifacts)) <= {"dcgan", "real"}


def test_permuted_labels_stay_near_chance():
    """On average over permutations: a single one scatters by 0.16."""
    (artifacts, labels), test = images(96), images(400, seed=2)
    permuted = [np.random.default_rng(seed).permutation(labels) for seed in range(5, 13)]
    scores = [Attributor(**FAST).fit(artifacts, some).score(*test) for some in permuted]
    assert 0.3 < np.mean(scores) < 0.7


def test_integer_labels_and_uint8_images():
    pictures, labels = images(64, classes=(7, 3))
    pictures = np.clip(128 + 30 * pictures, 0, 255).astype(np.uint8)
    model = Attributor(batch_size=8).fit(pictures, labels)
    assert model.classes_.tolist() == [3, 7]
    assert model.score(pictures.astype(np.float64), labels) > 0.95


def test_probabilities_and_features(fitted):
    artifacts, labels = images(seed=3)
    probabilities = fitted.predict_proba(artifacts)
    assert probabilities.shape == (40, 2)
    assert probabilities.dtype == np.float32
    np.testing.assert_allclose(probabilities.sum(1), 1, rtol=1e-5)
    predicted = fitted.predict(artifacts)
    assert (predicted == fitted.classes_[probabilities.argmax(1)]).all()
    assert fitted.score(artifacts, labels) == pytest.approx((predicted == labels).mean())
    features = fitted.features(artifacts)
    assert features.shape == (40, 64)
    assert features.dtype == np.float32
    logits = features @ fitted.network_.head.weight.detach().numpy().T + fitted.network_.head.bias.detach().numpy()
    assert (logits.argmax(1) == probabilities.argmax(1)).mean() > 0.95


def test_parameters_are_those_of_the_released_network():
    network = build_classifier("cifar-resnet", classes=14, mean=np.zeros((3, 1, 1)), sd=np.ones((3, 1, 1)))
    assert sum(p.numel() for p in network.parameters()) == 272_638


def test_resnet50_takes_any_number_of_channels():
    network = build_classifier("resnet50", classes=3, mean=np.zeros((6, 1, 1)), sd=np.ones((6, 1, 1))).eval()
    with torch.inference_mode():
        artifacts = torch.ones(2, 6, 32, 32)
        assert network(artifacts).shape == (2, 3)
        assert network.features(artifacts).shape == (2, 2048)


@pytest.mark.parametrize("stride", [1, 2])
def test_pointwise_is_a_convolution(stride):
    convolution = nn.Conv2d(5, 7, 1, stride)
    pointwise = Pointwise(5, 7, 1, stride)
    pointwise.load_state_dict(convolution.state_dict())
    x = torch.randn(2, 5, 9, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(pointwise(x), convolution(x))


def test_standardisation_is_that_of_the_training_set_and_survives_constants():
    artifacts, labels = vectors()
    artifacts = artifacts * 1000 + 5000
    artifacts[:, 0], artifacts[:, 1] = 0.1, 0
    model = Attributor().fit(artifacts, labels)
    np.testing.assert_allclose(model.network_.mean, artifacts.mean(0, np.float64), rtol=1e-6)
    np.testing.assert_allclose(model.network_.sd[2:], artifacts[:, 2:].astype(float).std(0), rtol=1e-5)
    assert model.network_.sd[:2].tolist() == [1, 1]
    assert np.isfinite(model.predict_proba(artifacts)).all()
    pictures, labels = images()
    pictures[:, 1] += 10
    sd = Attributor(epochs=1, batch_size=2).fit(pictures, labels).network_.sd
    np.testing.assert_allclose(sd[:, 0, 0], pictures.std((0, 2, 3)), rtol=1e-4)


def test_best_epoch_is_kept_and_of_equals_the_earliest(monkeypatch):
    accuracies = iter([0.5, 0.75, 0.75, 0.25])
    seen = []

    def evaluate():
        seen.append(network.weight.detach().clone())
        return 1.0, next(accuracies)

    network = nn.Linear(2, 1)
    inputs = torch.ones(4, 2)
    recipe = Schedule(epochs=4, batch_size=2, learning_rate=0.1, steps=2)
    history, best = train_classifier(network, recipe, 4, lambda rows: network(inputs[rows]).mean(), evaluate, seed=0)
    assert best == 2
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3, 4]
    assert torch.equal(network.weight, seen[1])
    assert not torch.equal(network.weight, seen[2])


def test_without_validation_the_last_epoch_is_kept():
    model = Attributor(**FAST).fit(*images())
    assert model.best_epoch_ == 3
    assert [epoch["val_accuracy"] for epoch in model.history_] == [None] * 3


def test_released_recipe():
    recipe = SCHEDULES["released"]
    assert (recipe.epochs, recipe.batch_size, recipe.learning_rate) == (180, 36, 0.1)
    rates = [recipe.learning_rate * recipe.factor(epoch, 180) for epoch in range(180)]
    np.testing.assert_allclose(rates, np.repeat([0.1, 0.01, 0.001], [100, 50, 30]))
    assert sorted(recipe.rows(72, seed=0, epoch=1).flat) == list(range(72))
    assert isinstance(recipe.optimiser(nn.Linear(1, 1)), torch.optim.SGD)


def test_rows_differ_between_epochs_and_seeds_only():
    recipe = SCHEDULES["short"]
    rows = recipe.rows(50, seed=0, epoch=1)
    assert rows.shape == (recipe.steps, recipe.batch_size)
    assert (np.bincount(rows.ravel(), minlength=50) >= rows.size // 50).all()
    assert (rows == recipe.rows(50, seed=0, epoch=1)).all()
    assert (rows != recipe.rows(50, seed=0, epoch=2)).any()
    assert (rows != recipe.rows(50, seed=1, epoch=1)).any()


def test_one_seed_gives_one_result_and_leaves_global_states_alone(fitted):
    torch.manual_seed(123)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    again = Attributor(**FAST).fit(*images(), val=images(seed=1))
    assert torch.equal(before[0], torch.get_rng_state())
    assert (before[1] == np.random.get_state()[1]).all()  # noqa: NPY002
    assert again.history_ == fitted.history_
    artifacts, _ = images(seed=4)
    assert (again.predict_proba(artifacts) == fitted.predict_proba(artifacts)).all()
    other = Attributor(**FAST, seed=1).fit(*images())
    assert (other.predict_proba(artifacts) != fitted.predict_proba(artifacts)).any()


def test_saved_and_loaded_is_the_same(fitted, tmp_path):
    fitted.save(tmp_path / "model.safetensors")
    loaded = Attributor.load(tmp_path / "model.safetensors")
    artifacts, _ = images(seed=4)
    assert (loaded.predict_proba(artifacts) == fitted.predict_proba(artifacts)).all()
    assert (loaded.predict(artifacts) == fitted.predict(artifacts)).all()
    assert loaded.get_params() == fitted.get_params()
    assert loaded.history_ == fitted.history_
    assert loaded.best_epoch_ == fitted.best_epoch_


@pytest.mark.parametrize("fatal", [2, 9])
def test_an_interrupted_training_resumes_to_the_same_result(fitted, tmp_path, monkeypatch, fatal):
    """In the first epoch of four steps, and in the third."""
    loss, steps = Attributor._loss, []

    def killed(*arguments):
        if len(steps) == fatal:
            raise KeyboardInterrupt
        return note(*arguments)

    def note(*arguments):
        steps.append(len(steps))
        return loss(*arguments)

    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    monkeypatch.setattr(Attributor, "_loss", killed)
    with pytest.raises(KeyboardInterrupt):
        Attributor(**FAST).fit(*images(), val=images(seed=1), resume=tmp_path)
    monkeypatch.setattr(Attributor, "_loss", note)
    resumed = Attributor(**FAST).fit(*images(), val=images(seed=1), resume=tmp_path)
    assert len(steps) == 3 * 4
    assert resumed.history_ == fitted.history_
    assert resumed.best_epoch_ == fitted.best_epoch_
    artifacts, _ = images(seed=4)
    assert (resumed.predict_proba(artifacts) == fitted.predict_proba(artifacts)).all()
    assert len(list(tmp_path.iterdir())) == 1


def test_a_state_is_not_taken_up_with_other_settings_or_data(tmp_path):
    artifacts, labels = images()
    for seed, data in (
        (0, (artifacts, labels)),
        (1, (artifacts, labels)),
        (0, (artifacts, labels[::-1])),
        (0, images(seed=6)),
    ):
        Attributor(epochs=1, batch_size=2, seed=seed).fit(*data, resume=tmp_path)
    assert len(list(tmp_path.iterdir())) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "vgg"}, "network: 'vgg'.*resnet50"),
        ({"schedule": "long"}, "schedule: 'long'.*released"),
        ({"precision": "fp16"}, "precision: 'fp16'.*bf16"),
        ({"epochs": 0}, "epochs: 0.*from 1"),
        ({"batch_size": 1}, "batch_size: 1.*from 2"),
        ({"seed": -1}, "seed: -1"),
        ({"seed": None}, "seed: None"),
        ({"learning_rate": float("nan")}, "learning_rate: nan"),
        ({"device": "abacus"}, "device 'abacus'"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(InputError, match=message):
        Attributor(**options).check()


def wrong_data():
    artifacts, labels = images()
    holed, huge = artifacts.copy(), artifacts.astype(np.float64)
    holed[7, 0, 0, 0], huge[9, 0, 0, 0] = np.nan, 1e300
    return {
        "length": (artifacts, labels[:-1], None, r"labels: of shape \(39,\); \(40,\) expected"),
        "one class": (artifacts, np.full(40, "real"), None, "labels: 1 class"),
        "float labels": (artifacts, np.arange(40.0), None, "labels: of type float64"),
        "missing label": (artifacts, [None, *labels[1:]], None, "labels: strings and others mixed"),
        "val label": (
            artifacts,
            labels,
            (artifacts, np.full(40, "vae")),
            "val labels: 'vae' is not among.*'dcgan', 'real'",
        ),
        "val shape": (artifacts, labels, (artifacts[:, :1], labels), "val artifacts: one of shape.*as in training"),
        "val alone": (artifacts, labels, artifacts, "val: 40 parts; a pair"),
        "val length": (artifacts, labels, (artifacts, labels[1:]), "val labels: of shape"),
        "nan": (holed, labels, None, "artifacts: NaN or infinite.*row 7"),
        "infinite in float32": (huge, labels, None, "artifacts: NaN or infinite.*row 9"),
        "dimensions": (artifacts[:, 0], labels, None, r"artifacts: of shape \(40, 8, 8\)"),
        "empty": (artifacts[:0], labels[:0], None, "artifacts: of shape"),
        "type": (artifacts > 0, labels, None, "artifacts: of type bool"),
    }


@pytest.mark.parametrize("case", wrong_data())
def test_wrong_data_is_refused_before_training(case, monkeypatch):
    monkeypatch.setattr("manifpt.attribution.train_classifier", lambda *_, **__: pytest.fail("training started"))
    artifacts, labels, val, message = wrong_data()[case]
    with pytest.raises(InputError, match=message):
        Attributor().fit(artifacts, labels, val=val)


def test_network_for_other_data_is_refused():
    with pytest.raises(InputError, match="'mlp' does not take images"):
        Attributor("mlp").fit(*images())
    with pytest.raises(InputError, match="'cifar-resnet' does not take vectors"):
        Attributor("cifar-resnet").fit(*vectors())


def test_prediction_of_other_data_or_before_training_is_refused(fitted, tmp_path):
    artifacts, _ = images()
    for other in (artifacts[:, :1], artifacts[..., :4], artifacts.reshape(40, -1)):  # (n, 3 h w) at last
        with pytest.raises(InputError, match=r"expected, as in training"):
            fitted.predict(other)
    unfitted = Attributor()
    for call in (unfitted.predict, unfitted.features, unfitted.predict_proba, unfitted.save):
        with pytest.raises(NotFittedError, match="Attributor instance is not fitted yet"):
            call(artifacts)
    assert not list(tmp_path.iterdir())


def test_foreign_files_are_refused(tmp_path):
    from manifpt.utils.files import save_tensors

    (tmp_path / "model.pkl").write_bytes(b"\x80\x04N.")
    save_tensors(tmp_path / "generator.safetensors", {"mean": torch.ones(2)}, {"model": "dcgan"})
    for name in ("model.pkl", "generator.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match=name):
            Attributor.load(tmp_path / name)


def test_divergence_stops_the_training():
    with pytest.raises(FloatingPointError, match="lower learning_rate"):
        Attributor(learning_rate=1e30).fit(*vectors())
