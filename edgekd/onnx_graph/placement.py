"""A float network in the integer form its quantized engine will have, before anybody quantizes it.

The rules are those of `edgekd.quantize`, which reads captured modules; scales and integers are made up here, because
latency does not depend on them. What the scales of a real network are, different from tensor to tensor, these are too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal

from edgekd.errors import UsageError
from edgekd.onnx_graph import integer_form, normal_form, writing
from edgekd.onnx_graph.graph import Graph, Node, read
from edgekd.onnx_graph.integer_form import Stored

if TYPE_CHECKING:
    import onnx

Kind = Literal["conv", "linear", "add", "relu", "clip", "average_pool", "concat", "moving", "other"]
_KINDS: dict[str, Kind] = {
    "Gemm": "linear",
    normal_form.LINEAR: "linear",
    "Relu": "relu",
    "AveragePool": "average_pool",
    "GlobalAveragePool": "average_pool",
    "MaxPool": "moving",
    "Flatten": "moving",
    "Reshape": "moving",
    "Squeeze": "moving",
    "Unsqueeze": "moving",
    "Transpose": "moving",
    "Concat": "concat",
}
_INTEGER = {"conv", "linear", "add", "average_pool", "concat"}
"""Operators with an integer kernel: every input is quantized."""
_ACTIVATIONS = {"relu", "clip"}
_KEEP_SIGN = {"moving", "average_pool", "add", "concat"}


def quantized(model: onnx.ModelProto, *, symmetric: bool = False) -> onnx.ModelProto:
    """Return the network in Q/DQ form, batch 1 and simplified, with weights of the right shape.

    The form is that of scheme u8w8 or, `symmetric`, of s8. Needs opset 13, to which older models are raised. Raises
    UsageError for a model that holds integers already, and what `graph.read` raises.
    """
    graph = read(model)
    if any(node.op.endswith(("QuantizeLinear", "QLinearConv", "ConvInteger")) for node in graph.nodes):
        raise UsageError("the network is quantized already; predict it as it is, without a scheme")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    graph, versions = writing.raised(graph, versions, integer_form.OPSET)
    graph = normal_form.normalised(graph)
    stored = stored_tensors(graph)
    if symmetric:
        stored = {name: how.symmetric() for name, how in stored.items()}
    return writing.model(integer_form.integers(graph, stored, layers(graph)), versions)


def layers(graph: Graph) -> tuple[Node, ...]:
    """Return the operators whose weights become integers."""
    return tuple(node for node in graph.nodes if _kind(graph, node) in {"conv", "linear"})


def stored_tensors(graph: Graph) -> dict[str, Stored]:
    """Return the activations that become integers, by name."""
    return _Rules(graph).stored()


def _kind(graph: Graph, node: Node) -> Kind:
    constant = [name in graph.constants for name in node.inputs if name]
    if node.op == "Conv":
        return "conv" if len(graph.shapes[node.inputs[0]]) in {3, 4} and constant[1] else "other"
    if node.op == "Add":
        return "add" if not any(constant) and node.inputs[0] != node.inputs[1] else "other"
    if node.op == "Clip":
        return "clip" if _limit(graph, node) is not None else "other"
    if node.op == "Gemm":
        given = node.attributes
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        return "linear" if plain and not constant[0] and all(constant[1:]) else "other"
    return _KINDS.get(node.op, "other")


def _limit(graph: Graph, clip: Node) -> float | None:
    """Return the upper bound of a clip whose lower one is 0."""
    low, high = (graph.values.get(name) for name in (*clip.inputs[1:], "", "")[:2])
    return float(high.item()) if low is not None and high is not None and low.item() == 0 else None


class _Rules:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._kinds: Mapping[str, Kind] = {name: _kind(graph, node) for node in graph.nodes for name in node.outputs}
        """Of every activation an operator makes; inputs have none."""

    def stored(self) -> dict[str, Stored]:
        made = [name for node in self._graph.nodes for name in node.outputs if name]
        floats = [
            name
            for name in (*self._graph.inputs, *made)
            if self._graph.types[name] == "f32" and name not in self._graph.constants
        ]
        return {name: self._how(name) for name in floats if self._is_stored(name)}

    def _how(self, tensor: str) -> Stored:
        kind = self._kinds.get(tensor)
        maker = self._graph.producer(tensor)
        limit = _limit(self._graph, maker) if kind == "clip" and maker is not None else None
        return Stored(0 if self._never_negative(tensor) else 128, kind in _ACTIVATIONS, limit)

    def _is_stored(self, tensor: str) -> bool:
        kind = self._kinds.get(tensor)
        if kind == "moving" or self._before_activation(tensor):
            return False
        # A convolution has no integer kernel with a float output, unlike a linear layer.
        return self._feeds_integers(tensor) or self._ends_convolution(tensor)

    def _users(self, tensor: str) -> list[str]:
        readers: list[str] = [self._kinds[node.outputs[0]] for node in self._graph.consumers(tensor)]
        return [*readers, *(["output"] if tensor in self._graph.outputs else [])]

    def _before_activation(self, tensor: str) -> bool:
        """Quantizing between a layer and its activation would keep engines from fusing the two."""
        users = self._users(tensor)
        return self._kinds.get(tensor) in _INTEGER and len(users) == 1 and users[0] in _ACTIVATIONS

    def _feeds_integers(self, tensor: str) -> bool:
        for node in self._graph.consumers(tensor):
            kind = self._kinds[node.outputs[0]]
            if kind in _INTEGER or (kind == "moving" and self._feeds_integers(node.outputs[0])):
                return True
        return False

    def _ends_convolution(self, tensor: str) -> bool:
        kind = self._kinds.get(tensor)
        if kind in _ACTIVATIONS:
            return any(self._kinds.get(made) == "conv" and self._before_activation(made) for made in self._read(tensor))
        return kind == "conv"

    def _never_negative(self, tensor: str) -> bool:
        kind = self._kinds.get(tensor)
        return kind in _ACTIVATIONS or (
            kind in _KEEP_SIGN and all(self._never_negative(made) for made in self._read(tensor))
        )

    def _read(self, tensor: str) -> list[str]:
        maker = self._graph.producer(tensor)
        return [name for name in maker.inputs if name and name not in self._graph.constants] if maker else []
