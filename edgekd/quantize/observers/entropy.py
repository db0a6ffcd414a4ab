"""The range whose integers tell most of what the values told: least Kullback-Leibler divergence of the histograms.

Migacz 2017, "8-bit Inference with TensorRT" (GPU Technology Conference); the calibration of TensorRT 8 and ModelOpt.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgekd.quantize.observer import Observer
from edgekd.schema import Field, Schema

UNTOLD = 1e-4
"""Probability of values that were cut off; none would make every cut infinitely wrong."""


class Entropy(Observer):
    """Cuts off both ends at the same distance from zero, wherever coarser integers lose less than the cut."""

    class Config(Schema):
        """Options of the entropy observer."""

        bins: int = Field(default=2048, ge=512, le=65536, description="of the histogram of magnitudes")

    def range(self, levels: int, *, symmetric: bool) -> tuple[float, float]:
        """Return the least divergent of all cuts, within what was seen."""
        magnitudes = np.abs(self.values)
        largest = max(self.high, -self.low)
        if largest == 0:
            return 0.0, 0.0
        counts, _ = np.histogram(magnitudes, self.config.bins, (0.0, largest))
        # Magnitudes have half of the steps of integers that lie on both sides of zero.
        steps = levels if self.low == 0 or self.high == 0 else (levels + 1) // 2
        if symmetric:
            steps = (levels + 1) // 2
        cut = largest * _kept(counts.astype(np.float64), steps) / self.config.bins
        return max(self.low, -cut), min(self.high, cut)


def _kept(counts: NDArray[np.float64], steps: int) -> int:
    """Return after how many bins the histogram is cut off."""
    candidates: list[int] = [*range(steps, len(counts), max(1, (len(counts) - steps) // 200)), len(counts)]
    lost = [_divergence(counts, kept, steps) for kept in candidates]
    least: float = min(lost)
    return max(kept for kept, divergence in zip(candidates, lost, strict=True) if divergence == least)


def _divergence(counts: NDArray[np.float64], kept: int, steps: int) -> float:
    """Return the divergence of the values, cut off after `kept` bins, from what `steps` integers tell of them."""
    cut = counts[:kept].copy()
    cut[-1] += counts[kept:].sum()
    held = counts[:kept] > 0
    group = np.arange(kept) * steps // kept
    total = np.bincount(group, counts[:kept], steps)
    filled = np.bincount(group, held, steps)
    told = np.where(held, (total / np.maximum(filled, 1))[group], 0.0)
    if told.sum() == 0:
        return np.inf
    seen = cut > 0
    p, q = cut / cut.sum(), np.where(seen & (told == 0), UNTOLD, told / told.sum())
    q = q / q.sum()
    return float((p[seen] * np.log(p[seen] / q[seen])).sum())
