import numpy as np
import pytest
import torch

from manifpt.utils.arrays import to_uint8


@pytest.mark.parametrize("kind", [np.asarray, torch.from_numpy])
def test_to_uint8_rounds_and_clips(kind):
    levels = np.arange(256, dtype=np.float32)
    assert to_uint8(kind(levels / 255)).tolist() == levels.tolist()
    assert to_uint8(kind(levels / 127.5 - 1), low=-1).tolist() == levels.tolist()
    found = to_uint8(kind(np.array([[-0.5, 0.4 / 255, 0.6 / 255, 1.5]])))
    assert found.tolist() == [[0, 0, 1, 255]]
    assert str(found.dtype).endswith("uint8")
    assert type(found) is type(kind(levels))


def test_to_uint8_of_what_a_generator_gives_is_its_formula():
    x = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(to_uint8(x, low=-1), x.add(1).mul(127.5).round().clamp(0, 255).to(torch.uint8))
