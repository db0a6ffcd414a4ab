"""Depthwise networks: MobileNet v1 to v3, EfficientNet, MixNet, ShuffleNet v2, GhostNet, DS-CNN."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from onnx import ModelProto

from tools.topologies.builder import Value
from tools.topologies.layers import Layers, divisible, same_upper


class Inverted(NamedTuple):
    """An inverted bottleneck: hidden and final width, stride, kernel (or several, one a part of the channels)."""

    hidden: int
    outputs: int
    stride: int = 1
    kernel: int | tuple[int, ...] = 3
    act: str = "relu6"
    squeeze: int = 0
    """Channels between the two layers of squeeze-and-excitation; 0 has none."""


def inverted(net: Layers, x: Value, block: Inverted, *, gate: str = "sigmoid", norm: bool = False) -> Value:
    """Expand 1x1 unless nothing is expanded, filter depthwise, squeeze and excite, project; add where shapes allow."""
    y = x if block.hidden == x.channels else net.conv(x, block.hidden, 1, 1, block.act, norm=norm)
    if isinstance(block.kernel, int):
        y = net.depthwise(y, block.kernel, block.stride, block.act, norm=norm)
    else:
        y = mixed(net, y, block.kernel, block.stride, block.act)
    if block.squeeze:
        first = "relu" if gate == "hsigmoid" else block.act
        s = net.conv(net.global_pool(y), block.squeeze, 1, 1, first)
        y = net.mul(y, net.act(net.conv(s, y.channels, 1), gate))
    y = net.conv(y, block.outputs, 1, norm=norm)
    return net.add(x, y) if block.stride == 1 and x.channels == block.outputs else y


def mixed(net: Layers, x: Value, kernels: Sequence[int], stride: int, act: str) -> Value:
    """Filter equal parts of the channels depthwise with different windows (MixConv, 1907.09595)."""
    part = x.channels // len(kernels)
    sizes = [x.channels - part * (len(kernels) - 1), *([part] * (len(kernels) - 1))]
    filtered = [net.depthwise(y, k, stride) for y, k in zip(net.split(x, *sizes), kernels, strict=True)]
    return net.act(net.concat(*filtered), act)


V1 = ((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *((512, 1),) * 5, (1024, 2), (1024, 1))
"""MobileNetV1: width and stride of each pair of a depthwise and a 1x1 convolution (1704.04861)."""


def v1(shape: Sequence[int], stem: int, blocks: Sequence[tuple[int, int]], classes: int, *, norm: bool) -> ModelProto:
    """MobileNetV1 of these widths and strides."""
    net = Layers()
    x = net.conv(net.input(*shape), stem, 3, 2, "relu6", norm=norm)
    for outputs, stride in blocks:
        x = net.conv(net.depthwise(x, 3, stride, "relu6", norm=norm), outputs, 1, 1, "relu6", norm=norm)
    return net.model(net.classify(x, classes))


def v1_scaled(shape: Sequence[int], width: float, classes: int = 1000, *, norm: bool = False) -> ModelProto:
    """MobileNetV1 with all widths multiplied."""
    blocks = [(divisible(channels * width), stride) for channels, stride in V1]
    return v1(shape, divisible(32 * width), blocks, classes, norm=norm)


V2 = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""MobileNetV2: expansion, width, repeats, first stride of each stage (1801.04381)."""


def v2_blocks(width: float, early: int = 2) -> list[Inverted]:
    """Return the blocks with all widths multiplied; `early` is the stride of the second stage, 1 for small images."""
    blocks, inputs = [], divisible(32 * width)
    for stage, (expansion, channels, repeats, stride) in enumerate(V2):
        outputs = divisible(channels * width)
        for position in range(repeats):
            step = 1 if position else (early if stage == 1 else stride)
            blocks.append(Inverted(inputs * expansion, outputs, step))
            inputs = outputs
    return blocks


def v2(
    shape: Sequence[int],
    stem: tuple[int, int],
    blocks: Sequence[Inverted],
    head: int,
    classes: int = 1000,
    *,
    norm: bool = False,
    opset: int = 17,
) -> ModelProto:
    """MobileNetV2 of these blocks; the stem is its width and stride."""
    net = Layers(opset)
    x = net.conv(net.input(*shape), stem[0], 3, stem[1], "relu6", norm=norm)
    for block in blocks:
        x = inverted(net, x, block, norm=norm)
    x = net.conv(x, head, 1, 1, "relu6", norm=norm)
    return net.model(net.linear(net.mean(x, 2, 3), classes))


def v2_scaled(resolution: int, width: float, *, norm: bool = False) -> ModelProto:
    """MobileNetV2 for photographs; the head does not shrink."""
    head = divisible(1280 * max(1.0, width))
    return v2((3, resolution, resolution), (divisible(32 * width), 2), v2_blocks(width), head, norm=norm)


V3_SMALL = (
    (3, 16, 16, "re", 1, 2),
    (3, 72, 24, "re", 0, 2),
    (3, 88, 24, "re", 0, 1),
    (5, 96, 40, "hs", 1, 2),
    (5, 240, 40, "hs", 1, 1),
    (5, 240, 40, "hs", 1, 1),
    (5, 120, 48, "hs", 1, 1),
    (5, 144, 48, "hs", 1, 1),
    (5, 288, 96, "hs", 1, 2),
    (5, 576, 96, "hs", 1, 1),
    (5, 576, 96, "hs", 1, 1),
)
"""MobileNetV3-Small: kernel, hidden, width, activation, squeeze, stride (1905.02244, table 2)."""


