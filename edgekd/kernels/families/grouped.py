"""Convolutions in groups, and channels that change their group."""

from __future__ import annotations

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import add, concat, conv, depthwise, pool, reshape, split, transpose
from edgekd.kernels.segment import Kind, Segment


def grouped(net: Segment) -> None:
    """Build a 1×1, a grouped 3×3 and a 1×1 convolution; the groups of equal width, the map as it was or halved."""
    dice = net.dice
    x = net.input(dice.feature_map(narrowest=8))
    _, width, height, _ = net.shapes[x]
    each = dice.pick((2, 4, 4, 8, 8, 16, 16, 24, 32, 48, 64, dice.whole(2, 64)))
    inner = each * max(2, round(dice.near(width, 2) / each))
    stride = 2 if height >= 4 and dice.chance(0.3) else 1
    y = activate(net, conv(net, x, inner, 1), "relu")
    y = activate(net, conv(net, y, inner, dice.pick((3, 3, 3, 5)), stride, groups=inner // each), "relu")
    y = conv(net, y, width, 1)
    activate(net, add(net, y, x) if stride == 1 else y, "relu")


def shuffled(net: Segment) -> None:
    """Build a 1×1 convolution in groups, its channels shuffled, a depthwise one, a 1×1 in groups again."""
    dice = net.dice
    groups = dice.pick((2, 3, 4, 8))
    _, width, *size = dice.feature_map(narrowest=8 * groups, widest=1024)
    width = max(1, round(width / groups)) * groups
    x = net.input((1, width, *size))
    inner = max(1, dice.width(max(2, width / 4 / groups), width / groups)) * groups
    shuffled_block(net, x, 2 if size[0] >= 4 and dice.chance(0.3) else 1, inner, groups)


def halves(net: Segment) -> None:
    """Build a block that leaves half of the channels alone, the others through 1×1, depthwise, 1×1; both shuffled."""
    dice = net.dice
    _, width, *size = dice.feature_map(narrowest=8, widest=1024)
    half = max(2, width // 2)
    x = net.input((1, 2 * half, *size))
    y = halves_block(net, x, dice.near(half, 1.5), dice.kernel((3, 3, 5), 2 * size[0]))
    if dice.chance(0.5):
        activate(net, conv(net, y, dice.near(2 * half, 2), 1), "relu")


def shuffled_block(net: Segment, x: str, stride: int, inner: int, groups: int) -> str:
    """Add a 1×1 convolution in groups, a shuffle, a depthwise and a 1×1 one; x is added, or joined where it shrinks."""
    width = net.shapes[x][1]
    y = shuffle(net, activate(net, conv(net, x, inner, 1, groups=groups), "relu"), groups)
    y = conv(net, depthwise(net, y, 3, stride), width, 1, groups=groups)
    if stride == 1:
        return activate(net, add(net, y, x), "relu")
    return activate(net, concat(net, [y, pool(net, x, "AveragePool", 3, 2)]), "relu")


def halves_block(net: Segment, x: str, inner: int, kernel: int) -> str:
    """Add 1×1, depthwise and 1×1 convolutions of one half of the channels, joined with the other half and shuffled."""
    half = net.shapes[x][1] // 2
    left, y = split(net, x, (half, half))
    y = activate(net, conv(net, y, inner, 1), "relu")
    y = activate(net, conv(net, depthwise(net, y, kernel), half, 1), "relu")
    return shuffle(net, concat(net, [left, y]), 2)


def halving_block(net: Segment, x: str, half: int, kernel: int) -> str:
    """Add what halves the map in two branches, each `half` wide: depthwise and 1×1, and the same after a 1×1."""
    left = activate(net, conv(net, depthwise(net, x, kernel, 2), half, 1), "relu")
    y = depthwise(net, activate(net, conv(net, x, half, 1), "relu"), kernel, 2)
    y = activate(net, conv(net, y, half, 1), "relu")
    return shuffle(net, concat(net, [left, y]), 2)


def shuffle(net: Segment, x: str, groups: int) -> str:
    """Add what puts the first channel of every group first, then every second one, and so on."""
    _, channels, height, width = net.shapes[x]
    y = reshape(net, x, (1, groups, channels // groups, height, width))
    return reshape(net, transpose(net, y, (0, 2, 1, 3, 4)), (1, channels, height, width))


KINDS = {"grouped": Kind(grouped, 6), "shuffled": Kind(shuffled, 4), "halves": Kind(halves, 3)}
