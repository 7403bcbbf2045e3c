"""The synthetic models: names, structure, solution, and what they make of real images."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from manifpt.synthesis import solved
from manifpt.synthesis.models import (
    ACTIVATIONS,
    NORMS,
    WIDTH,
    Architecture,
    architectures,
    build_synthetic_model,
    parse,
)
from manifpt.synthesis.solved import RIDGE, STATISTICS_ON, solve, synthesise
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
    penalty = RIDGE * rows.square().sum(0).mean()

    def cost(w):
        return (rows @ w - z).square().sum() + penalty * w.square().sum()

    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        step = 1e-2 * torch.randn(weights.shape, generator=generator, dtype=torch.float64)
        assert cost(weights + step) > cost(weights)
        assert cost(weights - step) > cost(weights)


def test_batch_norm_at_the_end_passes_on_what_was_solved():
    """On the images that it was solved for, all of them, its output has the mean and spread of the convolution's."""
    model, images = build_synthetic_model(replace(PLAIN, norm="batch"), seed=0), signed(smooth(8))
    solve(model, images)
    *body, convolution, norm = model.body[-1]
    with torch.no_grad():
        before = convolution(nn.Sequential(*model.body[:-1], *body)(images))
        torch.testing.assert_close(norm(before), before, rtol=1e-3, atol=1e-3)


def test_sigmoid_and_tanh_are_solved_before_them():
    """Black and white lie beyond what either can give; they are pulled in, and nothing becomes infinite."""
    images = signed(np.random.default_rng(0).integers(0, 2, (8, 3, 16, 16), np.uint8) * 255)
    for activation in ("sigmoid", "tanh"):
        model = build_synthetic_model(replace(PLAIN, activation=activation), seed=0)
        solve(model, images)
        assert all(torch.isfinite(tensor).all() for tensor in model.state_dict().values())


@pytest.fixture
def few(monkeypatch):
    """Six architectures in place of 288."""
    monkeypatch.setattr(solved, "architectures", lambda: architectures()[7::48])


def test_models_make_images_that_they_were_not_solved_for(few):
    reals = smooth(20)
    found = list(synthesise(reals, each=5, seeds=2, seed=3))
    assert len(found) == 6 * 2
    rng = np.random.default_rng(3)
    for number, (index, made) in enumerate(found):
        drawn = rng.permutation(20)[: STATISTICS_ON + 5]
        assert index.tolist() == drawn[STATISTICS_ON:].tolist()
        assert (made.shape, made.dtype) == ((5, 3, 16, 16), np.uint8)
        model = build_synthetic_model(architectures()[7::48][number // 2], seed=number % 2)
        solve(model, signed(reals[drawn[:STATISTICS_ON]]), fit_on=solved.FIT_ON)
        with torch.no_grad():
            expected = ((model(signed(reals[index])) + 1) * 127.5).round().clip(0, 255)
        assert np.abs(made - expected.numpy()).max() <= 1
    pairs = zip(found[::2], found[1::2], strict=True)
    assert all(not np.array_equal(first[1], second[1]) for first, second in pairs)


def test_seed_draws_the_images(few):
    first, again, other = (next(synthesise(smooth(20), each=5, seed=seed)) for seed in (0, 0, 1))
    assert all(np.array_equal(*pair) for pair in zip(first, again, strict=True))
    assert first[0].tolist() != other[0].tolist()


def test_grey_images_stay_grey(few):
    """The models see three equal channels, and the mean of what they make is kept."""
    grey = smooth(20)[:, :1]
    for (_, made), (_, colour) in zip(
        synthesise(grey, each=2), synthesise(grey.repeat(3, axis=1), each=2), strict=True
    ):
        assert made.shape == (2, 1, 16, 16)
        assert np.abs(made - colour.mean(1, keepdims=True)).max() < 40
    assert np.abs(made - colour.mean(1, keepdims=True)).mean() < 4


def test_all_architectures_take_their_turn():
    made = [images for _, images in synthesise(smooth(9), each=1)]
    assert len(made) == 288
    assert len({image.tobytes() for image in made}) == 288


@pytest.mark.parametrize(
    ("reals", "options"),
    [
        (smooth(9), {"each": 2}),
        (smooth(9), {"each": 0}),
        (smooth(9), {"each": 1, "seeds": 0}),
        (smooth(9)[..., :14], {"each": 1}),
    ],
)
def test_what_cannot_be_synthesised(reals, options):
    with pytest.raises(InputError, match=r"each, seeds, reals: .*multiples of 4 expected"):
        next(synthesise(reals, **options))
