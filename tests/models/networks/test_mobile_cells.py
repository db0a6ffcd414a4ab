"""Every block of a network of cells is as its options say."""

from __future__ import annotations

import pytest
from torch import nn

from edgekd.errors import UsageError
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


def test_an_even_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match="a kernel is odd; the nearest are 3 and 5"):
        made(cells=[{"channels": 8, "kernel": 4}])
