"""Writes a network operator by operator as an ONNX graph: shapes are followed, weights are seeded and He-scaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Pair = int | tuple[int, int]
IR_VERSIONS = {17: 8, 18: 8, 19: 9, 20: 9}
"""The file format that came with each opset."""


class Value(NamedTuple):
    """A tensor of the graph."""

    name: str
    shape: tuple[int, ...]

    @property
    def channels(self) -> int:
        """Return the size of the second axis."""
        return self.shape[1]


class Builder:
    """One graph being written; every method adds the nodes of one layer and returns what they compute."""

    def __init__(self, opset: int = 17) -> None:
        self.opset = opset
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[onnx.TensorProto] = []
        self._constants: dict[bytes, Value] = {}
        self._input = Value("input", ())

    def input(self, *shape: int) -> Value:
        """Return the graph's only input, float, of this shape with the batch of 1 in front."""
        self._input = Value("input", (1, *shape))
        return self._input

    def model(self, *outputs: Value) -> onnx.ModelProto:
        """Return the finished model."""
        ends = [
            helper.make_tensor_value_info(value.name, TensorProto.FLOAT, value.shape)
            for value in (self._input, *outputs)
        ]
        graph = helper.make_graph(self._nodes, "topology", ends[:1], ends[1:], self._weights)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=IR_VERSIONS[self.opset]
        )

    def op(self, kind: str, inputs: Sequence[Value], *shapes: Sequence[int], **attributes: Any) -> Value:
        """Add one node; return its first output, which has the first of these shapes."""
        return self.ops(kind, inputs, *shapes, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[Value], *shapes: Sequence[int], **attributes: Any) -> list[Value]:
        """Add one node and return all its outputs."""
        name = f"{kind.lower()}_{len(self._nodes)}"
        results = [Value(f"{name}.{k}" if k else name, tuple(shape)) for k, shape in enumerate(shapes)]
        reads, writes = ([value.name for value in values] for values in (inputs, results))
        self._nodes.append(helper.make_node(kind, reads, writes, name, **attributes))
        return results

    def constant(self, values: Any, dtype: type = np.float32) -> Value:
        """Return a small constant; equal ones are stored once."""
        array: NDArray[Any] = np.asarray(values, dtype)
        key = repr((array.shape, array.dtype)).encode() + array.tobytes()
        if key not in self._constants:
            self._constants[key] = self._stored(array, "constant")
        return self._constants[key]

    def weight(self, shape: Sequence[int], inputs: int, gain: float = 1.0) -> Value:
        """Return normal random weights that multiply the variance of `inputs` summands each by `gain` in all."""
        return self._stored(normal(self._random, shape, math.sqrt(gain / inputs)), "weight")

    def vector(self, size: int, mean: float = 0.0, spread: float = 0.1) -> Value:
        """Return a random vector between mean - spread and mean + spread: biases, scales, moments."""
        return self._stored(around(self._random, [size], mean, spread), "vector")

    def _stored(self, array: NDArray[Any], kind: str) -> Value:
        name = f"{kind}_{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(array, name))
        return Value(name, array.shape)


def normal(random: np.random.Generator, shape: Sequence[int], deviation: float) -> NDArray[np.float32]:
    """Return normal random numbers, none of them zero: runtimes may skip zeros."""
    array = random.standard_normal(shape, np.float32) * np.float32(deviation)
    array[array == 0] = deviation
    return array


def around(random: np.random.Generator, shape: Sequence[int], mean: float, spread: float) -> NDArray[np.float32]:
    """Return random numbers between mean - spread and mean + spread, none of them zero."""
    array = (random.random(shape, np.float32) * (2 * spread) + (mean - spread)).astype(np.float32)
    array[array == 0] = spread
    return array
