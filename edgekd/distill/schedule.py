"""A schedule: who teaches whom in which order, until the student is done."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from edgekd.plugins import PluginFolder
from edgekd.recipe import DataSpec, ModelSpec
from edgekd.schema import Schema, from_mapping

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import Tensor, nn

    from edgekd.distill.teach import TeachConfig

STUDENT = "distilled"
"""The name of the network a schedule ends with."""


class Perturbation(Schema, ABC):
    """What disturbs a network while it is trained; its options tell one training from another.

    Random numbers are drawn from torch's global CPU generator, whose state is kept with the training.
    """

    @abstractmethod
    def applied(self, model: nn.Module, inputs: Tensor) -> AbstractContextManager[None]:
        """Return a context in which `model`, which eats `inputs` (N, ...), is disturbed in train mode.

        In eval mode it answers as ever, and after the context it is as it was before. Raises UsageError on entering
        where this network cannot be disturbed so.
        """


@dataclass(frozen=True)
class Phase:
    """One training: of which network, by whom, on what."""

    network: str = STUDENT
    """What the trained network is called; later phases may name it as their teacher."""
    model: ModelSpec | None = None
    """Which network it is; the student where there is none."""
    goes_on: bool = False
    """Whether it begins with the weights of the phase before, instead of new ones."""
    changes: dict[str, Any] = field(default_factory=dict)
    """Options of the training that differ from those of the stage."""
    data: DataSpec | None = None
    """Other data than the run's."""
    perturbation: Perturbation | None = None
    """What disturbs the network in this training."""


class Schedule(ABC):
    """Contract of a schedule; its last phase trains the student."""

    Config: ClassVar[type[Schema]] = Schema
    experimental: ClassVar[bool] = False
    """Whether it did not beat `single` of as many epochs in its benchmark; docs/distillation.md has the figures.

    Such a schedule says so in the first line of its file, which is what `edgekd list schedules` shows, and in a run.
    """

    def __init__(self, config: Schema) -> None:
        self.config = config

    @abstractmethod
    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return the trainings in their order, for a stage with these options."""


SCHEDULES: PluginFolder[Schedule] = PluginFolder("edgekd.distill.schedules", Schedule)  # type: ignore[type-abstract]


def create(name: str, options: dict[str, Any]) -> Schedule:
    """Return a schedule with its options; raises UsageError for an unknown name or option."""
    kind = SCHEDULES.get(name)
    return kind(from_mapping(kind.Config, options, f"options of schedule '{name}'"))
