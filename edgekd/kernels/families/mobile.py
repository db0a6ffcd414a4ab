"""Blocks around a convolution of every channel by itself."""

from __future__ import annotations

from edgekd.kernels.activations import MOBILE, PLAIN, activate
from edgekd.kernels.layers import add, concat, conv, depthwise, global_pool, split
from edgekd.kernels.segment import Kind, Segment


def inverted(net: Segment) -> None:
    """Build one or two blocks: wider by 1×1, depthwise, maybe weighed by channel, narrower by 1×1."""
    dice = net.dice
    x = net.input(dice.feature_map(widest=512))
    name = dice.weighted(MOBILE)
    weighed = dice.chance(0.3)
    for _ in range(dice.whole(1, 2)):
        _, width, height, _ = net.shapes[x]
        kernel = dice.kernel((3, 3, 3, 5, 5, 7), 2 * height)
        stride = 2 if height >= 4 and dice.chance(0.3) else 1
        ratio = dice.pick((1.0, 2.0, 3.0, 4.0, 6.0, 6.0, dice.real(1, 6)))
        inner = width if ratio == 1 else expanded(net, width, ratio)
        out = width if stride == 1 and dice.chance(0.7) else dice.near(width, 2)
        x = inverted_block(net, x, out, stride=stride, inner=inner, kernel=kernel, name=name, weighed=weighed)


def inverted_block(
    net: Segment, x: str, width: int, *, stride: int, inner: int, kernel: int, name: str, weighed: bool
) -> str:
    """Add a 1×1 convolution unless the width stays, a depthwise one, maybe a gate, a 1×1 one, and the sum around."""
    y = x if inner == net.shapes[x][1] else activate(net, conv(net, x, inner, 1), name)
    y = activate(net, depthwise(net, y, kernel, stride), name)
    if weighed:
        y = squeeze_excitation(net, y)
    y = conv(net, y, width, 1)
    return add(net, y, x) if net.shapes[y] == net.shapes[x] else y


def separable(net: Segment) -> None:
    """Build depthwise and 1×1 convolutions in turn, an activation after both."""
    dice = net.dice
    x = net.input(dice.feature_map())
    name = dice.weighted(PLAIN)
    for _ in range(dice.whole(1, 3)):
        height = net.shapes[x][2]
        stride = 2 if height >= 4 and dice.chance(0.3) else 1
        kernel = dice.kernel((3, 3, 3, 5, 7), 2 * height)
        x = activate(net, depthwise(net, x, kernel, stride, multiplier=2 if dice.chance(0.05) else 1), name)
        x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), 1), name)


def mixed(net: Segment) -> None:
    """Build depthwise convolutions of several windows, each on a part of the channels."""
    dice = net.dice
    x = net.input(dice.feature_map(narrowest=8, widest=1024))
    name = dice.weighted(MOBILE)
    kernels = dice.pick(((3, 5), (3, 5, 7), (3, 5, 7, 9)))
    _, width, height, _ = net.shapes[x]
    part = max(1, width // len(kernels))
    sizes = [part] * len(kernels)
    x = activate(net, conv(net, x, part * len(kernels), 1), name)
    stride = 2 if height >= 4 and dice.chance(0.3) else 1
    parts = split(net, x, sizes)
    y = concat(net, [depthwise(net, one, kernel, stride) for one, kernel in zip(parts, kernels, strict=True)])
    conv(net, activate(net, y, name), dice.near(width, 2), 1)


def squeezed(net: Segment) -> None:
    """Build a convolution whose channels are weighed by what the whole map shows, then another one."""
    dice = net.dice
    x = net.input(dice.feature_map())
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), dice.weighted(PLAIN))
    conv(net, squeeze_excitation(net, x), dice.near(net.shapes[x][1]), 1)


def squeeze_excitation(net: Segment, x: str) -> str:
    """Add a gate for every channel, computed from the channels' means by two 1×1 convolutions."""
    dice = net.dice
    channels = net.shapes[x][1]
    y = conv(net, global_pool(net, x), dice.width(max(1, channels / 24), max(1, channels / 4)), 1)
    y = conv(net, activate(net, y, dice.pick(("relu", "relu", "silu"))), channels, 1)
    gate = activate(net, y, dice.pick(("sigmoid", "hard-sigmoid")))
    return net.add("Mul", [x, gate] if dice.chance(0.5) else [gate, x], net.shapes[x])


def expanded(net: Segment, width: int, ratio: float) -> int:
    """Return the width inside a block: a plain multiple, or what pruning left of it."""
    return max(1, round(width * ratio)) if net.dice.chance(0.6) else net.dice.near(round(width * ratio), 1.5)


KINDS = {
    "inverted": Kind(inverted, 14),
    "separable": Kind(separable, 9),
    "mixed": Kind(mixed, 3),
    "squeezed": Kind(squeezed, 3),
}
