"""The range with the least mean squared error between values and what their integers stand for."""

from __future__ import annotations

import numpy as np

from edgekd.quantize.observer import Observer
from edgekd.schema import Field, Schema

BINS = 4096


class MeanSquaredError(Observer):
    """Shrinks the observed range, both ends alike, as long as finer steps gain more than cut values lose.

    Sung et al. 2015, "Resiliency of Deep Neural Networks under Quantization", https://arxiv.org/abs/1511.06488.
    """

    class Config(Schema):
        """Options of the mean squared error observer."""

        candidates: int = Field(default=50, ge=2, le=1000, description="ranges tried")
        smallest: float = Field(default=0.3, gt=0, le=1, description="smallest share of the full range tried")

    def range(self, levels: int, *, symmetric: bool) -> tuple[float, float]:
        """Return the best of the candidate ranges."""
        largest = max(self.high, -self.low)
        low, high = (-largest, largest) if symmetric else (self.low, self.high)
        if high <= low:
            return low, high
        values, counts = self.histogram(BINS)
        shares = np.linspace(1.0, self.config.smallest, self.config.candidates)
        steps = (shares * (high - low) / levels)[:, None]
        integers = np.round(values / steps)
        errors = np.clip(integers, np.round(low * shares[:, None] / steps), np.round(high * shares[:, None] / steps))
        best = float(shares[(((errors * steps - values) ** 2) * counts).sum(1).argmin()])
        return best * low, best * high
