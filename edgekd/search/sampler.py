"""What a sampler is: it says which network of a space to look at next."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, ClassVar

import numpy as np

from edgekd.errors import EdgekdError
from edgekd.plugins import PluginFolder
from edgekd.schema import Schema, from_mapping
from edgekd.search.space import Axis, Point, points

_PROPOSALS = 10
"""Proposals that are known or not allowed before any other network is taken."""
_LISTED = 200_000
"""Networks up to which a space is gone through one by one to find what is left of it."""


@dataclass(frozen=True)
class Grid:
    """All that may be sampled."""

    axes: tuple[Axis, ...]
    allowed: Callable[[Point], bool] = lambda _: True
    """Says which networks count, such as those within a latency limit."""
    foreseen: Callable[[Point], Sequence[float | None]] | None = None
    """The costs of a network that are known before it is looked at, as a predicted latency is; None for the others."""

    @property
    def size(self) -> int:
        """Return how many networks there are, allowed or not."""
        return prod(axis.size for axis in self.axes)

    def points(self) -> Iterator[Point]:
        """Yield every network, allowed or not."""
        return points(self.axes)


class Sampler(ABC):
    """Asks for one network after the other and is told what it costs; no network is asked for twice.

    The same seed and the same answers lead to the same questions, so a search resumes by being told its log again. Who
    looks at several networks at once asks again before it tells. A plug-in provides `propose`, and `learn` where
    it learns.
    """

    Config: ClassVar[type[Schema]] = Schema

    def __init__(self, config: Schema, grid: Grid, costs: int, seed: int) -> None:
        self.config, self.grid, self.costs = config, grid, costs
        self.random = np.random.default_rng(seed)
        self.told: dict[Point, tuple[float, ...]] = {}
        """What networks cost, lower is better, in the order it was told."""
        self._asked: set[Point] = set()

    def ask(self) -> Point | None:
        """Return a network to look at, None when all allowed ones have been asked for."""
        for _ in range(_PROPOSALS):
            point = self.propose()
            if point not in self._asked and self.grid.allowed(point):
                self._asked.add(point)
                return point
            self.refused(point)
        found = self._anything()
        if found is not None:
            self._asked.add(found)
        return found

    def tell(self, point: Point, costs: Sequence[float]) -> None:
        """Learn what a network costs; raises EdgekdError for another number of costs and for one that is no number."""
        if len(costs) != self.costs or not np.isfinite(costs).all():
            raise EdgekdError(f"a sampler of {self.costs} costs was told {list(costs)}; each must be a finite number")
        self._asked.add(point)
        self.told[point] = tuple(float(cost) for cost in costs)
        self.learn(point, self.told[point])

    @abstractmethod
    def propose(self) -> Point:
        """Return a network; it is not taken when it is known already or not allowed."""

    def learn(self, point: Point, costs: tuple[float, ...]) -> None:
        """Take notice of what a network costs; it need not have been proposed."""
        del point, costs

    def refused(self, point: Point) -> None:
        """Take notice that a proposal was not taken."""
        del point

    def reserve(self, point: Point) -> None:
        """Take notice that somebody else looks at a network, so that it is not asked for."""
        self._asked.add(point)

    def anywhere(self) -> Point:
        """Return any network, each as likely as the other."""
        return tuple(int(self.random.integers(axis.size)) for axis in self.grid.axes)

    def _anything(self) -> Point | None:
        """Return any allowed network that was not asked for; None also where a large space hides it."""
        if self.grid.size > _LISTED:
            drawn = (self.anywhere() for _ in range(_LISTED))
            return next((point for point in drawn if self.is_left(point)), None)
        left = [point for point in self.grid.points() if self.is_left(point)]
        return left[int(self.random.integers(len(left)))] if left else None

    def is_left(self, point: Point) -> bool:
        """Say whether a network is allowed and nobody has asked for it."""
        return point not in self._asked and self.grid.allowed(point)


SAMPLERS: PluginFolder[Sampler] = PluginFolder("edgekd.search.samplers", Sampler)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any], grid: Grid, *, costs: int, seed: int) -> Sampler:
    """Return a sampler of networks that have so many costs; raises UsageError for an unknown name or option."""
    kind = SAMPLERS.get(name)
    return kind(from_mapping(kind.Config, options, f"options of sampler '{name}'"), grid, costs, seed)
