import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from resumable import Killed, batches, run, toy_task
from safetensors.torch import load_file
from torch import nn

from manifpt.nn import train as loop
from manifpt.nn.train import late_decay, linear_decay, random_batches, run_training, state_path
from manifpt.utils import files

pytestmark = pytest.mark.usefixtures("one_thread")
STEPS = 7


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    """A home of its own for every test."""
    monkeypatch.setenv("MANIFPT_HOME", str(tmp_path))


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("fatal", range(STEPS))
def test_run_that_dies_and_goes_on_equals_one_that_does_not(tmp_path, monkeypatch, fatal):
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
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
        patch.setattr(loop.time, "monotonic", lambda: next(clock))
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
    options = {"steps": 5, "seed": 0, "path": tmp_path / "state.safetensors"}
    assert run_training(task, slow, **options) >= 0.1
    other = toy_task(seed=9)
    assert run_training(other, batches(0), **options) >= 0.1
    assert same(other.state(), task.state())


def test_result_is_the_moving_average(tmp_path, monkeypatch):
    """The first step's weights; then the decay after n steps is (1 + n) / (10 + n), while that is less than 1/2."""
    seen = []

    def note(self, module):
        update(self, module)
        seen.append({key: tensor.clone() for key, tensor in module.state_dict().items()})

    update = loop.AveragedModel.update_parameters
    monkeypatch.setattr(loop.AveragedModel, "update_parameters", note)
    task = run(tmp_path, steps=3)
    average = task.average.module.state_dict()
    for key in ("0.weight", "1.running_mean"):
        expected = 3 / 12 * (2 / 11 * seen[0][key] + 9 / 11 * seen[1][key]) + 9 / 12 * seen[2][key]
        torch.testing.assert_close(average[key], expected)


@pytest.mark.parametrize("first", [0, 3])
def test_rates_are_the_first_ones_times_the_factor(tmp_path, monkeypatch, first):
    """Also after a kill, and where an optimiser rests."""
    monkeypatch.setattr(loop, "SAVE_EVERY", 0)
    rates = []

    def noted(fatal=None):
        task = toy_task()
        task.factor, (optimiser,), update = late_decay, task.optimisers.values(), task.update
        resting = torch.optim.SGD(task.modules["network"].parameters(), 0.5)
        task.optimisers["resting"] = resting

        def note(images, step):
            if step == fatal:
                raise Killed
            rates.append((optimiser.param_groups[0]["lr"], resting.param_groups[0]["lr"]))
            return update(images, step)

        task.update = note
        return task

    options = {"steps": 8, "seed": 0, "path": tmp_path / "state.safetensors"}
    with pytest.raises(Killed):
        run_training(noted(fatal=first), batches(), **options)
    run_training(noted(), batches(), **options)
    factors = [1, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates == [(1e-2 * factor, 0.5 * factor) for factor in factors]


def test_rates_agree_with_the_schedulers_of_torch():
    """Up to the rounding of theirs, which multiply the rate before."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 1e-3)
    torchs = torch.optim.lr_scheduler.LinearLR(optimiser, 1, 0, total_iters=700)
    for step in range(700):
        assert optimiser.param_groups[0]["lr"] == pytest.approx(1e-3 * linear_decay(step, 700), rel=1e-9)
        optimiser.step()
        torchs.step()


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


@pytest.mark.parametrize("kept", [0, 7, 200, -100])
def test_damaged_state_is_named_and_put_aside_and_the_training_starts_anew(tmp_path, caplog, kept):
    whole = run(tmp_path).state()
    (state,) = tmp_path.iterdir()
    damaged = state.read_bytes()[:kept]
    state.write_bytes(damaged)
    taken = []
    assert same(run(tmp_path, batches(taken=taken)).state(), whole)
    assert taken == list(range(STEPS))
    assert str(state) in caplog.text
    assert state.with_suffix(".damaged").read_bytes() == damaged
    assert same(load_file(state), whole)


def test_changed_code_does_not_continue_an_old_state(tmp_path, monkeypatch):
    """The name of a state depends on the module of the training's steps."""
    task = toy_task()
    assert state_path(tmp_path, {}, task) == state_path(tmp_path, {}, toy_task())
    assert state_path(tmp_path, {}, task) != state_path(tmp_path, {"rate": 2}, task)
    before = state_path(tmp_path, {}, task)
    monkeypatch.setattr(task.update, "__module__", "oracles")
    assert state_path(tmp_path, {}, task) != before


def test_random_batches_are_pixels_between_minus_one_and_one():
    images = torch.tensor([0, 255, 127], dtype=torch.uint8).view(3, 1, 1, 1)
    batch = random_batches(images, 500)(0)
    assert (batch.dtype, batch.shape) == (torch.float32, (500, 1, 1, 1))
    torch.testing.assert_close(batch.unique(), torch.tensor([-1, -1 / 255, 1]))


CHILD = """
import sys, torch
from pathlib import Path
from manifpt.nn import train
from resumable import run
torch.set_num_threads(1)
train.SAVE_EVERY = 0
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
