"""Residual blocks of ordinary convolutions."""

from __future__ import annotations

from collections.abc import Callable

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import add, batch_norm, conv, pool
from edgekd.kernels.segment import Kind, Segment


def basic(net: Segment) -> None:
    """Build one or two blocks of two 3×3 convolutions."""
    _one_or_two(net, basic_block)


def bottleneck(net: Segment) -> None:
    """Build one or two blocks of a 1×1, a 3×3 (maybe grouped) and a 1×1 convolution."""
    dice = net.dice
    x = net.input(dice.feature_map(narrowest=16))
    for _ in range(dice.whole(1, 2)):
        width, stride = _next(net, x)
        groups = dice.pick((1, 1, 1, 2, 4, 8, 32))
        inner = dice.width(max(4, width / 6), width)
        inner = inner if groups == 1 else groups * max(1, inner // groups)
        x = bottleneck_block(net, x, width, stride=stride, inner=inner, groups=groups)


def preactivated(net: Segment) -> None:
    """Build blocks whose normalisation comes first, so that it cannot become part of the convolution before it."""
    _one_or_two(net, preactivated_block)


def basic_block(net: Segment, x: str, width: int, *, stride: int, inner: int) -> str:
    """Add two 3×3 convolutions, the first `inner` wide, and the sum around them."""
    y = activate(net, conv(net, x, inner, 3, stride), "relu")
    y = conv(net, y, width, 3)
    return activate(net, add(net, y, _shortcut(net, x, width, stride)), "relu")


def bottleneck_block(net: Segment, x: str, width: int, *, stride: int, inner: int, groups: int) -> str:
    """Add a 1×1, a 3×3 in groups and a 1×1 convolution, and the sum around them."""
    y = activate(net, conv(net, x, inner, 1), "relu")
    y = activate(net, conv(net, y, inner, 3, stride, groups=groups), "relu")
    y = conv(net, y, width, 1)
    return activate(net, add(net, y, _shortcut(net, x, width, stride)), "relu")


def preactivated_block(net: Segment, x: str, width: int, *, stride: int, inner: int) -> str:
    """Add normalisation, activation and convolution twice, and the sum around them."""
    first = activate(net, batch_norm(net, x), "relu")
    y = conv(net, first, inner, net.dice.pick((1, 3)), stride, bias=False)
    y = activate(net, batch_norm(net, y), "relu")
    y = conv(net, y, width, 3, bias=net.dice.chance(0.5))
    return add(net, y, _shortcut(net, x, width, stride))


def _one_or_two(net: Segment, add_block: Callable[..., str]) -> None:
    dice = net.dice
    x = net.input(dice.feature_map())
    for _ in range(dice.whole(1, 2)):
        width, stride = _next(net, x)
        x = add_block(net, x, width, stride=stride, inner=dice.near(width, 2))


def _next(net: Segment, x: str) -> tuple[int, int]:
    """Return width and stride of the block after x: mostly those of x."""
    dice = net.dice
    _, width, height, _ = net.shapes[x]
    if dice.chance(0.5):
        return width, 1
    return dice.near(width), 2 if height >= 4 and dice.chance(0.7) else 1


def _shortcut(net: Segment, x: str, width: int, stride: int) -> str:
    if net.shapes[x][1] == width and stride == 1:
        return x
    if stride > 1 and not net.same_upper and min(net.shapes[x][2:]) % 2 == 0 and net.dice.chance(0.15):
        return conv(net, pool(net, x, "AveragePool", 2, 2, same=False, ceil=True), width, 1)
    return conv(net, x, width, 1, stride)


KINDS = {"basic-block": Kind(basic, 9), "bottleneck": Kind(bottleneck, 9), "pre-activated": Kind(preactivated, 5)}
