"""Losses that look at the last features of both networks, at one width and one resolution."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from edgekd.distill.layer_map import Kind
from edgekd.distill.loss import Loss
from edgekd.distill.projection import at_one_resolution, projection
from edgekd.train.answer import Answer


class LastFeatures(Loss):
    """A loss that relates the samples of a batch by their last features."""

    mean_of_samples: ClassVar[bool] = False  # it compares samples with each other

    def __init__(self, config: Loss.Config) -> None:
        super().__init__(config)
        self.projection: nn.Module = nn.Identity()

    @property
    def needs(self) -> frozenset[Kind]:
        """Return the features."""
        return frozenset({"features"})

    def prepare(self, student: Answer, teacher: Answer, steps: int) -> None:
        """Make the projection, where widths differ."""
        del steps
        self.projection = projection(student.features[-1], teacher.features[-1])

    def last(self, student: Answer, teacher: Answer) -> tuple[Tensor, Tensor]:
        """Return the last maps (B, C, H, W) or tokens (B, T, C) of both, C the teacher's."""
        return at_one_resolution(self.projection(student.features[-1]), teacher.features[-1])
