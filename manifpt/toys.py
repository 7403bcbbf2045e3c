r"""Toy manifolds whose foot points are computed exactly, so that estimates can be compared with the truth.

The foot point is :math:`x_p = \arg\min_{y \in M} \|y - x\|_2` for the closed set M, as in the paper's Figure 1. Lengths
have no unit; curvatures are near 1, or 0.

Examples
--------
>>> x, foot = circle().beside(5, height=0.25, seed=0)
>>> np.linalg.norm(x - foot, axis=1).round(6)
array([0.25, 0.25, 0.25, 0.25, 0.25])
>>> sphere().foot([[0.0, 0.0, 3.0]])
array([[0., 0., 1.]])
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.datasets import make_swiss_roll

from manifpt.utils.errors import InputError

ROLL_UNIT = 10  # scikit-learn's swiss roll is that many times larger than ours
ROLL_TURN = (1.5 * np.pi, 4.5 * np.pi)  # first and last angle t of the spiral (t cos t, t sin t)
ROLL_WIDTH = 21.0


@dataclass(frozen=True)
class Toy:
    """A manifold M in D dimensions.

    Attributes
    ----------
    name, dimension
        Name in figures and tables, and intrinsic dimension d.
    draw
        Function of a number n and a `numpy.random.Generator`; returns n independent points of M, float64 `(n, D)`.
    project
        Function of points, float64 `(n, D)`; returns their foot points, float64 `(n, D)`.
    """

    name: str
    dimension: int
    draw: Callable[[int, np.random.Generator], np.ndarray]
    project: Callable[[np.ndarray], np.ndarray]

    def sample(self, n: int, *, seed: int) -> np.ndarray:
        """Draw n points of M, float32 `(n, D)`, as an estimator gets them."""
        return self.draw(n, np.random.default_rng(seed)).astype(np.float32)

    def foot(self, x: np.ndarray) -> np.ndarray:
        """Compute the foot points of any points `(n, D)`: float64 `(n, D)`; `InputError` where there are several."""
        return self.project(np.asarray(x, np.float64))

    def beside(self, n: int, *, height: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
        r"""Draw n points at a given distance from M, as a generator would make them, with their foot points.

        A point m of M is moved by h in a random direction u, and then along the normal to the distance h:
        :math:`x = x_p + h (y - x_p) / \|y - x_p\|` with :math:`y = m + h u`.

        Parameters
        ----------
        height
            Distance h ≥ 0 to M, less than its reach, which is 1 for spheres and about 0.3 for the swiss roll.

        Returns
        -------
        The points, float32 `(n, D)`, and their foot points, float64 `(n, D)`.
        """
        rng = np.random.default_rng(seed)
        points = self.draw(n, rng)
        if height == 0:
            return points.astype(np.float32), points
        moved = points + height * _unit(rng.normal(size=points.shape))
        foot = self.foot(moved)
        return (foot + height * _unit(moved - foot)).astype(np.float32), foot


def sphere(dimension: int = 2) -> Toy:
    r"""Uniform distribution on the unit sphere in :math:`\mathbb R^{d+1}`; :math:`x_p = x / \|x\|`."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return _unit(rng.normal(size=(n, dimension + 1)))

    def project(x: np.ndarray) -> np.ndarray:
        if (centre := ~x.any(axis=1)).any():
            raise InputError(f"x: row {centre.argmax()} is the centre of the sphere; another point expected")
        return _unit(x)

    return Toy("circle" if dimension == 1 else "sphere", dimension, draw, project)


def circle() -> Toy:
    """Uniform distribution on the unit circle in the plane."""
    return sphere(1)


def subspace(dimension: int = 3, ambient: int = 20, *, seed: int = 0) -> Toy:
    r"""Uniform distribution on a cube :math:`[-1, 1]^d` in a random d-dimensional subspace of :math:`\mathbb R^D`.

    If the columns of B are an orthonormal basis of the subspace, :math:`x_p = B\,\mathrm{clip}(B^\top x, -1, 1)`.
    """
    if not 1 <= dimension <= ambient:
        raise InputError(f"dimension: {dimension}; 1 to ambient = {ambient} expected")
    basis = np.linalg.qr(np.random.default_rng(seed).normal(size=(ambient, dimension)))[0]  # (D, d)

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-1, 1, (n, dimension)) @ basis.T

    return Toy("subspace", dimension, draw, lambda x: np.clip(x @ basis, -1, 1) @ basis.T)


def swiss_roll() -> Toy:
    r"""scikit-learn's swiss roll, ten times smaller: :math:`(t \cos t, 21 u, t \sin t) / 10` for t from 1.5 π to 4.5 π.

    t and u are uniform, so the inner turns are denser. The foot point is the nearest point of a grid of t, which is
    refined around it until t is known to 1e-8; across the width, x is clipped.
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
