from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from edgekd.errors import EdgekdError, UsageError
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.fake_quant import ActivationQuantizer, WeightQuantizer
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.torch_network import floating
from tests.models import INPUT_SHAPE, TINY, settled


def images(count: int = 48) -> np.ndarray:
    return (torch.randn(count, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0)) * 0.7 + 0.2).numpy()


@pytest.mark.parametrize("scheme", [name for name, scheme in SCHEMES.items() if not scheme.experimental])
@pytest.mark.parametrize("name", TINY)
def test_quantization_costs_little(name: str, scheme: str) -> None:
    model, x = settled(name), torch.from_numpy(images())
    module = prepare(model, x[:2], SCHEMES[scheme])
    calibrate(module, images())
    with torch.no_grad():
        expected, found = model(x), module(x)
    spread = float(expected.std())
    assert 0 < float((found - expected).square().mean().sqrt()) < 0.05 * spread


def test_every_layer_and_every_tensor_between_layers_is_quantized() -> None:
    module = prepare(settled("residual"), torch.randn(2, *INPUT_SHAPE), SCHEMES["u8w7"])
    weights = [path for path, part in module.named_modules() if isinstance(part, WeightQuantizer)]
    assert {path.removesuffix(".weight_quantizer") for path in weights} == {
        "stem",
        "first",
        "second",
        "shortcut",
        "head",
    }
    activations = [part for part in module.modules() if isinstance(part, ActivationQuantizer)]
    # Input, stem, two inputs beside the sums' other ones, two sums, pooling.
    assert len(activations) == 8
    assert not [node for node in module.graph.nodes if node.target == torch.ops.aten.relu.default]


def test_calibration_sees_the_float_network() -> None:
    model, x = settled("depthwise"), torch.from_numpy(images())
    module = prepare(model, x[:2], SCHEMES["u8w7"])
    for part in module.modules():
        if isinstance(part, WeightQuantizer):
            part.step.set(torch.full_like(part.step.calibrated, 1e3))  # would quantize every weight to zero
    calibrate(module, images(), CalibrationConfig(observer="minmax"))
    quantizer = module.get_submodule("quantized.x")
    step = float(quantizer.step.value())
    assert step * 255 == pytest.approx(float(x.max() - x.min()), rel=1e-4)
    for part in module.modules():
        if isinstance(part, ActivationQuantizer):
            assert part.enabled
            assert float(part.step.value()) > 1e-4


def test_without_images_or_quantizers_calibration_is_refused() -> None:
    module = prepare(settled("mlp"), torch.randn(2, *INPUT_SHAPE), SCHEMES["u8w7"])
    with pytest.raises(UsageError, match="0 samples"):
        calibrate(module, images()[:0])
    with pytest.raises(EdgekdError, match="only what prepare returned"):
        calibrate(settled("mlp"), images())


def test_weights_and_tensors_float_only_for_a_while() -> None:
    module = prepare(settled("mlp"), torch.randn(2, *INPUT_SHAPE), SCHEMES["u8w7"])
    parts = [part for part in module.modules() if isinstance(part, WeightQuantizer | ActivationQuantizer)]
    with floating(module):
        assert not any(part.enabled for part in parts)
    assert all(part.enabled for part in parts)


@pytest.mark.parametrize("autocast", [False, True])
def test_training_lowers_the_loss_and_moves_weights_and_steps(autocast: bool) -> None:
    torch.manual_seed(0)
    x = torch.from_numpy(images()).contiguous(memory_format=torch.channels_last)
    labels = torch.arange(len(x)) % 4
    module = prepare(settled("residual"), x[:2], SCHEMES["u8w7"]).to(memory_format=torch.channels_last)
    calibrate(module, images())
    before = {name: parameter.detach().clone() for name, parameter in module.named_parameters()}
    optimizer = torch.optim.AdamW(module.parameters(), lr=3e-3)
    losses = []
    module.train()
    for _ in range(25):
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = F.cross_entropy(module(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    still = [name for name, parameter in module.named_parameters() if torch.equal(before[name], parameter)]
    assert still == []


def test_ternary_weights_are_three_numbers_and_tell_more_than_the_largest_alone() -> None:
    model, x = settled("residual"), torch.from_numpy(images())
    module = prepare(model, x[:2], SCHEMES["u8t"])
    with torch.no_grad():
        expected, covering = model(x), module(x)
        calibrate(module, images())
        found = module(x)
    for path, part in module.named_modules():
        if isinstance(part, WeightQuantizer):
            weight = module.get_parameter(path.removesuffix("_quantizer"))
            assert set(part.integers(weight.detach()).unique().tolist()) == {-1.0, 0.0, 1.0}
    assert (found - expected).square().mean() < 0.5 * (covering - expected).square().mean()
