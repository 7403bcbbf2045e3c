"""The zoo: every model trains, stops, goes on and samples; what is special in each family; publishing and quality."""

import json
import multiprocessing
import os
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load, load_file
from torch import nn
from torch.nn import functional as F

from manifpt.nn import train as loop
from manifpt.nn.perceptual import Perceptual
from manifpt.nn.train import descend, random_batches, run_training
from manifpt.utils import cache, files
from manifpt.utils.errors import InputError
from manifpt.zoo import dataset, diffusion, flow, gan, models, nvae, quality, sample, stylegan, train
from manifpt.zoo.base import Generator
from manifpt.zoo.sample import sample_images
from manifpt.zoo.train import publish, train_generator, train_generators

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own for every test; the zoo trains on 200 random images, and samples few at a time in few steps."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    monkeypatch.setattr(train, "load_real", random_reals)
    monkeypatch.setattr(sample, "BATCH", 4)
    monkeypatch.setattr(diffusion, "SAMPLING_STEPS", 2)
    monkeypatch.setattr(diffusion, "AUTOENCODER_STEPS", 1)
    return tmp_path


def random_reals(name, split="reference"):
    return np.random.default_rng(len(split)).integers(0, 256, (200, models.CHANNELS[name], 32, 32), np.uint8)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_trains_and_samples(name):
    """Two steps; then what a checkpoint promises, and images that depend on the seed and not on how many are drawn."""
    path = train_generator(name, dataset="gm-photo", steps=2, seed=3, device="cpu")
    tensors, settings = files.load_tensors(path)
    assert {t.dtype for t in tensors.values()} <= {torch.float16, torch.int64, torch.bool}
    assert path.name == f"{name}-s3.safetensors"
    described = {"model": name, "dataset": "gm-photo", "seed": 3, "steps": 2, "channels": 3}
    assert settings.items() >= described.items()
    assert settings["parameters"] > 10_000
    assert settings["seconds"] > 0
    assert path.stat().st_size <= 4_000_000

    images = sample_images(path, 6, device="cpu", progress=False)
    assert (images.dtype, images.shape) == (np.uint8, (6, 3, 32, 32))
    assert images.std(axis=0).mean() > 0.1
    assert (sample_images(path, 3, device="cpu", progress=False) == images[:3]).all()
    assert (sample_images(path, 6, device="cpu", progress=False) == images).all()
    assert (sample_images(path, 6, seed=1, device="cpu", progress=False) != images).mean() > 0.3
    assert not (images[:2] == images[4:]).all()


def interrupt(monkeypatch, *, after):
    """Let training die when it draws the batch of step `after`; the steps that it takes before."""
    taken = []

    def dying(images, size):
        batch = random_batches(images, size)
        return lambda step: taken.append(step) or batch(step) if step < after else 1 / 0

    monkeypatch.setattr(train, "random_batches", dying)
    return taken


@pytest.mark.parametrize("name", models.MODELS)
def test_every_model_can_be_interrupted(own_home, tmp_path, monkeypatch, name):
    whole = load_file(train_generator(name, dataset="gm-fashion", steps=2, device="cpu"))
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "parts"))
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    with monkeypatch.context() as patch:
        interrupt(patch, after=1)
        with pytest.raises(ZeroDivisionError):
            train_generator(name, dataset="gm-fashion", steps=2, device="cpu")
    assert same(load_file(train_generator(name, dataset="gm-fashion", steps=2, device="cpu")), whole)


def test_half_precision_of_the_averaged_network_is_what_is_written(own_home, monkeypatch):
    kept = {}

    def keep(generator, *args, **options):
        kept["generator"] = generator
        return run_training(generator, *args, **options)

    monkeypatch.setattr(train, "run_training", keep)
    path = train_generator("dcgan", dataset="gm-fashion", steps=2, device="cpu")
    tensors = kept["generator"].average.module.state_dict()
    for key, tensor in load_file(path).items():
        assert torch.equal(tensor, tensors[key].half() if tensors[key].is_floating_point() else tensors[key])
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["settings"])["model"] == "dcgan"
    assert not list((own_home / "runs/zoo/gm-fashion-dcgan").iterdir())


