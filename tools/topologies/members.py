"""Members of edgekd's own families and spaces, as its exporter writes them: opset 20, BatchNorm folded into biases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

from onnx import ModelProto

from tools.topologies.mobile import Inverted, v2
from tools.topologies.residual import CIFAR, DIGITS, small, stages

STAGES = ((16, 1, 1), (24, 2, 1), (32, 3, 2), (64, 4, 2), (96, 3, 1), (160, 3, 2), (320, 1, 1))


def resnet(shape: Sequence[int], depth: int, *channels: int) -> ModelProto:
    """Return the family `resnet` with these options."""
    return small(shape, channels[0], stages(channels, [(depth - 2) // 6] * 3), opset=20)


def mobilenet(shape: Sequence[int], width: float, depth: float, expansion: int = 6) -> ModelProto:
    """Return the family `mobilenetv2` with these options."""

    def scaled(channels: int) -> int:
        return max(8, round(channels * width / 8) * 8)

    blocks, inputs = [], scaled(32)
    for stage, (channels, repeats, first) in enumerate(STAGES):
        for position in range(max(1, math.ceil(repeats * depth))):
            hidden = inputs * (expansion if stage else 1)
            blocks.append(Inverted(hidden, scaled(channels), 1 if position else first))
            inputs = scaled(channels)
    return v2(shape, (scaled(32), 1), blocks, scaled(640), 10, opset=20)


TOPOLOGIES = {
    "space_resnet8_8_8_16_28": partial(resnet, DIGITS, 8, 8, 8, 16),
    "space_resnet8_32_96_288_32": partial(resnet, CIFAR, 8, 32, 96, 288),
    "space_resnet14_8_24_72_28": partial(resnet, DIGITS, 14, 8, 24, 72),
    "space_resnet14_24_48_96_32": partial(resnet, CIFAR, 14, 24, 48, 96),
    "space_resnet20_16_48_144_28": partial(resnet, DIGITS, 20, 16, 48, 144),
    "space_resnet26_8_16_32_32": partial(resnet, CIFAR, 26, 8, 16, 32),
    "space_resnet26_24_48_96_28": partial(resnet, DIGITS, 26, 24, 48, 96),
    "space_resnet32_16_24_48_28": partial(resnet, DIGITS, 32, 16, 24, 48),
    "space_mobilenet_025_050_28": partial(mobilenet, DIGITS, 0.25, 0.5),
    "space_mobilenet_050_100_32": partial(mobilenet, CIFAR, 0.5, 1.0),
    "space_mobilenet_100_050_32": partial(mobilenet, CIFAR, 1.0, 0.5, 4),
}
