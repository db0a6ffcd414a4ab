"""Networks that move and copy channels instead of computing them: ShuffleNet v2 and GhostNet."""

from __future__ import annotations

import math
from functools import partial

from onnx import ModelProto

from tools.topologies.builder import Value
from tools.topologies.layers import Layers, divisible


def shuffle(net: Layers, x: Value) -> Value:
    """Interleave the two halves of the channels."""
    _, channels, height, width = x.shape
    y = net.transpose(net.reshape(x, 1, 2, channels // 2, height, width), 0, 2, 1, 3, 4)
    return net.reshape(y, 1, channels, height, width)


def shufflenet_v2(resolution: int, widths: tuple[int, int, int], *, norm: bool = False) -> ModelProto:
    """ShuffleNetV2 with 4, 8 and 4 units of these widths (1807.11164)."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), 24, 3, 2, "relu", norm=norm)
    x = net.max_pool(x, 3, 2, (1, 1, 1, 1))
    for outputs, units in zip(widths, (4, 8, 4), strict=True):
        for unit in range(units):
            half, stride = outputs // 2, 1 if unit else 2
            if stride == 1:
                kept, y = net.split(x, half, half)
            else:
                kept = net.conv(net.depthwise(x, 3, 2, norm=norm), half, 1, 1, "relu", norm=norm)
                y = x
            y = net.conv(y, half, 1, 1, "relu", norm=norm)
            y = net.conv(net.depthwise(y, 3, stride, norm=norm), half, 1, 1, "relu", norm=norm)
            x = shuffle(net, net.concat(kept, y))
    x = net.conv(x, 1024, 1, 1, "relu", norm=norm)
    return net.model(net.linear(net.mean(x, 2, 3), 1000))


def ghost(net: Layers, x: Value, channels: int, act: str) -> Value:
    """Compute half of the channels by a 1x1 convolution and the other half from those, depthwise (1911.11907)."""
    primary = net.conv(x, math.ceil(channels / 2), 1, 1, act)
    return net.concat(primary, net.depthwise(primary, 3, 1, act))


GHOSTNET = (
    (3, 16, 16, 0, 1),
    (3, 48, 24, 0, 2),
    (3, 72, 24, 0, 1),
    (5, 72, 40, 1, 2),
    (5, 120, 40, 1, 1),
    (3, 240, 80, 0, 2),
    (3, 200, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 184, 80, 0, 1),
    (3, 480, 112, 1, 1),
    (3, 672, 112, 1, 1),
    (5, 672, 160, 1, 2),
    (5, 960, 160, 0, 1),
    (5, 960, 160, 1, 1),
    (5, 960, 160, 0, 1),
    (5, 960, 160, 1, 1),
)
"""Kernel, hidden, width, squeeze, stride of each bottleneck (1911.11907, table 1)."""


def ghostnet(resolution: int, width: float) -> ModelProto:
    """GhostNet with all widths multiplied."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), divisible(16 * width, 4), 3, 2, "relu")
    for kernel, hidden, channels, squeeze, stride in GHOSTNET:
        inner, outputs = divisible(hidden * width, 4), divisible(channels * width, 4)
        y = ghost(net, x, inner, "relu")
        y = y if stride == 1 else net.depthwise(y, kernel, stride)
        if squeeze:
            s = net.conv(net.global_pool(y), divisible(inner / 4, 4), 1, 1, "relu")
            y = net.mul(y, net.act(net.conv(s, inner, 1), "hsigmoid"))
        y = ghost(net, y, outputs, "")
        if stride > 1 or x.channels != outputs:
            x = net.conv(net.depthwise(x, kernel, stride), outputs, 1)
        x = net.add(y, x)
    x = net.global_pool(net.conv(x, divisible(960 * width, 4), 1, 1, "relu"))
    x = net.flatten(net.conv(x, 1280, 1, 1, "relu"))
    return net.model(net.linear(x, 1000))


TOPOLOGIES = {
    "shufflenet_v2_050_160": partial(shufflenet_v2, 160, (48, 96, 192), norm=True),
    "shufflenet_v2_100_224": partial(shufflenet_v2, 224, (116, 232, 464)),
    "ghostnet_100_160": partial(ghostnet, 160, 1.0),
}
