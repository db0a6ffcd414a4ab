"""The contract of distillation losses, over every loss found and answers of a CNN, a ViT and a language model."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch

from edgekd.distill.loss import LOSSES
from tests.distill.answers import KINDS, SAMPLES, answer, labels, leaves, logits, loss_called, moved, part

CASES = [(name, kind) for name in LOSSES.names() for kind in KINDS]
MOVING = {"taid": {"start": 1.0}}
"""Options with which the target stands still, where otherwise the student's own answer, held fixed, is a part of it."""


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_is_a_positive_scalar_for_different_answers(name: str, kind: str) -> None:
    value = loss_called(name, kind)(answer(kind), answer(kind, 1), labels(kind))
    assert value.shape == ()
    assert value > 1e-3


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_equal_answers_are_the_minimum(name: str, kind: str) -> None:
    student, loss = answer(kind), loss_called(name, kind)
    value = loss(student, answer(kind), labels(kind))
    gradients = torch.autograd.grad(value, leaves(student), allow_unused=True)
    assert abs(value.item()) < 1e-9
    assert max(g.abs().max().item() for g in gradients if g is not None) < 1e-6
    for seed in range(5):
        assert loss(moved(student, 10 + seed), answer(kind), labels(kind)) > value


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gradient_reaches_the_student_and_never_the_teacher(name: str, kind: str) -> None:
    student, teacher, loss = answer(kind), answer(kind, 1), loss_called(name, kind)
    loss(student, teacher, labels(kind)).backward()
    reached = {
        "features": student.features[-1].grad,
        "attention": student.attention[-1].grad if student.attention else None,
        "embedding": student.embedding.grad if student.embedding is not None else None,
    }
    looked_at = [reached[kind] for kind in loss.needs] or [student.logits.grad]
    for gradient in looked_at:
        assert gradient is not None
        assert (gradient.flatten(1).abs().sum(1) > 0).all()
    assert all(tensor.grad is None for tensor in leaves(teacher))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_gradient_is_the_derivative(name: str, kind: str) -> None:
    loss = loss_called(name, kind, **MOVING.get(name, {}))
    loss.eval()
    student, teacher = answer(kind, samples=5, spread=1), answer(kind, 1, samples=5, spread=1)
    right = labels(kind, 5)
    value = loss(student, teacher, right)
    gradients = torch.autograd.grad(value, leaves(student), allow_unused=True)
    random = torch.Generator().manual_seed(0)
    for at, gradient in enumerate(gradients):
        if gradient is None:
            continue
        direction = torch.randn(gradient.shape, generator=random, dtype=torch.float64)
        slope = [_along(student, at, step * direction) for step in (1e-6, -1e-6)]
        ahead, behind = (loss(moved_there, teacher, right) for moved_there in slope)
        assert torch.isclose((ahead - behind) / 2e-6, (gradient * direction).sum(), rtol=1e-4, atol=1e-7)


def _along(student, at, by):
    tensors = [tensor.detach() + (by if position == at else 0) for position, tensor in enumerate(leaves(student))]
    count = len(student.features)
    return replace(
        student,
        logits=tensors[0],
        features=tuple(tensors[1 : 1 + count]),
        attention=tuple(tensors[1 + count : 1 + count + len(student.attention)]),
        embedding=tensors[-1],
    )


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_following_the_gradient_lowers_the_loss(name: str, kind: str) -> None:
    student, teacher, loss = answer(kind), answer(kind, 1), loss_called(name, kind)
    loss.eval()
    before = loss(student, teacher, labels(kind))
    gradients = torch.autograd.grad(before, leaves(student), allow_unused=True)
    step = 1e-4 / max(1.0, *(g.norm().item() for g in gradients if g is not None))
    after = student
    for at, gradient in enumerate(gradients):
        if gradient is not None:
            after = _along(after, at, -step * gradient)
    assert loss(after, teacher, labels(kind)) < before


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_mean_does_not_depend_on_batch_size_where_it_says_so(name: str, kind: str) -> None:
    loss = loss_called(name, kind)
    loss.eval()
    student, teacher, right = answer(kind), answer(kind, 1), labels(kind)
    whole = loss(student, teacher, right)
    parts = []
    for start in (0, 4, 8):
        some = slice(start, start + 4)
        parts.append(loss(part(student, some), part(teacher, some), right.view(SAMPLES, -1)[some].flatten()))
    assert torch.isclose(whole, torch.stack(parts).mean(), rtol=1e-9) == loss.mean_of_samples


@pytest.mark.parametrize(("name", "kind"), CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("spread", [1e-4, 3.0, 2000.0])
def test_half_precision_and_extreme_answers_stay_finite(
    name: str, kind: str, dtype: torch.dtype, spread: float
) -> None:
    student, teacher = (answer(kind, seed, spread=spread, dtype=dtype) for seed in (0, 1))
    value = loss_called(name, kind).float()(student, teacher, labels(kind))
    value.backward()
    assert torch.isfinite(value)
    for tensor in leaves(student):
        assert tensor.grad is None or torch.isfinite(tensor.grad).all()


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_autocast_does_not_reach_inside(name: str, kind: str) -> None:
    loss = loss_called(name, kind).float().eval()
    student, teacher = (answer(kind, seed, dtype=torch.float32) for seed in (0, 1))
    expected = loss(student, teacher, labels(kind))
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(student, teacher, labels(kind)), expected)


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_batch_of_one_is_finite(name: str, kind: str) -> None:
    student, teacher = answer(kind, samples=1), answer(kind, 1, samples=1)
    value = loss_called(name, kind)(student, teacher, labels(kind, 1))
    value.backward()
    assert torch.isfinite(value)
    assert all(tensor.grad is None or torch.isfinite(tensor.grad).all() for tensor in leaves(student))


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_another_width_is_bridged_by_what_is_trained_beside(name: str, kind: str) -> None:
    """A teacher of twice the width and, for maps, twice the resolution."""
    student, teacher = answer(kind), answer(kind, 1)
    assert teacher.embedding is not None
    wide = tuple(torch.cat([f, f], 1 if kind == "cnn" else 2) for f in teacher.features)
    if kind == "cnn":
        wide = tuple(f.repeat_interleave(2, 2).repeat_interleave(2, 3) for f in wide)
    teacher = replace(teacher, features=wide, embedding=torch.cat([teacher.embedding] * 2, 1))
    loss = loss_called(name, kind, teacher=teacher, student=student)
    value = loss(student, teacher, labels(kind))
    value.backward()
    assert torch.isfinite(value)
    for parameter in loss.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().max() > 0
    if "features" in loss.needs:
        assert list(loss.parameters())


@pytest.mark.parametrize("name", LOSSES.names())
def test_one_that_has_not_won_says_so_where_it_is_listed(name: str) -> None:
    assert LOSSES.help(name).endswith("; experimental.") == LOSSES.get(name).experimental


@pytest.mark.parametrize("name", LOSSES.names())
def test_its_state_survives_a_checkpoint(name: str) -> None:
    """After some steps a fresh loss, loaded with what was saved, goes on as the first one does."""
    wide = replace(answer("cnn", 1), features=tuple(torch.cat([f, f], 1) for f in answer("cnn", 1).features))
    first, second = (loss_called(name, teacher=wide, student=answer("cnn")) for _ in range(2))
    if first.calibrates:
        first.calibrate(logits(64), torch.arange(64) % 7)
    for seed in range(3):
        first(answer("cnn", seed), wide, labels("cnn"))
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    values = [[loss(answer("cnn", seed), wide, labels("cnn")).item() for seed in range(4)] for loss in (first, second)]
    assert values[0] == values[1]
