"""Greedy knapsack: the block of channels with the least importance lost per predicted millisecond saved goes first.

The resource view of pruning (NetAdapt, Yang et al. 2018; HALP, Shen et al. 2022): a channel is worth its importance
divided by what it costs on the target, and the cost of a channel is a staircase with the target's step.
"""

from __future__ import annotations

from edgekd.prune.allocator import Allocator, Problem
from edgekd.schema import Schema


class Latency(Allocator):
    """Takes one block at a time; the order does not depend on the limit, so a tighter limit only goes further."""

    class Config(Schema):
        """No options."""

    def widths(self, problem: Problem) -> dict[str, int]:
        """Return widths whose predicted latency is within the limit, where that is possible."""
        widths = dict(problem.whole)
        latency = problem.latency_ms(widths)
        while latency > problem.limit_ms:
            moves = [move for name in widths if (move := _move(problem, widths, latency, name)) is not None]
            if not moves:
                break
            _, name, width, latency = min(moves)
            widths[name] = width
        return widths


def _move(problem: Problem, widths: dict[str, int], latency: float, name: str) -> tuple[float, str, int, float] | None:
    """Return (importance lost per ms saved, group, new width, new latency) of the next step down that saves time."""
    present = problem.lost(name, widths[name])
    for width in problem.ladders[name]:
        if width >= widths[name]:
            continue
        after = problem.latency_ms({**widths, name: width})
        if latency - after > 1e-9 * latency:
            return (problem.lost(name, width) - present) / (latency - after), name, width, after
    return None
