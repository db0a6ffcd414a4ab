from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import ExportError
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.saturation import pair_overflow, refuse_saturating, saturation
from edgekd.quantize.torch_network import TorchNetwork
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
    calibrate(module, images, CalibrationConfig(observer="minmax"))
    return overflowing(module, images)


def overflowing(module: nn.Module, images: np.ndarray) -> dict[str, float]:
    network = TorchNetwork(module)
    return saturation(network, images, network.plan, network.integers())


@pytest.mark.parametrize("groups", [1, 2])
def test_eight_bit_weights_overflow_and_seven_bit_weights_never_do(groups: int) -> None:
    eight, seven = shares("u8w8", groups), shares("u8w7", groups)
    assert set(eight) == set(seven) == {"conv", "head"}
    assert eight["conv"] > 0
    assert set(seven.values()) == {0.0}


def test_depthwise_convolutions_add_no_pairs() -> None:
    assert set(shares("u8w8", groups=8)) == {"head"}


def test_pairs_are_neighbours_in_the_order_of_reduction() -> None:
    rows = np.array([[255, 255, 0, 0], [255, 0, 255, 0]], np.int32)
    weights = np.full((1, 4), 127, np.int32)
    assert pair_overflow(rows, weights) == 0.25  # one of four sums: 0 and 1 are neighbours, 1 and 2 are not
    assert pair_overflow(rows[:, :3], weights[:, :3]) == 0.25  # an odd rest is paired with zero
    assert pair_overflow(rows, -weights) == 0.25
    assert pair_overflow(rows, weights - 64) == 0.0


def test_every_layer_but_the_depthwise_one_is_examined() -> None:
    model = settled("depthwise")
    images = torch.randn(16, *INPUT_SHAPE).numpy()
    module = prepare(model, torch.from_numpy(images[:2]), SCHEMES["u8w8"])
    calibrate(module, images)
    assert set(overflowing(module, images)) == {"features.0", "features.6", "head"}


def test_a_network_that_would_overflow_is_refused_with_the_layer_and_the_remedy() -> None:
    refuse_saturating(shares("u8w7"), "u8w7", "x86-avx2")
    with pytest.raises(ExportError, match=r"in layer '(conv|head)' would overflow on x86-avx2.*scheme u8w7"):
        refuse_saturating(shares("u8w8"), "u8w8", "x86-avx2")
