"""What a distillation loss is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from edgekd.distill.layer_map import Kind
from edgekd.plugins import PluginFolder
from edgekd.schema import Field, Schema, from_mapping
from edgekd.train.answer import Answer


class Loss(nn.Module, ABC):
    """Compares a student's answer with its teacher's.

    A plug-in provides `compare`, and says in `needs` what it looks at beyond the logits. It is called with a detached
    answer of the teacher and at least single precision, so that no loss can send a gradient into the teacher or
    overflow in half precision; logits come as rows, one a decision. Equal answers must be its minimum, 0.

    A loss is a module: layers it trains beside the student are made in `prepare`, and what it remembers between steps
    is a buffer, so that both are kept with the training.
    """

    class Config(Schema):
        """Options every loss has."""

        weight: float = Field(default=1.0, gt=0, le=1e6, description="factor of this term in the total")

    calibrates: ClassVar[bool] = False
    """Whether `calibrate` has to be called before the training."""
    mean_of_samples: ClassVar[bool] = True
    """Whether the value of a batch is the mean over its samples' own values, and so independent of the batch size."""
    uses_labels: ClassVar[bool] = False
    """Whether it looks at the labels, and so needs data that have those of the task."""
    experimental: ClassVar[bool] = False
    """Whether it has not beaten logits-kl in `tools/bench_losses.py`; docs/distillation.md has the figures.

    Such a loss says so in the first line of its file, which is what `edgekd list losses` shows, and in every training.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config

    @property
    def needs(self) -> frozenset[Kind]:
        """Return what must be tapped in both networks."""
        return frozenset()

    def calibrate(self, teacher: Tensor, labels: Tensor) -> None:
        """See the teacher's logits (N, K) and the labels (N,) of validation; most losses have no use for them."""

    def prepare(self, student: Answer, teacher: Answer, steps: int) -> None:
        """Make what is trained beside the student, for answers of these shapes; `steps` is the training's length."""

    def forward(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the unweighted scalar loss of a batch, labels (N,) one for each row of the logits."""
        with torch.autocast(student.logits.device.type, enabled=False):  # it would take matrix products in half again
            return self.compare(student.each(_at_least_single), teacher.each(_of_teacher), labels)

    @abstractmethod
    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        """Return the unweighted scalar loss."""


def _at_least_single(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.dtype in {torch.float16, torch.bfloat16} else tensor


def _of_teacher(tensor: Tensor) -> Tensor:
    return _at_least_single(tensor.detach())


LOSSES: PluginFolder[Loss] = PluginFolder("edgekd.distill.losses", Loss)  # type: ignore[type-abstract]


def create(losses: dict[str, dict[str, Any]]) -> dict[str, Loss]:
    """Return the named losses with their options; raises UsageError for an unknown name or option."""
    kinds = {name: LOSSES.get(name) for name in losses}
    return {
        name: kind(from_mapping(kind.Config, losses[name], f"options of loss '{name}'")) for name, kind in kinds.items()
    }
