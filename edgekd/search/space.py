"""What a search space is: the students that may be chosen for a teacher, from cheap to dear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from edgekd.plugins import PluginFolder
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, from_mapping

Point = tuple[int, ...]
"""A network of a space: the position of its choice on each axis."""


@dataclass(frozen=True)
class Axis:
    """One decision of a space."""

    size: int
    """How many choices there are."""
    ordered: bool = True
    """Whether neighbouring choices are alike, as widths are and operators are not."""


def points(axes: Sequence[Axis]) -> Iterator[Point]:
    """Yield every combination of choices."""
    return product(*(range(axis.size) for axis in axes))


class Space(ABC):
    """Contract of a search space: a finite set of networks around a teacher.

    Every choice builds for every input shape its family accepts. Widths are multiples of `Config.step`.
    """

    class Config(Schema):
        """Options every space has."""

        step: int = Field(
            default=8, ge=1, le=1024, description="widths are multiples of this; the search takes the target's"
        )

    def __init__(self, config: Config, teacher: ModelSpec) -> None:
        self.config = config
        self.teacher = teacher

    @abstractmethod
    def axes(self) -> tuple[Axis, ...]:
        """Return the decisions a network of the space consists of."""

    @abstractmethod
    def at(self, point: Point) -> ModelSpec:
        """Return the network of these choices; several points may be the same one."""

    @abstractmethod
    def macs(self, point: Point) -> float:
        """Return about how much a network multiplies, in any unit; first and last layer may be left out."""

    def rows(self, point: Point) -> tuple[int, ...]:
        """Return how many of a network's `blocks` stand in each of its rows, from front to back; () without rows.

        Networks that share weights do so row by row: a shallower one has the first blocks of every row.
        """
        del point
        return ()

    def distinct(self) -> list[Point]:
        """Return one point for every network of the space, by growing multiplications."""
        found = sorted(points(self.axes()), key=lambda point: (self.macs(point), point))
        first: dict[str, Point] = {}
        for point in found:
            first.setdefault(self.at(point).model_dump_json(), point)
        return list(first.values())

    def choices(self) -> Sequence[ModelSpec]:
        """Return every network of the space once, by growing multiplications."""
        return [self.at(point) for point in self.distinct()]

    def smallest(self) -> ModelSpec:
        """Return the cheapest choice."""
        return self.choices()[0]

    def largest(self) -> ModelSpec:
        """Return the dearest choice."""
        return self.choices()[-1]

    def aligned(self, width: float) -> int:
        """Return a width rounded up to the step."""
        return max(self.config.step, -int(-width // self.config.step) * self.config.step)


SPACES: PluginFolder[Space] = PluginFolder("edgekd.search.spaces", Space)  # type: ignore[type-abstract]


def create(name: str | None, options: dict[str, Any], teacher: ModelSpec, step: int) -> Space:
    """Return the space called `name`; without a name that of the teacher's own family, else the ResNets.

    Raises UsageError for an unknown name or option.
    """
    own = teacher.name if teacher.name in SPACES.names() else "resnet"
    kind = SPACES.get((own or "resnet") if name is None else name)
    config = from_mapping(kind.Config, {"step": step, **options}, f"options of search space '{name or own}'")
    return kind(config, teacher)
