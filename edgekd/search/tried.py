"""What a search leaves of the students it has tried: a table, and the front of latency and error in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekd.schema import Field, Schema
from edgekd.search.choice import Row
from edgekd.search.course import Score
from edgekd.search.fitting import Fitting
from edgekd.search.front import nondominated
from edgekd.search.space import Point

TABLE = "trials.json"
"""In the stage's folder: all that were tried."""


class Trial(Schema):
    """One network that was tried within the limit."""

    row: Row
    score: Score

    def text(self) -> str:
        """Return the trial in one line."""
        return f"{100 - self.score.error_percent:.2f} % right: {self.row.text()}"


class Trials(Schema):
    """All that were tried, in the order they were proposed, and the one that was chosen."""

    sampler: str
    within: int = Field(description="networks of the space that are predicted to be within the limit")
    trials: tuple[Trial, ...]
    chosen: int = Field(description="position of the chosen one")
    earlier: int = Field(default=0, description="earlier tasks that said where to begin")
    how: str = Field(default="after a short training", description="when the errors were counted")

    @classmethod
    def of(
        cls,
        told: Mapping[Point, Score],
        fitting: Fitting,
        sampler: str,
        *,
        earlier: int = 0,
        how: str = "after a short training",
    ) -> Trials:
        """Return the table; chosen is the most accurate network, of equals the cheapest."""
        trials = tuple(Trial(row=fitting.row(point), score=score) for point, score in told.items())
        best = min(range(len(trials)), key=lambda k: (trials[k].score.error_percent, trials[k].row.macs))
        return cls(sampler=sampler, within=len(fitting.points), trials=trials, chosen=best, earlier=earlier, how=how)

    @property
    def front(self) -> tuple[int, ...]:
        """Return the positions of those that no other one beats in latency and error, by growing latency."""
        costs = [(trial.row.latency.value, trial.score.error_percent) for trial in self.trials]
        return tuple(int(position) for position in nondominated(np.array(costs)))

    def text(self) -> str:
        """Return the result in one line."""
        best, first = self.trials[self.chosen], self.trials[0]
        begun = f", begun from {self.earlier} earlier task{'s' if self.earlier > 1 else ''}" if self.earlier else ""
        return (
            f"{len(self.trials)} of {self.within} networks within the limit tried (sampler {self.sampler}{begun}): "
            f"{best.row.text()}, {100 - best.score.error_percent:.2f} % right {self.how}; "
            f"the largest one {100 - first.score.error_percent:.2f} %"
        )
