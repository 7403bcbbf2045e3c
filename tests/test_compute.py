import numpy as np
import pytest
import torch

from manifpt.utils.compute import autocast, fast_bf16, pick_device, seeded, spread
from manifpt.utils.errors import InputError

CPU = torch.device("cpu")


def test_auto_picks_the_first_device_that_is_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert pick_device() == CPU
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert pick_device("auto").type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device("auto").type == "cuda"


def test_named_device():
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize("name", ["nonsense", "cuda:99", "cpu:x", ""])
def test_device_that_is_not_there(name):
    with pytest.raises(InputError, match=rf"device '{name}': not available here.*'auto'"):
        pick_device(name)


def test_autocast_follows_the_processor(monkeypatch):
    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert not fast_bf16(CPU)
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    with autocast(CPU):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


def drawn(*numbers):
    with seeded(*numbers):
        return torch.randn(4)


def test_seeded_repeats_and_tells_numbers_apart():
    assert torch.equal(drawn(3, 5), drawn(3, 5))
    others = [(3, 6), (4, 5), (5, 3), (3,), (3, 5, 1), (3, 5, 0)]
    assert not any(torch.equal(drawn(3, 5), drawn(*other)) for other in others)


def test_negative_seed():
    with pytest.raises(InputError, match="seed must be at least 0, not -1"):
        drawn(-1)


def test_seeded_leaves_the_global_generators_untouched():
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    drawn(1)
    with pytest.raises(ZeroDivisionError), seeded(2):
        torch.randn(1 // 0)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()  # noqa: NPY002


def threads(task):
    if task == 2:
        raise FileNotFoundError(task)
    return task, torch.get_num_threads()


def test_tasks_are_spread_over_processes_that_share_the_threads():
    share = max(1, torch.get_num_threads() // 2)
    assert sorted(spread(threads, [0, 1, 3], 2)) == [(task, share) for task in (0, 1, 3)]
    assert list(spread(threads, [3, 1], 1)) == [(task, torch.get_num_threads()) for task in (3, 1)]
    for jobs in (1, 2):
        with pytest.raises(FileNotFoundError):
            list(spread(threads, [0, 2], jobs))


@pytest.mark.parametrize("jobs", [0, -1, 1.5, "2", None])
def test_jobs_that_are_no_number_of_processes_are_refused(jobs):
    with pytest.raises(InputError, match=r"jobs: .*; a whole number from 1 on expected"):
        spread(threads, [1], jobs)
