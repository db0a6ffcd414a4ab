"""Widths that cost what was asked by the clock: choose, build, measure, and choose again before anything is trained.

A prediction orders networks well and is a few percent off in what it says of one of them. What a cut network costs
does not depend on its weights, so its engine is built at once: two or three measured points tell which prediction to
ask for, and no training is spent on a network that would miss its budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from scipy.optimize import brentq
from torch import nn

T = TypeVar("T")
_LEAST = 0.2
"""Of the smallest share built so far: a curve is not followed further down in one go."""
_BEND = 0.75
"""The exponent that two points leave open."""
_POWERS = 0.4, 2.0
"""How much a curve may bend; three points with noise say anything."""
_RISE, _RISES = 0.02, 10
"""In what steps, and how many of them, the next larger choice is looked for, as a share of the limit."""


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
    as a share of it, or when nothing new should come nearer.
    """
    built: list[Landed[T]] = []
    while len(built) < engines:
        chosen = _nearest(goal, choose, [(one.predicted, one.measured) for one in built]) if built else choose(goal)
        if chosen is None:
            break
        built.append(Landed(*chosen, measured(chosen[0])))
        if _miss(built[-1].measured, goal) <= tolerance:
            break
    return sorted(built, key=lambda one: _miss(one.measured, goal))


def _miss(measured: float, goal: float) -> float:
    return abs(measured / goal - 1)


def _nearest(
    goal: float, choose: Callable[[float], tuple[T, float]], known: list[tuple[float, float]]
) -> tuple[T, float] | None:
    """Return the choice where the goal is expected, or the next larger one if that should come nearer to it.

    A choice keeps within what it is given, so where steps are coarse the one just above may be the nearer one. None
    where both were built, or where the one that was not should be further off than what was.
    """
    expected = _Curve.through(known, goal)
    limit = expected.predicted(goal)
    below = choose(limit)
    larger = (choose(min(limit * (1 + _RISE * number), 1.0)) for number in range(1, _RISES + 1))
    above = next((one for one in larger if not math.isclose(one[1], below[1], rel_tol=1e-6)), below)
    new = [one for one in (below, above) if not any(math.isclose(one[1], share, rel_tol=1e-6) for share, _ in known)]
    best = min(new, key=lambda one: _miss(expected.measured(one[1]), goal), default=None)
    if best is None or len(new) == 2:
        return best
    hopeful = _miss(expected.measured(best[1]), goal) < min(_miss(measured, goal) for _, measured in known)
    return best if hopeful or best is below else None


class _Curve(NamedTuple):
    """Measured share as a function of the predicted one: `overhead + rate * predicted ** power`.

    What differs from a prediction is mostly an overhead that no width changes. But narrow layers use less of what a
    processor can do, so that a line through two points asks for far too little: the curve is bent somewhat until a
    third point tells how much.
    """

    overhead: float
    rate: float
    power: float
    least: float
    """No curve is followed further down in one go."""

    @classmethod
    def through(cls, known: list[tuple[float, float]], goal: float) -> _Curve:
        """Return the curve through the known points nearest to the goal, the whole network among them."""
        ordered = sorted({(1.0, 1.0), *known}, key=lambda point: point[1])
        if len(ordered) == 1:  # nothing could be cut
            return cls(0.0, 1.0, 1.0, _LEAST)
        above = next((at for at, (_, measured) in enumerate(ordered) if measured >= goal), len(ordered) - 1)
        above = max(above, 1)
        low, high = ordered[above - 1], ordered[above]
        third = ordered[above + 1] if above + 1 < len(ordered) else ordered[above - 2] if above > 1 else None
        power = _BEND if third is None else _power(sorted((low, high, third)))
        run = high[0] ** power - low[0] ** power
        rate = max((high[1] - low[1]) / run, 0.0) if run > 0 else 0.0
        return cls(low[1] - rate * low[0] ** power, rate, power, _LEAST * min(point[0] for point in ordered))

    def predicted(self, measured: float) -> float:
        """Return the predicted share at which `measured` is expected."""
        if self.rate <= 0:
            return self.least
        return min(max(float(max((measured - self.overhead) / self.rate, 0.0) ** (1 / self.power)), self.least), 1.0)

    def measured(self, predicted: float) -> float:
        """Return the measured share that is expected of a predicted one."""
        return float(self.overhead + self.rate * predicted**self.power)


def _power(points: list[tuple[float, float]]) -> float:
    """Return the exponent of the curve through three points, the smallest share first."""
    (x0, y0), (x1, y1), (x2, y2) = points
    if not (x0 < x1 < x2 and y0 < y1 < y2):
        return _BEND

    def steeper(power: float) -> float:
        return float((x2**power - x1**power) / (x1**power - x0**power) - (y2 - y1) / (y1 - y0))

    flattest, steepest = _POWERS
    if steeper(flattest) >= 0:
        return flattest
    return steepest if steeper(steepest) <= 0 else float(brentq(steeper, flattest, steepest))
