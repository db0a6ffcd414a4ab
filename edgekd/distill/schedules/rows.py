"""Stages that move teacher, data and losses from general to task (ERNIE-Tiny; Su et al. 2021, arXiv 2106.02241)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekd.distill.schedule import Phase, Schedule
from edgekd.recipe import DataSpec
from edgekd.schema import Field, Schema

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig


class Row(Schema):
    """One stage; what is left out is as in the options of the distill stage."""

    epochs: int = Field(ge=1, le=100_000, description="passes over its data")
    teachers: tuple[str, ...] | None = Field(default=None, min_length=1, description="who teaches")
    data: DataSpec | None = Field(default=None, description="on what; the run's data when absent")
    losses: dict[str, dict[str, Any]] | None = Field(default=None, description="distillation losses and their options")
    label_weight: float | None = Field(default=None, ge=0, le=1e6, description="factor of the cross-entropy")
    learning_rate: float | None = Field(default=None, gt=0, le=100, description="the highest one")


class Rows(Schedule):
    """The student goes through the rows one after another, each with a teacher, data and losses of its own.

    The list is the paper's idea, whose four rows are general, general-enhanced, task-adaptive and task-specific
    distillation; here any rows can be written. Data whose labels are not the task's teach through the teacher alone.
    """

    class Config(Schema):
        """The rows."""

        rows: tuple[Row, ...] = Field(min_length=1, description="the stages, in their order")

    config: Config

    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return one phase a row, each going on from the one before."""
        del config
        found = []
        for number, row in enumerate(self.config.rows):
            changes = {name: value for name, value in row.plain().items() if value is not None and name != "data"}
            found.append(Phase(goes_on=number > 0, changes=changes, data=row.data))
        return found
