"""A series that goes on until it decides: looks far apart, each with more processes, while a limit is contested."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.measure.sequence import FIRST_LOOK, next_look
from edgekd.measure.series import Series


def decided(
    take: Callable[[int, float | None], Series],
    contested: Callable[[Series], bool],
    limit_s: float,
    *,
    first: int = FIRST_LOOK,
    extend: bool = True,
) -> Series:
    """Return the series at the look that decided, or at the last one `limit_s` seconds of measuring allow.

    `take` measures, or extends, to a number of processes; it gets the seconds it may need at its first look, None at
    later ones, which were planned to fit. Without `extend` there is no look but the first, at `first` processes.
    """
    found = take(first, limit_s)
    while extend and contested(found):
        further = next_look(len(found.records[0].per_process["look"]), found.seconds, limit_s)
        if further is None:
            break
        found = take(further, None)
    return found
