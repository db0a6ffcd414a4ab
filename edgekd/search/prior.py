"""The prior of a search: what earlier tasks foretell of its networks, each task as much as it is like the present one.

Cao et al. 2023, AutoTransfer: AutoML with Knowledge Transfer - An Application to Graph Neural Networks: a bank of
tasks, networks and scores; a prior that is a sum over the tasks, weighted by how similar they are; any search can begin
from it. What a task adds is after Wistuba, Schilling and Schmidt-Thieme 2018, Scalable Gaussian process-based transfer
surrogates for hyperparameter optimization (Machine Learning 107): a Gaussian process of its own, of which the weighted
sum is taken, the weights by how its order of what was tried here agrees with the order in which it turned out.
AutoTransfer's own distribution of the best designs, each decision for itself, was built first and was worth less.

Ours: the weights are a power of Kendall's tau, not a kernel of a distance, so that a task of opposite order has none;
before anything was tried all tasks are taken for alike; the network that is foretold to cost least is drawn, not the
one of largest expected improvement; there is no process of the present task, as the sampler of the recipe takes over;
and of two costs the front that is foretold is drawn from. The constants were chosen on three of the fourteen devices of
tools/bench_warm_start.py; docs/search.md has what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from edgekd.predict.gaussian_process import GaussianProcess, standardised
from edgekd.search.front import nondominated
from edgekd.search.regression import features, foreseen, scaled
from edgekd.search.sampler import Grid
from edgekd.search.space import Point

Array = NDArray[np.float64]
Costs = tuple[float, ...]

LEAST = 4
"""Networks of a task that are in the present space; a task with fewer says nothing."""
_MOST = 300
"""Networks of a task that are learned from, evenly from the best to the worst; time grows with their cube."""
_BELIEF = 10.0
"""Pairs of networks in the right order that every task is credited with before anything was tried."""
_SHARPNESS = 4.0
"""Power of the similarity by which a task weighs."""
_COMPARED = 60
"""Networks, the last that were told, whose order is compared."""
_DIGITS = 6
"""Of a foretold cost, in standard deviations; what is equal is not told apart by how a machine sums."""


class Prior:
    """What earlier tasks foretell of the allowed networks of a space, which is gone through as a whole."""

    def __init__(self, grid: Grid, tasks: Sequence[Mapping[Point, Costs]]) -> None:
        """Take what networks cost in earlier tasks, one cost or two, lower is better, one mapping a task."""
        known = [_thinned(task) for task in tasks if len(task) >= LEAST]
        self.tasks = len(known)
        """How many tasks say something."""
        self._at: dict[Point, int] = {}
        if known:
            rows = (point for task in known for point in task)
            self._points = list(dict.fromkeys([*filter(grid.allowed, grid.points()), *rows]))
            self._at = {point: number for number, point in enumerate(self._points)}
            ahead = foreseen(grid, self._points, len(next(iter(known[0].values()))))
            self._learned = np.flatnonzero(np.isnan(ahead).any(axis=0))
            """The costs that are not foreseen."""
            self._foretold = np.stack([ahead] * self.tasks)
            """(tasks, networks, costs): of a cost that is foreseen what it is, of others in standard deviations."""
            self._learn(grid, known)

    def similarities(self, told: Mapping[Point, Costs]) -> Array:
        """Return how alike the order of the networks tried here is in every task, (tasks,), -1 to 1."""
        tried = [point for point in list(told)[-_COMPARED:] if point in self._at]
        if not tried:
            return np.ones(self.tasks)
        costs = np.array([told[point] for point in tried], np.float64)[:, self._learned]
        foretold = self._foretold[:, [self._at[point] for point in tried]][:, :, self._learned]
        better = costs[:, None] < costs[None]
        right = (np.sign(foretold[:, None] - foretold[:, :, None]) * better).sum(axis=(1, 2, 3))
        return np.asarray((right + _BELIEF) / (float(better.sum()) + _BELIEF), dtype=np.float64)

    def draw(self, similarities: Array, random: np.random.Generator, is_left: Callable[[Point], bool]) -> Point | None:
        """Return a network that is left, None where no task is like this one or none is left."""
        weights = np.maximum(similarities, 0) ** _SHARPNESS
        if not weights.sum():
            return None
        left = [number for number, point in enumerate(self._points) if is_left(point)]
        if not left:
            return None
        foretold = np.tensordot(weights / weights.sum(), self._foretold[:, left], axes=1).round(_DIGITS)
        best = nondominated(foretold) if foretold.shape[1] == 2 else foretold.argmin(axis=0)
        return self._points[left[int(random.choice(best))]]

    def _learn(self, grid: Grid, known: Sequence[Mapping[Point, Costs]]) -> None:
        """Foretell the costs that are not foreseen, by a process for every task and cost."""
        alike = standardised(features(grid.axes, self._points))
        with threadpool_limits(1):  # matrices of this size take longer on several processors than on one
            for task, foretold in zip(known, self._foretold, strict=True):
                rows = [self._at[point] for point in task]
                costs = np.array(list(task.values()), np.float64)
                costs = scaled(costs, costs)
                for number in self._learned:
                    foretold[:, number] = GaussianProcess([alike[rows]], costs[:, number])([alike]).mean


def _thinned(task: Mapping[Point, Costs]) -> Mapping[Point, Costs]:
    """Return what is learned from of a task: all of it, or as much as is bearable."""
    if len(task) <= _MOST:
        return task
    ranked = sorted(task, key=lambda point: (task[point], point))
    return {ranked[number]: task[ranked[number]] for number in np.linspace(0, len(ranked) - 1, _MOST).astype(int)}
