r"""The space of synthetic models: 288 shallow auto-encoders (Yang et al., TMM 2025).

A model reconstructs a real image and leaves the traces of its layers in it: K blocks halve the image (mean over 2x2,
conv, batch norm, ReLU, conv, batch norm) and K blocks enlarge it. An enlarging block has L layers, of which the first
doubles the size and the last changes the width; channels are 3-32-3 for K = 1, 3-32-64-32-3 for K = 2.

======  ==========  =========================================================  ==================
digit   option      values, in the order of the digit                          count
======  ==========  =========================================================  ==================
1       blocks      1, 2                                                       2
2       layers      1, 2                                                       2
3       order       post: (up) conv norm act; pre: norm act (up) conv          2
4       upsample    bilinear, nearest, deconv (2x2, stride 2, before conv)     3
5       activation  none, relu, sigmoid, tanh                                  4
6       norm        none, batch, instance (without weights)                    3
======  ==========  =========================================================  ==================

The last layer carries its norm and activation too. So in the order ``post`` an output behind ReLU or sigmoid is never
negative; it is read as a pixel in [0, 1], every other one as a pixel in [-1, 1] (the source does not say what it does).
"""

from dataclasses import astuple, dataclass
from itertools import pairwise, product

from torch import Tensor, nn

from manifpt.utils.compute import seeded
from manifpt.utils.errors import InputError

OPTIONS = {
    "blocks": (1, 2),
    "layers": (1, 2),
    "order": ("post", "pre"),
    "upsample": ("bilinear", "nearest", "deconv"),
    "activation": ("none", "relu", "sigmoid", "tanh"),
    "norm": ("none", "batch", "instance"),
}
ACTIVATIONS = {"relu": nn.ReLU, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}
NORMS = {"batch": nn.BatchNorm2d, "instance": nn.InstanceNorm2d}
WIDTH = 32


@dataclass(frozen=True)
class Architecture:
    """One value of each option; see `OPTIONS`."""

    blocks: int
    layers: int
    order: str
    upsample: str
    activation: str
    norm: str

    @property
    def name(self) -> str:
        """Its six digits, ``"000000"`` to ``"111232"``."""
        return "".join(str(values.index(value)) for values, value in zip(OPTIONS.values(), astuple(self), strict=True))

    @property
    def non_negative(self) -> bool:
        """Whether ReLU or sigmoid is the last thing that happens to an image."""
        return self.order == "post" and self.activation in ("relu", "sigmoid")


def architectures(**fixed) -> tuple[Architecture, ...]:
    """All 288 in the order of their names, or those with some options fixed, as in ``architectures(blocks=1)``.

    `InputError` for an unknown option or value.
    """
    for option, value in fixed.items():
        if value not in OPTIONS.get(option, ()):
            known = OPTIONS.get(option) or tuple(OPTIONS)
            raise InputError(f"{option}={value!r}: unknown; one of {', '.join(map(str, known))} expected")
    choices = OPTIONS | {option: (value,) for option, value in fixed.items()}
    return tuple(Architecture(*values) for values in product(*choices.values()))


def parse(name: str) -> Architecture:
    """The architecture of a name of six digits; `InputError` if there is none."""
    try:
        digits = ("0123".index(digit) for digit in name)
        return Architecture(*(values[digit] for values, digit in zip(OPTIONS.values(), digits, strict=True)))
    except (ValueError, IndexError) as error:
        raise InputError(
            f"architecture {name!r}: six digits from 000000 to 111232 expected, see manifpt.synthesis.models"
        ) from error


class SyntheticModel(nn.Module):
    """Images `(n, 3, h, w)` in [-1, 1] to images of the same shape, nominally in [-1, 1]; h, w multiples of 2^K."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        widths = (3, WIDTH, 2 * WIDTH)[: architecture.blocks + 1]
        down = [_halving(a, b) for a, b in pairwise(widths)]
        up = [_enlarging(architecture, b, a) for a, b in pairwise(widths)]
        self.body = nn.Sequential(*down, *reversed(up))

    def forward(self, images: Tensor) -> Tensor:
        out = self.body(images)
        return 2 * out - 1 if self.architecture.non_negative else out


def build_synthetic_model(architecture: Architecture, *, seed: int) -> SyntheticModel:
    """An untrained synthetic model, in training mode; its seed draws the weights (torch's default initialisation)."""
    with seeded(seed, int(architecture.name)):
        return SyntheticModel(architecture)


def _halving(inner: int, outer: int) -> nn.Sequential:
    first = [nn.AvgPool2d(2), nn.Conv2d(inner, outer, 3, padding=1), nn.BatchNorm2d(outer), nn.ReLU(inplace=True)]
    return nn.Sequential(*first, nn.Conv2d(outer, outer, 3, padding=1), nn.BatchNorm2d(outer))


def _enlarging(architecture: Architecture, inner: int, outer: int) -> nn.Sequential:
    """A block that doubles the size in its first layer and changes the width in its last."""
    if architecture.layers == 1:
        return _layer(architecture, inner, outer, double=True)
    return nn.Sequential(
        _layer(architecture, inner, inner, double=True), _layer(architecture, inner, outer, double=False)
    )


def _layer(architecture: Architecture, inner: int, outer: int, *, double: bool) -> nn.Sequential:
    convolution = [nn.Conv2d(inner, outer, 3, padding=1)]
    if double and architecture.upsample == "deconv":
        convolution.insert(0, nn.ConvTranspose2d(inner, inner, 2, stride=2))
    elif double:
        convolution.insert(0, nn.Upsample(scale_factor=2, mode=architecture.upsample))
    width = outer if architecture.order == "post" else inner
    norm = [NORMS[architecture.norm](width)] if architecture.norm in NORMS else []
    activation = [ACTIVATIONS[architecture.activation]()] if architecture.activation in ACTIVATIONS else []
    around = [*norm, *activation]
    return nn.Sequential(*(convolution + around if architecture.order == "post" else around + convolution))
