"""Inverted bottlenecks, networks of them, and the stages of MobileNetV2 for small images (Sandler et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from edgekd.models.shrink import Shrink

# Their table 2: channels, repeats, stride at width and depth 1. Strides of 1 in two rows, as images are small.
_STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


class Stage(NamedTuple):
    """Bottlenecks in a row, the first of which has the stride."""

    channels: int
    repeats: int
    stride: int
    expansion: int


class Shape(NamedTuple):
    """One bottleneck: the channels it gives, and how it computes them."""

    channels: int
    stride: int
    kernel: int
    expansion: int
    squeeze: int = 0
    """Channels between the two layers of squeeze-and-excitation; 0 has none."""


class SqueezeExcitation(nn.Module):
    """Scales every channel of a map (N, C, H, W) by what the means of all channels say.

    Mean, two layers with ReLU between, sigmoid and product are those of Hu, Shen and Sun 2018 (arXiv 1709.01507); the
    hard sigmoid is MobileNetV3's (Howard et al. 2019, arXiv 1905.02244). The layers are 1x1 convolutions on one pixel,
    so that what prunes and quantizes sees a network of convolutions.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)  # a pooling, not a mean: ONNX Runtime does that in its blocked layout
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.act = nn.ReLU()
        self.excite = nn.Conv2d(squeezed, channels, 1)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, C, H, W)."""
        out: Tensor = x * self.gate(self.excite(self.act(self.squeeze(self.pool(x)))))
        return out


class Bottleneck(nn.Module):
    """Expand 1x1, filter depthwise, project 1x1 without activation; a shortcut where shapes allow.

    With `squeeze` the filtered channels are excited before they are projected, where MobileNetV3 does it.
    """

    def __init__(self, inputs: int, shape: Shape) -> None:
        super().__init__()
        outputs, stride, kernel, expansion, squeeze = shape
        hidden = inputs * expansion
        expand = [*_conv(inputs, hidden), nn.ReLU6()] if expansion > 1 else []
        # In the activation's place, not behind it: networks share weights by a layer's distance from the end.
        act = nn.Sequential(nn.ReLU6(), SqueezeExcitation(hidden, squeeze)) if squeeze else nn.ReLU6()
        depthwise = [*_conv(hidden, hidden, kernel, stride, groups=hidden), act]
        self.layers = nn.Sequential(*expand, *depthwise, *_conv(hidden, outputs))
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, H / stride, W / stride)."""
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class Bottlenecks(nn.Module):
    """A stem of 3x3 that keeps the resolution, `blocks` that map `stem` channels to `width`, and a classifier."""

    def __init__(  # noqa: PLR0917 - the sizes of a network
        self,
        inputs: int,
        stem: int,
        blocks: nn.Module,
        width: int,
        head: int,
        classes: int,
        shrink: Shrink | None = None,
    ) -> None:
        super().__init__()
        self.shrink = shrink
        self.stem = nn.Sequential(*_conv(inputs, stem, 3), nn.ReLU6())
        self.blocks = blocks
        self.last = nn.Sequential(*_conv(width, head), nn.ReLU6())
        self.head = nn.Linear(head, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits of images (N, C, H, W)."""
        x = x if self.shrink is None else self.shrink(x)
        x = self.last(self.blocks(self.stem(x)))
        out: Tensor = self.head(x.mean((2, 3)))
        return out


def network(  # noqa: PLR0917 - the sizes of a network
    inputs: int, stem: int, shapes: Sequence[Shape], head: int, classes: int, shrink: Shrink | None = None
) -> Bottlenecks:
    """Return the network of bottlenecks of these shapes, one after the other, behind what shrinks its images."""
    widths = [stem, *(shape.channels for shape in shapes)]
    blocks = [Bottleneck(width, shape) for width, shape in zip(widths, shapes, strict=False)]
    return Bottlenecks(inputs, stem, nn.Sequential(*blocks), widths[-1], head, classes, shrink)


def stages(width: float, depth: float, expansion: int, step: int) -> list[Stage]:
    """Return the stages of a size; the first one does not expand."""
    return [
        Stage(rounded(channels * width, step), max(1, math.ceil(repeats * depth)), stride, expansion if number else 1)
        for number, (channels, repeats, stride) in enumerate(_STAGES)
    ]


def rounded(channels: float, step: int) -> int:
    """Return the nearest multiple of the step, one step at least."""
    return max(step, round(channels / step) * step)


def _conv(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]
