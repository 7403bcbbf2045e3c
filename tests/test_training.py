import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from resumable import Killed, batches, run, toy_task
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from manifpt import files, trained, training
from manifpt.errors import InputError
from manifpt.training import Task, random_batches
from manifpt.zoo import diffusion, registry
from manifpt.zoo import sample as sampling
from manifpt.zoo import train as zoo_training
from manifpt.zoo.recipe import Recipe
from manifpt.zoo.sample import sample
from manifpt.zoo.train import train

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 7


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own for every test; the zoo trains on 200 random images, and samples few at a time in few steps."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))
    monkeypatch.setattr(zoo_training, "load_real", random_reals)
    monkeypatch.setattr(sampling, "BATCH", 4)
    monkeypatch.setattr(diffusion, "SAMPLING_STEPS", 2)
    return tmp_path


def random_reals(name):
    return np.random.default_rng(0).integers(0, 256, (200, registry.CHANNELS[name], 32, 32), np.uint8)


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("fatal", range(STEPS))
def test_run_that_dies_and_goes_on_equals_one_that_does_not(tmp_path, monkeypatch, fatal):
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    whole = run(tmp_path / "whole").state()
    with pytest.raises(Killed):
        run(tmp_path / "parts", batches(fatal))
    taken = []
    task = run(tmp_path / "parts", batches(taken=taken))
    assert taken == list(range(fatal, STEPS))
    assert same(task.state(), whole)
    (state,) = (tmp_path / "parts").iterdir()
    assert same(load_file(state), whole)


def test_run_goes_on_from_its_last_save(tmp_path, monkeypatch):
    """Steps after the last save are taken again, and the result is the same."""
    whole = run(tmp_path / "whole").state()
    clock = iter([0.0, *(100.0 * (step >= 3) for step in range(100))])
    with monkeypatch.context() as patch:
        patch.setattr(training.time, "monotonic", lambda: next(clock))
        with pytest.raises(Killed):
            run(tmp_path / "parts", batches(6))
    (state,) = (tmp_path / "parts").iterdir()
    first = files.load_tensors(state)[1]["step"]
    assert 0 < first < 6
    taken = []
    assert same(run(tmp_path / "parts", batches(taken=taken)).state(), whole)
    assert taken == list(range(first, STEPS))


def test_finished_run_takes_no_further_step_and_keeps_its_seconds(tmp_path):
    images = torch.zeros(6, 1, 8, 8)

    def slow(step):
        time.sleep(0.02)
        return images

    task = toy_task()
    options = {"steps": 5, "seed": 0, "settings": {}, "folder": tmp_path}
    assert training.train(task, slow, **options) >= 0.1
    other = toy_task(seed=9)
    assert training.train(other, batches(0), **options) >= 0.1
    assert same(other.state(), task.state())


def test_result_is_the_moving_average(tmp_path, monkeypatch):
    """With decay 1/2: the first step's weights, then half the average and half the new weights."""
    seen = []

    def note(self, module):
        update(self, module)
        seen.append({key: tensor.clone() for key, tensor in module.state_dict().items()})

    update = training.AveragedModel.update_parameters
    monkeypatch.setattr(training.AveragedModel, "update_parameters", note)
    task = run(tmp_path, steps=3)
    average = task.average.module.state_dict()
    for key in ("0.weight", "1.running_mean"):
        expected = (seen[0][key] + seen[1][key]) / 4 + seen[2][key] / 2
        torch.testing.assert_close(average[key], expected)


@pytest.mark.parametrize("other", [{"steps": STEPS + 1}, {"settings": {"steps": STEPS, "rate": 2}}])
def test_changed_settings_start_anew(tmp_path, other):
    run(tmp_path)
    taken = []
    run(tmp_path, batches(taken=taken), **other)
    assert taken[0] == 0


def test_seed_decides_and_the_global_generator_does_not(tmp_path):
    torch.randn(3)
    first = run(tmp_path / "first").state()
    torch.randn(5)
    before = torch.get_rng_state()
    assert same(run(tmp_path / "second").state(), first)
    assert torch.equal(torch.get_rng_state(), before)
    assert not same(run(tmp_path / "other", seed=1).state(), first)


def test_damaged_state_is_named(tmp_path):
    run(tmp_path)
    (state,) = tmp_path.iterdir()
    state.write_bytes(state.read_bytes()[:-100])
    with pytest.raises(InputError, match=state.name):
        run(tmp_path)


