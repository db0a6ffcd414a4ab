"""A Gaussian process that learns which features matter: one length scale each (automatic relevance determination).

Rasmussen and Williams 2006, Gaussian Processes for Machine Learning, sections 5.1 and 5.4; the likelihood is made
robust by Student's t weights. Made for thousands of cheap, noisy points, of which a few hundred settle the
hyperparameters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize
from scipy.spatial.distance import cdist

Array = NDArray[np.float64]

_TUNED_ON = 500
_KEPT = 1600
_DEGREES_OF_FREEDOM = 1.0
"""Of Student's t: what a runtime tells of one kernel is seldom wrong, and then by a factor."""
_ROUNDS = 6
_NORMAL = 1.4826
_LEAST_NOISE = 1e-5
_BOUNDS = {"signal": (-9.0, 3.0), "noise": (-11.0, 1.0), "linear": (-9.0, 2.0), "length": (-9.0, 3.0)}
_PULL = 0.03
_ITERATIONS, _ITERATIONS_AGAIN = 60, 30


@dataclass(frozen=True)
class Relevance:
    """Logarithms of the hyperparameters."""

    signal: float
    noise: float
    linear: float
    lengths: tuple[float, ...]
    """Of the inverse squared length scale of every feature."""

    def vector(self) -> Array:
        """Return them in one array, (3 + k,)."""
        return np.array([self.signal, self.noise, self.linear, *self.lengths])

    @staticmethod
    def numbers(features: int) -> int:
        """Return how many there are for so many features."""
        return 3 + features

    @classmethod
    def of(cls, vector: Array) -> Relevance:
        """Return what `vector` gave."""
        numbers = [float(number) for number in vector]
        return cls(numbers[0], numbers[1], numbers[2], tuple(numbers[3:]))


class RelevanceProcess:
    """Fitted on features (m, k), standardised, and targets (m,) of mean near zero.

    `exactness` (m,) is how much less than others a target scatters, as a ratio of variances. At most 1,600 of the
    points are kept, spread evenly over the order given. Without `relevance` the hyperparameters of the largest marginal
    likelihood are searched.
    """

    def __init__(
        self, features: Array, targets: Array, exactness: Array | None = None, relevance: Relevance | None = None
    ) -> None:
        kept = _evenly(len(features), _KEPT)
        self._features, scaled = features[kept], targets[kept]
        exact = np.ones(len(kept)) if exactness is None else exactness[kept]
        if relevance is None:
            few = _telling(exact)
            relevance = _settled(self._features[few], scaled[few], exact[few])
        self.relevance = relevance
        self._log = relevance.vector()
        self._inverse, self._alpha, _ = _weighted(self._log, self._features, scaled, exact)
        self.left_out: Array = self._alpha / np.diag(self._inverse)
        """What was missed of each kept target by the fit of all others."""
        self.kept: NDArray[np.intp] = kept
        self.noise = float(np.exp(self._log[1]) + _LEAST_NOISE)

    def mean(self, features: Array) -> Array:
        """Return what is predicted from features (n, k)."""
        return np.asarray(_covariance(self._log, features, self._features) @ self._alpha)

    def variance(self, features: Array) -> Array:
        """Return the variance of the mean (n,), the noise of a single target not counted."""
        across = _covariance(self._log, features, self._features)
        own = np.exp(self._log[0]) + np.exp(self._log[2]) * (features**2).sum(axis=1)
        known = np.einsum("ij,jk,ik->i", across, self._inverse, across, optimize=True)
        return np.asarray(np.maximum(own - known, 0.0))


def _evenly(count: int, most: int) -> NDArray[np.intp]:
    return np.arange(count) if count <= most else np.linspace(0, count - 1, most).round().astype(np.intp)


def _telling(exactness: Array) -> NDArray[np.intp]:
    """Return points to tune on: of those that scatter little, if these are enough."""
    exact = np.flatnonzero(exactness >= np.median(exactness))
    few = exact if len(exact) >= _TUNED_ON else np.argsort(-exactness, kind="stable")[: 2 * _TUNED_ON]
    return np.sort(few)[_evenly(len(few), _TUNED_ON)]


