"""The prior of a search: the designs that did well in earlier tasks, each task as much as it is like the present one.

Cao et al. 2023, AutoTransfer: AutoML with Knowledge Transfer - An Application to Graph Neural Networks. The paper's: a
bank of tasks, networks and scores; for every task the distribution of its best designs, each decision for itself; a
prior that is the sum of these, weighted by the similarity of tasks; and that any search can begin from it.

Ours is the similarity. The paper embeds a task by the Fisher information of anchor networks, and trains a projection
under which tasks are near where they rank networks alike. Here that ranking is looked at itself, and no anchor is
trained: a task is like the present one as far as its distribution puts the networks that were tried here into the order
in which they turned out (Kendall's tau). Before anything was tried all tasks are taken for alike. Ours too: the best of
two costs are the outermost fronts, a little of every distribution prefers nothing, and the constants, which were chosen
on three of the fourteen devices of tools/bench_warm_start.py. Experimental: docs/search.md has what it is worth.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edgekd.search.front import nondominated
from edgekd.search.space import Axis, Point

Array = NDArray[np.float64]
Costs = tuple[float, ...]

LEAST = 4
"""Networks of a task that are in the present space; a task with fewer says nothing."""
_BEST = 0.5
"""Times the square root of how many networks a task has tried: so many of the best, two at least, are its design."""
_EVEN = 0.5
"""Networks that stand for no preference in every distribution."""
_BELIEF = 10.0
"""Pairs of networks in the right order that every task is credited with before anything was tried."""
_SHARPNESS = 4.0
"""Power of the similarity by which a task weighs."""
_COMPARED = 60
"""Networks, the last that were told, whose order is compared."""
_DRAWS = 200
"""Draws that are known or not allowed before the prior has nothing more to say."""


class Prior:
    """A mixture of the design distributions of earlier tasks over the points of one space."""

    def __init__(self, axes: Sequence[Axis], tasks: Sequence[Mapping[Point, Costs]]) -> None:
        """Take what networks cost in earlier tasks, lower is better, one mapping a task."""
        self._designs = [_design(axes, task) for task in tasks if len(task) >= LEAST]
        """Of every task, of every axis: the logarithm of how likely each choice is."""

    @property
    def tasks(self) -> int:
        """Return how many tasks say something."""
        return len(self._designs)

    def similarities(self, told: Mapping[Point, Costs]) -> Array:
        """Return how alike the order of the networks tried here is in every task, (tasks,), -1 to 1."""
        if not told:
            return np.ones(self.tasks)
        points = np.array(list(told)[-_COMPARED:], np.intp)
        costs = np.array(list(told.values())[-_COMPARED:], np.float64)
        better = (costs[:, None] <= costs[None]).all(axis=2) & (costs[:, None] < costs[None]).any(axis=2)
        likely = [sum((d[points[:, k]] for k, d in enumerate(own)), np.zeros(len(points))) for own in self._designs]
        right = [float((np.sign(one[:, None] - one[None]) * better).sum()) for one in likely]
        return (np.array(right) + _BELIEF) / (float(better.sum()) + _BELIEF)

    def draw(self, similarities: Array, random: np.random.Generator, is_left: Callable[[Point], bool]) -> Point | None:
        """Return a network that is left, None where no task is like this one or the prior knows none."""
        weights = np.maximum(similarities, 0) ** _SHARPNESS
        if not weights.sum():
            return None
        for _ in range(_DRAWS):
            own = self._designs[int(random.choice(len(weights), p=weights / weights.sum()))]
            point = tuple(int(random.choice(len(choices), p=np.exp(choices))) for choices in own)
            if is_left(point):
                return point
        return None


def _design(axes: Sequence[Axis], task: Mapping[Point, Costs]) -> list[Array]:
    """Return the logarithm of how likely each choice of each axis is among the best networks of a task."""
    points = np.array(list(task), np.intp)
    best = points[_best(np.array(list(task.values()), np.float64), max(2, round(_BEST * len(points) ** 0.5)))]
    counts = [np.bincount(best[:, number], minlength=axis.size) for number, axis in enumerate(axes)]
    return [np.log((count + _EVEN / len(count)) / (len(best) + _EVEN)) for count in counts]


def _best(costs: Array, count: int) -> NDArray[np.intp]:
    """Return `count` rows of costs (n, 1) or (n, 2), the best first: front by front, as far as one is begun."""
    if costs.shape[1] == 1:
        return np.argsort(costs[:, 0], kind="stable")[:count]
    left, found = np.arange(len(costs)), list[int]()
    while len(found) < count:
        front = left[nondominated(costs[left])]
        found += front.tolist()
        left = np.setdiff1d(left, front)
    return np.array(found, np.intp)