def test_random_batches_are_pixels_between_minus_one_and_one():
    images = torch.tensor([0, 255, 127], dtype=torch.uint8).view(3, 1, 1, 1)
    batch = random_batches(images, 500)(0)
    assert (batch.dtype, batch.shape) == (torch.float32, (500, 1, 1, 1))
    torch.testing.assert_close(batch.unique(), torch.tensor([-1, -1 / 255, 1]))


CHILD = """
import sys, torch
from pathlib import Path
from manifpt import training
from resumable import run
torch.set_num_threads(1)
training.SAVE_EVERY = 0
run(Path(sys.argv[1]), steps=10**9, settings={"run": 1})
"""


def test_killed_process_goes_on_bit_for_bit(tmp_path):
    parts, settings = tmp_path / "parts", {"run": 1}
    where = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.path.dirname(__file__)}
    child = subprocess.Popen([sys.executable, "-c", CHILD, str(parts)], env=where)
    try:
        while child.poll() is None and not list(parts.glob("[!.]*")):
            time.sleep(0.01)
        time.sleep(0.05)
    finally:
        child.kill()
    assert child.wait() == -signal.SIGKILL
    (state,) = parts.glob("[!.]*")
    first, taken = files.load_tensors(state)[1]["step"], []
    task = run(parts, batches(taken=taken), steps=first + 9, settings=settings)
    assert taken == list(range(first, first + 9))
    assert list(parts.iterdir()) == [state]
    assert same(task.state(), run(tmp_path / "whole", steps=first + 9, settings=settings).state())


@pytest.mark.parametrize("name", registry.MODELS)
def test_every_model_trains_and_samples(name):
    """Two steps; then what a checkpoint promises, and images that depend on the seed and not on how many are drawn."""
    path = train(name, dataset="gm-photo", steps=2, seed=3, device="cpu")
    tensors, settings = files.load_tensors(path)
    assert {t.dtype for t in tensors.values()} <= {torch.float16, torch.int64}
    assert path.name == f"{name}-s3.safetensors"
    described = {"model": name, "dataset": "gm-photo", "seed": 3, "steps": 2, "channels": 3}
    assert settings.items() >= described.items()
    assert settings["parameters"] > 10_000
    assert settings["seconds"] > 0

    images = sample(path, 6, device="cpu", progress=False)
    assert (images.dtype, images.shape) == (np.uint8, (6, 3, 32, 32))
    assert images.std(axis=0).mean() > 0.1
    assert (sample(path, 3, device="cpu", progress=False) == images[:3]).all()
    assert (sample(path, 6, device="cpu", progress=False) == images).all()
    assert (sample(path, 6, seed=1, device="cpu", progress=False) != images).mean() > 0.3
    assert not (images[:2] == images[4:]).all()


@pytest.mark.parametrize("name", registry.MODELS)
def test_every_model_can_be_interrupted(own_home, tmp_path, monkeypatch, name):
    whole = load_file(train(name, dataset="gm-fashion", steps=2, device="cpu"))
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path / "parts"))
    monkeypatch.setattr(training, "SAVE_EVERY", 0)
    draw = random_batches

    def dying(images, size):
        batch = draw(images, size)
        return lambda step: batch(step) if step == 0 else 1 / 0

    with monkeypatch.context() as patch:
        patch.setattr(training, "random_batches", dying)
        with pytest.raises(ZeroDivisionError):
            train(name, dataset="gm-fashion", steps=2, device="cpu")
    assert same(load_file(train(name, dataset="gm-fashion", steps=2, device="cpu")), whole)


def test_half_precision_of_the_averaged_network_is_what_is_written(own_home):
    path = train("dcgan", dataset="gm-fashion", steps=2, device="cpu")
    (state,) = (own_home / "runs/zoo/gm-fashion-dcgan").iterdir()
    average = {key: t for key, t in load_file(state).items() if key.startswith("average.module.")}
    for key, tensor in load_file(path).items():
        full = average[f"average.module.{key}"]
        assert torch.equal(tensor, full.half() if full.is_floating_point() else full)
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["settings"])["model"] == "dcgan"


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
        loss = (images.mean(dim=(0, 2, 3)) - network.shift).square().sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return {"loss": loss.item()}

    return Recipe(Task({"colours": network}, {"sgd": optimiser}, update, "colours"), lambda model, n: model(n))


