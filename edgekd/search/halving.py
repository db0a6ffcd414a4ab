"""Successive halving (Jamieson and Talwalkar 2016): all are trained a little, the best of them go on, few to the end.

A rung is a number of epochs of the one schedule that all trainings have. Who goes on does so after its last finished
epoch; so a network of the last rung is to the bit what it would be had it been trained in one go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

from edgekd.schema import Field, Schema
from edgekd.search.course import Score
from edgekd.search.space import Point


class Rung(Schema):
    """Networks that are trained equally long, to be compared."""

    epochs: int = Field(description="of the schedule that they have behind them")
    networks: int


def rungs(count: int, epochs: int, eta: int) -> tuple[Rung, ...]:
    """Return the rungs from the first to the last, of `epochs`; each has 1/eta of the networks of the one before.

    There are as many as count and epochs can be divided by eta, and the division is rounded down.
    """
    times = 0
    while eta ** (times + 1) <= min(count, epochs):
        times += 1
    return tuple(Rung(epochs=epochs // eta ** (times - k), networks=count // eta**k) for k in range(times + 1))


def all_epochs(ladder: tuple[Rung, ...]) -> int:
    """Return the epochs of all networks together; who goes on to a rung needs only those that are still missing."""
    begun = Rung(epochs=0, networks=0)
    return sum(rung.networks * (rung.epochs - before.epochs) for before, rung in pairwise((begun, *ladder)))


def going_on(told: Mapping[Point, Score], eta: int, macs: Callable[[Point], float]) -> list[Point]:
    """Return the most accurate 1/eta of a rung, one at least, the best first; of equals the cheapest."""
    best = sorted(told, key=lambda point: (told[point].error_percent, macs(point)))
    return best[: max(1, len(told) // eta)]


def in_words(ladder: tuple[Rung, ...]) -> str:
    """Return in words how many networks were trained for how long."""
    first, *later = ladder
    more = "".join(f", {rung.networks} of them for {rung.epochs}" for rung in later)
    return f"{first.networks} were trained for {epochs_in_words(first.epochs)}{more}"


def epochs_in_words(epochs: int) -> str:
    """Return so many epochs in words."""
    return f"{epochs} epoch{'s' if epochs > 1 else ''}"
