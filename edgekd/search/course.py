"""The course of a search: what a sampler asked for and was told, kept in a file, so that a killed search goes on.

Who tries several networks at once tells them as they become ready, and another order leads to other questions. What is
kept is therefore the order too: a search that is begun again is led through all of it, and is then where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from edgekd.errors import EdgekdError
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, read_json, write_json
from edgekd.search.sampler import Sampler
from edgekd.search.space import Point


class Worth(Schema):
    """What a network was found to be worth: what the cache keeps of it, and the bank."""

    spec: ModelSpec
    error_percent: float = Field(description="of validation after the trial's training")
    images: int = Field(description="seen in that training")


class Score(Worth):
    """What a network was found to be worth in a search."""

    stopped_after: int | None = Field(
        default=None, description="epochs after which the training was stopped; trained in full when absent"
    )

    @property
    def worth(self) -> Worth:
        """Return what is kept of it."""
        return Worth(spec=self.spec, error_percent=self.error_percent, images=self.images)


class Step(Schema):
    """A network was asked for, or what it is worth was told."""

    point: Point
    score: Score | None = None
    rung: int = Field(default=0, description="of successive halving, in which that was told; 0 is the first")


class Steps(Schema):
    """All that was asked and told, in that order."""

    key: str = Field(description="digest of everything the search depends on")
    steps: tuple[Step, ...] = ()


Costs = Callable[[Point, Worth], tuple[float, ...]]
"""What a sampler is told of a network."""


def error_alone(point: Point, score: Worth) -> tuple[float, ...]:
    """Tell what a network gets wrong, wherever it stands."""
    del point
    return (score.error_percent,)


class Course:
    """The questions of a sampler, and the answers to them; a file of another key is begun anew."""

    def __init__(  # noqa: PLR0917 - who is asked, how often, and where that is kept
        self, sampler: Sampler, first: Point, most: int, path: Path, key: str, costs: Costs = error_alone
    ) -> None:
        """Take up what `path` holds; `first` is tried before the sampler is asked, and not more than `most` are.

        Raises EdgekdError where the sampler does not ask as it did.
        """
        self._sampler, self._path, self._key, self._costs = sampler, path, key, costs
        self._questions = _questions(sampler, first, most)
        self._steps: list[Step] = []
        self._asked: list[Point] = []
        self._told: dict[int, dict[Point, Score]] = {0: {}}
        found = read_json(Steps, path) if path.is_file() else None
        for step in found.steps if found is not None and found.key == key else ():
            if step.score is None and next(self._questions, None) != step.point:
                raise EdgekdError(f"{path}: the sampler does not ask what it asked then; delete the file to begin anew")
            self._take(step)

    def open(self) -> Iterator[Point]:
        """Yield what is to be tried: first what was asked for and never told."""
        yield from [point for point in self._asked if point not in self._told[0]]
        for point in self._questions:
            self._keep(Step(point=point))
            yield point

    def tell(self, point: Point, score: Score, rung: int = 0) -> None:
        """Keep what a network is worth; the sampler is told of the first rung, the one that all networks reach."""
        self._keep(Step(point=point, score=score, rung=rung))

    @property
    def told(self) -> dict[Point, Score]:
        """Return what was told of the first rung so far, in the order it was asked for."""
        return self.told_in(0)

    def told_in(self, rung: int) -> dict[Point, Score]:
        """Return what was told of a rung so far, in the order it was asked for."""
        told = self._told.get(rung, {})
        return {point: told[point] for point in self._asked if point in told}

    def _take(self, step: Step) -> None:
        self._steps.append(step)
        if step.score is None:
            self._asked.append(step.point)
        else:
            self._told.setdefault(step.rung, {})[step.point] = step.score
            if step.rung == 0:
                self._sampler.tell(step.point, self._costs(step.point, step.score))

    def _keep(self, step: Step) -> None:
        self._take(step)
        write_json(Steps(key=self._key, steps=tuple(self._steps)), self._path)


def _questions(sampler: Sampler, first: Point, most: int) -> Iterator[Point]:
    """Yield a network, then what a sampler asks for; it may ask for the first one before it is told of it."""
    yield first
    for _ in range(most - 1):
        point = sampler.ask()
        if point == first:
            point = sampler.ask()
        if point is None:
            return
        yield point
