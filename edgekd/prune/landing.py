"""Widths that cost what was asked by the clock: choose, build, measure, and choose again before anything is trained.

A prediction orders networks well and is a few percent off in what it says of one of them. What a cut network costs
does not depend on its weights, so its engine is built at once: two or three measured points tell which prediction to
ask for, and no training is spent on a network that would miss its budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from torch import nn

T = TypeVar("T")
_LEAST = 0.2
"""Of the smallest share built so far: a line is not followed further down in one go."""


@dataclass(frozen=True)
class Landed(Generic[T]):
    """One network that was built."""

    network: T
    predicted: float
    """Its share of the whole network's cost."""
    measured: float
    """Its share of the whole network's measured latency."""


@dataclass
class Landing:
    """How a cut comes to a measured latency."""

    whole: float
    """Predicted cost of the whole network."""
    measured: Callable[[nn.Module], float]
    """Builds a network and returns its share of the whole one's measured latency."""
    engines: int
    told: str = ""
    """What was built, in words."""

    def note(self, built: Sequence[Landed[Any]]) -> None:
        """Remember what was built, the nearest first."""
        shares = "; ".join(f"predicted {one.predicted:.3f}, measured {one.measured:.3f}" for one in built)
        self.told = f"share of the latency before the cut, the engine that was kept first: {shares}"


def land(
    goal: float,
    choose: Callable[[float], tuple[T, float]],
    measured: Callable[[T], float],
    *,
    engines: int = 3,
    tolerance: float = 0.03,
) -> list[Landed[T]]:
    """Return what was built, the nearest to `goal` first: a share of the whole network's measured latency, 0 to 1.

    `choose` gives a network whose predicted share is at most what it is given, and that share; `measured` builds it
    and gives the measured one. At most `engines` are built; the search ends when one is within `tolerance` of the goal,
    as a share of it, or when the choice would be one that was built before.
    """
    built: list[Landed[T]] = []
    limit = goal
    while len(built) < engines:
        network, predicted = choose(limit)
        if any(math.isclose(predicted, one.predicted, rel_tol=1e-6) for one in built):
            break
        built.append(Landed(network, predicted, measured(network)))
        if _miss(built[-1], goal) <= tolerance:
            break
        limit = _limit(goal, [(1.0, 1.0), *((one.predicted, one.measured) for one in built)])
    return sorted(built, key=lambda one: _miss(one, goal))


def _miss(one: Landed[T], goal: float) -> float:
    return abs(one.measured / goal - 1)


def _limit(goal: float, points: list[tuple[float, float]]) -> float:
    """Return the predicted share at which the goal is expected to be measured: on the line between its neighbours.

    A line, because what differs from a prediction is mostly an overhead that no width changes.
    """
    ordered = sorted((measured, predicted) for predicted, measured in points)
    above = next((at for at, (measured, _) in enumerate(ordered) if measured >= goal), len(ordered) - 1)
    low, high = ordered[max(above, 1) - 1], ordered[max(above, 1)]
    run = high[0] - low[0]
    slope = max((high[1] - low[1]) / run, 0.0) if run > 0 else 1.0
    return min(max(low[1] + slope * (goal - low[0]), _LEAST * low[1]), 1.0)
