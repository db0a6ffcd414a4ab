"""Branches that are concatenated."""

from __future__ import annotations

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import batch_norm, concat, conv, pool
from edgekd.kernels.segment import Kind, Segment


def inception(net: Segment) -> None:
    """Build two to four branches of different windows over one map, side by side."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=5, narrowest=16))
    if dice.chance(0.5):
        x = _relu_conv(net, x, net.shapes[x][1], 1)
    for _ in range(dice.whole(1, 2)):
        width = net.shapes[x][1]
        x = inception_block(net, x, (max(4, width / 8), max(8, width / 2)))
        if len(net.nodes) > 10:
            break
    if dice.chance(0.6):
        _relu_conv(net, x, dice.near(net.shapes[x][1]), 1)


def fire(net: Segment) -> None:
    """Build a narrow 1×1 convolution, then 1×1 and 3×3 ones side by side."""
    dice = net.dice
    x = net.input(dice.feature_map())
    for _ in range(dice.whole(1, 2)):
        width = net.shapes[x][1]
        x = fire_block(net, x, dice.width(max(2, width / 8), max(4, width / 2)), dice.near(width, 2))
    if dice.chance(0.4):
        pool(net, x, "MaxPool", 3, 2, same=False, ceil=dice.chance(0.5))


def dense(net: Segment) -> None:
    """Build layers that add a few channels to all those before them; the normalisation comes first."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=4, narrowest=16, widest=1024))
    growth = dice.width(8, 64)
    for _ in range(dice.whole(1, 2)):
        x = dense_layer(net, x, growth, dice.pick((2, 4, 4)) * growth if dice.chance(0.7) else 0)
    if dice.chance(0.5):
        transition(net, x)


def inception_block(net: Segment, x: str, widths: tuple[float, float]) -> str:
    """Add two to four branches of these widths over one map, side by side."""
    kinds = ["one", "three", "five", "double", "asymmetric", "pool"]
    chosen = [kinds.pop(net.dice.whole(0, len(kinds) - 1)) for _ in range(net.dice.whole(2, 4))]
    return concat(net, [_branch(net, x, kind, *widths) for kind in chosen])


def fire_block(net: Segment, x: str, narrow: int, wide: int) -> str:
    """Add a narrow 1×1 convolution, then 1×1 and 3×3 ones side by side."""
    dice = net.dice
    x = _relu_conv(net, x, narrow, 1)
    return concat(net, [_relu_conv(net, x, wide if dice.chance(0.6) else dice.near(wide, 2), k) for k in (1, 3)])


def dense_layer(net: Segment, x: str, growth: int, inner: int) -> str:
    """Add `growth` channels to those of x, by a 3×3 convolution; with `inner`, of a 1×1 one that wide."""
    y = _normalised(net, x)
    if inner:
        y = _normalised(net, conv(net, y, inner, 1, bias=False))
    return concat(net, [x, conv(net, y, growth, 3, bias=False)])


def transition(net: Segment, x: str) -> str:
    """Add what halves the channels and the map."""
    x = conv(net, _normalised(net, x), max(1, net.shapes[x][1] // 2), 1, bias=False)
    return pool(net, x, "AveragePool", 2, 2, same=False)


def _branch(net: Segment, x: str, kind: str, low: float, high: float) -> str:
    dice = net.dice
    width = dice.width(low, high)
    if kind == "pool":
        y = pool(net, x, dice.pick(("MaxPool", "AveragePool")), 3, 1)
        return _relu_conv(net, y, width, 1) if dice.chance(0.8) else y
    y = _relu_conv(net, x, width, 1)
    if kind == "three":
        return _relu_conv(net, y, dice.near(width, 2), 3)
    if kind == "five":
        return _relu_conv(net, y, dice.near(width, 2), 5)
    if kind == "double":
        return _relu_conv(net, _relu_conv(net, y, dice.near(width, 2), 3), width, 3)
    if kind == "asymmetric":
        length = dice.pick((3, 5, 7))
        y = _relu_conv(net, y, dice.near(width, 2), (1, length))
        return _relu_conv(net, y, width, (length, 1))
    return y


def _relu_conv(net: Segment, x: str, width: int, kernel: int | tuple[int, int]) -> str:
    return activate(net, conv(net, x, width, kernel), "relu")


def _normalised(net: Segment, x: str) -> str:
    return activate(net, batch_norm(net, x), "relu")


KINDS = {"inception": Kind(inception, 7), "fire": Kind(fire, 4), "dense-block": Kind(dense, 6)}
