"""Activation functions in the forms in which exporters write them."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

from edgekd.kernels.segment import Segment

PLAIN = {"relu": 6.0, "relu6": 1.5, "none": 0.7, "leaky": 0.7, "hard-swish": 0.5, "silu": 0.5}
"""Of networks of convolutions in general, by how often."""

MOBILE = {"relu": 2.0, "relu6": 2.0, "hard-swish": 2.0, "silu": 1.5}
"""Of networks with inverted residuals."""

_SINGLE: dict[str, tuple[str, dict[str, Any]]] = {
    "relu": ("Relu", {}),
    "leaky": ("LeakyRelu", {"alpha": 0.1}),
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "elu": ("Elu", {}),
    "softplus": ("Softplus", {}),
    "hard-sigmoid": ("HardSigmoid", {"alpha": 1 / 6, "beta": 0.5}),
}


def activate(net: Segment, x: str, name: str) -> str:
    """Add the activation of this name; "none" adds nothing."""
    if name in _SINGLE:
        op, attributes = _SINGLE[name]
        return net.add(op, [x], net.shapes[x], **attributes)
    return _COMPOSED[name](net, x)


def _clip(net: Segment, x: str) -> str:
    return net.add("Clip", [x, net.constant("low", 0.0), net.constant("high", 6.0)], net.shapes[x])


def _prelu(net: Segment, x: str) -> str:
    slope = net.weight("slope", (net.shapes[x][1], 1, 1), 0.2, positive=True)
    return net.add("PRelu", [x, slope], net.shapes[x])


def _silu(net: Segment, x: str) -> str:
    return _gated(net, x, activate(net, x, "sigmoid"))


def _mish(net: Segment, x: str) -> str:
    return _gated(net, x, activate(net, activate(net, x, "softplus"), "tanh"))


def _gated(net: Segment, x: str, gate: str) -> str:
    return net.add("Mul", [x, gate], net.shapes[x])


def _hard_swish(net: Segment, x: str) -> str:
    form = net.dice.pick(("one node", "one node", "two nodes", "four nodes"))
    shape = net.shapes[x]
    if form == "one node":
        return net.add("HardSwish", [x], shape)
    if form == "two nodes":
        return _gated(net, x, activate(net, x, "hard-sigmoid"))
    clipped = _clip(net, net.add("Add", [x, net.constant("three", 3.0)], shape))
    return net.add("Div", [_gated(net, x, clipped), net.constant("six", 6.0)], shape)


def _gelu(net: Segment, x: str) -> str:
    shape = net.shapes[x]
    if net.opset >= 20 and net.dice.chance(0.6):
        return net.add("Gelu", [x], shape)
    scaled = net.add("Div", [x, net.constant("root", sqrt(2))], shape)
    shifted = net.add("Add", [net.add("Erf", [scaled], shape), net.constant("one", 1.0)], shape)
    return net.add("Mul", [_gated(net, x, shifted), net.constant("half", 0.5)], shape)


def _none(net: Segment, x: str) -> str:
    del net
    return x


_COMPOSED: dict[str, Callable[[Segment, str], str]] = {
    "none": _none,
    "relu6": _clip,
    "prelu": _prelu,
    "silu": _silu,
    "mish": _mish,
    "hard-swish": _hard_swish,
    "gelu": _gelu,
}
