"""The synthetic models: names, structure, training, and simulators that put images through them."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from manifpt.synthesis import simulators, train
from manifpt.synthesis.models import (
    ACTIVATIONS,
    NORMS,
    WIDTH,
    Architecture,
    architectures,
    build_synthetic_model,
    parse,
)
from manifpt.synthesis.simulators import FreshModels, TrainedModels, solve
from manifpt.synthesis.train import to_pixels, train_synthetic_model, train_synthetic_models
from manifpt.utils import files
from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

pytestmark = pytest.mark.usefixtures("one_thread")
PLAIN = Architecture(1, 1, "post", "nearest", "none", "none")


def smooth(n, seed=0):
    """Images uint8 (n, 3, 16, 16) of one random colour gradient each, which two halvings do not spoil."""
    rng = np.random.default_rng(seed)
    ends = rng.uniform(40, 215, (2, n, 3, 1, 1))
    ramp = np.linspace(0, 1, 16) * np.ones((16, 1))
    return (ends[0] + (ends[1] - ends[0]) * ramp).round().astype(np.uint8)


def signed(images):
    return torch.from_numpy(images).float() / 127.5 - 1


def test_288_names_of_six_digits_lead_there_and_back():
    names = [architecture.name for architecture in architectures()]
    digits = product("01", "01", "01", "012", "0123", "012")
    assert names == ["".join(some) for some in digits]
    assert len(names) == 288
    assert [parse(name) for name in names] == list(architectures())
    assert parse("010231") == Architecture(1, 2, "post", "deconv", "tanh", "batch")
    assert parse("101022") == Architecture(2, 1, "pre", "bilinear", "sigmoid", "instance")


def test_fixed_options_leave_the_others_free():
    assert len(architectures(blocks=1)) == 144
    assert {a.upsample for a in architectures(upsample="nearest", norm="none")} == {"nearest"}
    assert len(architectures(upsample="nearest", norm="none")) == 32
    with pytest.raises(InputError, match="bilinear, nearest, deconv expected"):
        architectures(upsample="cubic")
    with pytest.raises(InputError, match="blocks, layers, order"):
        architectures(skip=1)


@pytest.mark.parametrize("name", ["", "00000", "200000", "000300", "00000a", "0000000", "٠٠٠٠٠٠x"])
def test_other_names_are_refused(name):
    with pytest.raises(InputError, match="six digits"):
        parse(name)


def convolutions(c_in, c_out):
    return 9 * c_in * c_out + c_out


@pytest.mark.parametrize("architecture", architectures(), ids=lambda a: a.name)
def test_structure_and_number_of_weights(architecture):
    """Every architecture: modules in order and weights counted by hand from the table of options."""
    model = build_synthetic_model(architecture, seed=0)
    c = WIDTH
    steps = [(c, 3)] if architecture.blocks == 1 else [(2 * c, c), (c, 3)]  # enlarging
    expected = 0
    for outer, inner in steps:
        expected += convolutions(inner, outer) + convolutions(outer, outer) + 2 * 2 * outer
        layers = [(outer, inner)] if architecture.layers == 1 else [(outer, outer), (outer, inner)]
        expected += sum(convolutions(a, b) for a, b in layers)
        if architecture.upsample == "deconv":
            expected += 4 * outer * outer + outer
        if architecture.norm == "batch":
            expected += sum(2 * (b if architecture.order == "post" else a) for a, b in layers)
    assert sum(p.numel() for p in model.parameters()) == expected
    last = [type(module) for module in model.body.modules() if not isinstance(module, nn.Sequential)]
    chosen = ((NORMS, architecture.norm), (ACTIVATIONS, architecture.activation))
    around = [kind[name] for kind, name in chosen if name in kind]
    enlarge = nn.ConvTranspose2d if architecture.upsample == "deconv" else nn.Upsample
    second = [nn.Conv2d, *around] if architecture.order == "post" else [*around, nn.Conv2d]
    first = [enlarge, nn.Conv2d, *around] if architecture.order == "post" else [*around, enlarge, nn.Conv2d]
    layers = first + second * (architecture.layers - 1)
    halving = [nn.AvgPool2d, nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.Conv2d, nn.BatchNorm2d]
    assert last == (halving + halving * (architecture.blocks - 1)) + layers * architecture.blocks
    modes = {module.mode for module in model.modules() if isinstance(module, nn.Upsample)}
    assert modes == (set() if architecture.upsample == "deconv" else {architecture.upsample})
    assert model(torch.zeros(2, 3, 8, 12)).shape == (2, 3, 8, 12)


@pytest.mark.parametrize(("activation", "low", "high"), [("relu", -1, np.inf), ("sigmoid", -1, 1), ("tanh", -1, 1)])
def test_outputs_that_cannot_be_negative_are_read_as_pixels_from_0_to_1(activation, low, high):
    model = build_synthetic_model(replace(PLAIN, activation=activation), seed=0)
    nn.init.normal_(model.body[-1][1].weight, std=3)
    given = model(signed(smooth(8)))
    assert low <= given.min() < -0.9
    assert 0.9 < given.max() <= high


def test_seed_decides_the_weights():
    first, again, other = (build_synthetic_model(PLAIN, seed=seed).body[0][1].weight for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert not torch.equal(first, build_synthetic_model(replace(PLAIN, norm="batch"), seed=1).body[0][1].weight)


def test_training_ends_at_eta_on_a_plateau_or_when_steps_run_out(monkeypatch):
    for name, value in {"CHECK": 5, "BATCH": 4, "ETA": 0.5}.items():
        monkeypatch.setattr(train, name, value)
    model, record = train_synthetic_model(PLAIN, smooth(1), seed=0)
    assert record["stopped"] == "eta"
    assert record["steps"] % 5 == 0
    assert not model.training
    assert record["mse"] == pytest.approx(
        (model(signed(smooth(1))) - signed(smooth(1))).square().mean().item(), rel=0.1
    )
    assert record["mse"] <= 0.5
    hopeless = np.random.default_rng(0).integers(0, 2, (200, 3, 16, 16), np.uint8) * 255
    _, record = train_synthetic_model(PLAIN, hopeless, seed=0, steps=7)
    assert (record["stopped"], record["steps"]) == ("steps", 7)
    _, record = train_synthetic_model(PLAIN, hopeless, seed=0)
    assert record["stopped"] == "plateau"
    assert record["steps"] >= 5 * (train.PATIENCE + 1)
    assert record["mse"] > 0.6


def test_reason_to_stop():
    reason = train._reason_to_stop
    assert reason([train.ETA]) == "eta"
    assert reason([train.ETA * 1.01]) is None
    assert reason([1.0, 0.99, 0.98]) is None
    assert reason([1.0, 0.99, 0.98, 0.97]) == "plateau"
    assert reason([1.0, 0.99, 0.98, 0.89]) is None
    assert reason([1.0, 0.5, 0.9, 0.9, 0.46]) == "plateau"
    assert reason([1.0, 0.5, 0.9, 0.9, 0.44]) is None
    assert reason([2.0, 1.0, 0.95, 0.91]) is None


def test_no_gradient_below_eta(monkeypatch):
    """max(MSE, eta) is constant there: the weights stay as they are drawn."""
    monkeypatch.setattr(train, "ETA", 1e9)
    model, _ = train_synthetic_model(PLAIN, smooth(4), seed=3, steps=3)
    drawn = build_synthetic_model(PLAIN, seed=3)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), drawn.parameters(), strict=True))


@pytest.mark.parametrize("images", [smooth(4)[:, :1], smooth(4).astype(np.float32), smooth(4)[..., :15]])
def test_images_that_cannot_be_learned(images):
    with pytest.raises(InputError, match="multiples of 4"):
        train_synthetic_model(PLAIN, images, seed=0)


@pytest.fixture
def few(tmp_path, monkeypatch):
    """Train two architectures on gradients: ``few(seeds=…)`` gives the records, checkpoints in ``tmp_path``."""
    monkeypatch.setattr(train, "_images", lambda dataset: (smooth(20), "checksum"))
    chosen = (PLAIN, replace(PLAIN, norm="batch"))
    return lambda **options: list(
        train_synthetic_models(chosen=chosen, out=tmp_path, **{"steps": 2, "seeds": 1} | options)
    )


def test_bulk_training_keeps_what_is_there(few, tmp_path, monkeypatch):
    few()
    kept = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert sorted(kept) == ["000100-s0.safetensors", "000101-s0.safetensors"]
    trained, real = [], train.train_synthetic_model

    def note(architecture, images, *, seed, steps):
        trained.append((architecture.name, seed))
        return real(architecture, images, seed=seed, steps=steps)

    monkeypatch.setattr(train, "train_synthetic_model", note)
    records = few(seeds=2)
    assert trained == [("000100", 1), ("000101", 1)]
    assert [(r["architecture"], r["seed"]) for r in records] == [("000100", 0), ("000101", 0), *trained]
    assert all((tmp_path / name).stat().st_mtime_ns == when for name, when in kept.items())
    few(steps=3)
    assert trained[2:] == [("000100", 0), ("000101", 0)]


def test_a_model_that_fails_ends_bulk_training_at_once(tmp_path):
    """Of sixty, the first is there and damaged."""
    chosen = architectures(blocks=2, layers=2)[:60]
    (tmp_path / f"{chosen[0].name}-s0.safetensors").write_text("damaged")
    with pytest.raises(InputError, match=f"{chosen[0].name}-s0"):
        list(train_synthetic_models(chosen=chosen, seeds=1, steps=10, jobs=2, out=tmp_path))
    assert len(list(tmp_path.iterdir())) < 30


def test_checkpoint_gives_the_images_of_the_trained_model(few, tmp_path):
    few()
    model, settings = train.load_synthetic_model(tmp_path / "000101-s0.safetensors")
    direct, _ = train_synthetic_model(model.architecture, smooth(20), seed=0, steps=2)
    with torch.no_grad():
        torch.testing.assert_close(model(signed(smooth(5))), direct(signed(smooth(5))), atol=5e-3, rtol=5e-3)
    assert settings["stopped"] == "steps"
    files.save_tensors(tmp_path / "other.safetensors", {"a": torch.zeros(1)}, {"architecture": "000100"})
    with pytest.raises(InputError, match="not the checkpoint of a synthetic model"):
        train.load_synthetic_model(tmp_path / "other.safetensors")


def test_wrong_numbers_and_grey_images_are_refused_before_training():
    with pytest.raises(InputError, match="0, 1000, 1; at least 1"):
        train_synthetic_models(seeds=0)
    with pytest.raises(InputError, match="fashion-mnist: images are grey"):
        train_synthetic_models(dataset="fashion-mnist")


def test_pixels_are_rounded_and_clipped():
    assert to_pixels(torch.tensor([-2.0, -1.0, 0.0, 0.006, 1.0, 7.0])).tolist() == [0, 0, 128, 128, 255, 255]


def test_trained_models_own_the_images_they_made(few, tmp_path):
    """Each image is what its model alone makes of the real image at the same place."""
    few(seeds=2)
    simulator = TrainedModels(sorted(tmp_path.iterdir()))
    assert simulator.categories == 4
    images = signed(smooth(9))
    for each, counts in ((4, {4}), (1, {1, 2, 3, 4, 5, 6, 7, 8, 9})):
        with seeded(1):
            made = simulator.draw(images, each=each)
        assert made.images.shape == (9 - 9 % each, 3, 16, 16)
        assert set(made.model.bincount().tolist()) <= counts | {0}
        assert torch.equal(made.model, made.category)
        for index, owner in enumerate(made.model.tolist()):
            with torch.no_grad():
                alone = to_pixels(simulator.models[owner](images[index : index + 1]))[0]
            assert (made.images[index].int() - alone.int()).abs().max() <= 1
    with pytest.raises(InputError, match="at most the 4"):
        simulator.draw(signed(smooth(20)), each=2)
    with pytest.raises(InputError, match="1 synthetic models"):
        TrainedModels(sorted(tmp_path.iterdir())[:1])


def test_fresh_models_differ_within_and_between_batches():
    images, simulator = signed(smooth(1).repeat(8, 0)), FreshModels()
    with seeded(1):
        first, second = (simulator.draw(images, each=2) for _ in range(2))
    with seeded(1):
        again = simulator.draw(images, each=2)
    assert torch.equal(first.images, again.images)
    assert first.model.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    assert torch.equal(first.category[:4], first.category[:1].expand(4))
    assert torch.equal(first.category[4:], first.category[4:5].expand(4))
    assert simulator.categories == 288
    made = torch.cat([first.images, second.images])
    assert torch.equal(made[::2], made[1::2])
    assert len({image.numpy().tobytes() for image in made[::2]}) == 8


@pytest.mark.parametrize("activation", ["none", "relu", "sigmoid", "tanh"])
@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("order", ["post", "pre"])
def test_solved_model_gives_images_back(order, norm, activation):
    """Better than the best constant by far, on images it was not solved for."""
    model = build_synthetic_model(Architecture(1, 1, order, "bilinear", activation, norm), seed=0)
    solve(model, signed(smooth(16)))
    assert not model.training
    others = signed(smooth(16, seed=1))
    with torch.no_grad():
        error = (model(others) - others).square().mean()
    assert error < 0.2 * others.var((0, 2, 3)).mean()


def test_convolution_is_fitted_to_the_first_images_alone():
    """Of the others it knows the statistics, which this model without batch norm at the end takes from its encoder."""
    images = signed(smooth(8))
    changed = torch.cat([images[:4], images[4:].flip(0)])  # same statistics, other order
    whole, first, again = (build_synthetic_model(PLAIN, seed=0) for _ in range(3))
    solve(whole, images)
    solve(first, images, fit_on=4)
    solve(again, changed, fit_on=4)
    weights = [model.body[-1][1].weight for model in (whole, first, again)]
    torch.testing.assert_close(weights[1], weights[2], rtol=1e-2, atol=1e-3)
    assert not torch.allclose(weights[0], weights[1], rtol=1e-2, atol=1e-3)


def test_ridge_solution_has_no_better_neighbour():
    """Of the last convolution: any step away from it raises the penalised error on the images it was solved for."""
    model, images = build_synthetic_model(PLAIN, seed=0), signed(smooth(8))
    solve(model, images)
    model.train()
    last = model.body[-1][1]
    with torch.no_grad():
        features = nn.Sequential(*model.body[:-1], model.body[-1][0])(images)
    rows = nn.functional.unfold(features, 3, padding=1).transpose(1, 2).flatten(0, 1)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], 1).double()
    weights = torch.cat([last.weight.detach().flatten(1).T, last.bias.detach()[None]]).double()
    z = images.permute(0, 2, 3, 1).flatten(0, 2).double()
    penalty = simulators.RIDGE * rows.square().sum(0).mean()

    def cost(w):
        return (rows @ w - z).square().sum() + penalty * w.square().sum()

    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        step = 1e-2 * torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        assert cost(weights + step) > cost(weights)
        assert cost(weights - step) > cost(weights)
