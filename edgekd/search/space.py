"""What a search space is: the students that may be chosen for a teacher, from cheap to dear."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from edgekd.plugins import PluginFolder
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema, from_mapping


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
    def choices(self) -> Sequence[ModelSpec]:
        """Return every network of the space once, by growing multiplications (first and last layer may be left out)."""

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
