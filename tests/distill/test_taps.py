"""Taps read what modules give, by path, and leave no trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from edgekd.distill.taps import Taps
from edgekd.errors import EdgekdError, UsageError
from tests.models import INPUT_SHAPE, settled

IMAGES = torch.randn(3, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0))


class Nested(nn.Module):
    """A module inside two others, one that returns several things, one that is never run."""

    def __init__(self) -> None:
        super().__init__()
        self.outer = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(144, 6), nn.ReLU()))
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)
        self.idle = nn.Linear(6, 6)

    def forward(self, x: Tensor) -> Tensor:
        y = self.outer(x)[:, None].expand(-1, 3, -1)
        out, _ = self.attention(y, y, y, average_attn_weights=False)
        return out.mean(1)


def test_outputs_and_inputs_of_nested_modules_are_read_in_the_order_asked_for() -> None:
    model = Nested()
    output, (relu, linear, given) = Taps(model, ["outer.1.1", "outer.1.0", "outer.1.0:input"])(model, IMAGES)
    assert output.shape == (3, 6)
    assert torch.equal(relu, linear.relu())
    assert torch.equal(given, IMAGES.flatten(1))


def test_one_of_several_things_a_module_returns() -> None:
    model = Nested()
    _, (maps,) = Taps(model, ["attention:1"])(model, IMAGES)
    assert maps.shape == (3, 2, 3, 3)
    assert torch.allclose(maps.sum(-1), torch.ones(3, 2, 3))


def test_gradients_pass_and_no_hook_stays_behind() -> None:
    model = settled("residual")
    _, (features,) = Taps(model, ["second_norm"])(model, IMAGES)
    features.square().sum().backward()
    assert model.stem.weight.grad is not None
    assert all(not module._forward_hooks for module in model.modules())


def test_nor_does_one_after_an_error() -> None:
    model = settled("residual")
    with pytest.raises(RuntimeError):
        Taps(model, ["stem"])(model, IMAGES[:, :, :2, :2].flatten())
    assert all(not module._forward_hooks for module in model.modules())


def test_paths_are_the_networks_own_inside_torch_compile() -> None:
    model = settled("residual")
    compiled = torch.compile(model, backend="eager")
    assert torch.equal(
        Taps(compiled, ["first_norm"])(model, IMAGES)[1][0], Taps(model, ["first_norm"])(model, IMAGES)[1][0]
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("secnd_norm", "no module 'secnd_norm'; did you mean 'second_norm'"),
        ("stem:output", "after the colon stands 'input', or the number of an output"),
        ("", "no module ''"),
    ],
)
def test_a_path_that_names_nothing_is_refused_at_once(path: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Taps(settled("residual"), [path])


@pytest.mark.parametrize(
    ("path", "message"), [("idle", "the module did not run"), ("attention", "gives tuple, not a tensor")]
)
def test_a_module_that_gives_no_tensor_is_named(path: str, message: str) -> None:
    model = Nested()
    with pytest.raises(EdgekdError, match=f"tap '{path}'.* ?{message}"):
        Taps(model, [path])(model, IMAGES)
