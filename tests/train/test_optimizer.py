"""The schedule, and what decays."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.train.optimizer import LoopConfig, learning_rate, optimizer
from tests.models import settled


@pytest.mark.parametrize("warmup", [0.0, 0.15, 0.5])
@pytest.mark.parametrize("steps", [1, 7, 500])
def test_the_rate_rises_to_its_peak_and_falls_to_almost_nothing(warmup: float, steps: int) -> None:
    config = LoopConfig(learning_rate=0.3, warmup_share=warmup)
    rates = [learning_rate(config, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert 0 < min(rates) <= max(rates) <= 0.3
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 500:
        assert top == pytest.approx(warmup * steps, abs=1)
        assert max(rates) == pytest.approx(0.3, rel=0.01)
        assert rates[-1] < 1e-4
    if steps == 500 and warmup:
        assert rates[0] < 0.01


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_norms_and_biases_do_not_decay(kind: str) -> None:
    model = settled("residual")
    model.head.weight.requires_grad_(False)
    made = optimizer(model, LoopConfig(optimizer=kind, weight_decay=0.01))
    decay = {id(p): group["weight_decay"] for group in made.param_groups for p in group["params"]}
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            assert decay[id(module.weight)] == 0.01
        if isinstance(module, nn.BatchNorm2d):
            assert decay[id(module.weight)] == decay[id(module.bias)] == 0
    assert id(model.head.weight) not in decay


def test_sgd_follows_nesterov() -> None:
    weight = nn.Linear(1, 1, bias=False)
    made = optimizer(weight, LoopConfig(momentum=0.9, weight_decay=0, learning_rate=0.1))
    start = weight.weight.detach().clone()
    for _ in range(2):
        made.zero_grad()
        weight(torch.ones(1, 1)).sum().backward()
        made.step()
    # v1 = 1, step (1 + 0.9); v2 = 1.9, step (1 + 0.9 * 1.9)
    torch.testing.assert_close(start - weight.weight.detach(), torch.full((1, 1), 0.1 * (1.9 + 2.71)))
