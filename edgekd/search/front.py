"""Pareto fronts of two costs, and how much of the plane they dominate."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def nondominated(costs: Array) -> NDArray[np.intp]:
    """Return the rows of `costs` (n, 2) that no other row beats, by growing first cost; of equals the first stays.

    A row beats another where it is nowhere worse and somewhere better.
    """
    order = np.lexsort((costs[:, 1], costs[:, 0]))
    second = costs[order, 1]
    least_before = np.concatenate([[np.inf], np.minimum.accumulate(second)[:-1]])
    return np.asarray(order[second < least_before])


def hypervolume(costs: Array, reference: tuple[float, float]) -> float:
    """Return the area between the front of `costs` (n, 2) and a point that is worse than what counts.

    Zitzler and Thiele 1999, Multiobjective evolutionary algorithms: a comparative case study.
    """
    within = costs[(costs < np.asarray(reference)).all(axis=1)]
    front = within[nondominated(within)]
    rights = np.append(front[1:, 0], reference[0])
    return float(((rights - front[:, 0]) * (reference[1] - front[:, 1])).sum())


def gains(candidates: Array, costs: Array, reference: tuple[float, float]) -> Array:
    """Return by how much each of the candidates (m, 2) alone would enlarge the hypervolume of `costs` (n, 2), (m,)."""
    within = costs[(costs < np.asarray(reference)).all(axis=1)]
    front = within[nondominated(within)]
    edges = np.concatenate([[-np.inf], front[:, 0], [reference[0]]])
    levels = np.concatenate([[reference[1]], front[:, 1]])
    first, second = candidates[:, :1], candidates[:, 1:]
    widths = np.maximum(edges[1:] - np.maximum(edges[:-1], first), 0)
    heights = np.maximum(levels - second, 0)
    return np.asarray((widths * heights).sum(axis=1))
