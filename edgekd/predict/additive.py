"""Latency as a sum of what its parts cost: non-negative costs, fitted by relative error, deaf to outliers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

Array = NDArray[np.float64]

_RIDGE = 0.05
"""Pulls costs that the data cannot tell apart towards each other; small beside a relative error of 1 % a network."""
_ROUNDS = 20
_NORMAL = 1.4826
"""Median absolute deviation of a normal distribution, inverted: it becomes a standard deviation."""


def fit_additive(rows: Array, values: Array) -> Array:
    """Return the cost (k,) >= 0 of every feature, so that rows (m, k) >= 0 times it come near values (m,) > 0.

    Least squares on relative errors with Cauchy's weights 1 / (1 + (r/s)^2 / 2), iterated, s the scale of the residuals
    by their median (Holland and Welsch 1977, Robust regression using iteratively reweighted least-squares): latency
    tables hold a few per cent of networks that were disturbed while they were measured.
    """
    relative = rows / values[:, None]
    scale = np.maximum(relative.max(axis=0), 1e-12)
    design = relative / scale
    weights = np.ones(len(values))
    shrink = _RIDGE * np.eye(design.shape[1])
    costs = np.zeros(design.shape[1])
    for _ in range(_ROUNDS):
        root = np.sqrt(weights)
        costs, _ = nnls(np.vstack([design * root[:, None], shrink]), np.concatenate([root, np.zeros(len(shrink))]))
        residuals = design @ costs - 1
        spread = _NORMAL * float(np.median(np.abs(residuals))) + 1e-4
        weights = 1 / (1 + (residuals / spread) ** 2 / 2)
    return np.asarray(costs / scale, dtype=np.float64)
