r"""Who made this image? Probabilistic linear discriminant analysis (PLDA) of artifacts: the two-covariance model.

The artifact of an image is that of its maker, y, plus what the content adds, both Gaussian:

.. math:: a = y + e, \qquad y \sim N(0, B), \qquad e \sim N(0, W)

Artifacts are whitened by the covariance of real images, so it is known beforehand how *contents* differ: W = I. How
*makers* differ is learnt from other makers: B is the covariance of the directions in which their artifacts point. A
gallery, a few images of each maker in question, improves W, as a Wishart prior of ν₀ images is improved by ν others of
scatter S: :math:`W = (\nu_0 I + S) / (\nu_0 + \nu)`.

The evidence is a likelihood ratio. With the mean q of m images in question, the mean x̄ of n images of maker k, and
coordinates in which W = I and B is diagonal, λ:

.. math:: \log \frac{p(q \mid k)}{p(q \mid \text{another maker})} =
   \sum_i \log N\Big(q_i;\, s_i \bar x_i,\, \lambda_i (1 - s_i) + \tfrac1m\Big)
        - \log N\Big(q_i;\, 0,\, \lambda_i + \tfrac1m\Big),
   \qquad s_i = \frac{\lambda_i}{\lambda_i + 1/n}

Ioffe (ECCV 2006) and Brümmer & de Villiers (Odyssey 2010, "the speaker partitioning problem") have the model; that real
photographs give W and synthetic models B is ours.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.utils.validation import check_is_fitted

from manifpt.utils.arrays import as_alike_points, as_points, check_labels
from manifpt.utils.errors import InputError

LEAST = 1e-6  # smallest variance of makers along a direction, in units of that of contents


class Calibration(NamedTuple):
    """Turn the model's log-likelihood ratios ℓ, which trust the Gaussians too far, into honest ones.

    They are slope · arsinh(ℓ / 30) + intercept: linear for weak evidence, logarithmic for strong. Any other score can
    be turned into a log-likelihood ratio, too.
    """

    slope: float
    intercept: float

    @classmethod
    def fit(cls, ratios: np.ndarray, same: np.ndarray) -> "Calibration":
        """Logistic regression on ratios `(n,)` of trials and on whether each is of one maker, bool `(n,)`."""
        values = np.arcsinh(ratios / 30)
        scale = values.std() or 1.0  # brings scores of any unit to one that the solver's tolerance is made for
        found = LogisticRegression(C=1e6, class_weight="balanced").fit(values[:, None] / scale, same)
        return cls(float(found.coef_[0, 0] / scale), float(found.intercept_[0]))

    def __call__(self, ratios: np.ndarray) -> np.ndarray:
        return self.slope * np.arcsinh(ratios / 30) + self.intercept


class PLDA(ClassifierMixin, BaseEstimator):
    """Name the maker of an artifact by a gallery: a classifier of scikit-learn that has nothing to train.

    Parameters
    ----------
    makers
        `(k, d)`: mean artifacts of other makers, of whatever length; see `manifpt.synthesis.metric`. None: every
        direction is equally likely.
    spread
        Variance of makers along a coordinate, in units of that of contents, on average.
    isotropic
        Share of it that goes in every direction alike.
    prior
        ν₀, the number of images that the knowledge W = I counts for; None for d.
    calibration
        Of the ratios that `decision_function` gives; None leaves them as they are.

    Attributes
    ----------
    classes_, counts_
        The makers in the gallery, sorted, and the number of images of each.
    basis_, between_, means_
        `(d, d)`, the coordinates in which W = I and B is diagonal; `(d,)`, that diagonal λ; `(k, d)`, means in them.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> a, b = rng.normal(1, 1, (10, 50)), rng.normal(-1, 1, (10, 50))
    >>> PLDA().fit(np.concatenate([a, b]), ["a"] * 10 + ["b"] * 10).predict(rng.normal(1, 1, (2, 50)))
    array(['a', 'a'], dtype='<U1')
    """

    def __init__(
        self,
        makers: np.ndarray | None = None,
        *,
        spread: float = 0.3,
        isotropic: float = 0.5,
        prior: float | None = None,
        calibration: Calibration | None = None,
    ):
        self.makers, self.spread, self.isotropic = makers, spread, isotropic
        self.prior, self.calibration = prior, calibration

    def fit(self, X, y) -> "PLDA":
        """Take the gallery: artifacts `(n, d)`, whitened, and the maker of each, `(n,)`; `InputError` for others."""
        X = as_points("X", X)
        y, d = check_labels("y", y, len(X)), X.shape[1]
        self.classes_, owner, self.counts_ = np.unique(y, return_inverse=True, return_counts=True)
        means = np.stack([X[owner == number].mean(0) for number in range(len(self.classes_))])
        rest, prior = X - means[owner], d if self.prior is None else self.prior
        within = (prior * np.eye(d) + rest.T @ rest) / (prior + len(X) - len(means))
        self.between_, self.basis_ = self._coordinates(d, within)
        self.means_ = means @ self.basis_
        return self

    def _coordinates(self, d: int, within: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """The diagonal of B in the coordinates in which W = I, and these as columns; `InputError` for parameters."""
        if not self.spread > 0 or not 0 <= self.isotropic <= 1 or not (self.prior is None or self.prior > 0):
            raise InputError(
                f"spread, isotropic, prior: {self.spread}, {self.isotropic}, {self.prior}; above 0, 0 to 1 and above 0 "
                "expected"
            )
        between = np.eye(d)
        if self.makers is not None:
            makers = as_points("makers", self.makers)
            if makers.shape[1] != d:
                raise InputError(f"makers: {makers.shape[1]} coordinates; {d} expected, as the artifacts have")
            units = makers / np.linalg.norm(makers, axis=1, keepdims=True).clip(1e-30)
            between = (1 - self.isotropic) * d * units.T @ units / len(units) + self.isotropic * between
        variances, basis = scipy.linalg.eigh(self.spread * between, within)
        return np.maximum(variances, LEAST), basis

    def log_likelihood_ratios(self, X, *, m: int = 1) -> np.ndarray:
        """Of every maker in the gallery against one who is not there, as the Gaussians have it: `(n, k)`.

        A row of `X` `(n, d)` is the artifact of an image, or the mean of `m` images of one maker.
        """
        check_is_fitted(self, "basis_")
        X = as_points("X", X)
        if X.shape[1] != len(self.basis_):
            raise InputError(f"X: {X.shape[1]} coordinates; {len(self.basis_)} expected, as in the gallery")
        gallery, q = zip(self.means_, self.counts_, strict=True), X @ self.basis_
        return np.stack([_ratios(q, m, mean, n, self.between_) for mean, n in gallery], axis=1)

    def decision_function(self, X, *, m: int = 1) -> np.ndarray:
        """Calibrated log-likelihood ratios, `(n, k)`: above 0 speaks for the maker, below 0 for one not in the gallery.

        Arguments as `log_likelihood_ratios`.
        """
        return self._calibrated(self.log_likelihood_ratios(X, m=m))

    def predict(self, X, *, m: int = 1) -> np.ndarray:
        """The likeliest maker in the gallery, `(n,)`."""
        best = self.log_likelihood_ratios(X, m=m).argmax(1)
        return self.classes_[best]

    def compare(self, A, B, *, n: int = 1, m: int = 1) -> np.ndarray:
        """Calibrated log-likelihood ratios that each row of A and the same row of B are of one maker, `(r,)`.

        Rows are artifacts of images, or the means of `n` images in `A` and of `m` in `B`. No gallery is needed.
        """
        A, B = as_alike_points(A=A, B=B)
        if len(A) != len(B):
            raise InputError(f"A, B: {len(A)} and {len(B)} rows; as many expected")
        between, basis = self._coordinates(A.shape[1])
        return self._calibrated(_ratios(B @ basis, m, A @ basis, n, between))

    def _calibrated(self, ratios: np.ndarray) -> np.ndarray:
        return self.calibration(ratios) if self.calibration else ratios


def _ratios(q: np.ndarray, m: int, mean: np.ndarray, n: int, between: np.ndarray) -> np.ndarray:
    """The formula of the module: queries `(r, d)`, gallery means `(d,)` or `(r, d)`, B `(d,)`; `(r,)`."""
    if not (n >= 1 and m >= 1):
        raise InputError(f"n, m: {n}, {m} images; 1 at least expected")
    share, alone = between / (between + 1 / n), between + 1 / m
    variance = between * (1 - share) + 1 / m
    return (q**2 / alone - (q - share * mean) ** 2 / variance).sum(1) / 2 + np.log(alone / variance).sum() / 2
