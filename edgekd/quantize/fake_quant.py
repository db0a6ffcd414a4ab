"""Fake quantizers: floats that take only the values the engine's integers can stand for, with learned step sizes.

LSQ: Esser et al. 2020, "Learned Step Size Quantization", https://arxiv.org/abs/1902.08153. A step is stored as its
calibrated value and a learned factor near 1, so that one learning rate suits steps of any size under any optimizer;
under SGD the steps move exactly as in the paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from edgekd.placement.scheme import SMALLEST_STEP, Signedness, integer_range
from edgekd.quantize.fold import per_channel
from edgekd.quantize.straight_through import fake_quantize


class Step(nn.Module):
    """One or several learned step sizes (float, shape (count,))."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.calibrated: Tensor
        self.register_buffer("calibrated", torch.ones(count))
        self.factor = nn.Parameter(torch.ones(count))

    def set(self, steps: Tensor) -> None:
        """Start from newly calibrated steps."""
        with torch.no_grad():
            self.calibrated.copy_(steps.clamp(min=SMALLEST_STEP))
            self.factor.fill_(1.0)

    def scale(self, by: Tensor) -> None:
        """Multiply the steps, as their weights are."""
        self.calibrated.mul_(by.to(self.calibrated))

    def limit(self, largest: float = math.inf) -> None:
        """Keep learned steps positive and at most `largest`, by projection so that gradients stay alive."""
        with torch.no_grad():
            upper = (largest / self.calibrated).clamp(max=16.0)
            self.factor.copy_(self.factor.clamp(min=1 / 16).minimum(upper))

    def value(self) -> Tensor:
        """Return the step sizes, without gradient."""
        return (self.calibrated * self.factor).detach()

    def learned(self, gradient_scale: float) -> Tensor:
        """Return the step sizes; their gradient is multiplied by LSQ's scale, in units of the calibrated step."""
        scaled = self.factor * (gradient_scale / self.calibrated.square())
        return self.calibrated * (self.factor.detach() + (scaled - scaled.detach()))


class ActivationQuantizer(nn.Module):
    """Quantizes one tensor with one step size and, where the tensor is affine, a calibrated zero point.

    With `absorbs` it stands in the place of a ReLU, with `limit` also in that of a clip: its integers end there.
    """

    def __init__(self, signedness: Signedness, *, absorbs: bool = False, limit: float | None = None) -> None:
        super().__init__()
        self.signedness = signedness
        self.absorbs = absorbs
        self.limit = limit
        self.lowest, self.highest = integer_range(signedness)
        self.enabled = True
        """While it is not, tensors pass unquantized."""
        self.step = Step(1)
        self.zero_point: Tensor
        self.register_buffer("zero_point", torch.zeros(1))

    def hold(self, step: float, zero_point: int) -> None:
        """Start from a newly calibrated step and zero point."""
        self.step.set(torch.tensor([step]))
        self.zero_point.fill_(zero_point)

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` as the engine will see it."""
        if not self.enabled:
            return self._absorbed(x)
        zero_point = float(self.zero_point)
        step = self._learned_step(x) if self.training else self.step.value()
        # Under autocast a layer's output has too few digits for 255 steps.
        return fake_quantize(x.float(), step, self.lowest - zero_point, self.highest - zero_point)

    def _learned_step(self, x: Tensor) -> Tensor:
        self.step.limit(math.inf if self.limit is None else self.limit / self.highest)
        features = x.numel() // max(len(x), 1)
        return self.step.learned(1 / math.sqrt(features * self.highest))

    def integers(self, x: Tensor) -> Tensor:
        """Return the integers, as floats, exactly as ONNX's QuantizeLinear defines them."""
        return (x / self.step.value()).round_().add_(self.zero_point).clamp_(self.lowest, self.highest)

    def dequantized(self, integers: Tensor) -> Tensor:
        """Return what integers stand for, exactly as ONNX's DequantizeLinear defines it."""
        return (integers - self.zero_point) * self.step.value()

    def _absorbed(self, x: Tensor) -> Tensor:
        return x.clamp(min=0.0, max=self.limit) if self.absorbs else x


class WeightQuantizer(nn.Module):
    """Quantizes a weight (output channels first) symmetrically with one step size an output channel."""

    def __init__(self, channels: int, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.enabled = True
        self.step = Step(channels)

    def reset(self, weight: Tensor) -> None:
        """Take the steps that just cover `weight`."""
        steps = weight.detach().abs().flatten(1).amax(1) / self.limit
        # A channel of (nearly) zero weights needs no fine steps, and its bias no 33rd bit.
        self.step.set(steps.clamp(min=float(steps.max()) / 1024))

    def forward(self, weight: Tensor) -> Tensor:
        """Return `weight` as the engine will see it."""
        if not self.enabled:
            return weight
        step = self._learned_step(weight) if self.training else self.step.value()
        return fake_quantize(weight, per_channel(step, weight), -self.limit, self.limit)

    def _learned_step(self, weight: Tensor) -> Tensor:
        self.step.limit()
        return self.step.learned(1 / math.sqrt(weight[0].numel() * self.limit))

    def integers(self, weight: Tensor) -> Tensor:
        """Return the integers, as floats."""
        return (weight / per_channel(self.step.value(), weight)).round_().clamp_(-self.limit, self.limit)
