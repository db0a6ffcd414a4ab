"""Scales and shifts of channels in front of a linear layer become part of it: (s x + b) W + c = x (s W) + (b W + c).

Runtimes do this for a BatchNorm behind a convolution; of a NoNorm in front of a linear layer ONNX Runtime makes two
operators, each of which reads and writes the whole tensor.
"""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

Array = NDArray[np.float64]


def fold(model: ir.Model) -> None:
    """Fold every scale and shift that a linear layer alone reads into its weight and bias, in place."""
    for product in list(model.graph):
        shifted = _first(product, "MatMul", "Add")
        scaled = _first(shifted, "Add", "Mul")
        readers = product.outputs[0].consumers() if product.op_type == "MatMul" else ()
        biased = readers[0] if len(readers) == 1 and _first(readers[0], "Add", "MatMul") else None
        if shifted is None or scaled is None or biased is None:
            continue
        scale, shift, weight, bias = (_second(node) for node in (scaled, shifted, product, biased))
        if scale is None or shift is None or weight is None or bias is None or weight.ndim != 2:
            continue
        if scale.shape == shift.shape == weight.shape[:1] and bias.shape == weight.shape[1:]:
            _hold(model.graph, product, scale[:, None] * weight)
            _hold(model.graph, biased, shift @ weight + bias)
            product.replace_input_with(0, scaled.inputs[0])
    RemoveUnusedNodesPass()(model)


def _first(node: ir.Node | None, kind: str, of: str) -> ir.Node | None:
    """Return the node of type `of` that computes the first input of one of type `kind`, and nothing besides."""
    value = node.inputs[0] if node is not None and node.op_type == kind else None
    found = value.producer() if value is not None else None
    if value is None or found is None or found.op_type != of or value.is_graph_output():
        return None
    return found if len(value.uses()) == 1 else None


def _second(node: ir.Node) -> Array | None:
    """Return the floats that are a node's second input, in double precision."""
    value = node.inputs[1]
    held = value.const_value if value is not None and value.is_initializer() else None
    return held.numpy().astype(np.float64) if held is not None and held.dtype == ir.DataType.FLOAT else None


def _hold(graph: ir.Graph, node: ir.Node, values: Array) -> None:
    """Let a node's second input be these values; for others that read it it stays what it was."""
    value = node.inputs[1]
    if value is not None and len(value.uses()) > 1:
        value = ir.Value(name=f"{value.name}.{node.outputs[0].name}", type=value.type, shape=value.shape)
        node.replace_input_with(1, value)
    if value is not None:
        value.const_value = ir.tensor(values.astype(np.float32), name=value.name)
        graph.register_initializer(value)