def test_a_finished_model_is_not_trained_again(monkeypatch):
    first = train_generator("dcgan", dataset="gm-fashion", steps=2, device="cpu")
    written = first.stat().st_mtime_ns
    monkeypatch.setattr(train, "run_training", None)
    assert train_generator("dcgan", dataset="gm-fashion", steps=2, device="cpu") == first
    assert first.stat().st_mtime_ns == written
    with pytest.raises(TypeError):
        train_generator("dcgan", dataset="gm-fashion", steps=3, device="cpu")


def test_a_checkpoint_of_another_version_or_other_code_is_kept_and_the_latter_named(monkeypatch, caplog):
    first = train_generator("dcgan", dataset="gm-fashion", steps=1, device="cpu")
    monkeypatch.setattr(train, "run_training", None)
    monkeypatch.setattr(train, "version", lambda package: "99.0")
    assert train_generator("dcgan", dataset="gm-fashion", steps=1, device="cpu") == first
    assert caplog.text == ""
    monkeypatch.setattr(train, "code_checksum", lambda module: "other")
    assert train_generator("dcgan", dataset="gm-fashion", steps=1, device="cpu") == first
    assert "dcgan.safetensors: is kept, although other code trained it" in caplog.text


@pytest.mark.parametrize(("code", "steps"), [("same", [1]), ("other", [0, 1])])
def test_other_code_does_not_continue_an_old_state(monkeypatch, code, steps):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    taken = interrupt(monkeypatch, after=1)
    with pytest.raises(ZeroDivisionError):
        train_generator("dcgan", dataset="gm-fashion", steps=2, device="cpu")
    assert taken == [0]
    if code == "other":
        monkeypatch.setattr(train, "code_checksum", lambda module: "other")
    taken = interrupt(monkeypatch, after=2)
    train_generator("dcgan", dataset="gm-fashion", steps=2, device="cpu")
    assert taken == steps


def test_state_of_other_settings_is_left_alone(own_home):
    other = own_home / "runs/zoo/gm-fashion-dcgan/other.safetensors"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"")
    train_generator("dcgan", dataset="gm-fashion", steps=1, device="cpu")
    assert list(other.parent.iterdir()) == [other]


def test_where_nothing_can_be_written_nothing_is_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(train, "run_training", None)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be written"):
        train_generator("dcgan", dataset="gm-fashion", steps=1, out=tmp_path / "file")


class Colours(nn.Module):
    """Images of one colour each, from a normal variable and a learned shift."""

    def __init__(self, channels):
        super().__init__()
        self.shift = nn.Parameter(torch.zeros(channels))

    def forward(self, n):
        return (torch.randn(n, len(self.shift)) + self.shift)[:, :, None, None].expand(-1, -1, 32, 32)


def colours(channels, device):
    network = Colours(channels).to(device)
    optimiser = torch.optim.SGD(network.parameters(), 0.1)

    def update(images, step):
        return {"loss": descend(optimiser, (images.mean(dim=(0, 2, 3)) - network.shift).square().sum())}

    return Generator({"colours": network}, {"sgd": optimiser}, update, "colours", sample=lambda model, n: model(n))


def test_a_new_model_takes_one_function_and_one_entry(monkeypatch):
    entry = replace(models.MODELS["dcgan"], family="Toy", make=colours, steps=3)
    monkeypatch.setitem(models.MODELS, "colours", entry)
    path = train_generator("colours", dataset="gm-photo", device="cpu")
    assert files.load_tensors(path)[1]["steps"] == 3
    images = sample_images(path, 100, device="cpu", progress=False)
    assert images.shape == (100, 3, 32, 32)
    assert (images == images[:, :, :1, :1]).all()
    assert {0, 255} <= set(images.ravel())  # what lies outside [-1, 1] is clipped


