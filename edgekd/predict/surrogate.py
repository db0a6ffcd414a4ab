"""Latency of networks from a table of measured ones: what their parts cost, times what that sum misses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.predict.additive import fit_additive
from edgekd.predict.gaussian_process import GaussianProcess, Prediction

Array = NDArray[np.float64]

_LEAST = 0.1
"""Of the smallest measured latency: no network is predicted to be faster than that by its parts alone."""


class Surrogate:
    """Fitted on m networks: `summed` (m, k) >= 0, whose costs add up, further `groups` of features, and latencies.

    The sum extrapolates to larger networks, the Gaussian process on the logarithm of measured / summed knows what runs
    beside what; either alone predicts worse (tools/study_transfer.py).
    """

    def __init__(self, summed: Array, groups: Sequence[Array], latencies_ms: Array) -> None:
        self.costs_ms = fit_additive(summed, latencies_ms)
        """Milliseconds of one unit of each summed feature, (k,)."""
        self._least = _LEAST * float(np.min(latencies_ms))
        missed = np.log(latencies_ms / self._sum(summed))
        self._process = GaussianProcess(groups, missed, spent=int(np.count_nonzero(self.costs_ms)))

    def __call__(self, summed: Array, groups: Sequence[Array]) -> Prediction:
        """Return mean and deviation of the logarithm of the latency in ms of n networks, (n,) each."""
        missed = self._process(groups)
        return Prediction(np.log(self._sum(summed)) + missed.mean, missed.deviation)

    def bounds_ms(self, prediction: Prediction, confidence: float) -> tuple[Array, Array]:
        """Return the ends in ms, (n,) each, of intervals that hold a share `confidence` of new networks.

        The share is kept on networks like the measured ones; both ends are infinitely far where these are too few.
        """
        reach = self._process.reach(confidence) * prediction.deviation
        return np.exp(prediction.mean - reach), np.exp(prediction.mean + reach)

    def _sum(self, summed: Array) -> Array:
        return np.maximum(summed @ self.costs_ms, self._least)
