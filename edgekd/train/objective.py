"""What a training minimises: a term for the labels and one for the teacher, kept apart for those who need both."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor, nn

from edgekd.train.batches import Batch


class Terms(NamedTuple):
    """Two scalars whose sum is minimised."""

    labels: Tensor
    teacher: Tensor | None = None

    @property
    def total(self) -> Tensor:
        """Return the sum."""
        return self.labels if self.teacher is None else self.labels + self.teacher


class Objective(Protocol):
    """Runs the model on a batch and returns the terms of the loss.

    One that is an nn.Module may have parameters of its own, which are trained and kept with the model's.
    """

    def __call__(self, model: nn.Module, batch: Batch) -> Terms:
        """Return the terms of a batch."""
