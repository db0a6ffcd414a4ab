"""One way of writing what ONNX files write in several, as `edgekd.quantize` captures it from a module."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgekd.onnx_graph.graph import Graph, Node

LINEAR = "Linear"
"""Not an ONNX operator: a MatMul with a constant matrix, and the Add of its bias where there is one."""


def normalised(graph: Graph) -> Graph:
    """Return the graph with linear layers in one piece, sums of two, means over positions as pooling.

    Flatten becomes Reshape: ONNX Runtime looks for integers through the one and not through the other.
    """
    form = _Form(graph)
    for node in graph.nodes:
        form.take(node)
    return replace(
        graph,
        nodes=tuple(form.nodes),
        shapes=form.shapes,
        types=form.types,
        constants=frozenset(form.constants),
        values=form.values,
    )


class _Form:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self.nodes: list[Node] = []
        self.shapes, self.types = dict(graph.shapes), dict(graph.types)
        self.constants, self.values = set(graph.constants), dict(graph.values)
        self._in_layer: set[str] = set()
        """Names of nodes that are part of a layer already written."""

    def take(self, node: Node) -> None:
        if node.name in self._in_layer:
            return
        if node.op == "Sum" and len(node.inputs) > 1:
            self._add(node)
        elif node.op == "ReduceMean" and self._is_over_positions(node):
            self._pool(node)
        elif node.op == "Flatten" and node.attributes.get("axis", 1) == 1:
            self._reshape(node.name, node.inputs[0], node.outputs[0], self.shapes[node.outputs[0]])
        elif node.op == "MatMul" and self._is_linear(node):
            self._layer(node)
        else:
            self.nodes.append(node)

    def _add(self, node: Node) -> None:
        result = node.inputs[0]
        for count, other in enumerate(node.inputs[1:], 1):
            last = count == len(node.inputs) - 1
            target = node.outputs[0] if last else f"{node.outputs[0]}.{count}"
            shape = np.broadcast_shapes(self.shapes[result], self.shapes[other])
            self._write("Add", node.name if last else f"{node.name}.{count}", (result, other), target, shape)
            result = target

    def _is_over_positions(self, node: Node) -> bool:
        shape = self.shapes[node.inputs[0]]
        stated = node.attributes.get("axes", ())
        if len(node.inputs) > 1:
            stated = self.values.get(node.inputs[1], np.zeros(0)).tolist()
        return len(shape) == 4 and sorted(axis % 4 for axis in stated) == [2, 3]

    def _pool(self, node: Node) -> None:
        source, target = node.inputs[0], node.outputs[0]
        shape = (*self.shapes[source][:2], 1, 1)
        if node.attributes.get("keepdims", 1):
            self._write("GlobalAveragePool", node.name, (source,), target, shape)
            return
        self._write("GlobalAveragePool", node.name, (source,), f"{target}.pooled", shape)
        self._reshape(f"{node.name}.flat", f"{target}.pooled", target, shape[:2])

    def _reshape(self, name: str, source: str, target: str, shape: tuple[int, ...]) -> None:
        """Write a change of shape that keeps the first axis, whose size 0 leaves to the input: a batch may be free."""
        wanted = f"{target}.shape"
        self.shapes[wanted], self.types[wanted] = (len(shape),), "s64"
        self.constants.add(wanted)
        self.values[wanted] = np.asarray((0, *shape[1:]), dtype=np.int64)
        self._write("Reshape", name, (source, wanted), target, shape)

    def _is_linear(self, node: Node) -> bool:
        data, weight = node.inputs
        return data not in self.constants and weight in self.constants and len(self.shapes[weight]) == 2

    def _layer(self, node: Node) -> None:
        target = node.outputs[0]
        users = self._graph.consumers(target)
        bias = self._bias(target, users[0]) if len(users) == 1 and target not in self._graph.outputs else None
        if bias is not None:
            self._in_layer.add(users[0].name)
            target = users[0].outputs[0]
        inputs = (*node.inputs, bias) if bias is not None else node.inputs
        self._write(LINEAR, node.name, inputs, target, self.shapes[target])

    def _bias(self, product: str, user: Node) -> str | None:
        others = [name for name in user.inputs if name != product]
        if user.op != "Add" or len(others) != 1 or others[0] not in self.constants:
            return None
        return others[0] if self.shapes[others[0]] == self.shapes[product][-1:] else None

    def _write(
        self,
        op: str,
        name: str,
        inputs: tuple[str, ...],
        output: str,
        shape: tuple[int, ...],
    ) -> None:
        self.shapes[output], self.types[output] = shape, self.types[inputs[0]]
        self.nodes.append(Node(op, name, inputs, (output,)))
