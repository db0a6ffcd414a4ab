"""Says at the earliest possible moment that a percentile cannot be reached in the time there is."""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgekd.errors import MeasurementError
from edgekd.measure.turns import BLOCK_RUNS, blocks_needed

_LOWER = (99.9, 99.0, 95.0, 90.0, 50.0)


@dataclass(frozen=True)
class TimeLimit:
    """What a series has `left_s` of time for: so many `rounds` of one process for each of its `engines`."""

    left_s: float
    rounds: int
    engines: int
    percentile: float

    def refuse_late(self, starting_s: float, block_s: float) -> None:
        """Raise MeasurementError when rounds that take `starting_s` before the first block take too long.

        `block_s` is what one block of every engine takes. The sentence names both ways out.
        """
        needed_s = self._needed_s(self.percentile, starting_s, block_s)
        if needed_s <= self.left_s:
            return
        lower = (p for p in _LOWER if p < self.percentile and self._needed_s(p, starting_s, block_s) <= self.left_s)
        reachable = next(lower, None)
        other = "" if reachable is None else f", or judge p{reachable:g}, which fits"
        raise MeasurementError(
            f"p{self.percentile:g} needs {blocks_needed(self.percentile) * BLOCK_RUNS} runs in each of {self.rounds} "
            f"processes, for {self.engines} engines about {needed_s:.0f} s, but there are {self.left_s:.0f} s left"
            f"; allow {math.ceil(1.2 * needed_s)} s{other}"
        )

    def _needed_s(self, percentile: float, starting_s: float, block_s: float) -> float:
        return self.rounds * (starting_s + blocks_needed(percentile) * block_s)
