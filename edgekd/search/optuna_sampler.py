"""Samplers of Optuna (Akiba et al. 2019) as samplers of edgekd."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from edgekd.schema import Schema
from edgekd.search.sampler import Grid, Sampler
from edgekd.search.space import Axis, Point


class OptunaSampler(Sampler):
    """Holds a study in memory; ordered axes are integers, others categories."""

    def __init__(self, config: Schema, grid: Grid, costs: int, seed: int) -> None:
        super().__init__(config, grid, costs, seed)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._study = optuna.create_study(directions=["minimize"] * costs, sampler=self.inner(seed))
        self._distributions = {f"x{number}": _distribution(axis) for number, axis in enumerate(grid.axes)}
        self._open: dict[Point, Trial] = {}

    @abstractmethod
    def inner(self, seed: int) -> BaseSampler:
        """Return Optuna's sampler."""

    def propose(self) -> Point:
        """Return what Optuna suggests."""
        trial = self._study.ask(self._distributions)
        point = tuple(int(trial.params[name]) for name in self._distributions)
        if point in self._open:
            self._study.tell(trial, state=TrialState.FAIL)
        else:
            self._open[point] = trial
        return point

    def learn(self, point: Point, costs: tuple[float, ...]) -> None:
        """Tell Optuna; what it never suggested is added."""
        if point in self._open:
            self._study.tell(self._open.pop(point), costs)
            return
        self._study.add_trial(optuna.trial.create_trial(values=costs, **self._as_trial(point)))

    def refused(self, point: Point) -> None:
        """Tell Optuna what is known of it: its costs, or that it has none."""
        if point in self.told:
            self._study.tell(self._open.pop(point), self.told[point])
        elif point in self._open and not self.grid.allowed(point):
            self._study.tell(self._open.pop(point), state=TrialState.FAIL)

    def _as_trial(self, point: Point) -> dict[str, Any]:
        return {
            "params": dict(zip(self._distributions, point, strict=True)),
            "distributions": dict(self._distributions),
        }


def _distribution(axis: Axis) -> BaseDistribution:
    return IntDistribution(0, axis.size - 1) if axis.ordered else CategoricalDistribution(tuple(range(axis.size)))
