"""The first layers of networks: of pictures, of spectrograms and other small signals, of patches."""

from __future__ import annotations

from edgekd.kernels.activations import PLAIN, activate
from edgekd.kernels.layers import conv, depthwise, pool, scale_and_shift, transpose
from edgekd.kernels.segment import Kind, Segment


def picture(net: Segment) -> None:
    """Build a wide window over one or three channels, with or without stride and pooling, then the next convolution."""
    dice = net.dice
    height = dice.resolution(24)
    width = height if dice.chance(0.8) else dice.resolution(24)
    x = pixels(net, dice.pick((1, 3, 3, 3)), height, width)
    kernel, stride = dice.pick(((3, 1), (3, 2), (3, 2), (5, 1), (5, 2), (7, 2), (7, 2), (11, 4)))
    name = dice.weighted(PLAIN)
    x = conv(net, x, dice.width(4, 128), kernel, stride, same=dice.chance(0.8))
    x = activate(net, x, name)
    if dice.chance(0.5):
        x = pool(net, x, "MaxPool", dice.pick((2, 3, 3)), 2, same=dice.chance(0.6), ceil=dice.chance(0.3))
    follow(net, x, name)


def signal(net: Segment) -> None:
    """Build a long window over a spectrogram or a short window over a small picture of few channels."""
    dice = net.dice
    x = net.input((1, dice.pick((1, 1, 1, 2, 4)), dice.resolution(16, 128), dice.resolution(8, 64)))
    kernel = dice.pick(((10, 4), (8, 8), (5, 5), (3, 3), (4, 4), (7, 3)))
    stride = dice.pick(((2, 2), (2, 1), (1, 1), (2, 2)))
    name = dice.weighted(PLAIN)
    x = conv(net, x, dice.width(4, 256), kernel, stride, same=dice.chance(0.7))
    x = activate(net, x, name)
    follow(net, x, name)


def patches(net: Segment) -> None:
    """Build a picture cut into patches that do not overlap, then pointwise layers."""
    dice = net.dice
    size = dice.pick((2, 4, 4, 8, 16, 16))
    height, width = (dice.whole(2, 256 // size) for _ in range(2))
    x = net.input((1, 3, height * size, (height if dice.chance(0.8) else width) * size))
    x = conv(net, x, dice.width(16, 768), size, size, same=False)
    x = activate(net, x, dice.weighted(PLAIN))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), 1), "relu")
    follow(net, x, "relu")


def pixels(net: Segment, channels: int, height: int, width: int) -> str:
    """Declare the input: some have the channels last, some are normalised inside the network."""
    if net.dice.chance(0.12):
        x = transpose(net, net.input((1, height, width, channels)), (0, 3, 1, 2))
    else:
        x = net.input((1, channels, height, width))
    return scale_and_shift(net, x) if net.dice.chance(0.08) else x


def follow(net: Segment, x: str, name: str) -> None:
    """Add the layers after the first: of any window, or of every channel by itself and then pointwise."""
    dice = net.dice
    for _ in range(dice.whole(1, 2)):
        if dice.chance(0.3):
            x = activate(net, depthwise(net, x, dice.pick((3, 3, 5)), dice.pick((1, 2))), name)
            x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), 1), name)
        else:
            x = conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3, 3, 5)), dice.pick((1, 1, 2)))
            x = activate(net, x, name)


KINDS = {"picture-stem": Kind(picture, 5), "signal-stem": Kind(signal, 3), "patch-stem": Kind(patches, 2)}
