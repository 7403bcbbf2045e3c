"""Fine-tuned models beside their bases."""

import numpy as np
import pytest
import torch
from torch import nn

from manifpt.experiments import lineage
from manifpt.utils.errors import InputError
from manifpt.zoo.dataset import load_gm

pytestmark = pytest.mark.usefixtures("one_thread")


def test_comparison_by_hand():
    gallery, labels = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]), np.array(["a", "b", "c"])
    rows = np.array([[3.0, 4, 0], [4, 3, 0], [4, 3, 0]])
    scores = lineage.compare(gallery, labels, rows, "a")
    mean = rows.mean(0) / np.linalg.norm(rows.mean(0))
    assert scores == pytest.approx({"cosine": mean[0], "runner_up": mean[1], "matched": 2 / 3, "chance": 1 / 3})
    assert lineage.compare(gallery, labels, rows, "c")["cosine"] == 0


def test_low_rank_updates_change_nothing_at_first_and_are_all_that_is_trained():
    network = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.LazyLinear(2))
    images = torch.rand(4, 1, 8, 8)
    before = network(images)
    optimiser = torch.optim.Adam(network.parameters(), 0.1)
    lineage.restrict(network, optimiser, 2)
    assert torch.equal(network(images), before)
    original = network[0].weight.detach().clone()
    for _ in range(2):  # at first, one factor is zero, and the other has no gradient
        optimiser.zero_grad()
        network(images).square().sum().backward()
        optimiser.step()
    change = network[0].get_delta_weight("default").detach().flatten(1)
    assert torch.linalg.matrix_rank(change) == 2
    assert torch.equal(network[0].weight, original)
    assert torch.equal(network[1].weight, torch.ones(6))


@pytest.mark.parametrize(("base", "rank"), [("dcgan", None), ("ldm", 2)])
def test_descendants_begin_at_the_base_and_leave_it(base, rank, monkeypatch):
    checkpoint = load_gm("gm-fashion").checkpoint(base)
    images = np.random.default_rng(0).integers(0, 256, (64, 1, 32, 32), np.uint8)
    monkeypatch.setattr(lineage, "CATCH_UP", 2)

    def run(seed):
        options = {"known": images, "steps": (0, 2), "n": 4, "rank": rank, "seed": seed}
        return dict(lineage.descendants(checkpoint, images, **options))

    first, again = run(0), run(0)
    assert list(first) == [0, 2]
    assert first[0].shape == (4, 1, 32, 32)
    assert all(np.array_equal(first[step], again[step]) for step in first)
    assert first[0].std() > 30  # a picture, not noise around grey
    assert not np.array_equal(first[0], first[2])
    shipped = load_gm("gm-fashion").preview(base, 100)
    assert not any(np.array_equal(made, known) for made in first[0] for known in shipped)  # the gallery is of these


def test_a_discriminator_has_learnt_something_before_the_generator_moves(monkeypatch):
    gm, seen = load_gm("gm-fashion"), []
    load = lineage.load_checkpoint

    def spied(checkpoint, *, device):
        generator, network, settings = load(checkpoint, device=device)
        update, before = generator.update, network.state_dict()

        def watched(images, step):
            losses = update(images, step)
            live = generator.modules["generator"].state_dict()
            still = all(
                torch.equal(live[key], before[key]) for key in before if "running" not in key and "num" not in key
            )
            seen.append((losses["D"], still))
            return losses

        generator.update = watched
        return generator, network, settings

    monkeypatch.setattr(lineage, "load_checkpoint", spied)
    monkeypatch.setattr(lineage, "CATCH_UP", 20)
    reals = gm.reference()
    options = {"known": reals, "steps": (0, 1), "n": 4, "rank": None, "seed": 0}
    at_base, _ = (made for _, made in lineage.descendants(gm.checkpoint("dcgan"), reals[:64], **options))
    losses, still = zip(*seen, strict=True)
    assert len(losses) == 22
    assert all(still[:20])
    assert not still[20]
    assert np.mean(losses[15:20]) < losses[0] - 0.1
    monkeypatch.setattr(lineage, "CATCH_UP", 0)
    (_, plain), *_ = lineage.descendants(gm.checkpoint("dcgan"), reals[:64], **options)
    assert np.array_equal(at_base, plain)  # its norms are as they were, too


def test_a_rank_is_for_diffusion_alone():
    images = np.zeros((64, 1, 32, 32), np.uint8)
    options = {"known": images, "steps": (0,), "n": 1, "rank": 2, "seed": 0}
    made = lineage.descendants(load_gm("gm-fashion").checkpoint("dcgan"), images, **options)
    with pytest.raises(InputError, match="latent diffusion models"):
        next(made)


def test_rows_are_kept(tmp_path, monkeypatch):
    calls = []

    def descendants(checkpoint, images, *, known, steps, n, rank, seed):
        calls.append(checkpoint.stem)
        assert len(images) > 1000
        return ((step, load_gm("gm-fashion").preview("dcgan", n)) for step in steps)

    monkeypatch.setattr(lineage, "descendants", descendants)
    options = {
        "bases": {"dcgan": None},
        "steps": (0, 5),
        "method": "spectrum",
        "n_test": 12,
        "seeds": (0,),
        "path": tmp_path / "l.csv",
    }
    gm = load_gm("gm-fashion").only("dcgan", "glow")
    frame = lineage.lineage(gm, **options)
    assert calls == ["dcgan"]
    assert frame["task"].unique().tolist() == ["dcgan+0", "dcgan+5"]
    values = frame[frame["metric"] == "cosine"]["value"]
    assert values.tolist() == pytest.approx([1, 1])
    lineage.lineage(gm, **options)
    assert len(calls) == 1


def test_a_base_that_is_not_there():
    with pytest.raises(InputError, match="no model pixelcnn"):
        lineage.lineage(load_gm("gm-fashion"), bases={"pixelcnn": None}, method="spectrum")
