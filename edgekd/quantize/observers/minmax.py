"""The whole range ever seen: nothing is cut off, outliers cost resolution."""

from __future__ import annotations

from edgekd.quantize.observer import Observer
from edgekd.schema import Schema


class MinMax(Observer):
    """Covers the smallest and the largest value exactly."""

    class Config(Schema):
        """No options."""

    def range(self, levels: int, *, symmetric: bool) -> tuple[float, float]:
        """Return the extremes."""
        del levels, symmetric
        return self.low, self.high
