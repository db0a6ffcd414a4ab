from __future__ import annotations

import pytest
import torch

from edgekd.placement.place import QuantizedTensor
from edgekd.quantize.calibration import covering
from edgekd.quantize.fake_quant import ActivationQuantizer, Step, WeightQuantizer


def cover(quantizer: ActivationQuantizer, low: float, high: float) -> None:
    found = covering(QuantizedTensor("x", quantizer.signedness, limit=quantizer.limit), low, high)
    quantizer.hold(found.step, found.zero_point)


@pytest.mark.parametrize("signedness", ["unsigned", "affine", "symmetric"])
@pytest.mark.parametrize("training", [True, False])
def test_values_in_range_move_by_half_a_step_at_most_and_zero_stays_zero(signedness: str, training: bool) -> None:
    quantizer = ActivationQuantizer(signedness).train(training)
    low = 0.0 if signedness == "unsigned" else -1.0
    cover(quantizer, low, 3.0)
    x = torch.linspace(low, 3.0, 1001)[None]
    step = float(quantizer.step.value())
    assert (quantizer(x) - x).abs().max() <= 0.501 * step + (step if signedness == "affine" else 0)
    assert quantizer(torch.zeros(1, 3)).abs().max() == 0


def test_an_absorbing_quantizer_is_a_relu_and_with_a_limit_a_clip() -> None:
    relu = ActivationQuantizer("unsigned", absorbs=True)
    cover(relu, 0.0, 100.0)
    assert relu.eval()(torch.tensor([[-5.0, 100.0]])).tolist() == [[0.0, pytest.approx(100.0)]]
    relu6 = ActivationQuantizer("unsigned", absorbs=True, limit=6.0)
    cover(relu6, 0.0, 100.0)
    assert relu6.eval()(torch.tensor([[-5.0, 9.0]])).tolist() == [[0.0, pytest.approx(6.0)]]


def test_training_never_lets_a_limited_step_grow_beyond_its_limit() -> None:
    quantizer = ActivationQuantizer("unsigned", absorbs=True, limit=6.0).train()
    cover(quantizer, 0.0, 5.9)
    with torch.no_grad():
        quantizer.step.factor.fill_(2.0)
    quantizer(torch.rand(2, 4) * 9).sum().backward()
    assert float(quantizer.step.value()) <= 6.0 / 255 * 1.000001
    assert quantizer.step.factor.grad is not None


def test_a_tensor_that_was_always_zero_still_gets_a_usable_step() -> None:
    for signedness in ("unsigned", "affine", "symmetric"):
        quantizer = ActivationQuantizer(signedness)
        cover(quantizer, 0.0, 0.0)
        assert 1e-3 < float(quantizer.step.value()) < 1


def test_the_learned_step_is_the_step_and_its_gradient_is_scaled() -> None:
    step = Step(2)
    step.set(torch.tensor([0.5, 0.001]))
    learned = step.learned(0.1)
    torch.testing.assert_close(learned, step.value(), rtol=0, atol=0)
    learned.sum().backward()
    # d step / d factor is the calibrated step; LSQ's scale is in units of its square.
    torch.testing.assert_close(step.factor.grad, 0.1 / torch.tensor([0.5, 0.001]))


def test_learning_finds_a_better_step() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 256)
    quantizer = ActivationQuantizer("symmetric").train()
    cover(quantizer, -40.0, 40.0)
    before = (quantizer(x) - x).square().mean().item()
    optimizer = torch.optim.Adam(quantizer.parameters(), lr=0.02)
    for _ in range(120):
        optimizer.zero_grad()
        (quantizer(x) - x).square().mean().backward()
        optimizer.step()
    assert (quantizer(x) - x).square().mean().item() < 0.2 * before


@pytest.mark.parametrize("limit", [63, 127])
def test_weights_use_their_whole_range_in_every_channel(limit: int) -> None:
    weight = torch.randn(4, 3, 3, 3) * torch.tensor([1.0, 10.0, 0.1, 1.0]).reshape(4, 1, 1, 1)
    quantizer = WeightQuantizer(4, limit).eval()
    quantizer.reset(weight)
    assert quantizer.integers(weight).abs().flatten(1).amax(1).tolist() == [limit] * 4
    steps = quantizer.step.value().reshape(4, 1, 1, 1)
    assert ((quantizer(weight) - weight).abs() <= 0.501 * steps).all()
    torch.testing.assert_close(quantizer.train()(weight), quantizer.eval()(weight))
    quantizer.enabled = False
    assert quantizer(weight) is weight


def test_a_dead_channel_does_not_get_a_vanishing_step() -> None:
    weight = torch.zeros(2, 4)
    weight[0] = 1.0
    quantizer = WeightQuantizer(2, 63)
    quantizer.reset(weight)
    assert float(quantizer.step.value()[1]) > 1e-6
