"""Non-negative least squares on relative errors, for as few as one measured engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import nnls

Array = NDArray[np.float64]

CONFIDENCE = 0.9
"""One-sided, of each bound of a prediction."""

_UNKNOWN_SPREAD = 0.5
"""Relative spread assumed where too few engines were measured to leave one out."""

_FLATTERY = 1.25
"""The best of many subsets looks better than it is; this factor restores the bounds' coverage in simulation."""


@dataclass(frozen=True)
class Fit:
    """Coefficients by feature, never negative, and the relative spread of a prediction."""

    coefficients: Array
    spread: float
    """Relative standard error of the prediction of a new engine."""
    samples: int

    def bounds(self, value: float) -> tuple[float, float]:
        """Return the lower and upper confidence bound of a predicted value, by Student's t."""
        reach = self.spread * float(special.stdtrit(max(1, self.samples - 1), CONFIDENCE))
        return max(0.0, value * (1 - reach)), value * (1 + reach)


def fit(rows: Array, values: Array, always: int) -> Fit:
    """Fit values (m,) > 0 by rows (m, k) of features, none negative.

    With few engines not every feature can be told apart: among the subsets of features that hold the column `always`,
    the one that predicts best the engines left out of the fit is kept (all features where that loses nothing).
    """
    best: tuple[float, int, tuple[int, ...]] | None = None
    for subset in _subsets(rows, always):
        error = _left_out(rows[:, subset], values)
        if best is None or (error, -len(subset)) < (best[0] - 1e-9, best[1]):
            best = (error, -len(subset), subset)
    error, _, chosen = best if best is not None else (_UNKNOWN_SPREAD, 0, (always,))
    coefficients = np.zeros(rows.shape[1])
    coefficients[list(chosen)] = _solve(rows[:, chosen], values)
    free = max(1, len(values) - int(np.count_nonzero(coefficients)))
    return Fit(coefficients, error * _FLATTERY * float(np.sqrt(len(values) / free)), len(values))


def _subsets(rows: Array, always: int) -> Iterator[tuple[int, ...]]:
    """Yield the subsets of features in use, small enough that leaving one engine out still determines them."""
    others = [k for k in range(rows.shape[1]) if k != always and rows[:, k].any()]
    most = max(1, min(len(others) + 1, len(rows) - 1))
    for size in range(most):
        for extra in combinations(others, size):
            yield (always, *extra)


def _left_out(rows: Array, values: Array) -> float:
    """Return the root mean square relative error at each engine by the fit of all others."""
    if len(values) < 2:
        return _UNKNOWN_SPREAD
    errors = []
    for position in range(len(values)):
        rest = np.arange(len(values)) != position
        predicted = rows[position] @ _solve(rows[rest], values[rest])
        errors.append(predicted / values[position] - 1)
    return float(np.sqrt(np.mean(np.square(errors))))


def _solve(rows: Array, values: Array) -> Array:
    relative = rows / values[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-300)
    solution, _ = nnls(relative / scale, np.ones(len(values)))
    return np.asarray(solution / scale, dtype=np.float64)
