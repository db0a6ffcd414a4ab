"""The student teaches its like, generation after generation (Furlanello et al. 2018, arXiv 1805.04770)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.distill.schedule import Phase, Schedule
from edgekd.schema import Field, Schema

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig


class Generations(Schedule):
    """Generation 1 is taught by the teacher, each later one by the one before; the last is the student.

    That every generation begins with new weights is the paper's, as are ensembles of generations; that a larger teacher
    may stand before the first is edgekd's own choice.
    """

    class Config(Schema):
        """How many."""

        count: int = Field(default=2, ge=2, le=20, description="generations, the student's own counted")
        ensemble: bool = Field(default=False, description="every generation before teaches, not only the last one")

    config: Config

    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return one phase a generation."""
        names = [f"generation-{number}" for number in range(1, self.config.count)]
        phases = [Phase(network=names[0], changes={"teachers": list(config.teachers)})]
        for number in range(1, self.config.count):
            taught_by = names[:number] if self.config.ensemble else names[number - 1 : number]
            phases.append(Phase(network=(*names, Phase().network)[number], changes={"teachers": taught_by}))
        return phases
