"""DOT: with nothing between the two momenta it is SGD, with something the teacher is followed longer."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import UsageError
from edgekd.train.optimizer import LoopConfig, TwoGradients, optimizer, parameters_of
from tests.models import INPUT_SHAPE, settled

INPUTS = torch.randn(16, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
LABELS, SAID = torch.arange(16) % 4, torch.randn(16, 4, generator=torch.Generator().manual_seed(1))


def terms(model: nn.Module) -> tuple[Tensor, Tensor]:
    logits = model(INPUTS)
    return nn.functional.cross_entropy(logits, LABELS), (logits - SAID).square().mean()


def moved(made: torch.optim.Optimizer, model: nn.Module) -> None:
    task, teacher = terms(model)
    made.zero_grad()
    if isinstance(made, TwoGradients):
        made.teacher_gradients = torch.autograd.grad(teacher, parameters_of(made), retain_graph=True)
    (task + teacher).backward()
    made.step()


def test_without_a_difference_it_is_sgd_on_the_sum_bit_for_bit() -> None:
    ours, theirs = settled("residual"), settled("residual")
    made = optimizer(ours, LoopConfig(optimizer="dot", optimizer_options={"delta": 0.0}, learning_rate=0.05))
    decay, none = (group["weight_decay"] for group in made.param_groups)
    groups = [{**group, "weight_decay": d} for group, d in zip(_groups(theirs), (decay, none), strict=True)]
    plain = torch.optim.SGD(groups, lr=0.05, momentum=0.9)
    for _ in range(6):
        moved(made, ours)
        moved(plain, theirs)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, two)


def _groups(model: nn.Module) -> list[dict[str, object]]:
    return [{"params": [p for p in model.parameters() if (p.dim() > 1) == many]} for many in (True, False)]


def test_the_two_buffers_are_the_papers() -> None:
    """v_task decays by 0.9 - 0.075, v_kd by 0.9 + 0.075, and the step is along their sum."""
    weight = nn.Linear(1, 1, bias=False)
    made = optimizer(weight, LoopConfig(optimizer="dot", weight_decay=0, learning_rate=0.1))
    start = weight.weight.item()
    task = teacher = total = 0.0
    for g_task, g_teacher in ((1.0, 2.0), (-0.5, 1.0), (0.25, 3.0)):
        task, teacher = 0.825 * task + g_task, 0.975 * teacher + g_teacher
        total += task + teacher
        weight.weight.grad = torch.full((1, 1), g_task + g_teacher)
        assert isinstance(made, TwoGradients)
        made.teacher_gradients = [torch.full((1, 1), g_teacher)]
        made.step()
    assert start - weight.weight.item() == pytest.approx(0.1 * total, rel=1e-5)


def test_a_difference_ends_with_a_lower_loss_of_the_teacher() -> None:
    ends = {}
    for delta in (0.0, 0.075):
        model = settled("residual")
        made = optimizer(model, LoopConfig(optimizer="dot", optimizer_options={"delta": delta}, learning_rate=0.005))
        for _ in range(40):
            moved(made, model)
        ends[delta] = [term.item() for term in terms(model)]
    assert ends[0.075][1] < ends[0.0][1]


def test_a_difference_below_zero_is_refused() -> None:
    with pytest.raises(UsageError, match="options of optimizer 'dot'"):
        optimizer(settled("residual"), LoopConfig(optimizer="dot", optimizer_options={"delta": -1}))