def v3_small(resolution: int, width: float, hswish: str) -> ModelProto:
    """MobileNetV3-Small; `hswish` names how the hard swish is written."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), divisible(16 * width), 3, 2, hswish)
    for kernel, hidden, outputs, act, squeeze, stride in V3_SMALL:
        wide = divisible(hidden * width)
        name = hswish if act == "hs" else "relu"
        block = Inverted(wide, divisible(outputs * width), stride, kernel, name, squeeze and divisible(wide / 4))
        x = inverted(net, x, block, gate="hsigmoid")
    x = net.conv(x, divisible(576 * width), 1, 1, hswish)
    x = net.linear(net.flatten(net.global_pool(x)), divisible(1024 * width), hswish)
    return net.model(net.linear(x, 1000))


B0 = (
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
"""EfficientNet-B0: expansion, width, repeats, stride, kernel (1905.11946, table 1)."""


def efficientnet(resolution: int, act: str, *, squeeze: bool) -> ModelProto:
    """EfficientNet-B0, or Lite0 without squeeze-and-excitation."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), 32, 3, 2, act)
    for expansion, outputs, repeats, stride, kernel in B0:
        for position in range(repeats):
            inputs = x.channels
            step = 1 if position else stride
            narrow = inputs // 4 if squeeze else 0
            x = inverted(net, x, Inverted(inputs * expansion, outputs, step, kernel, act, narrow))
    return net.model(net.classify(net.conv(x, 1280, 1, 1, act), 1000))


def efficientnet_lite0_tensorflow(resolution: int) -> ModelProto:
    """EfficientNet-Lite0 as converted from TensorFlow: uneven pads where the stride is 2."""
    net = Layers()
    x = net.input(3, resolution, resolution)
    x = net.conv(x, 32, 3, 2, "relu6", pads=same_upper(x, 3, 2))
    for expansion, outputs, repeats, stride, kernel in B0:
        for position in range(repeats):
            step, shortcut = (1, x) if position else (stride, None)
            y = x if expansion == 1 else net.conv(x, x.channels * expansion, 1, 1, "relu6")
            pads = same_upper(y, kernel, step)
            y = net.conv(y, y.channels, kernel, step, "relu6", groups=y.channels, pads=pads)
            y = net.conv(y, outputs, 1)
            x = net.add(y, shortcut) if shortcut else y
    return net.model(net.classify(net.conv(x, 1280, 1, 1, "relu6"), 1000))


MIXNET = (
    (1, 16, 1, 1, (3,), "relu", 0),
    (6, 24, 1, 2, (3,), "relu", 0),
    (3, 24, 1, 1, (3,), "relu", 0),
    (6, 40, 2, 2, (3, 5, 7), "silu", 2),
    (6, 80, 2, 2, (3, 5, 7), "silu", 4),
    (6, 120, 2, 1, (3, 5, 7, 9), "silu", 2),
    (6, 200, 2, 2, (3, 5, 7, 9, 11), "silu", 2),
)
"""In the way of MixNet-S: expansion, width, repeats, stride, kernels, activation, squeeze (1907.09595, figure 4)."""


def mixnet(resolution: int) -> ModelProto:
    """Return a MixNet-S without its grouped 1x1 convolutions."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), 16, 3, 2, "relu")
    for expansion, outputs, repeats, stride, kernels, act, squeeze in MIXNET:
        for position in range(repeats):
            inputs = x.channels
            kernel = kernels if len(kernels) > 1 else kernels[0]
            narrow = inputs * expansion // (2 * squeeze * expansion) if squeeze else 0
            block = Inverted(inputs * expansion, outputs, 1 if position else stride, kernel, act, narrow)
            x = inverted(net, x, block)
    return net.model(net.classify(net.conv(x, 1536, 1, 1, "relu"), 1000))


TOPOLOGIES = {
    "mobilenet_v1_025_96": partial(v1_scaled, (3, 96, 96), 0.25, 2),
    "mobilenet_v1_050_128": partial(v1_scaled, (3, 128, 128), 0.5),
    "mobilenet_v1_100_128": partial(v1_scaled, (3, 128, 128), 1.0, norm=True),
    "mobilenet_v1_100_224": partial(v1_scaled, (3, 224, 224), 1.0),
    "yamnet_96x64": partial(v1_scaled, (1, 96, 64), 1.0, 521),
    "mobilenet_v2_035_96": partial(v2_scaled, 96, 0.35),
    "mobilenet_v2_050_160": partial(v2_scaled, 160, 0.5, norm=True),
    "mobilenet_v2_100_224": partial(v2_scaled, 224, 1.0),
    "mobilenet_v2_140_192": partial(v2_scaled, 192, 1.4),
    "mobilenet_v2_100_32": partial(v2, (3, 32, 32), (32, 1), v2_blocks(1.0, early=1), 1280, 10),
    "mobilenet_v3_small_100_224": partial(v3_small, 224, 1.0, "hswish"),
    "mobilenet_v3_small_075_128": partial(v3_small, 128, 0.75, "hswish_decomposed"),
    "efficientnet_lite0_224": partial(efficientnet, 224, "relu6", squeeze=False),
    "efficientnet_lite0_tensorflow_192": partial(efficientnet_lite0_tensorflow, 192),
    "efficientnet_b0_160": partial(efficientnet, 160, "silu", squeeze=True),
    "mixnet_s_160": partial(mixnet, 160),
}
