"""What a student minimises: cross-entropy with the labels plus distillation losses that have proved to be alive."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from edgekd.distill.layer_map import KINDS, Kind, Pairs
from edgekd.distill.loss import Loss
from edgekd.distill.taps import Taps
from edgekd.errors import EdgekdError, TrainingError, UsageError
from edgekd.models.mode import evaluating
from edgekd.train.answer import Answer
from edgekd.train.loop import Batch, Terms
from edgekd.train.parallel import peers
from edgekd.train.task import Task, task_called

_PATIENCE = 5
"""Steps a loss may be exactly zero at the start: a student that begins as the teacher's copy has to move first."""


class DistillObjective(nn.Module):
    """label_weight * CE + sum of weight * loss.

    In its first steps every distillation loss has to be finite, to leave zero, and to send a gradient into the
    student's parameters and none towards the teacher; otherwise the call raises EdgekdError.
    """

    def __init__(
        self, losses: dict[str, Loss], label_weight: float, task: Task | None = None, pairs: Pairs | None = None
    ) -> None:
        if not losses and label_weight == 0:
            raise UsageError("nothing to learn from: give a label_weight above 0 or name a distillation loss")
        super().__init__()
        self.losses = nn.ModuleDict(losses)
        self.label_weight = label_weight
        self._task = task or task_called("classification")
        self._pairs = pairs or {}
        self._unproved = dict.fromkeys(losses, _PATIENCE)

    @property
    def looks_inside(self) -> bool:
        """Return whether anything is tapped in the student."""
        return any(self._pairs.values())

    def prepare(self, model: nn.Module, batch: Batch, steps: int) -> None:
        """Let the losses make what they train beside the student, for batches like this one."""
        if batch.teacher is None:
            return
        with evaluating(model), torch.no_grad():
            answer = self._answer(model, batch)
        for loss in self._each().values():
            loss.prepare(answer, batch.teacher, steps)

    def forward(self, model: nn.Module, batch: Batch) -> Terms:
        """Return the two terms of a batch."""
        answer = self._answer(model, batch)
        rows, right = self._task.rows(answer.logits, batch.labels)
        told = torch.zeros(())
        if self.label_weight:
            told = self.label_weight * self._task.loss(answer.logits, batch.labels)
        taught: Tensor | None = None
        for name, loss in self._each().items():
            teacher = self._of_teacher(batch, name)
            value = loss(replace(answer, logits=rows), teacher, right)
            if name in self._unproved:
                self._prove(name, value, model, teacher)
            weighted = loss.config.weight * value
            taught = weighted if taught is None else taught + weighted
        return Terms(told, taught)

    def _each(self) -> dict[str, Loss]:
        return {name: loss for name, loss in self.losses.items() if isinstance(loss, Loss)}

    def _answer(self, model: nn.Module, batch: Batch) -> Answer:
        paths = [(kind, ours) for kind in KINDS for ours, _ in self._pairs.get(kind, ())]
        logits, tapped = Taps(model, [path for _, path in paths])(model, batch.inputs)
        return answered(logits, [kind for kind, _ in paths], tapped)

    def _of_teacher(self, batch: Batch, name: str) -> Answer:
        if batch.teacher is None:
            raise EdgekdError(f"distillation loss '{name}' needs a teacher's answer, and these batches have none")
        return replace(batch.teacher, logits=self._task.rows(batch.teacher.logits, batch.labels)[0])

    def _prove(self, name: str, value: Tensor, model: nn.Module, teacher: Answer) -> None:
        together = peers()
        if not torch.isfinite(value):
            raise TrainingError(
                f"distillation loss '{name}' is {value.item()} in its first steps; lower the learning rate"
            )
        if teacher.logits.requires_grad:
            raise EdgekdError(f"distillation loss '{name}' would train the teacher: its logits carry a gradient")
        if together.any(value.item() != 0 and _reaches(model, value)):
            del self._unproved[name]
            return
        self._unproved[name] -= 1
        if self._unproved[name] == 0:
            raise EdgekdError(
                f"distillation loss '{name}' is dead: value {value.item():g} and no gradient in the student after "
                f"{_PATIENCE} steps; is the student trainable and the teacher another network?"
            )


def answered(logits: Tensor, kinds: Sequence[Kind], tapped: Sequence[Tensor]) -> Answer:
    """Return the answer that logits and tapped tensors, each of its kind, make together."""
    of = {kind: tuple(t for at, t in zip(kinds, tapped, strict=True) if at == kind) for kind in KINDS}
    embedding = of["embedding"][0] if of["embedding"] else None
    if embedding is not None and embedding.dim() > 2:  # one that stands at every position: their mean
        embedding = embedding.flatten(1, -2).mean(1)
    return Answer(logits, of["features"], of["attention"], embedding)


def _reaches(model: nn.Module, value: Tensor) -> bool:
    """Return whether a loss sends a finite gradient other than zero into some parameter."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not parameters or not value.requires_grad:
        return False
    gradients = torch.autograd.grad(value, parameters, retain_graph=True, allow_unused=True)
    found: list[Tensor | None] = list(gradients)  # allow_unused gives None where a parameter has no part in the loss
    sizes = [gradient.abs().max() for gradient in found if gradient is not None]
    return bool(sizes) and 0 < float(torch.stack(sizes).max()) < float("inf")
