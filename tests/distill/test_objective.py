from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgekd.distill.loss import Loss, create
from edgekd.distill.objective import DistillObjective
from edgekd.errors import EdgekdError, UsageError
from edgekd.train.answer import Answer
from edgekd.train.batches import Batch
from tests.models import INPUT_SHAPE, settled

IMAGES = torch.randn(16, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 4


def batch(teacher: nn.Module) -> Batch:
    with torch.no_grad():
        return Batch(IMAGES, LABELS, Answer(teacher(IMAGES)))


def steps(objective: DistillObjective, student: nn.Module, given: Batch, count: int = 20) -> None:
    for _ in range(count):
        objective(student, given)


class Stub(Loss):
    """A loss with a fault, as a user may write one."""

    def __init__(self, fault: str) -> None:
        super().__init__(Loss.Config())
        self.fault = fault

    def compare(self, student: Answer, teacher: Answer, labels: Tensor) -> Tensor:
        del labels
        distance = (student.logits - teacher.logits).square().mean()
        return {"zero": distance * 0, "cut": distance.detach(), "nan": distance * float("nan")}[self.fault]


def test_the_total_is_weighted_labels_plus_weighted_losses() -> None:
    student, given = settled("residual", 1), batch(settled("residual", 2))
    losses = create({"dist": {"weight": 0.5}, "logits-kl": {"weight": 2}})
    assert given.teacher is not None
    z = Answer(student(IMAGES))
    expected = 0.3 * F.cross_entropy(z.logits, LABELS)
    expected += 0.5 * losses["dist"](z, given.teacher, LABELS)
    expected += 2 * losses["logits-kl"](z, given.teacher, LABELS)
    assert torch.isclose(DistillObjective(losses, 0.3)(student, given).total, expected)


@pytest.mark.parametrize(("fault", "message"), [("zero", "is dead"), ("cut", "is dead"), ("nan", "is nan")])
def test_a_loss_that_teaches_nothing_stops_the_training(fault: str, message: str) -> None:
    student, given = settled("residual", 1), batch(settled("residual", 2))
    objective = DistillObjective({"stub": Stub(fault)}, 1.0)
    with pytest.raises(EdgekdError, match=f"distillation loss 'stub' {message}"):
        steps(objective, student, given)


def test_a_frozen_student_is_noticed() -> None:
    student, given = settled("residual", 1).requires_grad_(False), batch(settled("residual", 2))
    objective = DistillObjective(create({"dist": {}}), 1.0)
    with pytest.raises(EdgekdError, match="'dist' is dead"):
        steps(objective, student, given)


def test_a_student_that_starts_as_the_teachers_copy_may_train() -> None:
    teacher = settled("residual")
    student, given = copy.deepcopy(teacher), batch(teacher)
    objective = DistillObjective(create({"logits-kl": {}}), 1.0)
    optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
    for _ in range(20):
        optimizer.zero_grad()
        objective(student, given).total.backward()
        optimizer.step()


def test_a_teacher_that_would_be_trained_is_refused() -> None:
    teacher = settled("residual", 2)
    with pytest.raises(EdgekdError, match="would train the teacher"):
        DistillObjective(create({"dist": {}}), 1.0)(
            settled("residual", 1), Batch(IMAGES, LABELS, Answer(teacher(IMAGES)))
        )


def test_batches_without_a_teacher_are_refused() -> None:
    with pytest.raises(EdgekdError, match="needs a teacher's answer"):
        DistillObjective(create({"dist": {}}), 1.0)(settled("residual", 1), Batch(IMAGES, LABELS))


def test_nothing_to_learn_from_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to learn from"):
        DistillObjective({}, 0)


def test_the_proof_costs_nothing_after_the_first_steps() -> None:
    student, given = settled("residual", 1), batch(settled("residual", 2))
    objective = DistillObjective(create({"dist": {}}), 1.0)
    calls: list[int] = []
    student.head.register_full_backward_hook(lambda *_: calls.append(1))
    objective(student, given)
    assert calls == [1]
    objective(student, given)
    assert calls == [1]