def _weighted(log: Array, features: Array, targets: Array, exactness: Array) -> tuple[Array, Array, Array]:
    """Return the inverse covariance, its product with the targets, and the exactness less what surprised."""
    covariance = _covariance(log, features, features)
    noise = np.exp(log[1]) + _LEAST_NOISE
    weights = exactness
    for number in range(_ROUNDS):
        inverse = _inverse(covariance + np.diag(noise / weights))
        alpha = inverse @ targets
        if number < _ROUNDS - 1:
            surprise = alpha / np.diag(inverse) * np.sqrt(exactness)
            spread = max(_NORMAL * float(np.median(np.abs(surprise))), np.sqrt(noise))
            weights = exactness * (_DEGREES_OF_FREEDOM + 1) / (_DEGREES_OF_FREEDOM + (surprise / spread) ** 2)
    return inverse, alpha, weights


def _inverse(matrix: Array) -> Array:
    """Return the inverse of a symmetric positive definite matrix."""
    lower, _ = linalg.lapack.dpotri(linalg.cholesky(matrix, lower=True), lower=1)
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)


def _covariance(log: Array, new: Array, old: Array) -> Array:
    scale = np.exp(log[3:] / 2)
    distances = cdist(new * scale, old * scale, "sqeuclidean")
    return np.asarray(np.exp(log[0] - 0.5 * distances) + np.exp(log[2]) * (new @ old.T))


def _settled(features: Array, targets: Array, exactness: Array) -> Relevance:
    """Return the hyperparameters, tuned again without what surprised: else it would pass for noise in all targets."""
    first = _tuned(features, targets, exactness)
    _, _, weights = _weighted(first.vector(), features, targets, exactness)
    return _tuned(features, targets, weights, first)


def _tuned(features: Array, targets: Array, exactness: Array, first: Relevance | None = None) -> Relevance:
    """Return the hyperparameters of the largest marginal likelihood, searched from `first`.

    They are pulled a little towards values that only the targets' spread sets, where the search begins without `first`.
    """
    alive = np.flatnonzero(features.any(axis=0))
    lengths = np.full(features.shape[1], _BOUNDS["length"][0])
    features = features[:, alive]
    count, size = features.shape
    spread = float(np.var(targets)) + 1e-6
    start = np.array([np.log(spread), np.log(0.1 * spread), np.log(spread) - 2, *[-1.5] * size])
    products = features @ features.T

    def unlikely(log: Array) -> tuple[float, Array]:
        lengthened = features * np.exp(log[3:] / 2)
        curved = np.exp(log[0] - 0.5 * cdist(lengthened, lengthened, "sqeuclidean"))
        noise = np.exp(log[1])
        linear = np.exp(log[2]) * products
        try:
            factor = linalg.cholesky(curved + linear + np.diag((noise + _LEAST_NOISE) / exactness), lower=True)
        except linalg.LinAlgError:
            return 1e9, np.zeros_like(log)
        inverse = linalg.cho_solve((factor, True), np.eye(count))
        alpha = inverse @ targets
        value = 0.5 * targets @ alpha + np.log(np.diag(factor)).sum() + _PULL * ((log - start) ** 2).sum()
        outer = inverse - np.outer(alpha, alpha)
        apart = outer * curved
        slopes = [np.sum(apart), noise * np.sum(np.diag(outer) / exactness), np.sum(outer * linear)]
        # The sum over all pairs of `apart` times their squared distance along each feature.
        squares = 2 * (apart.sum(axis=1) @ features**2 - (features * (apart @ features)).sum(axis=0))
        return float(value), 0.5 * np.array([*slopes, *(-0.5 * np.exp(log[3:]) * squares)]) + 2 * _PULL * (log - start)

    bounds = [_BOUNDS["signal"], _BOUNDS["noise"], _BOUNDS["linear"], *[_BOUNDS["length"]] * size]
    begin = start if first is None else first.vector()[[0, 1, 2, *(alive + 3)]]
    most = {"maxiter": _ITERATIONS if first is None else _ITERATIONS_AGAIN}
    found = optimize.minimize(unlikely, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=most)
    lengths[alive] = found.x[3:]
    return Relevance.of(np.concatenate([found.x[:3], lengths]))
