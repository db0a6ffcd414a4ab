"""When to look at a series again: after how many processes, as far as the time allows."""

from __future__ import annotations

from edgekd.measure.statistics import samples_needed

FIRST_LOOK = samples_needed(50)
"""The fewest processes whose median has a bound although one of them may exceed it: 11."""
GROWTH = 2.0
"""Looks closer together decide no more within a minute, and no less (tools/study_looks.py); so there are few."""
WORTHWHILE = 1.15
"""A look with fewer than this many times the processes of the one before decides nothing that was not decided."""
MOST_PROCESSES = 1000


def next_look(processes: int, measured_s: float, limit_s: float, most: int = MOST_PROCESSES) -> int | None:
    """Return at how many processes an engine is to be judged next; None when that is not worth it or not possible.

    `processes` were measured in `measured_s` seconds of the `limit_s` that may be spent; the next are expected to take
    as long each. None of it depends on what was measured, which the risk shared between looks requires
    (`statistics.bound_rank`). The first look comes at 11 processes whatever they take; where the time ends before or
    soon after a planned look, that look takes all processes there is time for.
    """
    if processes == 0:
        return min(FIRST_LOOK, most)
    affordable = most
    if measured_s > 0:
        affordable = min(most, int(processes * limit_s / measured_s))
    planned = int(GROWTH * processes)
    target = planned if affordable >= WORTHWHILE * planned else affordable
    return target if target >= WORTHWHILE * processes else None
