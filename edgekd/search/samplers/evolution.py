"""Regularised evolution: a change to the best of a few, and the oldest dies, however good.

Real et al. 2019, Regularized Evolution for Image Classifier Architecture Search. Ours, for more than one cost: the best
of a few is one that none of them dominates, drawn among these.
"""

from __future__ import annotations

from collections import deque

from edgekd.schema import Field, Schema
from edgekd.search.sampler import Grid, Sampler
from edgekd.search.space import Point


class Evolution(Sampler):
    """Begins with as many random networks as the population holds."""

    class Config(Schema):
        """Options."""

        population: int = Field(default=16, ge=2, le=10_000, description="networks that are alive")
        sample: int = Field(default=4, ge=1, le=10_000, description="of these, drawn to find a parent")

    config: Config

    def __init__(self, config: Schema, grid: Grid, costs: int, seed: int) -> None:
        super().__init__(config, grid, costs, seed)
        self._alive: deque[Point] = deque(maxlen=self.config.population)

    def propose(self) -> Point:
        """Return the parent with another choice on one axis."""
        changeable = [number for number, axis in enumerate(self.grid.axes) if axis.size > 1]
        if len(self._alive) < self.config.population or not changeable:
            return self.anywhere()
        parent = list(self._parent())
        where = changeable[int(self.random.integers(len(changeable)))]
        step = int(self.random.integers(1, self.grid.axes[where].size))
        parent[where] = (parent[where] + step) % self.grid.axes[where].size
        return tuple(parent)

    def learn(self, point: Point, costs: tuple[float, ...]) -> None:
        """Let a network live; the oldest one dies."""
        del costs
        self._alive.append(point)

    def _parent(self) -> Point:
        drawn = [self._alive[int(k)] for k in self.random.integers(len(self._alive), size=self.config.sample)]
        best = [p for p in drawn if not any(_dominates(self.told[q], self.told[p]) for q in drawn)]
        return best[int(self.random.integers(len(best)))]


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
