"""A Gaussian process over features of networks: what an additive model misses, with an interval for each network.

Rasmussen and Williams 2006, Gaussian Processes for Machine Learning; likelihood made robust by reweighting with
Student's t weights, intervals made honest by leaving each network out (Shafer and Vovk 2008, A tutorial on conformal
prediction).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, optimize

from edgekd.errors import EdgekdError

Array = NDArray[np.float64]

_DEGREES_OF_FREEDOM = 2.0
_ROUNDS = 8
_TUNED_IN = frozenset({0, 2, 4})
_LOG_RANGE = (-9.0, 4.0)
_START = (-1.0, -1.0, 0.0)
"""Logarithms of the variance of the linear part, that of the curved part, and the inverse squared length scale."""
_START_NOISE = -2.0
_PULL = 0.05
_LEAST_NOISE = 1e-6
_NORMAL = 1.4826


class Prediction(NamedTuple):
    """Mean and standard deviation of a prediction, (n,) each."""

    mean: Array
    deviation: Array


class GaussianProcess:
    """Fitted on `groups` of features, (m, k_g) each, standardised, and targets (m,) of mean near zero.

    The covariance is a sum over the groups of a linear and a squared exponential kernel. `spent` is how many free
    parameters the targets, as residuals of another model, have seen already: intervals are widened for it.
    """

    def __init__(self, groups: Sequence[Array], targets: Array, spent: int = 0) -> None:
        self._groups = [np.asarray(group, np.float64) for group in groups]
        if len(targets) < 3 or any(len(group) != len(targets) for group in groups):
            sizes = ", ".join(str(len(group)) for group in groups)
            raise EdgekdError(
                f"a fit needs at least 3 networks; {len(targets)} targets and features of {sizes} were given"
            )
        self._scale = float(np.std(targets)) + 1e-9
        scaled = np.asarray(targets, np.float64) / self._scale
        distances, products = self._pairs(self._groups)
        weights = np.ones(len(scaled))
        start = np.array([*_START * len(groups), _START_NOISE])
        self._log = start
        for number in range(_ROUNDS):
            if number in _TUNED_IN:
                self._log = _tuned(self._log, start, distances, products, weights, scaled)
            inverse = np.linalg.inv(_kernel(self._log, distances, products) + np.diag(_noise(self._log) / weights))
            left_out = (inverse @ scaled) / np.diag(inverse)
            spread = _NORMAL * float(np.median(np.abs(left_out))) + 1e-9
            weights = (_DEGREES_OF_FREEDOM + 1) / (_DEGREES_OF_FREEDOM + (left_out / spread) ** 2)
            weights /= weights.max()
        self._inverse = np.linalg.inv(_kernel(self._log, distances, products) + np.diag(_noise(self._log) / weights))
        self._alpha = self._inverse @ scaled
        # As of a new network: of one that was weighted down, the noise is what it would have been without.
        variance = 1 / np.diag(self._inverse) - _noise(self._log) / weights + _noise(self._log)
        own = np.sqrt(np.maximum(variance, _noise(self._log)))
        self.left_out: Array = self._alpha / np.diag(self._inverse) * self._scale
        """What was missed of each target, (m,), by the fit of all others."""
        widened = np.sqrt(len(scaled) / max(1, len(scaled) - spent))
        self._surprises = widened * np.abs(self.left_out) / (own * self._scale)

    def __call__(self, groups: Sequence[Array]) -> Prediction:
        """Return what is predicted for n networks from their features, (n, k_g) each."""
        distances, products = self._pairs(groups)
        across = _kernel(self._log, distances, products)
        prior = sum(
            np.exp(self._log[3 * i]) * (group**2).sum(axis=1) + np.exp(self._log[3 * i + 1])
            for i, group in enumerate(groups)
        )
        variance = np.maximum(prior - np.einsum("ij,jk,ik->i", across, self._inverse, across), 0) + _noise(self._log)
        return Prediction(across @ self._alpha * self._scale, np.sqrt(variance) * self._scale)

    def reach(self, confidence: float) -> float:
        """Return how many standard deviations an interval must reach to hold a share `confidence` of new networks.

        The share of the fitted networks that were that surprising when left out, with the correction for their number.
        """
        rank = int(np.ceil(confidence * (len(self._surprises) + 1)))
        return float("inf") if rank > len(self._surprises) else float(np.sort(self._surprises)[rank - 1])

    def _pairs(self, groups: Sequence[Array]) -> tuple[list[Array], list[Array]]:
        products = [new @ old.T for new, old in zip(groups, self._groups, strict=True)]
        distances = [
            np.maximum((new**2).sum(1)[:, None] + (old**2).sum(1)[None] - 2 * product, 0)
            for new, old, product in zip(groups, self._groups, products, strict=True)
        ]
        return distances, products


def standardised(features: Array) -> Array:
    """Return features (n, k) with mean 0 and variance 1/k each, those that never change as 0."""
    spread = features.std(axis=0)
    alive = spread > 1e-9
    centred = (features - features.mean(axis=0)) / np.where(alive, spread, np.inf)
    return np.asarray(centred / np.sqrt(max(1, int(alive.sum()))), dtype=np.float64)


def _kernel(log: Array, distances: Sequence[Array], products: Sequence[Array]) -> Array:
    total = np.zeros_like(distances[0])
    for i, (distance, product) in enumerate(zip(distances, products, strict=True)):
        linear, curved, inverse_length = np.exp(log[3 * i : 3 * i + 3])
        total += linear * product + curved * np.exp(-0.5 * inverse_length * distance)
    return total


def _noise(log: Array) -> float:
    return float(np.exp(log[-1])) + _LEAST_NOISE


def _tuned(  # noqa: PLR0917
    log: Array, start: Array, distances: Sequence[Array], products: Sequence[Array], weights: Array, targets: Array
) -> Array:
    """Return the hyperparameters of the largest marginal likelihood, pulled a little towards where they started."""

    def unlikely(log: Array) -> float:
        covariance = _kernel(log, distances, products) + np.diag(_noise(log) / weights)
        try:
            factor = np.linalg.cholesky(covariance)
        except np.linalg.LinAlgError:
            return 1e6
        solved = linalg.cho_solve((factor, True), targets)
        fit = 0.5 * targets @ solved + np.log(np.diag(factor)).sum()
        return float(fit + _PULL * ((log - start) ** 2).sum())

    found = optimize.minimize(unlikely, log, method="L-BFGS-B", bounds=[_LOG_RANGE] * len(log), options={"maxiter": 30})
    return np.asarray(found.x, dtype=np.float64)
