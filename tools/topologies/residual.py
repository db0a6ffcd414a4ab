"""ResNets of both kinds, plain and bottleneck, pre-activated, and RegNetX; widths are free, so that pruned ones fit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from onnx import ModelProto

from tools.topologies.builder import Value
from tools.topologies.layers import Layers


class Block(NamedTuple):
    """A residual block: what its inner layers and its end are wide."""

    inner: int
    outputs: int
    stride: int = 1


def stages(widths: Sequence[int], depths: Sequence[int], expansion: int = 1, first: int = 1) -> list[Block]:
    """Return the blocks of a network whose every stage but the first (`first`) starts with a stride of 2."""
    return [
        Block(width, width * expansion, 1 if position else (2 if stage else first))
        for stage, (width, depth) in enumerate(zip(widths, depths, strict=True))
        for position in range(depth)
    ]


def basic(net: Layers, x: Value, block: Block, *, norm: bool = False) -> Value:
    """Two 3x3 convolutions and a shortcut."""
    y = net.conv(x, block.inner, 3, block.stride, "relu", norm=norm)
    y = net.conv(y, block.outputs, 3, norm=norm)
    return net.act(net.add(y, _shortcut(net, x, block, norm=norm)), "relu")


def bottleneck(net: Layers, x: Value, block: Block, *, group_width: int = 0, norm: bool = False) -> Value:
    """1x1, 3x3 and 1x1 convolutions and a shortcut; with a group width the ResNeXt and RegNetX block."""
    y = net.conv(x, block.inner, 1, 1, "relu", norm=norm)
    groups = block.inner // group_width if group_width else 1
    y = net.conv(y, block.inner, 3, block.stride, "relu", groups=groups, norm=norm)
    y = net.conv(y, block.outputs, 1, norm=norm)
    return net.act(net.add(y, _shortcut(net, x, block, norm=norm)), "relu")


def _shortcut(net: Layers, x: Value, block: Block, *, norm: bool) -> Value:
    if block.stride == 1 and x.channels == block.outputs:
        return x
    return net.conv(x, block.outputs, 1, block.stride, norm=norm)


def small(
    shape: Sequence[int], stem: int, blocks: Sequence[Block], *, norm: bool = False, opset: int = 17
) -> ModelProto:
    """ResNet for small images: a 3x3 stem, the blocks, mean and classifier as torch.export writes them."""
    net = Layers(opset)
    x = net.conv(net.input(*shape), stem, 3, 1, "relu", norm=norm)
    for block in blocks:
        x = basic(net, x, block, norm=norm)
    return net.model(net.linear(net.mean(x, 2, 3), 10))


def large(resolution: int, stem: int, blocks: Sequence[Block], *, deep: bool = False, norm: bool = False) -> ModelProto:
    """ResNet for photographs: a 7x7 stem and max pooling first; `deep` takes bottlenecks."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), stem, 7, 2, "relu", norm=norm)
    x = net.max_pool(x, 3, 2, (1, 1, 1, 1))
    for block in blocks:
        x = (bottleneck if deep else basic)(net, x, block, norm=norm)
    return net.model(net.classify(x, 1000))


def preactivated(depth: int, widths: Sequence[int]) -> ModelProto:
    """ResNet v2: normalisation and activation stand before the convolutions, where nothing folds them (1603.05027)."""
    net = Layers()
    x = net.conv(net.input(3, 32, 32), widths[0], 3)
    for block in stages(widths, [(depth - 2) // 6] * 3):
        y = net.act(net.batch_norm(x), "relu")
        same = block.stride == 1 and x.channels == block.outputs
        shortcut = x if same else net.conv(y, block.outputs, 1, block.stride)
        y = net.conv(y, block.inner, 3, block.stride, "relu", norm=True)
        x = net.add(net.conv(y, block.outputs, 3), shortcut)
    return net.model(net.classify(net.act(net.batch_norm(x), "relu"), 10))


def regnet_x(resolution: int, widths: Sequence[int], depths: Sequence[int], group_width: int) -> ModelProto:
    """RegNetX: bottlenecks without a neck, grouped 3x3 convolutions (2003.13678)."""
    net = Layers()
    x = net.conv(net.input(3, resolution, resolution), 32, 3, 2, "relu")
    for block in stages(widths, depths, first=2):
        x = bottleneck(net, x, block, group_width=group_width)
    return net.model(net.classify(x, 1000))


CIFAR, DIGITS = (3, 32, 32), (1, 28, 28)
WIDTHS = (16, 32, 64)
IMAGENET = (64, 128, 256, 512)
TOPOLOGIES = {
    "resnet8_32": partial(small, CIFAR, 16, stages(WIDTHS, [1] * 3)),
    "resnet20_28": partial(small, DIGITS, 16, stages(WIDTHS, [3] * 3)),
    "resnet32_32": partial(small, CIFAR, 16, stages(WIDTHS, [5] * 3), norm=True),
    "resnet56_32": partial(small, CIFAR, 16, stages(WIDTHS, [9] * 3)),
    "resnet18_32": partial(small, CIFAR, 64, stages(IMAGENET, [2] * 4), opset=18),
    "resnet18_224": partial(large, 224, 64, stages(IMAGENET, [2] * 4)),
    "resnet34_224": partial(large, 224, 64, stages(IMAGENET, [3, 4, 6, 3]), norm=True),
    "resnet26_bottleneck_160": partial(large, 160, 64, stages(IMAGENET, [2] * 4, 4), deep=True),
    "preact_resnet20_32": partial(preactivated, 20, WIDTHS),
    "regnet_x_200mf_224": partial(regnet_x, 224, (24, 56, 152, 368), (1, 1, 4, 7), 8),
    "regnet_x_400mf_128": partial(regnet_x, 128, (32, 64, 160, 400), (1, 2, 7, 12), 16),
}
