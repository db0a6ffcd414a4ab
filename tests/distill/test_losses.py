"""The contract of distillation losses, over every loss found."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from edgekd.distill.loss import LOSSES, Loss, create

CASES = LOSSES.names()


def logits(batch: int = 12, classes: int = 5, seed: int = 0, spread: float = 3.0) -> Tensor:
    return torch.randn(batch, classes, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * spread


LABELS = torch.arange(12) % 5


def loss_called(name: str) -> Loss:
    return create({name: {}})[name]


@pytest.mark.parametrize("name", CASES)
def test_is_a_positive_scalar_for_different_logits(name: str) -> None:
    value = loss_called(name)(logits(), logits(seed=1), LABELS)
    assert value.shape == ()
    assert value > 1e-3


@pytest.mark.parametrize("name", CASES)
def test_equal_logits_are_the_minimum(name: str) -> None:
    student = logits().requires_grad_()
    value = loss_called(name)(student, logits(), LABELS)
    (gradient,) = torch.autograd.grad(value, student)
    assert abs(value.item()) < 1e-9
    assert gradient.abs().max() < 1e-7
    for seed in range(5):
        moved = logits() + 0.1 * logits(seed=10 + seed)
        assert loss_called(name)(moved, logits(), LABELS) > value


@pytest.mark.parametrize("name", CASES)
def test_gradient_reaches_the_student_and_never_the_teacher(name: str) -> None:
    student, teacher = logits().requires_grad_(), logits(seed=1).requires_grad_()
    loss_called(name)(student, teacher, LABELS).backward()
    assert student.grad is not None
    assert (student.grad.abs().sum(1) > 0).all()
    assert teacher.grad is None


@pytest.mark.parametrize("name", CASES)
def test_gradient_is_the_derivative(name: str) -> None:
    student = logits(6).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss_called(name)(z, logits(6, seed=1), LABELS[:6]), student)


@pytest.mark.parametrize("name", CASES)
def test_following_the_gradient_lowers_the_loss(name: str) -> None:
    student, teacher = logits().requires_grad_(), logits(seed=1)
    before = loss_called(name)(student, teacher, LABELS)
    (gradient,) = torch.autograd.grad(before, student)
    assert loss_called(name)(student - 0.01 * gradient, teacher, LABELS) < before


@pytest.mark.parametrize("name", CASES)
def test_mean_does_not_depend_on_batch_size_where_it_says_so(name: str) -> None:
    loss = loss_called(name)
    student, teacher = logits(), logits(seed=1)
    whole = loss(student, teacher, LABELS)
    parts = torch.stack([loss(student[i : i + 4], teacher[i : i + 4], LABELS[i : i + 4]) for i in (0, 4, 8)]).mean()
    assert torch.isclose(whole, parts, rtol=1e-9) == loss.mean_of_samples


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spread", [1e-4, 3.0, 2000.0])
def test_half_precision_and_extreme_logits_stay_finite(name: str, dtype: torch.dtype, spread: float) -> None:
    student = logits(spread=spread).to(dtype).requires_grad_()
    value = loss_called(name)(student, logits(seed=1, spread=spread).to(dtype), LABELS)
    value.backward()
    assert torch.isfinite(value)
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


@pytest.mark.parametrize("name", CASES)
def test_a_batch_of_one_is_finite(name: str) -> None:
    assert torch.isfinite(loss_called(name)(logits(1), logits(1, seed=1), LABELS[:1]))
