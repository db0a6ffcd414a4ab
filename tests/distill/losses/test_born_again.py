from __future__ import annotations

import torch

from edgekd.distill.losses.born_again import BornAgain, permuted
from edgekd.train.answer import Answer

RANDOM = torch.Generator().manual_seed(0)
STUDENT, TEACHER = (torch.randn(9, 5, generator=RANDOM, dtype=torch.float64) for _ in range(2))
LABELS = torch.arange(9) % 5


def test_confidence_weighs_the_labels() -> None:
    found = BornAgain(BornAgain.Config(mode="cwtm"))(Answer(STUDENT), Answer(TEACHER), LABELS)
    weights = TEACHER.softmax(1).amax(1)
    each = torch.nn.functional.cross_entropy(STUDENT, LABELS, reduction="none")
    assert torch.isclose(found, (weights * each).sum() / weights.sum())


def test_permuting_keeps_the_largest_and_all_values() -> None:
    torch.manual_seed(0)
    log_p = TEACHER.log_softmax(1)
    mixed = permuted(log_p)
    assert torch.equal(mixed.argmax(1), log_p.argmax(1))
    assert torch.equal(mixed.sort(1).values, log_p.sort(1).values)
    assert not torch.equal(mixed, log_p)


def test_the_gradient_is_that_of_cross_entropy_with_the_teacher() -> None:
    student = STUDENT.clone().requires_grad_()
    BornAgain(BornAgain.Config())(Answer(student), Answer(TEACHER), LABELS).backward()
    other = STUDENT.clone().requires_grad_()
    torch.nn.functional.cross_entropy(other, TEACHER.softmax(1)).backward()
    assert torch.allclose(student.grad, other.grad)
