"""Kernels are what the engine will run, with the right sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekd.models.kernels import kernels, macs, parameters
from edgekd.profile import Kernel
from tests.models import INPUT_SHAPE, TINY, settled


class Functional(nn.Module):
    """Convolves, pools and joins without any module for it."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 1, 5, 5))

    def forward(self, x: Tensor) -> Tensor:
        y = nn.functional.conv2d(x, self.weight, stride=2)
        y = torch.cat([y, y * y], dim=1)
        return nn.functional.max_pool2d(y, 2).mean((2, 3))


def test_residual_network_in_the_order_it_runs() -> None:
    found = kernels(settled("residual"), INPUT_SHAPE)
    assert [(kernel.op, kernel.name) for kernel in found] == [
        ("conv", "stem"),
        ("conv", "first"),
        ("elementwise", "add"),
        ("conv", "second"),
        ("conv", "shortcut"),
        ("elementwise", "add#2"),
        ("pool", "pool"),
        ("linear", "head"),
    ]
    assert found[3] == Kernel("conv", "second", 16, 32, 1, 3, 36, 144)
    assert found[-1] == Kernel("linear", "head", 32, 4, 1, 1, 1, 1)


def test_macs_match_a_count_by_hand() -> None:
    by_hand = 16 * 9 * 144 + 16 * 9 * 144 + 16 * 16 * 144 + 16 * 4
    assert macs(kernels(settled("depthwise"), INPUT_SHAPE)) == by_hand


def test_functions_that_are_no_modules_are_seen() -> None:
    found = kernels(Functional(), (1, 12, 12))
    assert [kernel.op for kernel in found] == ["conv", "elementwise", "elementwise", "pool", "pool"]
    assert found[0].macs == 6 * 25 * 16
    assert (found[2].out_channels, found[3].kernel, found[3].out_positions) == (12, 2, 4)


@pytest.mark.parametrize("name", TINY)
def test_the_network_is_left_as_it_was(name: str) -> None:
    model = settled(name).train()
    next(iter(model.children())).eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    kernels(model, INPUT_SHAPE)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


def test_a_norm_with_statistics_and_a_gelu_are_kernels_and_what_engines_fuse_is_none() -> None:
    fused = nn.Sequential(nn.Conv2d(1, 6, 1), nn.BatchNorm2d(6), nn.ReLU())
    alone = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.GELU())
    assert [kernel.op for kernel in kernels(fused, (1, 2, 4))] == ["conv"]
    found = kernels(alone, (1, 2, 4))
    assert [(kernel.op, kernel.name) for kernel in found] == [
        ("linear", "0"),
        ("elementwise", "1.layer_norm"),
        ("elementwise", "2.gelu"),
    ]
    assert macs(found) == 2 * 24


def test_parameters_are_counted_once() -> None:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert parameters(model) == 16 + 4 + 4
