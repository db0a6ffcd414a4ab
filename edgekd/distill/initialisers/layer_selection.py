"""Some of the teacher's layers, of a wider one the first channels (DistilBERT; Sanh et al. 2019, arXiv 1910.01108)."""

from __future__ import annotations

from torch import nn

from edgekd.distill.inheritance import inherit
from edgekd.distill.initialiser import Initialiser
from edgekd.schema import Field, Schema


class LayerSelection(Initialiser):
    """Every layer of the student begins as the teacher's at the same relative depth.

    Taking every other layer is the paper's; the nearest relative depth, and the first channels of a wider layer, are
    edgekd's own choice.
    """

    class Config(Schema):
        """What is taken."""

        sliced: bool = Field(default=True, description="whether a wider layer gives its first channels, or nothing")

    config: Config

    def begin(self, student: nn.Module, teacher: nn.Module | None) -> None:
        """Copy parameters and statistics."""
        if teacher is not None:
            inherit(student, teacher, sliced=self.config.sliced)
