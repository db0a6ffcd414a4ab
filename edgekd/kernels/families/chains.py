"""Convolutions one after another, with pools between them."""

from __future__ import annotations

from edgekd.kernels.activations import PLAIN, activate
from edgekd.kernels.layers import conv, pool
from edgekd.kernels.segment import Kind, Segment


def chain(net: Segment) -> None:
    """Build convolutions of any window, with an activation each and a pool here and there."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=1))
    name = dice.weighted(PLAIN)
    for _ in range(dice.whole(2, 5)):
        size = min(net.shapes[x][2:])
        kernel = dice.kernel((1, 1, 3, 3, 3, 3, 5, 7), size)
        dilation = 2 if kernel == 3 and size >= 12 and dice.chance(0.05) else 1
        stride = dice.pick((1, 1, 1, 2)) if size >= 3 else 1
        x = conv(net, x, dice.near(net.shapes[x][1]), kernel, stride, dilation=dilation)
        x = activate(net, x, name)
        if size >= 8 and dice.chance(0.25):
            x = any_pool(net, x)


def pointwise(net: Segment) -> None:
    """Build convolutions with a window of one pixel."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=1))
    name = dice.weighted(PLAIN)
    for _ in range(dice.whole(2, 5)):
        stride = 2 if dice.chance(0.1) and min(net.shapes[x][2:]) >= 4 else 1
        x = activate(net, conv(net, x, dice.near(net.shapes[x][1], 6), 1, stride), name)


def sequence(net: Segment) -> None:
    """Build convolutions along time: over maps one pixel wide."""
    dice = net.dice
    x = net.input((1, dice.width(4, 512), dice.resolution(8), 1))
    name = dice.weighted(PLAIN)
    for _ in range(dice.whole(2, 4)):
        _, width, length, _ = net.shapes[x]
        window = (dice.kernel((3, 3, 5, 9, 1), length), 1)
        x = activate(net, conv(net, x, dice.near(width), window, (dice.pick((1, 1, 2)), 1)), name)


def pools(net: Segment) -> None:
    """Build pools of all kinds between convolutions, so that their input lies as a convolution leaves it."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=8))
    for _ in range(dice.whole(1, 3)):
        x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
        if min(net.shapes[x][2:]) >= 4:
            x = any_pool(net, x)
    conv(net, x, dice.near(net.shapes[x][1]), 1)


def any_pool(net: Segment, x: str) -> str:
    """Add a pool, the most usual ones most often."""
    dice = net.dice
    op = dice.pick(("MaxPool", "MaxPool", "AveragePool"))
    kernel, stride = dice.pick(((2, 2), (2, 2), (3, 2), (3, 2), (3, 1), (5, 1)))
    same = kernel == 5 or stride == 1 or dice.chance(0.5)
    return pool(net, x, op, kernel, stride, same=same and kernel > 2, ceil=not same and dice.chance(0.3))


KINDS = {
    "chain": Kind(chain, 10),
    "pointwise": Kind(pointwise, 7),
    "pools": Kind(pools, 4),
    "sequence": Kind(sequence, 1),
}
