"""What a distillation loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor

from edgekd.plugins import PluginFolder
from edgekd.schema import Field, Schema, from_mapping


class Loss(ABC):
    """Compares a student's logits with its teacher's.

    A plug-in provides `compare`. It is called with detached teacher logits and at least single precision, so that no
    loss can send a gradient into the teacher or overflow in half precision. Equal logits must be its minimum, 0.
    """

    class Config(Schema):
        """Options every loss has."""

        weight: float = Field(default=1.0, gt=0, le=1e6, description="factor of this term in the total")

    mean_of_samples: ClassVar[bool] = True
    """Whether the value of a batch is the mean over its samples' own values, and so independent of the batch size."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def __call__(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return the unweighted scalar loss of logits (B, K) against teacher logits (B, K) and labels (B,)."""
        return self.compare(_at_least_single(student_logits), _at_least_single(teacher_logits.detach()), labels)

    @abstractmethod
    def compare(self, student_logits: Tensor, teacher_logits: Tensor, labels: Tensor) -> Tensor:
        """Return the unweighted scalar loss."""


def _at_least_single(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits


LOSSES: PluginFolder[Loss] = PluginFolder("edgekd.distill.losses", Loss)  # type: ignore[type-abstract]


def create(losses: dict[str, dict[str, Any]]) -> dict[str, Loss]:
    """Return the named losses with their options; raises UsageError for an unknown name or option."""
    kinds = {name: LOSSES.get(name) for name in losses}
    return {
        name: kind(from_mapping(kind.Config, losses[name], f"options of loss '{name}'")) for name, kind in kinds.items()
    }
