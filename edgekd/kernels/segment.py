"""A probe network while it is built: nodes and shapes only, so that a draft of the wrong size costs microseconds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekd.kernels.dice import Dice

Shape = tuple[int, ...]


class Operator(NamedTuple):
    """One node of the draft; its name is its first output's."""

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


class Weight(NamedTuple):
    """Random weights that nobody has drawn yet: values of either sign about `scale`, or positive ones about it."""

    shape: Shape
    scale: float
    positive: bool = False


class Segment:
    """Nodes in order of execution, with the shape of every tensor.

    `opset` and `same_upper`, the side on which an odd padding goes, are those of the network as a whole: whoever
    exports a network exports it in one style.
    """

    def __init__(self, dice: Dice) -> None:
        self.dice = dice
        self.opset = dice.pick((17, 18, 19, 20))
        self.same_upper = dice.chance(0.2)
        self.shapes: dict[str, Shape] = {}
        self.nodes: list[Operator] = []
        self.weights: dict[str, Weight] = {}
        self.constants: dict[str, NDArray[Any]] = {}
        self.macs = 0

    def input(self, shape: Shape) -> str:
        """Declare the network's input, float32 of this shape, and return its name."""
        self.shapes["input"] = shape
        return "input"

    def add(self, op: str, inputs: Sequence[str], shape: Shape, macs: int = 0, **attributes: Any) -> str:
        """Append a node with one output of this shape and return the output's name."""
        return self.add_split(op, inputs, [shape], macs, **attributes)[0]

    def add_split(
        self, op: str, inputs: Sequence[str], shapes: Sequence[Shape], macs: int = 0, **attributes: Any
    ) -> tuple[str, ...]:
        """Append a node with several outputs of these shapes and return their names."""
        name = f"{op.lower()}_{len(self.nodes)}"
        outputs = (name, *(f"{name}.{index}" for index in range(1, len(shapes))))
        self.nodes.append(Operator(op, tuple(inputs), outputs, attributes))
        self.shapes.update(zip(outputs, shapes, strict=True))
        self.macs += macs
        return outputs

    def weight(self, role: str, shape: Shape, scale: float, positive: bool = False) -> str:
        """Declare random weights of the node that is added next and return their name."""
        name = f"{role}.{len(self.nodes)}"
        self.weights[name] = Weight(shape, scale, positive)
        return name

    def constant(self, role: str, values: Sequence[int] | Sequence[float] | float) -> str:
        """Declare a constant of the node that is added next, int64 for whole numbers, and return its name."""
        array = np.asarray(values)
        name = f"{role}.{len(self.nodes)}"
        self.constants[name] = array.astype(np.int64 if array.dtype.kind == "i" else np.float32)
        return name

    @property
    def output(self) -> str:
        """Return the name of the last tensor, the network's output."""
        return self.nodes[-1].outputs[0]

    @property
    def weight_bytes(self) -> int:
        """Return the bytes of the weights in float32."""
        return 4 * sum(prod(weight.shape) for weight in self.weights.values())

    @property
    def largest_elements(self) -> int:
        """Return the elements of the largest activation."""
        return max(map(prod, self.shapes.values()))

    @property
    def elements(self) -> int:
        """Return the elements of all activations together."""
        return sum(map(prod, self.shapes.values()))


class Kind(NamedTuple):
    """A kind of probe: what builds it and how often it is drawn, relative to the others."""

    build: Callable[[Segment], object]
    weight: float
    macs: tuple[float, float] = (1e4, 2e9)
    """Least and most multiply-accumulate operations: beyond, it would be of a size that nobody builds."""
    weight_bytes: int = 40_000_000
    """At most, in float32."""
    nodes: tuple[int, int] = (3, 24)
    """Fewest and most."""
    elements: int = 16_000_000
    """Of all activations together, at most: beyond, even a probe of few operations takes long."""


def whole_network(build: Callable[[Segment], object], weight: float, nodes: tuple[int, int] = (10, 170)) -> Kind:
    """Return a kind of whole networks: of more layers, weights and activations than a segment has."""
    return Kind(build, weight, macs=(2e6, 2e9), weight_bytes=110_000_000, nodes=nodes, elements=40_000_000)
