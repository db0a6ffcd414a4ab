"""What a student minimises: cross-entropy with the labels plus distillation losses that have proved to be alive."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill.loss import Loss
from edgekd.errors import EdgekdError, TrainingError, UsageError
from edgekd.train.loop import Batch

_PATIENCE = 5
"""Steps a loss may be exactly zero at the start: a student that begins as the teacher's copy has to move first."""


class DistillObjective:
    """label_weight * CE + sum of weight * loss.

    In its first steps every distillation loss has to be finite, to leave zero, and to send a gradient into the
    student's parameters and none towards the teacher; otherwise the call raises EdgekdError.
    """

    def __init__(self, losses: dict[str, Loss], label_weight: float) -> None:
        if not losses and label_weight == 0:
            raise UsageError("nothing to learn from: give a label_weight above 0 or name a distillation loss")
        self.losses = losses
        self.label_weight = label_weight
        self._unproved = dict.fromkeys(losses, _PATIENCE)

    def __call__(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return the scalar loss of a batch."""
        student_logits = model(batch.images)
        total = torch.zeros(())
        if self.label_weight:
            total = self.label_weight * F.cross_entropy(student_logits.float(), batch.labels)
        for name, loss in self.losses.items():
            teacher_logits = _of_teacher(batch, name)
            value = loss(student_logits, teacher_logits, batch.labels)
            if name in self._unproved:
                self._prove(name, value, model, teacher_logits)
            total = total + loss.config.weight * value
        return total

    def _prove(self, name: str, value: Tensor, model: nn.Module, teacher_logits: Tensor) -> None:
        if not torch.isfinite(value):
            raise TrainingError(
                f"distillation loss '{name}' is {value.item()} in its first steps; lower the learning rate"
            )
        if teacher_logits.requires_grad:
            raise EdgekdError(f"distillation loss '{name}' would train the teacher: its logits carry a gradient")
        if value.item() != 0 and _reaches(model, value):
            del self._unproved[name]
            return
        self._unproved[name] -= 1
        if self._unproved[name] == 0:
            raise EdgekdError(
                f"distillation loss '{name}' is dead: value {value.item():g} and no gradient in the student after "
                f"{_PATIENCE} steps; is the student trainable and the teacher another network?"
            )


def _of_teacher(batch: Batch, name: str) -> Tensor:
    if batch.teacher_logits is None:
        raise EdgekdError(f"distillation loss '{name}' needs teacher logits, and these batches have none")
    return batch.teacher_logits


def _reaches(model: nn.Module, value: Tensor) -> bool:
    """Return whether a loss sends a finite gradient other than zero into some parameter."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    found: list[Tensor | None] = list(gradients)  # allow_unused gives None where a parameter has no part in the loss
    sizes = [gradient.abs().max() for gradient in found if gradient is not None]
    return bool(sizes) and 0 < float(torch.stack(sizes).max()) < float("inf")
