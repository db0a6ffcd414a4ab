"""Whole networks over pictures: a stem, stages of blocks that grow wider while the map shrinks, a head.

The kernels of a segment find their weights and maps in a cache; those of a whole network seldom do. And one engine with
fifty kernels takes little longer to measure than one with ten.
"""

from __future__ import annotations

from collections.abc import Callable

from edgekd.kernels.activations import MOBILE, PLAIN, activate
from edgekd.kernels.families.branches import dense_layer, fire_block, inception_block, transition
from edgekd.kernels.families.grouped import halves_block, halving_block, shuffled_block
from edgekd.kernels.families.heads import classes, classifier, connected
from edgekd.kernels.families.mobile import expanded, inverted_block
from edgekd.kernels.families.residual import basic_block, bottleneck_block, preactivated_block
from edgekd.kernels.families.stems import pixels
from edgekd.kernels.families.tokens import convnext_block
from edgekd.kernels.families.upsampling import up
from edgekd.kernels.layers import add, concat, conv, depthwise, flatten, pool
from edgekd.kernels.segment import Segment, whole_network

SIDES = (28, 32, 32, 32, 48, 64, 64, 96, 112, 128, 128, 160, 160, 192, 224, 224, 256)
"""Of the pictures, in pixels."""

Block = Callable[[str, int, int], str]
"""What adds a block of a width and a stride to a tensor."""


def plain(net: Segment) -> None:
    """Build convolutions one after another, the map halved by pools or strides."""
    dice = net.dice
    name, pooled, kernels = dice.weighted(PLAIN), dice.chance(0.6), dice.pick(((3,), (3,), (1, 3, 3), (3, 5)))

    def block(x: str, width: int, stride: int) -> str:
        if stride == 2 and pooled:
            x, stride = pool(net, x, "MaxPool", dice.pick((2, 2, 3)), 2, same=False), 1
        kernel = dice.kernel(kernels, min(net.shapes[x][2:]))
        return activate(net, conv(net, x, width, kernel, stride), name)

    x = _stages(net, _stem(net, name), block, deepest=4)
    if dice.chance(0.4):
        x = pool(net, x, "MaxPool", 2, 2, same=False) if min(net.shapes[x][2:]) >= 4 else x
        connected(net, flatten(net, x), dice.whole(1, 2))
    else:
        classifier(net, x)


def residual(net: Segment) -> None:
    """Build blocks of two 3×3 convolutions with the sum around them."""
    dice = net.dice
    add_block = preactivated_block if dice.chance(0.25) else basic_block
    regular = dice.chance(0.6)

    def block(x: str, width: int, stride: int) -> str:
        return add_block(net, x, width, stride=stride, inner=width if regular else dice.near(width, 2))

    classifier(net, _stages(net, _stem(net, "relu"), block, deepest=4))


