"""Latency on a board whose kernels nobody measured: its datasheet, what is known of other boards, and a few networks.

A network takes the sum, over the terms of its work, of the time at the datasheet's best times an inefficiency (Williams
et al. 2009, Roofline; summed instead of the maximum, because a network holds kernels of all kinds). A few end-to-end
figures of a new board move the inefficiencies they tell about and leave the others where the known boards have them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import special

from edgekd.figure import Figure
from edgekd.kernel import FusedKernel
from edgekd.predict.board import Board, Measured
from edgekd.predict.gaussian_process import Prediction
from edgekd.predict.inefficiency import Inefficiencies, Prior
from edgekd.predict.work import TERMS, work
from edgekd.profile import latency_name

Array = NDArray[np.float64]

CONFIDENCE = 0.95
"""One-sided, of each bound of a prediction."""

_DEGREES_OF_FREEDOM = 5.0
"""Of Student's t: how much a new kind of network is missed is known from a handful of kinds."""


class Roofline:
    """Latency on one board, from networks measured there (none is enough) and on others that are known."""

    def __init__(self, here: Measured, known: Sequence[Measured] = (), prior: Prior | None = None) -> None:
        self.board = here.board
        self._samples = max(1, len(here.latencies_ms))
        self._prior = prior or Prior()
        self._boards = Inefficiencies([here, *known], self._prior)

    @classmethod
    def uncalibrated(cls, board: Board, known: Sequence[Measured] = (), prior: Prior | None = None) -> Roofline:
        """Return what can be said of a board before anything was measured on it."""
        return cls(Measured(board, np.zeros((0, len(TERMS))), np.zeros(0)), known, prior)

    @classmethod
    def calibrated(
        cls,
        board: Board,
        networks: Sequence[Sequence[FusedKernel]],
        latencies_ms: Sequence[float],
        known: Sequence[Measured] = (),
        prior: Prior | None = None,
    ) -> Roofline:
        """Return the model of a board on which each of `networks`, as its kernels, took one of `latencies_ms`.

        Raises MeasurementError for a latency that is no positive number, EdgekdError for unequal numbers of both.
        """
        works = np.stack([work(kernels) for kernels in networks]) if networks else np.zeros((0, len(TERMS)))
        return cls(Measured(board, works, np.asarray(latencies_ms, np.float64)), known, prior)

    @property
    def inefficiency(self) -> Array:
        """Return how many times slower than the datasheet's best this board is in each of TERMS, (8,)."""
        return np.asarray(np.exp(self._boards.logs[0]))

    def __call__(self, works: Array) -> Prediction:
        """Return mean and deviation, (n,) each, of the logarithm of the latency in ms of networks of `works` (n, 8)."""
        mean, covariance = self._boards.posterior(works)
        return Prediction(mean, np.sqrt(np.maximum(np.diag(covariance), 0) + self._prior.noise**2))

    def latency_ms(self, kernels: Sequence[FusedKernel], percentile: float = 50) -> Figure:
        """Return the predicted latency with its bounds, of the percentile that the measured figures are of."""
        return self.latency_of(work(kernels), percentile)

    def latency_of(self, asked: Array, percentile: float = 50) -> Figure:
        """Return the same of a network whose work (8,) is known."""
        return self._figure(latency_name(percentile), self(asked[None]))

    def ratio_of(self, asked: Array, reference: Array, name: str) -> Figure:
        """Return the latency of one network over that of another, as a figure called `name`.

        What is not known of the board slows both of them, so the ratio is surer than either.
        """
        mean, covariance = self._boards.posterior(np.stack([asked, reference]))
        apart = np.array([1.0, -1.0])
        noise = 2 * self._prior.noise**2 if not np.array_equal(asked, reference) else 0.0
        deviation = np.sqrt(max(float(apart @ covariance @ apart), 0.0) + noise)
        return self._figure(name, Prediction(np.array([apart @ mean]), np.array([deviation])))

    def _figure(self, name: str, found: Prediction) -> Figure:
        lower, upper = bounds_ms(found)
        return Figure(
            name=name,
            value=float(np.exp(found.mean[0])),
            origin="predicted",
            samples=self._samples,
            lower=float(lower[0]),
            upper=float(upper[0]),
            confidence=CONFIDENCE,
        )

    def most_telling(self, works: Array, count: int = 3) -> list[int]:
        """Return which `count` of n networks to measure on this board next, the most telling first.

        Each lowers the summed variance of all of them most, given those before it (Cohn 1996, Neural network
        exploration using optimal experiment design). Their latencies on this board are not needed.
        """
        _, covariance = self._boards.posterior(works)
        noise = self._prior.noise**2
        chosen: list[int] = []
        for _ in range(min(count, len(works))):
            gains = (covariance**2).sum(axis=0) / (np.diag(covariance) + noise)
            gains[chosen] = -1
            best = int(gains.argmax())
            chosen.append(best)
            taken = covariance[:, best]
            covariance = covariance - np.outer(taken, taken) / (covariance[best, best] + noise)
        return chosen


def bounds_ms(prediction: Prediction, confidence: float = CONFIDENCE) -> tuple[Array, Array]:
    """Return lower and upper bounds in ms, (n,) each, each of which holds with `confidence`."""
    reach = float(special.stdtrit(_DEGREES_OF_FREEDOM, confidence)) * prediction.deviation
    return np.exp(prediction.mean - reach), np.exp(prediction.mean + reach)
