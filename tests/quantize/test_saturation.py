from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.saturation import pair_overflow, saturation
from tests.models import INPUT_SHAPE, settled


class Dense(nn.Module):
    """Bright inputs and weights of one sign in neighbouring channels: the worst case, made likely."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(8, 8, 3, padding=1, groups=groups)
        self.head = nn.Linear(8, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.relu(self.conv(torch.relu(x))).mean((2, 3)))


def shares(scheme: str, groups: int = 1) -> dict[str, float]:
    torch.manual_seed(0)
    model = Dense(groups).eval()
    images = np.abs(np.random.default_rng(0).normal(1.0, 0.5, (8, 8, 6, 6))).astype(np.float32)
    module = prepare(model, torch.from_numpy(images[:2]), SCHEMES[scheme])
    calibrate(module, images, "minmax")
    return saturation(module, images)


@pytest.mark.parametrize("groups", [1, 2])
def test_eight_bit_weights_overflow_and_seven_bit_weights_never_do(groups: int) -> None:
    eight, seven = shares("u8w8", groups), shares("u8w7", groups)
    assert set(eight) == set(seven) == {"conv", "head"}
    assert eight["conv"] > 0
    assert set(seven.values()) == {0.0}


def test_depthwise_convolutions_add_no_pairs() -> None:
    assert set(shares("u8w8", groups=8)) == {"head"}


def test_pairs_are_neighbours_in_the_order_of_reduction() -> None:
    rows = torch.tensor([[255.0, 255.0, 0.0, 0.0], [255.0, 0.0, 255.0, 0.0]])
    weights = torch.full((1, 4), 127.0)
    assert pair_overflow(rows, weights) == 0.25  # one of four sums: 0 and 1 are neighbours, 1 and 2 are not
    assert pair_overflow(rows[:, :3], weights[:, :3]) == 0.25  # an odd rest is paired with zero
    assert pair_overflow(rows, -weights) == 0.25
    assert pair_overflow(rows, weights - 64) == 0.0


def test_every_layer_but_the_depthwise_one_is_examined() -> None:
    model = settled("depthwise")
    images = torch.randn(16, *INPUT_SHAPE).numpy()
    module = prepare(model, torch.from_numpy(images[:2]), SCHEMES["u8w8"])
    calibrate(module, images)
    assert set(saturation(module, images)) == {"features.0", "features.6", "head"}