def bottlenecked(net: Segment) -> None:
    """Build blocks of a 1×1, a 3×3 (maybe grouped) and a 1×1 convolution with the sum around them."""
    dice = net.dice
    regular, ratio = dice.chance(0.6), dice.pick((1, 2, 4, 4))
    each = dice.pick((0, 0, 0, 4, 8, 16, 24, 32))

    def block(x: str, width: int, stride: int) -> str:
        inner = max(4, width // ratio) if regular else dice.near(max(4, width // ratio), 2)
        groups = max(1, round(inner / each)) if each else 1
        inner = groups * each if groups > 1 else inner
        return bottleneck_block(net, x, width, stride=stride, inner=inner, groups=groups)

    classifier(net, _stages(net, _stem(net, "relu"), block, deepest=5, widest=2048))


def inverted(net: Segment) -> None:
    """Build blocks that are wide inside and narrow outside, their windows on every channel by itself."""
    dice = net.dice
    name, ratio = dice.weighted(MOBILE), dice.pick((2.0, 3.0, 4.0, 6.0, 6.0))
    kernels = dice.pick(((3,), (3, 3, 5), (3, 5, 7)))
    weighed = dice.pick((0.0, 0.0, 0.5, 1.0))

    def block(x: str, width: int, stride: int) -> str:
        inner = expanded(net, net.shapes[x][1], ratio)
        kernel = dice.kernel(kernels, 2 * net.shapes[x][2])
        gated = dice.chance(weighed)
        return inverted_block(net, x, width, stride=stride, inner=inner, kernel=kernel, name=name, weighed=gated)

    x = _stages(net, _stem(net, name), block, deepest=4, widest=320)
    classifier(net, activate(net, conv(net, x, dice.near(4 * net.shapes[x][1], 2), 1), name))


def separable(net: Segment) -> None:
    """Build depthwise and 1×1 convolutions in turn."""
    dice = net.dice
    name, kernels = dice.weighted(PLAIN), dice.pick(((3,), (3,), (3, 5)))

    def block(x: str, width: int, stride: int) -> str:
        kernel = dice.kernel(kernels, 2 * net.shapes[x][2])
        x = activate(net, depthwise(net, x, kernel, stride), name)
        return activate(net, conv(net, x, width, 1), name)

    classifier(net, _stages(net, _stem(net, name), block, deepest=5))


def branched(net: Segment) -> None:
    """Build branches side by side, of one kind throughout, with pools between the stages."""
    dice = net.dice
    fire = dice.chance(0.4)

    def block(x: str, width: int, stride: int) -> str:
        if stride == 2:
            x = pool(net, x, "MaxPool", 3, 2, same=dice.chance(0.5))
        if fire:
            return fire_block(net, x, max(2, width // 8), max(2, width // 2))
        return inception_block(net, x, (max(4, width / 8), max(8, width / 2)))

    classifier(net, _stages(net, _stem(net, "relu"), block, deepest=3))


def dense(net: Segment) -> None:
    """Build layers that add a few channels to all those before them."""
    dice = net.dice
    growth = dice.width(8, 48)
    inner = growth * dice.pick((0, 4, 4))

    def block(x: str, width: int, stride: int) -> str:
        del width
        return dense_layer(net, transition(net, x) if stride == 2 else x, growth, inner)

    classifier(net, _stages(net, _stem(net, "relu"), block, deepest=6))


def shuffled(net: Segment) -> None:
    """Build blocks whose channels change their group: of the first kind, in groups, or of the second, in halves."""
    dice = net.dice
    groups = dice.pick((0, 0, 2, 3, 4, 8))
    kernel = dice.pick((3, 3, 3, 5))

    def halves(x: str, width: int, stride: int) -> str:
        half = max(2, width // 2)
        if net.shapes[x][1] != 2 * half:
            return halving_block(net, x, half, kernel) if stride == 2 else conv(net, x, 2 * half, 1)
        return halves_block(net, x, half if dice.chance(0.7) else dice.near(half, 1.5), kernel)

    def in_groups(x: str, width: int, stride: int) -> str:
        if net.shapes[x][1] % groups:
            x = conv(net, x, groups * max(1, width // groups), 1)
        return shuffled_block(net, x, stride, groups * max(1, net.shapes[x][1] // 4 // groups), groups)

    x = _stages(net, _stem(net, "relu"), in_groups if groups else halves, deepest=5)
    classifier(net, activate(net, conv(net, x, dice.near(net.shapes[x][1], 2), 1), "relu"))


def patched(net: Segment) -> None:
    """Build wide depthwise windows and products on channels that lie last, on a picture cut into patches."""
    dice = net.dice
    kernel, ratio, scaled = dice.pick((7, 7, 5)), dice.pick((2, 4, 4)), dice.chance(0.5)

    def block(x: str, width: int, stride: int) -> str:
        if stride == 2 or net.shapes[x][1] != width:
            x = conv(net, x, width, stride, stride, same=False)
        return convnext_block(net, x, dice.kernel((kernel, 3), 2 * net.shapes[x][2]), ratio * width, scaled)

    x = net.input((1, 3, *_sides(net)))
    size = dice.pick((2, 4, 4))
    classifier(net, _stages(net, conv(net, x, dice.width(16, 96), size, size, same=False), block, widest=768))


def detector(net: Segment) -> None:
    """Build residual blocks with leaky activations; what they find is told of every place of two maps."""
    dice = net.dice
    name = dice.pick(("leaky", "leaky", "silu"))
    maps: list[str] = []

    def block(x: str, width: int, stride: int) -> str:
        if stride == 2 or net.shapes[x][1] != width:
            maps.append(x)
            x = activate(net, conv(net, x, width, 3, stride), name)
        y = activate(net, conv(net, x, max(1, width // 2), 1), name)
        return add(net, activate(net, conv(net, y, width, 3), name), x)

    x = _stages(net, _stem(net, name, even=True), block, deepest=3)
    fine = next((one for one in maps[::-1] if net.shapes[one][2:] == tuple(2 * s for s in net.shapes[x][2:])), None)
    if fine is not None:
        x = concat(net, [up(net, conv(net, x, max(1, net.shapes[x][1] // 2), 1)), fine])
        x = activate(net, conv(net, x, net.shapes[fine][1], 3), name)
    conv(net, x, 3 * (5 + classes(net)) if dice.chance(0.7) else dice.log(4, 64), 1)


def segmenter(net: Segment) -> None:
    """Build a way down in stages and up again, each joined with the map of its size on the way down."""
    dice = net.dice
    name, twice = dice.pick(("relu", "relu", "leaky")), dice.chance(0.6)
    depth, width = dice.whole(2, 4), dice.width(8, 64)
    unit = 2**depth
    x = net.input((1, dice.pick((1, 3)), *(unit * max(1, side // unit) for side in _sides(net))))

    def block(x: str, width: int) -> str:
        for _ in range(2 if twice else 1):
            x = activate(net, conv(net, x, width, 3), name)
        return x

    before = []
    for _ in range(depth):
        before.append(block(x, width))
        x, width = pool(net, before[-1], "MaxPool", 2, 2, same=False), dice.near(2 * width, 1.3)
    x = block(x, width)
    for same in before[::-1]:
        x = block(concat(net, [up(net, x), same]), net.shapes[same][1])
    conv(net, x, dice.log(1, 32), 1)


def _sides(net: Segment) -> tuple[int, int]:
    side = net.dice.pick(SIDES)
    return side, side if net.dice.chance(0.85) else net.dice.pick(SIDES)


def _stem(net: Segment, name: str, *, even: bool = False) -> str:
    """Add input and first layers; `even` pictures can be halved five times."""
    dice = net.dice
    sides = [32 * max(1, side // 32) if even else side for side in _sides(net)]
    x = pixels(net, dice.pick((1, 3, 3, 3)), *sides)
    kernel, stride = dice.pick(((3, 2), (3, 2), (7, 2), (5, 2))) if min(sides) >= 64 else (dice.pick((3, 3, 5)), 1)
    x = activate(net, conv(net, x, dice.width(8, 64), kernel, stride), name)
    if min(net.shapes[x][2:]) >= 48 and dice.chance(0.5):
        x = pool(net, x, "MaxPool", dice.pick((2, 3, 3)), 2, same=not even, ceil=False)
    return x


def _stages(net: Segment, x: str, block: Block, deepest: int = 4, widest: int = 1024) -> str:
    """Add stages, each of which halves the map of the one before it, until there is little left to halve."""
    dice = net.dice
    width, least = dice.real(12, widest / 5), dice.pick((1, 2, 2, 4, 4, 7, 8))
    for stage in range(dice.pick((2, 3, 4, 4, 5, 5))):
        size = min(net.shapes[x][2:])
        if stage > 1 and size <= least:
            break
        channels = dice.width(max(4, 0.85 * width), min(widest, 1.15 * width + 4))
        for number in range(dice.whole(1, deepest + (stage > 1))):
            halved = number == 0 and size >= 4 and (stage > 0 or dice.chance(0.8 if size > 30 else 0.3))
            x = block(x, channels, 2 if halved else 1)
        width = min(widest / 1.2, width * dice.pick((1.3, 1.6, 2.0, 2.0, 2.0, 2.5)))
    return x


KINDS = {
    "plain-network": whole_network(plain, 22),
    "residual-network": whole_network(residual, 25),
    "bottleneck-network": whole_network(bottlenecked, 25),
    "inverted-network": whole_network(inverted, 39),
    "separable-network": whole_network(separable, 20),
    "branched-network": whole_network(branched, 20),
    "dense-network": whole_network(dense, 14),
    "shuffled-network": whole_network(shuffled, 17),
    "patched-network": whole_network(patched, 11),
    "detector": whole_network(detector, 14),
    "segmenter": whole_network(segmenter, 14),
}
