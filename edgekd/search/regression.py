"""How a regression sees a search: what makes two networks alike, and what they cost in a scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.search.sampler import Grid
from edgekd.search.space import Axis, Point

Array = NDArray[np.float64]

_FAR_OUT = 3.0
"""Interquartile ranges from the median."""


def features(axes: Sequence[Axis], points: Sequence[Point]) -> Array:
    """Return what networks are alike by, (n, k): a column for every choice, and the place on an ordered axis."""
    places, columns = np.array(points, dtype=np.float64), list[NDArray[np.generic]]()
    for number, axis in enumerate(axes):
        columns += [places[:, number] == choice for choice in range(axis.size)]
        columns += [places[:, number]] if axis.ordered else []
    return np.stack(columns, axis=1).astype(np.float64)


def scaled(costs: Array, told: Array) -> Array:
    """Return costs in a scale in which each column of those told has mean 0 and variance 1.

    What lies far from most would set the scale, and is clipped.
    """
    low, middle, high = np.quantile(told, (0.25, 0.5, 0.75), axis=0)
    reach = _FAR_OUT * (high - low) + 1e-12
    clipped, known = (np.clip(own, middle - reach, middle + reach) for own in (costs, told))
    return np.asarray((clipped - known.mean(axis=0)) / (known.std(axis=0) + 1e-12), dtype=np.float64)


def foreseen(grid: Grid, points: Sequence[Point], costs: int) -> Array:
    """Return the costs of networks that are known beforehand, (n, costs), NaN for the others."""
    if grid.foreseen is None:
        return np.full((len(points), costs), np.nan)
    return np.array([grid.foreseen(point) for point in points], dtype=np.float64)
