"""Writes a graph with QuantizeLinear and DequantizeLinear, the form in which every runtime finds its integer kernels.

It is the form of `edgekd.quantize.emission`. Where the numbers come from is another matter: made up here, because
latency does not depend on them, or calibrated in `edgekd.quantize`.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod, sqrt
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekd.onnx_graph.graph import Graph, Node
from edgekd.onnx_graph.normal_form import LINEAR
from edgekd.placement.place import Placement, QuantizedTensor

OPSET = 13
"""The first with a scale an output channel."""
LARGEST_BIAS = 2**30
"""Integers of a bias beyond this could overflow 32 bits once products are added; such a bias stays float."""
_ROUNDED_BY_ITSELF = {"Conv", "ConvTranspose", "Gemm"}
"""Layers that ONNX Runtime rounds of its own accord where they stand between integers."""
_SEED = 0
_RANGE = 4.0
"""The largest value the widest activation stands for; with weights of variance 1 / inputs all values stay near 1."""


class Numbers(Protocol):
    """What the integers stand for."""

    def scale(self, tensor: QuantizedTensor) -> tuple[np.float32, np.uint8 | np.int8]:
        """Return scale and zero point of a stored activation; the zero point's type is that of its integers."""

    def weight(self, layer: Node) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return a layer's weight as integers in the file's own layout, and the scale of each output channel."""

    def bias(self, layer: Node, scale: NDArray[np.float32]) -> NDArray[np.int32] | None:
        """Return a bias in steps of `scale`; None for one that stays float."""


class MadeUp:
    """Random numbers of the right size."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._random = np.random.default_rng(_SEED)

    def scale(self, tensor: QuantizedTensor) -> tuple[np.float32, np.uint8 | np.int8]:
        """Return a scale of some size."""
        largest = _RANGE if tensor.limit is None else tensor.limit
        scale = np.float32(self._random.uniform(0.5, 1.0) * largest / 255)
        if tensor.signedness == "symmetric":
            return scale, np.int8(0)
        return scale, np.uint8(128 if tensor.signedness == "affine" else 0)

    def weight(self, layer: Node) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
        """Return integers of the whole range."""
        shape, axis = self._graph.shapes[layer.inputs[1]], output_axis(layer)
        inputs = prod(shape) // shape[axis]
        steps = self._random.uniform(0.5, 1.0, shape[axis]) * sqrt(3 / inputs) / 127
        return self._random.integers(-127, 127, shape, dtype=np.int8, endpoint=True), steps.astype(np.float32)

    def bias(self, layer: Node, scale: NDArray[np.float32]) -> NDArray[np.int32] | None:
        """Return ones."""
        del layer
        return np.ones(len(scale), np.int32)


def integers(graph: Graph, plan: Placement, numbers: Numbers) -> Graph:
    """Return the graph in Q/DQ form: the tensors of `plan` as u8 or s8, the weights of its layers as s8.

    The quantizer of a tensor that takes its activation's place reads what that activation read. Biases of linear
    layers with a float output are s32 beside u8, all others float. Without a tensor and a layer in `plan` it is the
    float graph in plain ONNX.
    """
    return _Writer(graph, plan, numbers).result()


