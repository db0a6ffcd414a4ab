"""A percentile of the values: the rarest are cut off, the others get finer steps."""

from __future__ import annotations

import numpy as np

from edgekd.quantize.observer import Observer
from edgekd.schema import Field, Schema


class Percentile(Observer):
    """Covers the given share of the observed values on each side of zero."""

    class Config(Schema):
        """Options of the percentile observer."""

        percentile: float = Field(default=99.99, gt=50, le=100, description="of the values, on each side")

    def range(self, levels: int, *, symmetric: bool) -> tuple[float, float]:
        """Return the percentiles, widened to include zero."""
        del levels, symmetric
        share = self.config.percentile
        low, high = np.percentile(self.values, [100 - share, share])
        return min(0.0, float(low)), max(0.0, float(high))
