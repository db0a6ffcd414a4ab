"""The networks of a space that may be chosen under a limit."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edgekd.models.kernels import macs
from edgekd.recipe import ModelSpec
from edgekd.search import bank
from edgekd.search.bank import Row as Earlier
from edgekd.search.candidate import Candidate, candidate
from edgekd.search.choice import Judge, Row
from edgekd.search.course import Costs, Worth
from edgekd.search.sampler import Grid
from edgekd.search.space import Point, Space
from edgekd.stage import Context
from edgekd.train import data


class Fitting:
    """The networks of a space that are predicted to be within the limit, by growing cost; the cheapest where none is.

    Several points may be the same network; only the first of them counts.
    """

    def __init__(self, space: Space, judge: Judge, context: Context) -> None:
        dataset = data.load(context.recipe.data)
        shape, classes = dataset.image_shape, dataset.classes
        most = macs(candidate("teacher", context.recipe.model, shape, classes).kernels)
        self._judge, self._found = judge, dict[Point, Candidate]()
        by_cost = space.distinct()
        with context.progress.task("size up the students", len(by_cost)) as advance:
            for point in by_cost:
                self._found[point] = candidate("student", space.at(point), shape, classes)
                advance(1)
        self.affordable = [point for point, one in self._found.items() if macs(one.kernels) <= most] or by_cost[:1]
        """Those that multiply no more than the teacher, whatever the limit is; by growing cost."""
        self.points = [point for point in self.affordable if self.row(point).fits] or by_cost[:1]
        """By growing cost."""
        self.grid = Grid(space.axes(), frozenset(self.points).__contains__)

    def spec(self, point: Point) -> ModelSpec:
        """Return a network of the space."""
        return self._found[point].spec

    def known(self, rows: Sequence[Earlier], costs: Costs) -> list[dict[Point, tuple[float, ...]]]:
        """Return what networks of the space, whether they fit or not, cost in each earlier task.

        The error is the one there, the latency that here.
        """
        places = {bank.network(self.spec(point)): point for point in self._found}
        found = []
        for scores in bank.by_task(rows).values():
            here = {places[name]: one for one in scores if (name := bank.network(one.spec)) in places}
            found.append({point: costs(point, score) for point, score in here.items()})
        return found

    def row(self, point: Point) -> Row:
        """Return what a network is predicted to cost."""
        return self._judge.row("tried", self._found[point])

    def foreseen(self, point: Point) -> tuple[float | None, ...]:
        """Return of `both_costs` what is known before a network is tried."""
        return self._log_latency(point), None

    def both_costs(self, point: Point, score: Worth) -> tuple[float, ...]:
        """Return the logarithm of a network's predicted latency, and its error."""
        return self._log_latency(point), score.error_percent

    def _log_latency(self, point: Point) -> float:
        return math.log(self.row(point).latency.value)
