"""The ONNX adapter: a float file that can be watched while it runs, and written again with integers. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edgekd.onnx_graph import integer_form, neutral, writing
from edgekd.onnx_graph.graph import Graph, Node
from edgekd.onnx_graph.integer_form import output_axis
from edgekd.placement.graph import WEIGHTED
from edgekd.placement.place import Placement, QuantizedTensor
from edgekd.quantize.calibration import Integers
from edgekd.quantize.layer import Array, Geometry, Layer, two_axes
from edgekd.quantize.network import Network
from edgekd.quantize.onnx_reading import Running, opened

BATCH_BYTES = 1 << 28
"""What the watched tensors of one batch may take."""
NOTHING = Placement((), ())
"""Everything in float."""


class OnnxNetwork(Network):
    """A float network of one input, simplified as every runtime does, with its weights."""

    def __init__(self, graph: Graph, versions: Mapping[str, int], ends: Sequence[onnx.ValueInfoProto]) -> None:
        self.graph, self._versions, self._ends = _own_parameters(graph), versions, ends
        self.operators = neutral.operators(self.graph)
        self._nodes = {node.outputs[0]: node for node in self.graph.nodes}
        self.layers = {
            operator.name: _layer(self.graph, self._nodes[operator.name])
            for operator in self.operators
            if operator.kind in WEIGHTED
        }

    @classmethod
    def read(cls, path: Path, sample: NDArray[Any], opset: int = integer_form.OPSET) -> OnnxNetwork:
        """Return the network of a file, in this ONNX opset or a later one.

        `sample` (1, ...) is one input, with which every shape becomes known.

        Raises UsageError for a file that is damaged, quantized already or does not take `sample`, ExportError for one
        that ONNX Runtime cannot run or that holds control flow.
        """
        return cls(*opened(path, sample, opset))

    def watch(self, samples: NDArray[Any], names: list[str]) -> Iterator[dict[str, Array]]:
        """Run the float network with ONNX Runtime and yield tensors batch by batch."""
        return self._run(self.written(NOTHING, None), samples, names)

    def answers(self, plan: Placement, integers: Integers | None, samples: NDArray[Any]) -> Array:
        """Return what `samples` (N, ...) are answered with the tensors and layers of `plan` in integers; None for none.

        It is what the file would say, operator by operator.
        """
        (result, *_) = self.graph.outputs
        batches = self._run(self.written(plan, integers), samples, [result])
        return np.concatenate([batch[result] for batch in batches])

    def _run(self, model: onnx.ModelProto, samples: NDArray[Any], names: list[str]) -> Iterator[dict[str, Array]]:
        running = Running(model, names)
        each = 4 * sum(int(np.prod(self.graph.shapes[name])) for name in names)
        size = 1 if self._has_fixed_batch else max(1, min(64, BATCH_BYTES // max(each, 1)))
        for start in range(0, len(samples), size):
            yield dict(zip(names, running.run(samples[start : start + size]), strict=True))

    def written(self, plan: Placement, integers: Integers | None) -> onnx.ModelProto:
        """Return the network as a model, with the tensors and layers of `plan` in integers; None for none."""
        if integers is None:
            return self.plain(self.graph)
        # A bias is corrected for the rounding of its own layer: one that stays in float keeps its own.
        biases = {
            self._nodes[name].inputs[2]: bias
            for name in plan.weights
            if (bias := integers.weights[name].bias) is not None
        }
        graph = replace(self.graph, values={**self.graph.values, **biases})
        return self._model(integer_form.integers(graph, plan, _Calibrated(integers)))

    def plain(self, graph: Graph) -> onnx.ModelProto:
        """Return a graph made of this network's as a model, without rounding any more of it."""
        return self._model(integer_form.integers(graph, NOTHING, integer_form.MadeUp(graph)))

    def _model(self, graph: Graph) -> onnx.ModelProto:
        model = writing.model(graph, self._versions)
        ends = {end.name: end for end in self._ends}
        for port in (*model.graph.input, *model.graph.output):
            port.CopyFrom(ends[port.name])
        return model

    @property
    def _has_fixed_batch(self) -> bool:
        first = self._ends[0].type.tensor_type.shape.dim
        return bool(first) and first[0].dim_value > 0


