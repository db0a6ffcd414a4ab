"""The ONNX adapter: reads a graph into the neutral one, on which quantizers are placed."""

from __future__ import annotations

from edgekd.onnx_graph import normal_form
from edgekd.onnx_graph.graph import Graph, Node
from edgekd.placement.graph import Kind, Operator, OperatorGraph

_KINDS: dict[str, Kind] = {
    normal_form.LINEAR: "linear",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softmax": "softmax",
    "AveragePool": "average_pool",
    "GlobalAveragePool": "average_pool",
    "MaxPool": "max_pool",
    "Flatten": "reshape",
    "Reshape": "reshape",
    "Squeeze": "reshape",
    "Unsqueeze": "reshape",
    "Transpose": "reshape",
    "Concat": "concat",
}
_CONVOLUTIONS: dict[str, Kind] = {"Conv": "conv", "ConvTranspose": "conv_transpose"}
_OF_TWO_ACTIVATIONS: dict[str, Kind] = {"Add": "add", "Mul": "mul", "MatMul": "matmul"}


def operators(graph: Graph) -> OperatorGraph:
    """Return the neutral graph of one in normal form; an operator is called as the tensor it makes.

    Tensors that are not of float32, and those known before the network runs, have none.
    """
    found = [Operator(name, "input") for name in graph.inputs if _is_activation(graph, name)]
    for node in graph.nodes:
        inputs = tuple(name for name in node.inputs if name and _is_activation(graph, name))
        found += [
            Operator(name, _kind(graph, node), inputs, _limit(graph, node))
            for name in node.outputs
            if name and _is_activation(graph, name)
        ]
    results = [name for name in graph.outputs if _is_activation(graph, name)]
    return OperatorGraph([*found, *(Operator(f"{name}:output", "output", (name,)) for name in results)])


def _is_activation(graph: Graph, name: str) -> bool:
    return graph.types[name] == "f32" and name not in graph.constants


def _kind(graph: Graph, node: Node) -> Kind:
    constant = [name in graph.constants for name in node.inputs if name]
    if node.op in _CONVOLUTIONS:
        return _CONVOLUTIONS[node.op] if _has_kernel(graph, node) else "other"
    if node.op in _OF_TWO_ACTIVATIONS:
        return _OF_TWO_ACTIVATIONS[node.op] if not any(constant) and node.inputs[0] != node.inputs[1] else "other"
    if node.op == "Clip":
        return "clip" if _limit(graph, node) is not None else "other"
    if node.op == "Gemm":
        given = node.attributes
        plain = given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0 and not given.get("transA", 0)
        return "linear" if plain and not constant[0] and all(constant[1:]) else "other"
    return _KINDS.get(node.op, "other")


def _has_kernel(graph: Graph, convolution: Node) -> bool:
    """Return whether engines know integers for it: a stored weight, one or two axes, deconvolutions in one group."""
    data, weight, *_ = convolution.inputs
    grouped = convolution.op == "ConvTranspose" and convolution.attributes.get("group", 1) > 1
    return len(graph.shapes[data]) in {3, 4} and weight in graph.constants and not grouped


def _limit(graph: Graph, node: Node) -> float | None:
    """Return the upper bound of a clip whose lower one is 0."""
    if node.op != "Clip":
        return None
    low, high = (graph.values.get(name) for name in (*node.inputs[1:], "", "")[:2])
    return float(high.item()) if low is not None and high is not None and low.item() == 0 else None
