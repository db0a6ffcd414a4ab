"""YOLOX (Ge et al. 2021) and PIDNet-S (Xu et al. 2023): networks that predict at every position."""

from __future__ import annotations

from edgekd.kernel import FusedKernel, Shape
from tests.predict.jetson.layers import Layers, concat

YOLOX = {"yolox-s": (0.33, 0.5), "yolox-m": (0.67, 0.75), "yolox-l": (1.0, 1.0)}
"""Multipliers of depth and width."""


def yolox(name: str, classes: int, size: int = 640) -> list[FusedKernel]:
    """Return the kernels of a YOLOX without its decoding and suppression, which its exported graph does not hold."""
    depth, width = YOLOX[name]
    net = Layers(size)
    base, deep = int(64 * width), max(round(3 * depth), 1)
    half = (1, 12, size // 2, size // 2)
    net.shuffle(half)  # every second pixel becomes a channel
    x = net.conv(half, base, 3, act="Silu")
    found = []
    for stage, blocks in enumerate((deep, 3 * deep, 3 * deep, deep)):
        x = net.conv(x, base << (stage + 1), 3, 2, "Silu")
        if stage == 3:
            x = _spp(net, x)
        x = _csp(net, x, x[1], blocks, shortcut=stage < 3)
        found.append(x)
    _, fine, middle, coarse = found
    lateral = net.conv(coarse, middle[1], act="Silu")
    up = _csp(net, concat(net.resize(lateral, middle[2]), middle), middle[1], deep)
    reduced = net.conv(up, fine[1], act="Silu")
    low = _csp(net, concat(net.resize(reduced, fine[2]), fine), fine[1], deep)
    mid = _csp(net, concat(net.conv(low, fine[1], 3, 2, "Silu"), reduced), middle[1], deep)
    high = _csp(net, concat(net.conv(mid, middle[1], 3, 2, "Silu"), lateral), coarse[1], deep)
    for level in (low, mid, high):
        stem = net.conv(level, fine[1], act="Silu")
        towers = [net.conv(net.conv(stem, fine[1], 3, act="Silu"), fine[1], 3, act="Silu") for _ in range(2)]
        net.conv(towers[0], classes, act="Sigmoid")
        net.conv(towers[1], 4, act="")
        net.conv(towers[1], 1, act="Sigmoid")
    return net.kernels


def _csp(net: Layers, x: Shape, out: int, blocks: int, shortcut: bool = False) -> Shape:
    hidden = out // 2
    one, other = net.conv(x, hidden, act="Silu"), net.conv(x, hidden, act="Silu")
    for _ in range(blocks):
        one = net.conv(net.conv(one, hidden, act="Silu"), hidden, 3, act="Silu", add=shortcut)
    return net.conv(concat(one, other), out, act="Silu")


def _spp(net: Layers, x: Shape) -> Shape:
    y = net.conv(x, x[1] // 2, act="Silu")
    return net.conv(concat(y, *(net.pool(y, window, 1) for window in (5, 9, 13))), x[1], act="Silu")


def pidnet_s(classes: int, size: int = 512) -> list[FusedKernel]:
    """Return the kernels of a PIDNet-S with one output, as it is deployed."""
    net, m = Layers(size), 32
    fine = size // 8
    x = net.conv(net.conv(net.image, m, 3, 2), m, 3, 2)
    x = _basic(net, _basic(net, x, m), m)
    x = _basic(net, _basic(net, x, 2 * m, 2), 2 * m)
    detail = _basic(net, _basic(net, x, 2 * m), 2 * m)
    edge = _basic(net, x, m)
    x = _basic(net, _basic(net, _basic(net, x, 4 * m, 2), 4 * m), 4 * m)
    detail = _guide(net, detail, net.conv(x, 2 * m, act=""))
    edge = net.join(edge, net.resize(net.conv(x, m, 3, act=""), fine))
    x = _basic(net, _basic(net, _basic(net, x, 8 * m, 2), 8 * m), 8 * m)
    detail = _basic(net, _basic(net, net.act(detail, "Relu"), 2 * m), 2 * m)
    edge = _bottleneck(net, net.act(edge, "Relu"), m)
    detail = _guide(net, detail, net.conv(x, 2 * m, act=""))
    edge = net.join(edge, net.resize(net.conv(x, 2 * m, 3, act=""), fine))
    detail = _bottleneck(net, net.act(detail, "Relu"), 2 * m)
    edge = _bottleneck(net, net.act(edge, "Relu"), 2 * m)
    x = _bottleneck(net, _bottleneck(net, x, 8 * m, 2), 8 * m)
    x = net.resize(_pyramid(net, x, 96, 4 * m), fine)
    gate = net.act(edge, "Sigmoid")
    mixed = [net.join(x, detail, gate, name="Mul") for _ in range(2)]
    x = net.conv(mixed[0], 4 * m, act="")
    x = net.conv(mixed[1], 4 * m, act="", add=True)
    x = net.conv(net.conv(net.act(x, "BatchNormalization"), 128, 3), classes, act="")
    net.resize(x, size)
    return net.kernels


def _basic(net: Layers, x: Shape, out: int, stride: int = 1) -> Shape:
    if stride > 1 or x[1] != out:
        net.conv(x, out, 1, stride, act="")
    return net.conv(net.conv(x, out, 3, stride), out, 3, add=True)


def _bottleneck(net: Layers, x: Shape, width: int, stride: int = 1) -> Shape:
    if stride > 1 or x[1] != 2 * width:
        net.conv(x, 2 * width, 1, stride, act="")
    return net.conv(net.conv(net.conv(x, width), width, 3, stride), 2 * width, add=True)


def _guide(net: Layers, detail: Shape, coarse: Shape) -> Shape:
    one = net.conv(detail, 32, act="")
    other = net.resize(net.conv(coarse, 32, act=""), detail[2])
    net.join(one, other, name="Mul")
    net.pool((1, 1, 32, detail[2] * detail[3]), 1, 1)  # the sum over the channels
    net.act((1, 1, *detail[2:]), "Sigmoid")
    return net.join(detail, net.resize(coarse, detail[2]), name="Mul")


def _pyramid(net: Layers, x: Shape, width: int, out: int) -> Shape:
    first = net.conv(net.act(x, "BatchNormalization"), width, act="")
    for window, stride in ((5, 2), (9, 4), (17, 8)):
        y = net.act(net.pool(x, window, stride), "BatchNormalization")
        net.join(first, net.resize(net.conv(y, width, act=""), x[2]))
    net.join(first, net.resize(net.conv(net.act(net.mean(x), "BatchNormalization"), width, act=""), x[2]))
    scales = net.act(concat(first, first, first, first), "BatchNormalization")
    processed = net.conv(scales, 4 * width, 3, act="", groups=4)
    net.conv(net.act(x, "BatchNormalization"), out, act="")
    return net.conv(net.act(concat(first, processed), "BatchNormalization"), out, act="", add=True)
