"""Contract suite: every optimizer learns, is resumed to the bit, and takes weight decay group by group."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgekd.train.optimizer import OPTIMIZERS, LoopConfig, TwoGradients, optimizer, parameters_of
from tests.models import INPUT_SHAPE, settled

INPUTS = torch.randn(32, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(32) % 4


def config(name: str, **changes: object) -> LoopConfig:
    rate = {"sgd": 0.05, "dot": 0.05}.get(name, 2e-3)
    return LoopConfig.model_validate({"optimizer": name, "learning_rate": rate, **changes})


def step(model: nn.Module, made: torch.optim.Optimizer) -> float:
    loss = nn.functional.cross_entropy(model(INPUTS), LABELS)
    made.zero_grad()
    if isinstance(made, TwoGradients):
        made.teacher_gradients = torch.autograd.grad(loss / 2, parameters_of(made), retain_graph=True)
    loss.backward()
    made.step()
    return float(loss.detach())


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_it_lowers_the_loss(name: str) -> None:
    model = settled("residual")
    made = optimizer(model, config(name))
    losses = [step(model, made) for _ in range(40)]
    assert min(losses) < 0.95 * losses[0]


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_its_state_is_all_it_remembers(name: str) -> None:
    first, second = settled("residual"), settled("residual")
    made, again = (optimizer(model, config(name)) for model in (first, second))
    for _ in range(3):
        step(first, made)
    second.load_state_dict(first.state_dict())
    again.load_state_dict(copy.deepcopy(made.state_dict()))
    for _ in range(3):
        step(first, made)
        step(second, again)
    for one, two in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(one, two)


@pytest.mark.parametrize("name", OPTIMIZERS.names())
def test_every_group_keeps_its_weight_decay(name: str) -> None:
    made = optimizer(settled("residual"), config(name, weight_decay=0.01))
    assert sorted(group["weight_decay"] for group in made.param_groups) == [0.0, 0.01]
