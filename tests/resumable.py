"""A tiny training run that tests can interrupt, also from another process."""

import numpy as np
import torch
from torch import nn

from manifpt.nn.train import Training, descend, random_batches, run_training, state_path
from manifpt.utils.compute import seeded


class Killed(Exception):
    pass


def toy_task(seed=0):
    """A convolution and batch norm that learn to repeat noisy images, by an optimiser with a state of its own."""
    with seeded(seed):
        network = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 1, 1))
    optimiser = torch.optim.Adam(network.parameters(), 1e-2)

    def update(images, step):
        loss = (network(images + torch.randn_like(images)) - images).square().mean() * (1 + step)
        return {"loss": descend(optimiser, loss)}

    return Training({"network": network}, {"adam": optimiser}, update, "network", decay=0.5)


def batches(fatal=None, taken=None):
    """Random batches; raises `Killed` at step `fatal`, and notes the steps before it in the list `taken`."""
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (50, 1, 8, 8), np.uint8))
    draw = random_batches(images, 6)

    def batch(step):
        if step == fatal:
            raise Killed
        if taken is not None:
            taken.append(step)
        return draw(step)

    return batch


def run(folder, batch=None, *, steps=7, seed=0, settings=None):
    """Train the toy task with its state in `folder`; returns the task."""
    task = toy_task()
    path = state_path(folder, settings or {"steps": steps}, task)
    run_training(task, batch or batches(), steps=steps, seed=seed, path=path)
    return task
