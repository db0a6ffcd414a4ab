"""The ResNet is the paper's."""

from __future__ import annotations

import pytest

from edgekd.errors import UsageError
from edgekd.models.build import build
from edgekd.models.kernels import kernels, macs, parameters
from edgekd.recipe import ModelSpec


def test_resnet20_has_the_size_of_the_paper() -> None:
    # Table 6: 0.27M parameters; section 4.2: 19 convolutions of 3x3 on 32x32, here plus two 1x1 shortcuts.
    model = build(ModelSpec(name="resnet"), (3, 32, 32), 10)
    found = kernels(model, (3, 32, 32))
    assert parameters(model) == pytest.approx(0.27e6, rel=0.02)
    assert sum(kernel.op == "conv" and kernel.kernel == 3 for kernel in found) == 19
    assert sum(kernel.op == "conv" and kernel.kernel == 1 for kernel in found) == 2
    assert macs(found) == pytest.approx(40.8e6, rel=0.02)


def test_a_depth_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError, match="nearest are 14 and 20"):
        build(ModelSpec(name="resnet", options={"depth": 18}), (1, 28, 28), 10)


def test_a_stage_without_channels_is_refused() -> None:
    with pytest.raises(UsageError, match="channels"):
        build(ModelSpec(name="resnet", options={"channels": [16, 0, 64]}), (1, 28, 28), 10)
