from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgekd.errors import ExportError
from edgekd.quantize.aten import capture, operators
from tests.models import INPUT_SHAPE, TINY, settled


@pytest.mark.parametrize("name", TINY)
def test_the_captured_graph_computes_the_same_at_any_batch_and_leaves_the_module_alone(name: str) -> None:
    model = settled(name)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    captured = capture(model, torch.randn(1, *INPUT_SHAPE))
    with torch.no_grad():
        for parameter in captured.parameters():
            assert parameter.requires_grad
        for batch in (1, 3):
            x = torch.randn(batch, *INPUT_SHAPE)
            torch.testing.assert_close(captured(x), model(x))
            captured.to(memory_format=torch.channels_last)
            torch.testing.assert_close(captured(x.contiguous(memory_format=torch.channels_last)), model(x))
        for parameter in captured.parameters():
            parameter.zero_()
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert {key for key, _ in captured.named_parameters()} <= {key for key, _ in model.named_parameters()}


class Zoo(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding="same")
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.MaxPool2d(2)
        self.head = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv(x)))
        x = torch.cat([x, F.hardtanh(x, 0.0, 2.0)], 1)
        x = x + 1.0
        x = x[:, :4].mean((-1, -2), keepdim=True)
        return self.head(self.drop(x.view(x.shape[0], -1)))


def test_operators_are_recognised_and_in_place_ones_made_functional() -> None:
    model = Zoo().eval()
    captured = capture(model, torch.randn(2, 1, 8, 8))
    kinds = [operator.kind for operator in operators(captured)]
    wanted = ["input", "conv", "relu", "max_pool", "clip", "concat", "other", "average_pool", "reshape", "linear"]
    assert [kind for kind in kinds if kind in wanted][:1] == ["input"]
    assert set(wanted) <= set(kinds)
    assert kinds[-1] == "output"
    clip = next(operator for operator in operators(captured) if operator.kind == "clip")
    assert clip.limit == 2.0
    x = torch.randn(3, 1, 8, 8)
    torch.testing.assert_close(captured(x), model(x))


def test_a_captured_network_trains() -> None:
    captured = capture(settled("residual"), torch.randn(2, *INPUT_SHAPE)).train()
    captured(torch.randn(4, *INPUT_SHAPE)).sum().backward()
    assert captured.get_parameter("stem.weight").grad is not None


class TwoOutputs(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x + 1


class Branching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_what_cannot_be_captured_is_refused() -> None:
    with pytest.raises(ExportError, match="one tensor to one tensor"):
        capture(TwoOutputs(), torch.randn(2, 3))
    with pytest.raises(ExportError, match="refuses"):
        capture(Branching(), torch.randn(2, 3))
