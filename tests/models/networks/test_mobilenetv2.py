"""The MobileNetV2 scales as its options say."""

from __future__ import annotations

import pytest
from torch import nn

from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.recipe import ModelSpec


def sized(**options: float) -> nn.Module:
    return build(ModelSpec(name="mobilenetv2", options=options), (1, 28, 28), 10)


def test_width_and_depth_shrink_it() -> None:
    full, narrow, shallow = sized(), sized(width=0.5), sized(depth=0.34)
    assert parameters(narrow) < 0.4 * parameters(full)
    assert len(kernels(shallow, (1, 28, 28))) < len(kernels(full, (1, 28, 28)))
    assert macs(kernels(narrow, (1, 28, 28))) < 0.4 * macs(kernels(full, (1, 28, 28)))


@pytest.mark.parametrize("width", [0.2, 0.35, 0.75, 1.3])
def test_every_width_is_a_multiple_of_the_step(width: float) -> None:
    model = sized(width=width, channel_step=16)
    assert all(kernel.out_channels % 16 == 0 for kernel in kernels(model, (1, 28, 28)) if kernel.op == "conv")


def test_every_block_filters_depthwise() -> None:
    depthwise = [kernel for kernel in kernels(sized(), (1, 28, 28)) if kernel.groups > 1]
    assert len(depthwise) == 17  # the repeats of table 2
    assert all(kernel.groups == kernel.in_channels == kernel.out_channels for kernel in depthwise)
