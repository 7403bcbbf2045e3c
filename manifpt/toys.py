r"""Manifolds whose truth is known: the foot point of any point is computed, not estimated.

It is :math:`x_p = \arg\min_{y \in M} \|y - x\|_2` for the closed set M, the :math:`x_p` of the paper's Figure 1. Every
estimate of it can be held against the truth here. Lengths have no unit; curvatures are near 1, or 0.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import make_swiss_roll

from manifpt.utils.errors import InputError

ROLL_UNIT = 10  # scikit-learn's swiss roll is this much larger than ours
ROLL_TURN = (1.5 * np.pi, 4.5 * np.pi)  # from which to which angle t the spiral (t cos t, t sin t) runs
ROLL_WIDTH = 21.0


@dataclass(frozen=True)
class Toy:
    """A manifold M in D dimensions.

    Attributes
    ----------
    name
        What figures and tables call it.
    dimension
        Intrinsic dimension d.
    draw
        From a number n and a `numpy.random.Generator` to n independent points of M, float64 `(n, D)`.
    project
        From float64 `(n, D)` to the foot points, float64 `(n, D)`.
    """

    name: str
    dimension: int
    draw: Callable[[int, np.random.Generator], np.ndarray]
    project: Callable[[np.ndarray], np.ndarray]

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n points of M, float32 `(n, D)`, all that an estimator gets to know."""
        return self.draw(n, np.random.default_rng(seed)).astype(np.float32)

    def foot(self, x: np.ndarray) -> np.ndarray:
        """True foot points of any points `(n, D)`, float64 `(n, D)`; `InputError` where there is no single one."""
        return self.project(np.asarray(x, np.float64))

    def beside(self, n: int, *, height: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Points at a given distance from M, as a generator would make them, with their foot points.

        A point of M is moved by `height` in a random direction u, and then along its normal to the height wanted:
        :math:`x = x_p + h (y - x_p) / \|y - x_p\|` with :math:`y = m + h u`.

        Parameters
        ----------
        height
            Distance h ≥ 0 to M, below its reach: 1 for spheres, about 0.3 for the swiss roll.

        Returns
        -------
        x
            float32 `(n, D)`.
        foot
            float64 `(n, D)`.
        """
        rng = np.random.default_rng(seed)
        points = self.draw(n, rng)
        if height == 0:
            return points.astype(np.float32), points
        moved = points + height * _unit(rng.normal(size=points.shape))
        foot = self.foot(moved)
        return (foot + height * _unit(moved - foot)).astype(np.float32), foot


def sphere(dimension: int = 2) -> Toy:
    r"""The unit sphere in :math:`\mathbb R^{d+1}`, uniform; :math:`x_p = x / \|x\|`, of which the centre has none."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return _unit(rng.normal(size=(n, dimension + 1)))

    def project(x: np.ndarray) -> np.ndarray:
        if (centre := ~x.any(axis=1)).any():
            raise InputError(
                f"x: row {centre.argmax()} is the centre of the sphere; a point with one foot point expected"
            )
        return _unit(x)

    return Toy("circle" if dimension == 1 else "sphere", dimension, draw, project)


def circle() -> Toy:
    """The unit circle in the plane, uniform."""
    return sphere(1)


def subspace(dimension: int = 3, ambient: int = 20, *, seed: int = 0) -> Toy:
    r"""A cube :math:`[-1, 1]^d` in a random d-dimensional subspace of :math:`\mathbb R^D`, uniform.

    With orthonormal columns B of the subspace :math:`x_p = B\,\mathrm{clip}(B^\top x, -1, 1)`. It has no curvature.
    """
    if not 1 <= dimension <= ambient:
        raise InputError(f"dimension: {dimension}; 1 to ambient = {ambient} expected")
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(ambient, dimension)))[0]  # (D, d)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1, 1, (n, dimension)) @ basis.T

    return Toy("subspace", dimension, draw, lambda x: np.clip(x @ basis, -1, 1) @ basis.T)


def swiss_roll() -> Toy:
    r"""scikit-learn's swiss roll, ten times smaller: :math:`(t \cos t, 21 u, t \sin t) / 10` for t from 1.5 π to 4.5 π.

    t and u are uniform, so the inner turns are denser. Its foot point: the nearest of a grid of t, the grid made finer
    around it until t is known to 1e-8; the width is clipped.
    """

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return make_swiss_roll(n, random_state=int(rng.integers(2**31)))[0] / ROLL_UNIT

    def project(x: np.ndarray) -> np.ndarray:
        across, along, up = x.T * ROLL_UNIT
        p = (across + 1j * up)[:, None]
        low, high = ROLL_TURN
        t, step = np.full((len(x), 1), (low + high) / 2), (high - low) / 2
        for points in (301, *[21] * 8):
            grid = np.clip(t + step * np.linspace(-1, 1, points), low, high)  # (n, points)
            best = np.abs(grid * np.exp(1j * grid) - p).argmin(axis=1, keepdims=True)
            t, step = np.take_along_axis(grid, best, axis=1), 2 * step / (points - 1)
        spiral = (t * np.exp(1j * t))[:, 0]
        return np.stack([spiral.real, np.clip(along, 0, ROLL_WIDTH), spiral.imag], axis=1) / ROLL_UNIT

    return Toy("swiss roll", 2, draw, project)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)
