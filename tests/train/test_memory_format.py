"""Images lie channels last in training, but where oneDNN would get gradients wrong."""

from __future__ import annotations

import pytest
import torch
from torch import fx, nn

from edgekd.train.memory_format import memory_format
from tests.models import DepthwiseCnn, ResidualCnn


def strided(channels: int, kernel: int = 1, stride: int = 2) -> nn.Module:
    return nn.Conv2d(channels, 8, kernel, stride)


@pytest.mark.parametrize(
    ("model", "channels", "expected"),
    [
        (strided(4), 4, torch.contiguous_format),
        (strided(16), 16, torch.channels_last),
        (strided(4, stride=1), 4, torch.channels_last),
        (strided(4, kernel=3), 4, torch.channels_last),
        (ResidualCnn(4), 1, torch.contiguous_format),
        (ResidualCnn(16), 1, torch.channels_last),
        (DepthwiseCnn(4), 1, torch.channels_last),
    ],
)
def test_only_narrow_strided_pointwise_convolutions_forbid_it(
    model: nn.Module, channels: int, expected: torch.memory_format
) -> None:
    model.train()
    drawn = torch.random.get_rng_state()
    statistics = {name: tensor.clone() for name, tensor in model.named_buffers()}
    assert memory_format(model, torch.zeros(2, channels, 12, 12)) == expected
    assert model.training
    assert torch.equal(torch.random.get_rng_state(), drawn)
    assert all(torch.equal(tensor, statistics[name]) for name, tensor in model.named_buffers())


def test_a_traced_network_is_looked_into_as_well() -> None:
    assert memory_format(fx.symbolic_trace(ResidualCnn(4)), torch.zeros(2, 1, 12, 12)) == torch.contiguous_format