class _Writer:
    def __init__(self, graph: Graph, plan: Placement, numbers: Numbers) -> None:
        self._graph, self._numbers = graph, numbers
        self._stored = {tensor.operator: tensor for tensor in plan.tensors}
        self._layers = frozenset(plan.weights)
        self._nodes: list[Node] = []
        self._shapes, self._types = dict(graph.shapes), dict(graph.types)
        self._constants, self._values = set(graph.constants), dict(graph.values)
        self._now: dict[str, str] = {}
        """What readers of a tensor read in its place."""

    def result(self) -> Graph:
        for name in self._graph.inputs:
            if name in self._stored:
                self._quantize(name, self._stored[name])
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
            self._quantize(inputs[0], how)
            return
        # A result of the network keeps its name, and what is quantized into it gets another.
        raw = tuple(
            f"{name}.float" if name in self._stored and name in self._graph.outputs else name for name in node.outputs
        )
        for name, new in zip(node.outputs, raw, strict=True):
            if new != name:
                self._shapes[new], self._types[new] = self._shapes[name], self._types[name]
        if node.outputs[0] in self._layers:
            inputs = (inputs[0], *self._parameters(node))
        elif node.op in _ROUNDED_BY_ITSELF and len(inputs) > 2 and self._is_rounded(node.outputs[0]):
            inputs = (*inputs[:2], *self._fine_bias(node))
        self._append(replace(node, inputs=inputs, outputs=raw))
        for name, new in zip(node.outputs, raw, strict=True):
            if name in self._stored:
                self._quantize(new, self._stored[name])

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

    def _quantize(self, source: str, how: QuantizedTensor) -> None:
        tensor = how.operator
        scale, zero_point = self._numbers.scale(how)
        self._constant(f"{tensor}.scale", scale)
        self._constant(f"{tensor}.zero_point", zero_point)
        constants = (f"{tensor}.scale", f"{tensor}.zero_point")
        result = tensor if tensor in self._graph.outputs else f"{tensor}.dequantized"
        inner = f"{tensor}.quantized"
        self._tensor(inner, self._shapes[source], self._types[f"{tensor}.zero_point"])
        self._tensor(result, self._shapes[source], "f32")
        self._nodes.append(Node("QuantizeLinear", f"{tensor}/quantize", (source, *constants), (inner,)))
        self._nodes.append(Node("DequantizeLinear", f"{tensor}/dequantize", (inner, *constants), (result,)))
        self._now[tensor] = result

    def _parameters(self, node: Node) -> list[str]:
        bias = node.inputs[2:]
        values, steps = self._numbers.weight(node)
        found = [self._dequantized(f"{node.name}.weight", values, steps, output_axis(node))]
        if any(bias) and self._bias_is_integer(node):
            scale = (steps * self._scale_of(node.inputs[0])).astype(np.float32)
            rounded = self._numbers.bias(node, scale)
            if rounded is not None:
                return [*found, self._dequantized(f"{node.name}.bias", rounded, scale, 0)]
        return [*found, *bias]

    def _bias_is_integer(self, node: Node) -> bool:
        """Return whether a linear layer's result stays float: ONNX Runtime runs it in float without integer bias.

        TensorRT, which wants symmetric activations, takes no integer bias.
        """
        return node.op in {LINEAR, "Gemm"} and not self._is_symmetric and not self._is_rounded(node.outputs[0])

    @property
    def _is_symmetric(self) -> bool:
        return any(how.signedness == "symmetric" for how in self._stored.values())

    def _is_rounded(self, output: str) -> bool:
        """Return whether a quantizer reads what a layer writes, perhaps in place of its activation."""
        absorbed = [
            user.outputs[0] in self._stored and self._stored[user.outputs[0]].absorbs
            for user in self._graph.consumers(output)
        ]
        return output in self._stored or (bool(absorbed) and all(absorbed))

    def _fine_bias(self, node: Node) -> list[str]:
        """Return the bias of a float layer in steps so fine that they are float's own.

        Between integers ONNX Runtime stores the weights of a float layer as 8 bits of its own, one scale for all of
        them, unless its bias is no plain constant (WeightBiasQuantization of 1.20 to 1.31). For TensorRT, which takes
        no integer bias, it stays as it is.
        """
        name = node.inputs[2]
        bias = self._values.get(name)
        if bias is None or self._is_symmetric:
            return [name]
        scale = np.full(bias.size, float(np.abs(bias).max()) / LARGEST_BIAS or 1.0, np.float32)
        return [self._dequantized(f"{node.name}.bias", np.round(bias.reshape(-1) / scale).astype(np.int32), scale, 0)]

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
        self._constant(f"{name}.scale", scale)
        # One of its own for every layer: OpenVINO leaves a convolution and a product that share one in float.
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


def output_axis(layer: Node) -> int:
    """Return the axis of a layer's weight along which its output channels lie."""
    return 0 if layer.op == "Conv" or layer.attributes.get("transB", 0) else 1
