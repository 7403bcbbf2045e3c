"""Devices, precision, seeds and processes of a computation."""

import contextlib
import contextvars
from collections.abc import Callable, Iterable, Iterator

import joblib
import numpy as np
import torch

from manifpt.utils.errors import InputError


def pick_device(device: str = "auto") -> torch.device:
    """Return the named torch device, ``"auto"`` being CUDA, else MPS, else the CPU; `InputError` if it is not here."""
    if device == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device(name)
    try:
        return torch.zeros(0, device=device).device
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device {device!r}: not available here ({error}); 'auto' picks one that is") from error


_single: contextvars.ContextVar[bool] = contextvars.ContextVar("single precision", default=False)


def fast_bf16(device: torch.device) -> bool:
    """Whether bf16 matrix products are faster than fp32 here: tensor cores, or a CPU with AMX or AVX512-BF16.

    Never inside `single_precision`.
    """
    if _single.get():
        return False
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return device.type == "cpu" and any(getattr(torch.cpu, probe, bool)() for probe in probes)


@contextlib.contextmanager
def single_precision() -> Iterator[None]:
    """Compute in fp32 inside the block where the processor would choose, so that results compare between machines."""
    before = _single.set(True)
    try:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            yield
    finally:
        _single.reset(before)


def autocast(device: torch.device) -> contextlib.AbstractContextManager:
    """Compute in bf16 inside the block where that is faster; see `fast_bf16`."""
    if fast_bf16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return contextlib.nullcontext()


@contextlib.contextmanager
def seeded(*numbers: int):
    """Seed torch's random numbers inside the block by `numbers` ≥ 0, and leave the global generators as they were."""
    if min(numbers) < 0:
        raise InputError(f"seed must be at least 0, not {min(numbers)}")
    devices = range(torch.cuda.device_count())
    with torch.random.fork_rng(devices=devices):
        entropy = (len(numbers), *numbers)  # their count too, since a trailing zero alone changes nothing
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        yield


def check_jobs(jobs: int) -> None:
    """Raise `InputError` unless `jobs` is a whole number from 1 on."""
    if not isinstance(jobs, int | np.integer) or jobs < 1:
        raise InputError(f"jobs: {jobs!r}; a whole number from 1 on expected")


def spread(function: Callable, tasks: Iterable, jobs: int) -> Iterator:
    """Apply `function` to each task; yield results as they finish, in `jobs` processes.

    With one job, the tasks run in this process and in order. Several jobs share the number of threads that torch uses
    here; function and tasks are pickled. Raise `InputError` unless `jobs` is a whole number from 1 on.
    """
    check_jobs(jobs)
    if jobs == 1:
        return map(function, tasks)
    share = max(1, torch.get_num_threads() // jobs)
    with joblib.parallel_config("loky", n_jobs=jobs, inner_max_num_threads=share):
        return joblib.Parallel(return_as="generator_unordered")(joblib.delayed(function)(task) for task in tasks)
