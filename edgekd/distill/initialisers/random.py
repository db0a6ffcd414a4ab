"""The network's own random weights."""

from __future__ import annotations

from typing import ClassVar

from torch import nn

from edgekd.distill.initialiser import Initialiser


class Random(Initialiser):
    """Leaves the student as it was built."""

    needs_teacher: ClassVar[bool] = False

    def begin(self, student: nn.Module, teacher: nn.Module | None) -> None:
        """Do nothing."""
