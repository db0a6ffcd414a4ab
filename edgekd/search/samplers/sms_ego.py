"""Gaussian processes of the costs; the network whose hopeful costs enlarge the hypervolume most (SMS-EGO).

Ponweiser et al. 2008, Multiobjective Optimization on a Limited Budget of Evaluations Using Model-Assisted S-Metric
Selection. Ours: several networks between two fits, outliers clipped, and that a cost which is foreseen is not modelled.
Costs are taken as they are told: who looks at ratios tells logarithms.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekd.errors import UsageError
from edgekd.predict.gaussian_process import GaussianProcess, standardised
from edgekd.schema import Field, Schema
from edgekd.search.front import gains
from edgekd.search.regression import features, foreseen, scaled
from edgekd.search.sampler import Grid, Sampler
from edgekd.search.space import Point

Array = NDArray[np.float64]

_FAR = 1.1
"""The reference point, in ranges of the costs seen, so that the front's ends count too."""


class SmsEgo(Sampler):
    """One cost or two; begins with random networks. Raises UsageError for more costs."""

    class Config(Schema):
        """Options."""

        startup: int = Field(default=15, ge=4, le=10_000, description="random networks before it models anything")
        every: int = Field(default=5, ge=1, le=1000, description="networks told before it fits again")
        hope: float = Field(default=0.5, ge=0, le=10, description="standard deviations below the mean it hopes for")
        pool: int = Field(
            default=20_000, ge=10, le=200_000, description="networks it chooses among; a larger space is sampled"
        )

    config: Config

    def __init__(self, config: Schema, grid: Grid, costs: int, seed: int) -> None:
        super().__init__(config, grid, costs, seed)
        if costs > 2:
            raise UsageError(f"sampler 'sms-ego' weighs one cost or two, not {costs}; take nsga2 or random")
        self._queue: list[Point] = []
        self._fitted = 0

    def propose(self) -> Point:
        """Return the next of the most promising networks."""
        if len(self.told) < self.config.startup:
            return self.anywhere()
        if not self._queue or len(self.told) >= self._fitted + self.config.every:
            self._queue = self._promising()
            self._fitted = len(self.told)
        return self._queue.pop(0) if self._queue else self.anywhere()

    def _promising(self) -> list[Point]:
        """Return the networks that promise most, each given that those before it keep their promise."""
        pool = self._pool()
        if not pool:
            return []
        told = np.array(list(self.told.values()), dtype=np.float64)
        alike = standardised(features(self.grid.axes, [*self.told, *pool]))
        old, new = alike[: len(self.told)], alike[len(self.told) :]
        costs, hoped = scaled(told, told), np.empty((len(pool), told.shape[1]))
        ahead = scaled(foreseen(self.grid, pool, self.costs), told)
        for number in range(costs.shape[1]):
            if np.isnan(ahead[:, number]).any():
                predicted = GaussianProcess([old], costs[:, number])([new])
                hoped[:, number] = predicted.mean - self.config.hope * predicted.deviation
            else:
                hoped[:, number] = ahead[:, number]
        if costs.shape[1] == 1:
            return [pool[k] for k in np.argsort(hoped[:, 0], kind="stable")[: self.config.every]]
        found: list[Point] = []
        low, high = costs.min(axis=0), costs.max(axis=0)
        reference = (float(low[0] + _FAR * (high[0] - low[0])), float(low[1] + _FAR * (high[1] - low[1])))
        for _ in range(self.config.every):
            best = int(gains(hoped, costs, reference).argmax())
            found.append(pool[best])
            costs = np.concatenate([costs, hoped[best : best + 1]])
        return found

    def _pool(self) -> list[Point]:
        """Return networks nobody has asked for: all, or random ones and the neighbours of those that are known."""
        if self.grid.size <= self.config.pool:
            found = list(self.grid.points())
        else:
            found = [self.anywhere() for _ in range(self.config.pool)]
            found += [
                (*point[:at], choice, *point[at + 1 :])
                for point in self.told
                for at, axis in enumerate(self.grid.axes)
                for choice in range(axis.size)
            ]
        return [point for point in dict.fromkeys(found) if self.is_left(point)]
