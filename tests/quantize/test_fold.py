from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekd.quantize.aten import capture
from edgekd.quantize.fold import fold_batch_norm
from tests.models import INPUT_SHAPE, settled


def norms(network: nn.Module) -> int:
    return sum("batch_norm" in str(node.target) for node in network.graph.nodes)


@pytest.mark.parametrize("name", ["residual", "depthwise"])
def test_folding_removes_every_batch_norm_and_changes_nothing_else(name: str) -> None:
    model = settled(name)
    captured = capture(model, torch.randn(2, *INPUT_SHAPE))
    assert norms(captured)
    folded, _ = fold_batch_norm(captured)
    assert norms(folded) == 0
    assert not [key for key in folded.state_dict() if "running" in key or "norm" in key]
    x = torch.randn(5, *INPUT_SHAPE)
    torch.testing.assert_close(folded(x), model(x), atol=1e-5, rtol=1e-4)


class Shared(nn.Module):
    """One convolution, normalised differently in its two uses."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.first, self.second = nn.BatchNorm2d(2), nn.BatchNorm2d(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.conv(self.first(self.conv(x))))


def test_a_layer_that_is_used_twice_is_not_folded_into() -> None:
    model = Shared()
    for norm in (model.first, model.second):
        nn.init.uniform_(norm.running_var, 0.5, 2.0)
        nn.init.normal_(norm.running_mean)
    model.eval()
    x = torch.randn(3, 2, 4, 4)
    folded, _ = fold_batch_norm(capture(model, x))
    assert norms(folded) == 2
    torch.testing.assert_close(folded(x), model(x))


class Normed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 3), nn.BatchNorm1d(3, affine=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


def test_linear_layers_and_norms_without_weights_fold_as_well() -> None:
    model = Normed()
    nn.init.normal_(model.norm.running_mean)
    model.eval()
    x = torch.randn(3, 4)
    folded, _ = fold_batch_norm(capture(model, x))
    assert norms(folded) == 0
    torch.testing.assert_close(folded(x), model(x))
