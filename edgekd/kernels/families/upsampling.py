"""Maps that grow again: decoders of segmentation, necks of detection."""

from __future__ import annotations

from typing import Any

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import add, concat, conv, conv_transpose, pool
from edgekd.kernels.segment import Kind, Segment


def decoder(net: Segment) -> None:
    """Build a way down by pool or stride, up again, joined with what was there before going down."""
    dice = net.dice
    _, width, *size = dice.feature_map(smallest=4, widest=1024)
    x = net.input((1, width, *(2 * max(1, side // 2) for side in size)))
    name = dice.pick(("relu", "leaky", "silu"))
    before = activate(net, conv(net, x, dice.near(width), dice.pick((1, 3))), name)
    if dice.chance(0.5):
        low = pool(net, before, "MaxPool", 2, 2, same=False)
        low = activate(net, conv(net, low, dice.near(width), 3), name)
    else:
        low = activate(net, conv(net, before, dice.near(width), 3, 2), name)
    joined = concat(net, [up(net, low), before] if dice.chance(0.5) else [before, up(net, low)])
    y = activate(net, conv(net, joined, dice.near(width), 3), name)
    if dice.chance(0.3):
        conv(net, y, dice.log(1, 32), 1)


def pyramid(net: Segment) -> None:
    """Build a coarse map, brought to the size of a fine one and added to it."""
    dice = net.dice
    _, width, *size = dice.feature_map(smallest=4, widest=512)
    x = net.input((1, width, *(2 * max(1, side // 2) for side in size)))
    out = dice.near(width)
    fine = conv(net, x, out, 1)
    coarse = activate(net, conv(net, x, dice.near(width), 3, 2), "relu")
    coarse = conv(net, coarse, out, 1)
    conv(net, add(net, fine, resize(net, coarse)), out, 3)


def dark(net: Segment) -> None:
    """Build convolutions with leaky activations, 1×1 and 3×3, and the sum around them; maybe pools side by side."""
    dice = net.dice
    x = net.input(dice.feature_map())
    name = dice.pick(("leaky", "leaky", "silu"))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), 3, dice.pick((1, 2))), name)
    width = net.shapes[x][1]
    y = activate(net, conv(net, x, max(1, width // 2), 1), name)
    if dice.chance(0.3):
        parts = [y]
        for _ in range(dice.whole(1, 3)):
            parts.append(pool(net, parts[-1], "MaxPool", dice.pick((5, 5, 9, 13)), 1))
        y = concat(net, parts)
    y = activate(net, conv(net, y, width, 3), name)
    add(net, x, y)


def up(net: Segment, x: str) -> str:
    """Add what doubles the map: a transposed convolution, or a resize."""
    if net.dice.chance(0.4):
        return conv_transpose(net, x, net.dice.near(net.shapes[x][1], 2), net.dice.pick((2, 4)))
    return resize(net, x)


def generator(net: Segment) -> None:
    """Build a few numbers or a small map that transposed convolutions make a picture of."""
    dice = net.dice
    side = dice.pick((2, 4, 4, 7, 8, 16))
    x = net.input((1, dice.width(16, 512), side, side))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
    for _ in range(dice.whole(1, 4)):
        width = max(1, round(net.shapes[x][1] / dice.real(1, 3)))
        x = activate(net, conv_transpose(net, x, width, dice.pick((2, 4, 4))), "relu")
    conv_transpose(net, x, dice.pick((1, 3, 3, 16)), dice.pick((2, 4)))


def enlarged(net: Segment) -> None:
    """Build a map of classes, brought to the size of the picture at once."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=4, largest=64))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
    resize(net, conv(net, x, dice.log(1, 32), 1), dice.pick((2, 4, 8, 8, 16)))


def subpixels(net: Segment) -> None:
    """Build convolutions whose channels become the pixels of a larger picture."""
    dice = net.dice
    height = dice.resolution(16, 128)
    x = net.input((1, dice.pick((1, 1, 3)), height, height if dice.chance(0.7) else dice.resolution(16, 128)))
    name, factor = dice.pick(("relu", "tanh", "leaky")), dice.pick((2, 2, 3, 4))
    x = activate(net, conv(net, x, dice.width(8, 96), dice.pick((3, 5))), name)
    for _ in range(dice.whole(0, 2)):
        x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), name)
    colours = dice.pick((1, 1, 3, dice.width(4, 32)))
    _, _, height, width = net.shapes[x]
    x = conv(net, x, colours * factor**2, 3)
    order = dice.pick(("DCR", "CRD"))
    net.add("DepthToSpace", [x], (1, colours, height * factor, width * factor), blocksize=factor, mode=order)


def resize(net: Segment, x: str, factor: int = 2) -> str:
    """Add what makes a map so many times as high and wide, by the nearest pixel or linearly."""
    _, channels, height, width = net.shapes[x]
    forms: dict[str, dict[str, Any]] = {
        "nearest": {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"},
        "linear": {"coordinate_transformation_mode": "half_pixel"},
    }
    mode = net.dice.pick(("nearest", "nearest", "linear"))
    names = [x, "", net.constant("scales", (1.0, 1.0, float(factor), float(factor)))]
    return net.add("Resize", names, (1, channels, factor * height, factor * width), mode=mode, **forms[mode])


KINDS = {
    "decoder": Kind(decoder, 4),
    "pyramid": Kind(pyramid, 2),
    "dark": Kind(dark, 3),
    "generator": Kind(generator, 4),
    "enlarged": Kind(enlarged, 4),
    "subpixels": Kind(subpixels, 2),
}
