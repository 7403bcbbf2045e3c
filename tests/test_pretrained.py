from functools import partial

import pytest
import torch
from torch import nn

from manifpt.nn import pretrained
from manifpt.nn.train import Training
from manifpt.utils.errors import InputError


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own for every test."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))


def test_networks_of_two_real_sets_are_kept_apart(noise):
    """Found by name, else by the images they were trained on; the images' order and shape count."""
    build = partial(pretrained.build_network, Pixelwise, 1, device="cpu")
    first, second = noise(8), noise(8, seed=1)
    for dataset, reference, seed in (("first", first, 1), ("second", second, 2)):
        network = build(seed=seed)
        task = Training({"pixelwise": network}, {}, lambda images, step: {"loss": 0.0}, "pixelwise")
        pretrained.train_network("toy", task, reference, dataset=dataset, steps=1, batch_size=2, seed=seed)
    for dataset, reference, seed in (("first", first, 1), ("second", second, 2)):
        weight = build(seed=seed).weight.half().float()
        assert torch.equal(pretrained.load_network("toy", Pixelwise, dataset=dataset).weight, weight)
        assert torch.equal(pretrained.load_network("toy", Pixelwise, reference=reference).weight, weight)
        assert pretrained.dataset_of("toy", reference) == dataset
    assert pretrained.network_path("toy", "first") != pretrained.network_path("toy", reference=second)
    for unknown in (first[::-1], first[:7], first.transpose(0, 1, 3, 2)):
        with pytest.raises(InputError, match="toy: no network was trained on these"):
            pretrained.load_network("toy", Pixelwise, reference=unknown)


class Pixelwise(nn.Conv2d):
    def __init__(self, channels):
        super().__init__(channels, channels, 1)
