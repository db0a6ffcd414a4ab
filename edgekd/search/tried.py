"""What a search leaves of the students it has tried: a table, and the front of latency and error in it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgekd.schema import Field, Schema
from edgekd.search.choice import Row
from edgekd.search.course import Score
from edgekd.search.fitting import Fitting
from edgekd.search.front import nondominated
from edgekd.search.halving import Rung, epochs_in_words, in_words
from edgekd.search.space import Point

TABLE = "trials.json"
"""In the stage's folder: all that were tried."""


class Trial(Schema):
    """One network that was tried within the limit."""

    row: Row
    score: Score

    def text(self) -> str:
        """Return the trial in one line."""
        return f"{self.right}: {self.row.text()}"

    @property
    def in_full(self) -> bool:
        """Return whether its training went to the end."""
        return self.score.stopped_after is None

    @property
    def right(self) -> str:
        """Return its accuracy in words, with the epochs after which a training was stopped."""
        epochs = self.score.stopped_after
        after = f" after {epochs_in_words(epochs)}" if epochs is not None else ""
        return f"{100 - self.score.error_percent:.2f} % right{after}"


class Trials(Schema):
    """All that were tried, in the order they were proposed, and the one that was chosen."""

    sampler: str
    within: int = Field(description="networks of the space that are predicted to be within the limit")
    trials: tuple[Trial, ...]
    chosen: int = Field(description="position of the chosen one, among those that were trained in full")
    earlier: int = Field(default=0, description="earlier tasks that said where to begin")
    how: str = Field(default="after a short training", description="when the errors were counted")
    rungs: tuple[Rung, ...] = Field(
        default=(), description="of successive halving, the last one in full; none: all were trained in full"
    )

    @classmethod
    def of(
        cls,
        told: Mapping[Point, Score],
        fitting: Fitting,
        sampler: str,
        *,
        earlier: int = 0,
        how: str = "after a short training",
        rungs: tuple[Rung, ...] = (),
    ) -> Trials:
        """Return the table; chosen is the most accurate network of those trained in full, of equals the cheapest."""
        trials = tuple(Trial(row=fitting.row(point), score=score) for point, score in told.items())
        whole = [position for position, trial in enumerate(trials) if trial.in_full]
        best = min(whole, key=lambda k: (trials[k].score.error_percent, trials[k].row.macs))
        return cls(
            sampler=sampler,
            within=len(fitting.points),
            trials=trials,
            chosen=best,
            earlier=earlier,
            how=how,
            rungs=rungs,
        )

    @property
    def front(self) -> tuple[int, ...]:
        """Return the positions of those that no other one beats in latency and error, by growing latency.

        Only those count that were trained in full: an error after fewer epochs says nothing against theirs.
        """
        whole = [position for position, trial in enumerate(self.trials) if trial.in_full]
        costs = [(self.trials[k].row.latency.value, self.trials[k].score.error_percent) for k in whole]
        return tuple(whole[int(row)] for row in nondominated(np.array(costs)))

    def text(self) -> str:
        """Return the result in one line."""
        best, first = self.trials[self.chosen], self.trials[0]
        begun = f", begun from {self.earlier} earlier task{'s' if self.earlier > 1 else ''}" if self.earlier else ""
        halved = f"; {in_words(self.rungs)}" if self.rungs else ""
        return (
            f"{len(self.trials)} of {self.within} networks within the limit tried (sampler {self.sampler}{begun}): "
            f"{best.row.text()}, {best.right} {self.how}; "
            f"the largest one {first.right}{halved}"
        )