def test_registry_describes_every_model():
    for name, entry in models.MODELS.items():
        described = entry.describe()
        assert set(described["design"]) == {"up", "nonlinearity", "norm", "down", "skip", "loss"}
        assert described["family"] in {"GAN", "VAE", "Flow", "Score"}
        assert models.entry(name) is entry


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "stylegan9", "dataset": "gm-photo"}, "model 'stylegan9' is not in the zoo; choose one of gan"),
        ({"name": "dcgan", "dataset": "photos"}, "GM dataset 'photos' is unknown; choose one of gm-fashion"),
        ({"name": "dcgan", "dataset": "gm-photo", "steps": 0}, "steps must be at least 1, not 0"),
        ({"name": "dcgan", "dataset": "gm-photo", "steps": -5}, "steps must be at least 1, not -5"),
        ({"name": "dcgan", "dataset": "gm-photo", "seed": -1}, "seed must be at least 0, not -1"),
        ({"name": "dcgan", "dataset": "gm-photo", "device": "cuda:77"}, "device 'cuda:77': not available"),
    ],
)
def test_impossible_training(own_home, arguments, message):
    with pytest.raises(InputError, match=message):
        train_generator(**arguments)
    assert list(own_home.rglob("*.safetensors")) == []


def test_impossible_sampling(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such file"):
        sample_images(tmp_path / "nowhere.safetensors", 1)
    path = tmp_path / "other.safetensors"
    for settings, named in (({"model": "stylegan9", "channels": 1}, "'stylegan9'"), ({"kind": "denoiser"}, "None")):
        files.save_tensors(path, {"weight": torch.zeros(1)}, settings)
        with pytest.raises(InputError, match=f"model {named} is not in the zoo"):
            sample_images(path, 1)
    files.save_tensors(path, {"weight": torch.zeros(1)}, {"model": "dcgan", "channels": 1})
    with pytest.raises(InputError, match=r"other\.safetensors: not the weights of 'dcgan'"):
        sample_images(path, 1)
    with pytest.raises(InputError, match="n must be at least 1, not 0"):
        sample_images(path, 0)


def test_sampling_leaves_the_global_generator_untouched():
    path = train_generator("dcgan", dataset="gm-fashion", steps=1, device="cpu")
    before = torch.get_rng_state()
    sample_images(path, 2, device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("label", "tolerance"), [("dcgan", 0.1), ("beta-vae", 0.1), ("glow", 1.0)])
def test_checkpoints_that_ship_give_the_samples_that_ship(monkeypatch, label, tolerance):
    """In grey levels, on average: bf16 and fp32 round differently, and so do two processors."""
    monkeypatch.undo()  # batches as large as they were
    gm = dataset.load_gm("gm-photo")
    made = sample_images(gm.checkpoint(label), 20, device="cpu", progress=False)
    assert np.abs(made.astype(int) - gm.preview(label, 20)).mean() < tolerance


def test_a_checkpoint_that_ships_is_finished(own_home, monkeypatch, caplog):
    """Its settings, the checksum of its reference images among them, are those that training would have today."""
    monkeypatch.undo()
    monkeypatch.setattr(train, "run_training", None)
    shipped = dataset.load_gm("gm-fashion").folders[0]
    shutil.copytree(shipped, own_home / "gm-fashion", ignore=shutil.ignore_patterns("samples"))
    path = train_generator("dcgan", dataset="gm-fashion", seed=1, out=own_home)
    assert files.sha256(path) == files.sha256(shipped / "checkpoints" / "dcgan-s1.safetensors")
    assert "replaced" not in caplog.text


def test_seventeen_models_belong_to_a_dataset():
    todo = models.plan(["gm-fashion"])
    assert len(todo) == len(set(todo)) == 17
    assert [seed for _, name, seed in todo if name == "dcgan"] == [0, 1, 2]
    assert len(models.plan(models.DATASETS)) == 51
    assert models.steps("dcgan", "gm-cifar10") > models.steps("dcgan", "gm-photo")
    assert set(models.table()["model"]) == set(models.MODELS)


def test_six_gans_share_one_generator_network():
    six = ["dcgan", "lsgan", "wgan-gp", "wgan-lp", "dragan-gp", "dragan-lp"]
    shapes = set()
    for name in six:
        generator = models.MODELS[name].make(1, torch.device("cpu")).modules["generator"]
        shapes.add(str(generator))
    assert len(shapes) == 1


def test_losses_of_gans_by_hand():
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([1.0, -1.0])
    log_d = torch.log(torch.sigmoid(real)).mean() + torch.log(1 - torch.sigmoid(fake)).mean()
    fooled = -torch.log(torch.sigmoid(fake)).mean()
    for name, wanted in {"logistic": (-log_d, fooled), "least squares": (2.0, 2.0), "wasserstein": (-1.0, 0.0)}.items():
        of_discriminator, of_generator = gan.LOSSES[name]
        assert of_discriminator(real, fake).item() == pytest.approx(float(wanted[0]))
        assert of_generator(fake).item() == pytest.approx(float(wanted[1]))
    slopes = torch.tensor([0.0, 1.0, 3.0])
    assert gan.PENALTIES["gp"](slopes).tolist() == [1, 0, 4]
    assert gan.PENALTIES["lp"](slopes).tolist() == [0, 0, 4]


def test_penalty_points():
    real, fake = torch.ones(50, 1, 2, 2), torch.zeros(50, 1, 2, 2)
    points = gan.between(real, fake)
    assert (points == points[:, :, :1, :1]).all()
    assert points.min() >= 0
    assert points.max() <= 1
    assert points.std() > 0.2
    torch.testing.assert_close(gan.around(real, fake), real)  # no spread in the batch, no noise
    noisy = gan.around(torch.randn(50, 1, 2, 2), fake)
    assert torch.isfinite(noisy).all()


def test_slope_is_the_norm_of_the_gradient():
    linear = nn.Sequential(nn.Flatten(), nn.Linear(4, 1, bias=False), nn.Flatten(0)).double()
    slope = gan.input_gradient(linear.float(), torch.randn(3, 1, 2, 2)).flatten(1).norm(dim=1)
    torch.testing.assert_close(slope, linear[1].weight.float().norm().expand(3), rtol=1e-2, atol=1e-2)
    assert slope.requires_grad


def test_stylegan_filters_are_the_fir_1331():
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    kernel = (taps[:, None] * taps)[None, None]
    x = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(stylegan.downsample(x), F.conv2d(x, kernel, stride=2, padding=1))
    filtered = F.conv_transpose2d(x, 4 * kernel, stride=2, padding=1)
    torch.testing.assert_close(stylegan.upsample(x)[..., 1:-1, 1:-1], filtered[..., 1:-1, 1:-1])


def test_styled_convolution_is_demodulated():
    """Outputs have unit variance for inputs of unit variance, whatever the style's scale."""
    torch.manual_seed(0)
    layer = stylegan.StyledConv(64, 32)
    x, w = torch.randn(4, 64, 16, 16), torch.randn(4, stylegan.LATENT)
    plain = layer(x, w)
    with torch.no_grad():
        layer.style.weight.mul_(3)
        layer.style.bias.mul_(3)
    torch.testing.assert_close(layer(x, w), plain, rtol=1e-3, atol=1e-3)


def test_glow_inverts_itself():
    torch.manual_seed(0)
    step, x = flow.Step(4), torch.randn(3, 4, 2, 2)
    with torch.no_grad():
        step(x)
        for parameter in step.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        torch.testing.assert_close(step.inverse(step(x)[0]), x, rtol=1e-3, atol=1e-3)


def test_glow_samples_are_the_grey_levels_that_were_dequantised(monkeypatch):
    levels = torch.arange(256.0)
    for noise in (0.001, 0.5, 0.999):
        monkeypatch.setattr(flow.Glow, "generate", lambda self, n, u=noise: (levels + u) / 256 - 0.5)
        torch.testing.assert_close(flow.sample_glow(flow.Glow(1), 1).add(1).mul(127.5), levels)


def test_glow_determinant_is_that_of_the_jacobian():
    torch.manual_seed(0)
    step = flow.Step(2)
    x = torch.randn(1, 2, 1, 2)
    with torch.no_grad():
        step.initialised.fill_(True)
        for parameter in step.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
        step.coupling[-1].weight.zero_()  # no bf16 rounding in the derivative
    jacobian = torch.autograd.functional.jacobian(lambda x: step(x)[0], x).reshape(4, 4)
    torch.testing.assert_close(step(x)[1][0], torch.linalg.slogdet(jacobian)[1], rtol=1e-3, atol=1e-3)


def test_logistic_likelihood_sums_to_one_over_the_grey_levels():
    levels = torch.arange(256).float().div(127.5).sub(1).view(256, 1, 1, 1)
    for mean, log_scale in ((0.1, -3.0), (-0.99, -2.0), (1.5, -1.0)):
        nll = nvae.logistic_nll(levels, torch.full_like(levels, mean), torch.full_like(levels, log_scale))
        assert torch.exp(-nll).sum().item() == pytest.approx(1, abs=2e-3)


def test_perceptual_distance():
    perceptual = Perceptual().train()
    images = torch.rand(4, 1, 32, 32) * 2 - 1
    noisy = [(images + sd * torch.randn_like(images)).clamp(-1, 1) for sd in (0.05, 0.3)]
    zero, near, far = (perceptual(images, other) for other in (images, *noisy))
    assert zero.tolist() == [0] * 4
    assert (near > 0).all()
    assert (far > near).all()
    colour = images.expand(-1, 3, -1, -1)
    torch.testing.assert_close(perceptual(colour, noisy[1].expand(-1, 3, -1, -1)), far)
    assert not any(parameter.requires_grad for parameter in perceptual.parameters())


@pytest.fixture
def published(tmp_path, monkeypatch):
    """A GM dataset of one barely trained model, of whose six samples two are in the file."""
    monkeypatch.setattr(train, "SHIPPED_OTHERWISE", 2)
    monkeypatch.setattr(train, "DOWNLOADED", {"gm-photo"})
    monkeypatch.setattr(train, "quality", lambda images, real: {"n": len(images)})
    monkeypatch.setattr(train, "yardsticks", lambda real: {"real": {}})
    checkpoint = train_generator("dcgan", dataset="gm-photo", steps=1, out=tmp_path / "gm")
    publish(checkpoint, n=6)
    return checkpoint


def test_samples_that_do_not_ship_are_drawn_once_from_the_checkpoint(published, monkeypatch):
    gm = dataset.GMDataset(published.parent.parent)
    record = gm.models["dcgan"]["samples"]
    assert (record["shipped"], record["n"]) == (2, 6)
    images = gm.images("dcgan")
    np.testing.assert_array_equal(images, sample_images(published, 6))
    monkeypatch.setattr(sample, "sample_images", None)
    np.testing.assert_array_equal(gm.images("dcgan"), images)
    monkeypatch.setattr(cache, "code_checksum", lambda module: "other")
    with pytest.raises(TypeError):  # they would be drawn anew
        gm.images("dcgan")


def test_reals_to_be_looked_at_ship_where_they_would_be_downloaded(published, monkeypatch):
    expected = random_reals("photos", split="test")[:2]
    monkeypatch.setattr(dataset, "load_real", None)
    np.testing.assert_array_equal(dataset.GMDataset(published.parent.parent).preview("real", 5), expected)
    (published.parent.parent / "samples" / "real.png").write_bytes(b"")
    with pytest.raises(InputError, match=r"real\.png"):
        dataset.GMDataset(published.parent.parent).preview("real", 5)


def test_a_published_model_is_neither_sampled_nor_measured_again(published, monkeypatch):
    monkeypatch.setattr(train, "sample_images", None)
    record = publish(published, n=6)
    assert record["quality"] == {"n": 6}
    with pytest.raises(TypeError):
        publish(published, n=7)


def test_a_note_outlives_the_samples(published):
    path = published.parent.parent / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["models"]["dcgan"]["note"] = "blurred"
    path.write_text(json.dumps(manifest))
    assert publish(published, n=7)["note"] == "blurred"


def test_two_homes_that_publish_into_one_folder_lose_nothing(published, monkeypatch):
    """Two processes publish four models each; each write of the manifest is slow, so that they meet."""
    folder, fork, write = published.parent.parent, multiprocessing.get_context("fork"), files.write_text
    monkeypatch.setattr(files, "write_text", lambda *args: time.sleep(0.02) or write(*args))
    monkeypatch.setattr(train, "sample_images", lambda path, n, seed: random_reals("photos")[:n])
    begin = fork.Barrier(2)

    def run(home):
        os.environ["MANIFPT_HOME"] = str(home)
        begin.wait()
        for number in range(4):
            publish(shutil.copy(published, published.with_name(f"{home.name}-{number}.safetensors")), n=6)

    runs = [fork.Process(target=run, args=(folder.parent / name,)) for name in ("a", "b")]
    for one in runs:
        one.start()
    for one in runs:
        one.join()
    assert [one.exitcode for one in runs] == [0, 0]
    assert dataset.GMDataset(folder).models.keys() == {"dcgan", *(f"{h}-{n}" for h in "ab" for n in range(4))}


def test_lost_samples_are_made_anew(published):
    sheet = published.parent.parent / "samples" / "dcgan.png"
    before = sheet.read_bytes()
    sheet.unlink()
    publish(published, n=6)
    assert sheet.read_bytes() == before


@pytest.mark.parametrize("damage", [lambda data: data[:-1] + bytes([data[-1] ^ 1]), lambda data: data[:1000]])
def test_damaged_checkpoint_is_named_before_it_is_sampled_and_trained_anew(published, caplog, damage):
    data = published.read_bytes()
    published.write_bytes(damage(data))
    with pytest.raises(InputError, match=r"dcgan\.safetensors: damaged"):
        dataset.GMDataset(published.parent.parent).images("dcgan")
    train_generator("dcgan", dataset="gm-photo", steps=1, out=published.parents[2])
    assert "will be replaced, it is damaged" in caplog.text
    assert same(load_file(published), load(data))


def test_several_models_at_a_time(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(train, "train_generator", lambda name, **kw: tmp_path / f"{name}.safetensors")
    monkeypatch.setattr(train, "publish", lambda path: seen.append(path.stem) or {"quality": {"fd": 1.0}})
    todo = [("gm-photo", "dcgan", 0), ("gm-photo", "glow", 0)]
    assert list(train_generators(todo)) == [("gm-photo dcgan", {"fd": 1.0}), ("gm-photo glow", {"fd": 1.0})]
    with pytest.raises(InputError, match="'nope' is not in the zoo"):
        next(train_generators([*todo, ("gm-photo", "nope", 0)]))
    assert seen == ["dcgan", "glow"]


@pytest.fixture
def reals(monkeypatch):
    """Smooth random images as a real set: 300 to train on, 3 x 40 held out."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.integers(0, 256, (420, 1, 4, 4)).astype(np.float32))
    images = F.interpolate(coarse, size=(32, 32), mode="bilinear").numpy().astype(np.uint8)
    parts = {"reference": images[:300], "train": images[300:340], "val": images[340:380], "test": images[380:]}
    monkeypatch.setattr(quality, "load_real", lambda name, split="reference": parts[split])
    monkeypatch.setattr(quality, "N", 60)
    quality._training.cache_clear()
    yield parts
    quality._training.cache_clear()


def test_copies_of_training_images_are_counted(reals):
    assert quality.copies(reals["test"], "toy") <= 1 / 40
    stolen = np.concatenate([reals["reference"][:10], 255 - reals["test"][:30]])
    assert quality.copies(stolen, "toy") == 10 / 40
    slightly = np.clip(reals["reference"][:10].astype(int) + 1, 0, 255).astype(np.uint8)
    assert quality.copies(slightly, "toy") == 1


def test_quality_tells_reals_from_noise_and_from_one_image(reals):
    real = quality.yardsticks("toy")["real"]
    noise = quality.quality(np.random.default_rng(1).integers(0, 256, (60, 1, 32, 32), np.uint8), "toy")
    one = quality.quality(np.repeat(reals["test"][:1], 60, axis=0), "toy")
    assert {"n", "fd", "precision", "recall", "density", "coverage", "collapsed", "copies"} == real.keys()
    assert real["fd"] < min(noise["fd"], one["fd"])
    assert not real["collapsed"]
    assert one["collapsed"]
    assert one["recall"] < 0.05
    assert noise["precision"] < real["precision"]


def test_pca_gaussian_has_the_moments_of_the_training_set(reals):
    images = quality.pca_gaussian("toy", 400)
    assert images.shape == (400, 1, 32, 32)
    wanted = reals["reference"].astype(float).mean(axis=0)
    assert np.abs(images.mean(axis=0) - wanted).mean() < 8
    np.testing.assert_array_equal(images, quality.pca_gaussian("toy", 400))
