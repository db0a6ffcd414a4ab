"""Greedy knapsack: the block of channels with the least importance lost per predicted millisecond saved goes first.

What the last block saved beyond the limit is then filled: the block with the most importance per millisecond comes back
first, until none fits.

The resource view of pruning (NetAdapt, Yang et al. 2018; HALP, Shen et al. 2022): a channel is worth its importance
divided by what it costs on the target, and the cost of a channel is a staircase with the target's step.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import NamedTuple

from edgekd.prune.allocator import Allocator, Problem
from edgekd.schema import Schema


class Latency(Allocator):
    """Takes one block at a time and leaves no room that a block would fit into."""

    class Config(Schema):
        """No options."""

    def widths(self, problem: Problem) -> dict[str, int]:
        """Return widths whose predicted latency is within the limit, where that is possible.

        A move is looked at again only when it is the best by what was last known of it: a group's neighbours only make
        what it saves smaller. So a deeper network takes more moves, but each of them about as long.
        """
        widths = dict(problem.whole)
        latency = problem.latency_ms(widths)
        queue: list[_Move] = []
        moved = True
        while latency > problem.limit_ms:
            best = _best(problem, widths, latency, queue)
            if best is None:
                if not moved:
                    break
                moved = False  # what saved nothing may do so now
                queue = [move for name in widths if (move := _move(problem, widths, latency, name)) is not None]
                heapify(queue)
                continue
            moved = True
            widths[best.name], latency = best.width, best.latency
            if (following := _move(problem, widths, latency, best.name)) is not None:
                heappush(queue, following)
        return _filled(problem, widths, latency)


class _Move(NamedTuple):
    """The next step down of a group that saves time."""

    price: float
    """Importance lost per ms saved."""
    name: str
    width: int
    latency: float
    """Of the network afterwards."""


def _filled(problem: Problem, widths: dict[str, int], latency: float) -> dict[str, int]:
    """Return the widths with blocks put back as long as one fits."""
    while True:
        found = []
        for name, width in widths.items():
            for wider in reversed([rung for rung in problem.ladders[name] if rung > width]):
                after = problem.latency_ms({**widths, name: wider})
                if after > problem.limit_ms:
                    break
                regained = problem.lost(name, width) - problem.lost(name, wider)
                found.append((regained / max(after - latency, 1e-9 * latency), name, wider, after))
        if not found:
            return widths
        _, name, wider, latency = max(found)
        widths = {**widths, name: wider}


def _best(problem: Problem, widths: dict[str, int], latency: float, queue: list[_Move]) -> _Move | None:
    while queue:
        fresh = _move(problem, widths, latency, heappop(queue).name)
        if fresh is None:
            continue
        if not queue or fresh <= queue[0]:
            return fresh
        heappush(queue, fresh)
    return None


def _move(problem: Problem, widths: dict[str, int], latency: float, name: str) -> _Move | None:
    present = problem.lost(name, widths[name])
    for width in problem.ladders[name]:
        if width >= widths[name]:
            continue
        after = problem.latency_ms({**widths, name: width})
        if latency - after > 1e-9 * latency:
            return _Move((problem.lost(name, width) - present) / (latency - after), name, width, after)
    return None
