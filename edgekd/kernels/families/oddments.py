"""Operators that come seldom: local response normalisation, odd activations, padding and slicing by themselves."""

from __future__ import annotations

from edgekd.kernels.activations import activate
from edgekd.kernels.layers import batch_norm, concat, conv, flatten, gemm, pool, scale_and_shift
from edgekd.kernels.segment import Kind, Segment


def responses(net: Segment) -> None:
    """Build wide convolutions, maybe in two groups, with local response normalisation and pools."""
    dice = net.dice
    _, width, *size = dice.feature_map(smallest=7, narrowest=8, widest=512)
    x = net.input((1, 2 * max(1, width // 2), *size))
    for _ in range(dice.whole(1, 2)):
        kernel = dice.kernel((3, 3, 5), min(net.shapes[x][2:]))
        groups = dice.pick((1, 1, 2))
        out = groups * max(1, dice.near(net.shapes[x][1]) // groups)
        groups = groups if net.shapes[x][1] % groups == 0 else 1
        x = activate(net, conv(net, x, out, kernel, groups=groups), "relu")
        parts = [_lrn, _max_pool]
        for part in parts if dice.chance(0.5) else parts[::-1]:
            x = part(net, x)
    conv(net, x, dice.near(net.shapes[x][1]), 1)


def activations(net: Segment) -> None:
    """Build convolutions with activations that no runtime computes along, or that only some do."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=1))
    for _ in range(dice.whole(2, 4)):
        x = conv(net, x, dice.near(net.shapes[x][1]), dice.kernel((1, 3), min(net.shapes[x][2:])))
        name = dice.pick(("sigmoid", "tanh", "prelu", "elu", "softplus", "hard-sigmoid", "mish", "leaky"))
        x = activate(net, x, name)


def elementwise(net: Segment) -> None:
    """Build sums, products and normalisations between convolutions that cannot become part of them."""
    dice = net.dice
    x = net.input(dice.feature_map())
    width = net.shapes[x][1]
    a = conv(net, x, width, dice.pick((1, 3)))
    for _ in range(dice.whole(1, 4)):
        step = dice.pick(("norm", "gate", "scale", "sum", "activation"))
        shape = net.shapes[a]
        if step == "norm":
            a = batch_norm(net, activate(net, a, "relu"))
        elif step == "gate":
            a = net.add("Mul", [a, activate(net, x, "sigmoid")], shape)
        elif step == "activation":
            a = activate(net, net.add("Add", [a, x], shape), dice.pick(("silu", "hard-swish", "relu6", "sigmoid")))
        elif step == "scale":
            a = scale_and_shift(net, a)
        else:
            a = net.add(dice.pick(("Add", "Sub")), [a, x], shape)
    conv(net, a, dice.near(width), 1)


def pad_and_slice(net: Segment) -> None:
    """Build a map with a rim of zeros or cut at one side, before a convolution without padding."""
    dice = net.dice
    x = net.input(dice.feature_map(smallest=6))
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), 1), "relu")
    _, width, height, columns = net.shapes[x]
    if dice.chance(0.6):
        pads = net.constant("pads", (0, 0, 1, 1, 0, 0, 1, 1))
        y = net.add("Pad", [x, pads], (1, width, height + 2, columns + 2), mode=dice.pick(("constant", "reflect")))
        stride = dice.pick((1, 2))
        conv(net, y, dice.near(width), 3, stride, same=False)
        return
    cuts = [net.constant("starts", (0,)), net.constant("ends", (max(1, width // 2),)), net.constant("axes", (1,))]
    y = net.add("Slice", [x, *cuts], (1, max(1, width // 2), height, columns))
    conv(net, concat(net, [activate(net, conv(net, y, width, 3), "relu"), x]), dice.near(width), 1)


def maxima(net: Segment) -> None:
    """Build the largest value of every channel, and a classifier on it."""
    dice = net.dice
    x = net.input(dice.feature_map())
    x = activate(net, conv(net, x, dice.near(net.shapes[x][1]), dice.pick((1, 3))), "relu")
    x = net.add("GlobalMaxPool", [x], (*net.shapes[x][:2], 1, 1))
    gemm(net, flatten(net, x), dice.log(2, 1000))


def _lrn(net: Segment, x: str) -> str:
    return net.add("LRN", [x], net.shapes[x], size=net.dice.pick((3, 5, 5)), alpha=1e-4, beta=0.75, bias=1.0)


def _max_pool(net: Segment, x: str) -> str:
    return pool(net, x, "MaxPool", 3, 2, same=False) if min(net.shapes[x][2:]) >= 5 else x


KINDS = {
    "responses": Kind(responses, 5),
    "activations": Kind(activations, 3),
    "elementwise": Kind(elementwise, 4),
    "pad-and-slice": Kind(pad_and_slice, 1),
    "maxima": Kind(maxima, 1),
}
