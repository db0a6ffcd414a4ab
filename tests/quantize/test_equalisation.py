from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from edgekd import target as targets
from edgekd.errors import UsageError
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.equalisation import Equalised
from edgekd.quantize.network import Network
from edgekd.quantize.post_training import quantize_file
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.torch_network import TorchNetwork

X = torch.randn(48, 3, 12, 12, generator=torch.Generator().manual_seed(1))


class Uneven(nn.Module):
    """One channel of the first layer is fifty times as large as the others; the next layers take it back."""

    def __init__(self, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.act = nn.Conv2d(3, 8, 3, padding=1), activation()
        self.pool, self.filter = nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8)
        self.last, self.head = nn.Conv2d(8, 12, 1), nn.Linear(12, 5)
        with torch.no_grad():
            self.first.weight[2] *= 50
            self.first.bias[2] *= 50
            self.filter.weight[2] /= 50

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.act(self.filter(self.pool(self.act(self.first(x))))))
        return self.head(self.act(y).mean((2, 3)))


def network(model: nn.Module) -> TorchNetwork:
    return TorchNetwork(prepare(model.eval(), X[:2], SCHEMES["u8w7"]))


def outputs(of: Network, name: str) -> np.ndarray:
    """Return what a layer makes, as products of its patches and rows."""
    layer = of.layers[name]
    (batch,) = of.watch(X[:4].numpy(), [layer.source])
    patches = layer.patches(batch[layer.source], 1 << 20, np.random.default_rng(0))
    made = patches @ layer.rows.transpose(0, 2, 1)
    return made.transpose(1, 0, 2).reshape(made.shape[1], -1) + layer.bias


def test_layers_make_the_same_but_for_the_factor_of_each_channel() -> None:
    plain = network(Uneven())
    even = Equalised(plain, X.numpy(), plain.plan)
    changed = 0
    for name in plain.plan.weights:
        before, after = outputs(plain, name), outputs(even, name)
        ratio = np.abs(after).max(0) / np.abs(before).max(0)
        np.testing.assert_allclose(after, before * ratio, rtol=1e-3, atol=1e-3 * np.abs(after).max())
        changed += bool(np.abs(ratio - 1).max() > 0.01)
    assert changed == 2  # what the pooled mean and the answer are read by is no layer alone


def test_a_large_channel_no_longer_costs_the_others_their_steps() -> None:
    model, errors = Uneven().eval(), []
    for equalisation in (False, True):
        module = prepare(model, X[:2], SCHEMES["u8w7"])
        plain = CalibrationConfig(
            observer="minmax", rounding="nearest", bias_correction=False, equalisation=equalisation
        )
        calibrate(module, X.numpy(), plain)
        with torch.no_grad():
            errors.append(float((module(X) - model(X)).abs().mean()))
    assert errors[1] < 0.5 * errors[0]


def test_channels_of_a_sequence_are_its_last_axis() -> None:
    torch.manual_seed(0)
    layers = (nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 3))
    tokens = torch.randn(16, 8, 6, generator=torch.Generator().manual_seed(2))  # as many tokens as channels
    plain = TorchNetwork(prepare(nn.Sequential(*layers).eval(), tokens[:2], SCHEMES["u8w7"]))
    even = Equalised(plain, tokens.numpy(), plain.plan)
    last = plain.plan.weights[-1]
    made = []
    for of in (plain, even):
        layer = of.layers[last]
        (batch,) = of.watch(tokens.numpy(), [layer.source])
        made.append(batch[layer.source] @ layer.weight.T + layer.bias)
    np.testing.assert_allclose(made[1], made[0], rtol=1e-4, atol=1e-5)
    assert not np.allclose(even.layers[last].weight, plain.layers[last].weight)


def test_what_tries_several_placements_is_refused(tmp_path: Path) -> None:
    config, target = CalibrationConfig(equalisation=True), targets.load("x86-avx2")
    with pytest.raises(UsageError, match="equalised weights are of one placement"):
        quantize_file(tmp_path / "model.onnx", X.numpy(), target, SCHEMES["u8w7"], tmp_path, config=config, choose=min)


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Hardswish])
def test_what_is_not_proportional_is_left_alone(activation: type[nn.Module]) -> None:
    plain = network(Uneven(activation))
    even = Equalised(plain, X.numpy(), plain.plan)
    for name in plain.plan.weights:
        np.testing.assert_array_equal(even.layers[name].weight, plain.layers[name].weight)
