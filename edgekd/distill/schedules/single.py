"""The teacher teaches the student, once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.distill.schedule import Phase, Schedule

if TYPE_CHECKING:
    from edgekd.distill.teach import TeachConfig


class Single(Schedule):
    """One training, with the options of the stage."""

    def phases(self, config: TeachConfig) -> list[Phase]:
        """Return the one phase."""
        del config
        return [Phase()]
