"""Networks of sizes between teacher and student pass on what they know (Mirzadeh et al. 2020, arXiv 1902.03393)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.distill.schedule import Phase, Schedule
from edgekd.recipe import ModelSpec
from edgekd.schema import Field, Schema

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig


class Assistant(Schedule):
    """Each assistant is taught by the one before, the first by the teacher, the student by the last."""

    class Config(Schema):
        """The assistants."""

        assistants: tuple[ModelSpec, ...] = Field(min_length=1, description="networks, from large to small")
        epochs: int | None = Field(
            default=None, ge=1, le=100_000, description="of an assistant; the student's if absent"
        )

    config: Config

    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return one phase an assistant, and the student's."""
        count = len(self.config.assistants)
        names = ["assistant" if count == 1 else f"assistant-{number}" for number in range(1, count + 1)]
        teachers = [list(config.teachers), *([name] for name in names)]
        changes = [{"teachers": teacher, "epochs": self.config.epochs or config.epochs} for teacher in teachers[:-1]]
        trained = zip(names, self.config.assistants, changes, strict=True)
        phases = [Phase(network=name, model=spec, changes=change) for name, spec, change in trained]
        return [*phases, Phase(changes={"teachers": teachers[-1]})]
