"""Writes a graph with QuantizeLinear and DequantizeLinear as `edgekd.quantize.emission` does, with made-up numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod, sqrt
from typing import NamedTuple

import numpy as np

from edgekd.onnx_graph.graph import Graph, Node
from edgekd.onnx_graph.normal_form import LINEAR

OPSET = 13
"""The first with a scale an output channel."""
_SEED = 0
_RANGE = 4.0
"""The largest value the widest activation stands for; with weights of variance 1 / inputs all values stay near 1."""


class Stored(NamedTuple):
    """How one tensor is stored: as u8, or as s8."""

    zero_point: int
    """0 where it is never negative, else 128."""
    absorbs: bool = False
    """The quantizer stands in the place of the activation that makes the tensor: its integers end where that cuts."""
    limit: float | None = None
    """The largest value it may represent."""
    signed: bool = False
    """Whether it is s8."""

    def symmetric(self) -> Stored:
        """Return how the same tensor is stored as s8 about zero: its integers cut nothing off."""
        return Stored(0, limit=self.limit, signed=True)


def integers(graph: Graph, stored: Mapping[str, Stored], layers: Sequence[Node]) -> Graph:
    """Return the graph in Q/DQ form: `stored` activations as u8 or s8, the weights of `layers` as s8.

    The quantizer of a tensor that takes its activation's place reads what that activation read. Biases of linear
    layers with a float output are s32 beside u8, all others float.
    """
    return _Writer(graph, stored, layers).result()


class _Writer:
    def __init__(self, graph: Graph, stored: Mapping[str, Stored], layers: Sequence[Node]) -> None:
        self._graph, self._stored = graph, stored
        self._layers = {node.name for node in layers}
        self._random = np.random.default_rng(_SEED)
        self._nodes: list[Node] = []
        self._shapes, self._types = dict(graph.shapes), dict(graph.types)
        self._constants, self._values = set(graph.constants), dict(graph.values)
        self._now: dict[str, str] = {}
        """What readers of a tensor read in its place."""

    def result(self) -> Graph:
        for name in self._graph.inputs:
            if name in self._stored:
                self._quantize(name, name, self._stored[name])
        for node in self._graph.nodes:
            self._write(node)
        return replace(
            self._graph,
            nodes=tuple(self._nodes),
            shapes=self._shapes,
            types=self._types,
            constants=frozenset(self._constants),
            values=self._values,
        )

    def _write(self, node: Node) -> None:
        inputs = tuple(self._now.get(name, name) for name in node.inputs)
        how = self._stored.get(node.outputs[0])
        if how is not None and how.absorbs:
            self._quantize(inputs[0], node.outputs[0], how)
            return
        # A result of the network keeps its name, and what is quantized into it gets another.
        raw = tuple(
            f"{name}.float" if name in self._stored and name in self._graph.outputs else name for name in node.outputs
        )
        for name, new in zip(node.outputs, raw, strict=True):
            if new != name:
                self._shapes[new], self._types[new] = self._shapes[name], self._types[name]
        if node.name in self._layers:
            inputs = (inputs[0], *self._parameters(node))
        self._append(replace(node, inputs=inputs, outputs=raw))
        for name, new in zip(node.outputs, raw, strict=True):
            if name in self._stored:
                self._quantize(new, name, self._stored[name])

    def _append(self, node: Node) -> None:
        if node.op != LINEAR:
            self._nodes.append(node)
            return
        data, weight, *bias = node.inputs
        product = f"{node.outputs[0]}.product" if bias else node.outputs[0]
        self._tensor(product, self._shapes[node.outputs[0]], "f32")
        self._nodes.append(Node("MatMul", node.name, (data, weight), (product,)))
        if bias:
            self._nodes.append(Node("Add", f"{node.name}.bias", (product, bias[0]), node.outputs))

    def _quantize(self, source: str, tensor: str, how: Stored) -> None:
        largest = _RANGE if how.limit is None else how.limit
        self._constant(f"{tensor}.scale", np.float32(self._random.uniform(0.5, 1.0) * largest / 255))
        self._constant(f"{tensor}.zero_point", np.int8(0) if how.signed else np.uint8(how.zero_point))
        constants = (f"{tensor}.scale", f"{tensor}.zero_point")
        result = tensor if tensor in self._graph.outputs else f"{tensor}.dequantized"
        self._tensor(f"{tensor}.quantized", self._shapes[source], "s8" if how.signed else "u8")
        self._tensor(result, self._shapes[source], "f32")
        inner = f"{tensor}.quantized"
        self._nodes.append(Node("QuantizeLinear", f"{tensor}/quantize", (source, *constants), (inner,)))
        self._nodes.append(Node("DequantizeLinear", f"{tensor}/dequantize", (inner, *constants), (result,)))
        self._now[tensor] = result

    def _parameters(self, node: Node) -> list[str]:
        _, weight, *bias = node.inputs
        shape = self._shapes[weight]
        axis = 0 if node.op == "Conv" or node.attributes.get("transB", 0) else 1
        inputs = prod(shape) // shape[axis]
        steps = self._random.uniform(0.5, 1.0, shape[axis]) * sqrt(3 / inputs) / 127
        values = self._random.integers(-127, 127, shape, dtype=np.int8, endpoint=True)
        found = [self._dequantized(f"{node.name}.weight", values, steps, axis)]
        if any(bias) and self._bias_is_integer(node):
            scale = steps * self._scale_of(node.inputs[0])
            found.append(self._dequantized(f"{node.name}.bias", np.ones(shape[axis], np.int32), scale, 0))
        return [*found, *(bias if len(found) == 1 else [])]

    def _bias_is_integer(self, node: Node) -> bool:
        """Return whether a linear layer's result stays float: ONNX Runtime runs it in float without integer bias."""
        output = node.outputs[0]
        if any(how.signed for how in self._stored.values()):
            return False
        absorbed = [
            user.outputs[0] in self._stored and self._stored[user.outputs[0]].absorbs
            for user in self._graph.consumers(output)
        ]
        return node.op != "Conv" and output not in self._stored and not (absorbed and all(absorbed))

    def _scale_of(self, tensor: str) -> float:
        """Return the scale of a quantized tensor, looking through operators that only move values."""
        while tensor not in self._stored:
            maker = self._graph.producer(tensor)
            if maker is None:
                return _RANGE / 255
            tensor = maker.inputs[0]
        return float(self._values[f"{tensor}.scale"])

    def _dequantized(self, name: str, values: np.ndarray, scale: np.ndarray, axis: int) -> str:
        self._constant(f"{name}.integers", values)
        self._constant(f"{name}.scale", scale.astype(np.float32))
        self._constant(f"{name}.zero_point", np.zeros(len(scale), values.dtype))
        self._tensor(name, values.shape, "f32")
        self._constants.add(name)
        inputs = (f"{name}.integers", f"{name}.scale", f"{name}.zero_point")
        self._nodes.append(Node("DequantizeLinear", f"{name}/dequantize", inputs, (name,), {"axis": axis}))
        return name

    def _constant(self, name: str, value: np.ndarray | np.generic) -> None:
        types = {"float32": "f32", "uint8": "u8", "int8": "s8", "int32": "s32"}
        self._tensor(name, value.shape, types[str(value.dtype)])
        self._constants.add(name)
        self._values[name] = np.asarray(value)

    def _tensor(self, name: str, shape: tuple[int, ...], type_: str) -> None:
        self._shapes[name], self._types[name] = shape, type_
