"""From a graph back to an ONNX model; constants whose values are not known are made up."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod, sqrt
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekd.errors import ExportError
from edgekd.onnx_graph import operators
from edgekd.onnx_graph.graph import Graph, Node, read

if TYPE_CHECKING:
    import onnx

_IR_VERSION = 10
"""Both runtimes read it; the newest of onnx itself is often too new for them."""
_SEED = 1


def model(graph: Graph, versions: Mapping[str, int]) -> onnx.ModelProto:
    """Return the graph as a model of these versions of operator sets, by domain; every node is named, uniquely."""
    return _Writer(graph, versions).model(stubs=False)


def raised(graph: Graph, versions: Mapping[str, int], opset: int) -> tuple[Graph, dict[str, int]]:
    """Return the graph written in at least this version of ONNX's operators, and the versions it then has.

    Raises ExportError where onnx cannot convert an operator.
    """
    now = dict(versions)
    now[""] = now.pop("ai.onnx", now.get("", 1))
    if now[""] >= opset:
        return graph, now
    from onnx import version_converter

    stubbed = _Writer(graph, now).model(stubs=True)
    stubs = {value.name: value for value in stubbed.graph.input if value.name in graph.constants}
    try:
        converted = version_converter.convert_version(stubbed, opset)
    except Exception as error:  # onnx raises errors of several unrelated kinds
        reason = " ".join(str(error).split())
        raise ExportError(
            f"the network cannot be raised from ONNX opset {now['']} to {opset}, which integers need; "
            f"onnx says: {reason}; export it with opset {opset} or later"
        ) from error
    for value in list(converted.graph.input):
        if value.name in stubs:
            converted.graph.input.remove(value)
            converted.graph.initializer.append(_without_elements(value))
    return read(converted), now | {"": opset}


def _without_elements(value: onnx.ValueInfoProto) -> onnx.TensorProto:
    """Return a constant of that shape whose elements lie in a file nobody opens."""
    import onnx

    tensor = value.type.tensor_type
    dims = [dim.dim_value for dim in tensor.shape.dim]
    stub = onnx.TensorProto(name=value.name, data_type=tensor.elem_type, dims=dims)
    stub.data_location = onnx.TensorProto.EXTERNAL
    return stub


class _Writer:
    def __init__(self, graph: Graph, versions: Mapping[str, int]) -> None:
        self._graph, self._versions = graph, versions
        self._random = np.random.default_rng(_SEED)
        self._names: set[str] = set()

    def model(self, *, stubs: bool) -> onnx.ModelProto:
        from onnx import helper, numpy_helper

        graph = self._graph
        nodes = [self._node(node) for node in graph.nodes]
        made = {name for node in graph.nodes for name in node.outputs}
        read_ = {name for node in graph.nodes for name in node.inputs} | set(graph.outputs)
        stored = [name for name in graph.shapes if name in graph.constants and name in read_ and name not in made]
        stubbed = {name for name in stored if stubs and name not in graph.values}
        written = helper.make_graph(
            nodes,
            "network",
            [self._described(name) for name in (*graph.inputs, *(name for name in stored if name in stubbed))],
            [self._described(name) for name in graph.outputs],
            [numpy_helper.from_array(self._value(name), name) for name in stored if name not in stubbed],
        )
        imports = [helper.make_opsetid(domain, version) for domain, version in self._versions.items()]
        return helper.make_model(written, opset_imports=imports, ir_version=_IR_VERSION, producer_name="edgekd")

    def _node(self, node: Node) -> onnx.NodeProto:
        from onnx import helper

        domain, _, op = node.op.rpartition(".")
        name = node.name
        while name in self._names:
            name = f"{name}_"
        self._names.add(name)
        written = helper.make_node(op, node.inputs, node.outputs, name=name, domain=domain)
        types = operators.attribute_types(op, domain, self._versions.get(domain, 1))
        for key, value in node.attributes.items():
            written.attribute.append(helper.make_attribute(key, _stored(value), attr_type=types.get(key)))
        return written

    def _described(self, name: str) -> onnx.ValueInfoProto:
        from onnx import helper

        type_ = operators.type_proto(self._graph.shapes[name], self._graph.types[name])
        return helper.make_value_info(name, type_)

    def _value(self, name: str) -> np.ndarray:
        if name in self._graph.values:
            return self._graph.values[name]
        shape = self._graph.shapes[name]
        dtype = operators.dtype(self._graph.types[name])
        if dtype.kind != "f":
            return np.zeros(shape, dtype)
        # Rows of variance 1 / inputs keep all values near 1, far from denormal numbers, which are slow.
        scale = 1 / sqrt(max(1, prod(shape[1:]) if len(shape) > 1 else 1))
        return (self._random.standard_normal(shape, np.float32) * np.float32(scale)).astype(dtype)


def _stored(value: Any) -> Any:
    from onnx import numpy_helper

    return numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