def test_a_new_model_takes_one_function_and_one_entry(monkeypatch):
    entry = replace(registry.MODELS["dcgan"], family="Toy", make=colours, steps=3)
    monkeypatch.setitem(registry.MODELS, "colours", entry)
    path = train("colours", dataset="gm-photo", device="cpu")
    assert files.load_tensors(path)[1]["steps"] == 3
    images = sample(path, 100, device="cpu", progress=False)
    assert images.shape == (100, 3, 32, 32)
    assert (images == images[:, :, :1, :1]).all()
    assert {0, 255} <= set(images.ravel())  # what lies outside [-1, 1] is clipped


def test_registry_describes_every_model():
    for name, entry in registry.MODELS.items():
        described = entry.describe()
        assert set(described["design"]) == {"up", "nonlinearity", "norm", "down", "skip", "loss"}
        assert described["family"] in {"GAN", "VAE", "Flow", "Score"}
        assert registry.entry(name) is entry


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "stylegan9", "dataset": "gm-photo"}, "model 'stylegan9' is not in the zoo; choose one of dcgan"),
        ({"name": "dcgan", "dataset": "photos"}, "GM dataset 'photos' is unknown; choose one of gm-fashion"),
        ({"name": "dcgan", "dataset": "gm-photo", "steps": 0}, "steps must be at least 1, not 0"),
        ({"name": "dcgan", "dataset": "gm-photo", "steps": -5}, "steps must be at least 1, not -5"),
        ({"name": "dcgan", "dataset": "gm-photo", "seed": -1}, "seed must be at least 0, not -1"),
        ({"name": "dcgan", "dataset": "gm-photo", "device": "cuda:77"}, "device 'cuda:77': not available"),
    ],
)
def test_impossible_training(own_home, arguments, message):
    with pytest.raises(InputError, match=message):
        train(**arguments)
    assert list(own_home.rglob("*.safetensors")) == []


def test_impossible_sampling(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.safetensors: no such file"):
        sample(tmp_path / "nowhere.safetensors", 1)
    path = tmp_path / "other.safetensors"
    for settings, named in (({"model": "stylegan9", "channels": 1}, "'stylegan9'"), ({"kind": "denoiser"}, "None")):
        files.save_tensors(path, {"weight": torch.zeros(1)}, settings)
        with pytest.raises(InputError, match=f"model {named} is not in the zoo"):
            sample(path, 1)
    files.save_tensors(path, {"weight": torch.zeros(1)}, {"model": "dcgan", "channels": 1})
    with pytest.raises(InputError, match=r"other\.safetensors: not the weights of 'dcgan'"):
        sample(path, 1)
    with pytest.raises(InputError, match="n must be at least 1, not 0"):
        sample(path, 0)


def test_sampling_leaves_the_global_generator_untouched():
    path = train("dcgan", dataset="gm-fashion", steps=1, device="cpu")
    before = torch.get_rng_state()
    sample(path, 2, device="cpu", progress=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_networks_of_two_real_sets_are_kept_apart(noise):
    """Found by name, else by the images they were trained on; the images' order and shape count."""
    build = partial(trained.build, Pixelwise, 1, device="cpu")
    first, second = noise(8), noise(8, seed=1)
    for dataset, reference, seed in (("first", first, 1), ("second", second, 2)):
        network = build(seed=seed)
        task = Task({"pixelwise": network}, {}, lambda images, step: {"loss": 0.0}, "pixelwise")
        trained.train("toy", Pixelwise, task, reference, dataset=dataset, steps=1, batch_size=2, seed=seed)
    for dataset, reference, seed in (("first", first, 1), ("second", second, 2)):
        weight = build(seed=seed).weight.half().float()
        assert torch.equal(trained.load("toy", Pixelwise, dataset=dataset).weight, weight)
        assert torch.equal(trained.load("toy", Pixelwise, reference=reference).weight, weight)
        assert trained.dataset_of("toy", reference) == dataset
    for unknown in (first[::-1], first[:7], first.transpose(0, 1, 3, 2)):
        with pytest.raises(InputError, match="toy: no network was trained on these"):
            trained.load("toy", Pixelwise, reference=unknown)


class Pixelwise(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)
