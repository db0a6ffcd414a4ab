"""Every block of a network of cells is as its options say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgekd.errors import UsageError
from edgekd.models.bottlenecks import SqueezeExcitation
from edgekd.models.build import build
from edgekd.models.kernels import kernels, parameters
from edgekd.recipe import ModelSpec

CELLS = [
    {"channels": 8, "kernel": 5, "expansion": 1},
    {"channels": 24, "stride": 2, "kernel": 3, "expansion": 3},
    {"channels": 24, "kernel": 7, "expansion": 2},
]


def made(**options: object) -> nn.Module:
    return build(ModelSpec(name="mobile-cells", options=options), (1, 28, 28), 10)


def test_every_block_has_its_own_kernel_expansion_and_stride() -> None:
    found = kernels(made(stem=8, cells=CELLS, head=32), (1, 28, 28))
    filters = [(k.kernel, k.out_channels, k.out_positions) for k in found if k.groups > 1]
    assert filters == [(5, 8, 784), (3, 24, 196), (7, 48, 196)]
    assert [k.kernel for k in found if k.op == "elementwise"] == [1, 1]  # shortcuts of the first and the last


def test_the_default_is_of_the_size_its_docstring_says() -> None:
    assert parameters(made()) == pytest.approx(188e3, rel=0.02)


def test_squeeze_and_excitation_stands_between_filter_and_projection_and_every_operator_of_it_counts() -> None:
    plain, excited = {"channels": 8, "expansion": 2}, {"channels": 8, "expansion": 2, "squeeze": 4}
    before, found = (
        [(k.op, k.in_channels, k.out_channels, k.out_positions) for k in kernels(made(cells=[cell]), (1, 28, 28))]
        for cell in (plain, excited)
    )
    added = [("pool", 32, 32, 1), ("conv", 32, 4, 1), ("conv", 4, 32, 1), ("elementwise", 32, 32, 784)]
    assert found == [*before[:3], *added, *before[3:]]


def test_excitation_scales_every_channel_by_the_means_of_all() -> None:
    torch.manual_seed(0)
    layer, x = SqueezeExcitation(6, 2), torch.randn(3, 6, 5, 4)
    hidden = (x.mean((2, 3)) @ layer.squeeze.weight.flatten(1).T + layer.squeeze.bias).clamp(min=0)
    gates = ((hidden @ layer.excite.weight.flatten(1).T + layer.excite.bias) / 6 + 0.5).clamp(0, 1)
    torch.testing.assert_close(layer(x), x * gates[:, :, None, None])


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="a kernel is odd; the nearest are 3 and 5"):
        made(cells=[{"channels": 8, "kernel": 4}])