class _Calibrated:
    """The numbers of a calibration, in the layout of the file."""

    def __init__(self, integers: Integers) -> None:
        self._integers = integers

    def scale(self, tensor: QuantizedTensor) -> tuple[np.float32, np.uint8 | np.int8]:
        stored = self._integers.tensors[tensor.operator]
        kind = np.int8 if stored.signedness == "symmetric" else np.uint8
        return np.float32(stored.step), kind(stored.zero_point)

    def weight(self, layer: Node) -> tuple[NDArray[np.int8], Array]:
        found = self._integers.weights[layer.outputs[0]]
        return _turned(layer, found.integers), found.steps

    def bias(self, layer: Node, scale: Array) -> NDArray[np.int32] | None:
        bias = self._integers.weights[layer.outputs[0]].bias
        if bias is None:
            return None
        rounded = np.round(bias.astype(np.float64) / scale)
        return rounded.astype(np.int32) if np.abs(rounded).max() < integer_form.LARGEST_BIAS else None


def _own_parameters(graph: Graph) -> Graph:
    """Give every layer a weight and a bias of its own, and a convolution without a bias one of zeros."""
    kinds = {operator.name: operator.kind for operator in neutral.operators(graph)}
    shapes, types, values = dict(graph.shapes), dict(graph.types), dict(graph.values)
    constants = set(graph.constants)
    nodes = []
    for node in graph.nodes:
        if kinds.get(node.outputs[0]) not in WEIGHTED:
            nodes.append(node)
            continue
        given = [values[name] for name in node.inputs[1:] if name]
        if len(given) == 1 and node.op in {"Conv", "ConvTranspose"}:
            given.append(np.zeros(shapes[node.outputs[0]][1], np.float32))
        names = [f"{node.outputs[0]}:{part}" for part in ("weight", "bias")][: len(given)]
        for name, value in zip(names, given, strict=True):
            shapes[name], types[name], values[name] = value.shape, "f32", value
            constants.add(name)
        nodes.append(replace(node, inputs=(node.inputs[0], *names)))
    return replace(graph, nodes=tuple(nodes), shapes=shapes, types=types, values=values, constants=frozenset(constants))


def _turned(node: Node, weight: NDArray[Any]) -> NDArray[Any]:
    """Return a weight with its output channels first as it lies in the file, or the other way about."""
    return weight if output_axis(node) == 0 else np.ascontiguousarray(np.swapaxes(weight, 0, 1))


def _layer(graph: Graph, node: Node) -> Layer:
    bias = graph.values[node.inputs[2]].reshape(-1) if len(node.inputs) > 2 else None
    weight = _turned(node, graph.values[node.inputs[1]])
    geometry = _geometry(graph, node) if node.op in {"Conv", "ConvTranspose"} else None
    return Layer(node.outputs[0], node.inputs[0], weight, bias, geometry, node.name)


def _geometry(graph: Graph, node: Node) -> Geometry:
    given = node.attributes
    axes = len(graph.shapes[node.inputs[0]]) - 2
    stride, dilation = two_axes(given.get("strides", (1,) * axes), 1), two_axes(given.get("dilations", (1,) * axes), 1)
    begin, end = _pads(graph, node, stride, dilation, axes)
    pads = (begin[0], begin[1], end[0], end[1])
    return Geometry(stride, pads, dilation, int(given.get("group", 1)), transposed=node.op == "ConvTranspose")


def _pads(
    graph: Graph, node: Node, stride: tuple[int, int], dilation: tuple[int, int], axes: int
) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the padding before and behind, for both axes; an odd one goes to the side that the file names."""
    given = node.attributes
    automatic = given.get("auto_pad", "NOTSET")
    if automatic == "NOTSET":
        pads = given.get("pads", (0,) * 2 * axes)
        return two_axes(pads[:axes], 0), two_axes(pads[axes:], 0)
    if automatic == "VALID":
        return (0, 0), (0, 0)
    sizes = two_axes(graph.shapes[node.inputs[0]][2:], 1)
    results = two_axes(graph.shapes[node.outputs[0]][2:], 1)
    kernel = two_axes(graph.shapes[node.inputs[1]][2:], 1)
    needed = [
        max(0, (result - 1) * step + (window - 1) * spread + 1 - size)
        for result, step, window, spread, size in zip(results, stride, kernel, dilation, sizes, strict=True)
    ]
    small = tuple(total // 2 for total in needed)
    large = tuple(total - total // 2 for total in needed)
    first, second = (small, large) if automatic == "SAME_UPPER" else (large, small)
    return two_axes(first, 0), two_axes(second, 0)
