"""BatchNorm comes back for training and goes again, and neither changes what is computed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import fx, nn

from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.torch_network import TorchNetwork
from edgekd.quantize.unfold import refold, unfold
from tests.models import INPUT_SHAPE, settled

X = torch.randn(64, *INPUT_SHAPE, generator=torch.Generator().manual_seed(1)) * 0.7 + 0.2


def quantized(model: nn.Module) -> fx.GraphModule:
    module = prepare(model, X[:2], SCHEMES["u8w7"])
    calibrate(module, X.numpy())
    return module


def stepped(module: nn.Module) -> None:
    """Train for a few steps."""
    module.train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.02)
    for _ in range(5):
        optimizer.zero_grad()
        module(X).square().mean().backward()
        optimizer.step()
    module.eval()


def assert_same_but_for_ties(a: torch.Tensor, b: torch.Tensor) -> None:
    """A value halfway between two integers may fall to either side: of many outputs few may differ, and little."""
    apart = (a - b).abs() / a.abs().max()
    assert float(apart.max()) < 0.1
    assert float((apart > 1e-3).float().mean()) < 0.05


@pytest.fixture(params=["residual", "depthwise"])
def module(request: pytest.FixtureRequest) -> fx.GraphModule:
    return quantized(settled(request.param))


def test_it_answers_the_same_unfolded_and_folded_again(module: fx.GraphModule) -> None:
    with torch.no_grad():
        expected = module(X)
        integers = TorchNetwork(module).integers()
        unfold(module)
        norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]
        assert len(norms) > 2
        assert_same_but_for_ties(module(X), expected)
        refold(module)
        assert_same_but_for_ties(module(X), expected)
    again = TorchNetwork(module).integers()
    for name, weight in integers.weights.items():
        assert np.mean(again.weights[name].integers != weight.integers) < 1e-3


def test_what_is_folded_computes_what_was_trained(module: fx.GraphModule) -> None:
    unfold(module)
    before = copy.deepcopy(module)
    stepped(module)
    with torch.no_grad():
        trained = module(X)
        assert float((trained - before(X)).abs().max()) > 1e-2 * float(trained.abs().max())
        refold(module)
        assert_same_but_for_ties(module(X), trained)
        assert_same_but_for_ties(freeze(module)(X), trained)


def test_statistics_follow_the_batches_while_it_trains(module: fx.GraphModule) -> None:
    unfold(module)
    norm = next(part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm))
    held = norm.running_mean.clone()
    module.train()
    module(X + 1)
    assert not torch.equal(norm.running_mean, held)


def test_a_channel_that_a_normalisation_silences_survives() -> None:
    model = settled("residual")
    norm = next(part for part in model.modules() if isinstance(part, nn.BatchNorm2d))
    with torch.no_grad():
        norm.weight[0], norm.weight[1] = 0.0, -norm.weight[1]
    module = quantized(model)
    with torch.no_grad():
        expected = module(X)
        unfold(module)
        assert_same_but_for_ties(module(X), expected)
    stepped(module)
    refold(module)
    assert all(bool(torch.isfinite(parameter).all()) for parameter in module.parameters())


def test_a_network_without_normalisations_is_left_as_it_is() -> None:
    model = nn.Sequential(
        nn.Conv2d(INPUT_SHAPE[0], 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)
    )
    module = quantized(model)
    expected = module(X)
    unfold(module)
    torch.testing.assert_close(module(X), expected)
    refold(module)
    torch.testing.assert_close(module(X), expected)
