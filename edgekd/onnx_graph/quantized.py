"""A float network in the integer form its quantized engine will have, before anybody quantizes it.

Scales and integers are made up, because latency does not depend on them. What the scales of a real network are,
different from tensor to tensor, these are too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekd.errors import UsageError
from edgekd.onnx_graph import integer_form, neutral, normal_form, writing
from edgekd.onnx_graph.graph import read
from edgekd.placement.place import place
from edgekd.placement.scheme import scheme_named

if TYPE_CHECKING:
    import onnx


def quantized(model: onnx.ModelProto, *, symmetric: bool = False) -> onnx.ModelProto:
    """Return the network in Q/DQ form, batch 1 and simplified, with weights of the right shape.

    The form is that of scheme u8w8 or, `symmetric`, of s8. Needs opset 13, to which older models are raised. Raises
    UsageError for a model that holds integers already, and what `graph.read` raises.
    """
    graph = read(model)
    if any(
        node.op.endswith(("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger")) for node in graph.nodes
    ):
        raise UsageError("the network is quantized already; predict it as it is, without a scheme")
    versions = {entry.domain: entry.version for entry in model.opset_import}
    graph, versions = writing.raised(graph, versions, integer_form.OPSET)
    graph = normal_form.normalised(graph)
    plan = place(neutral.operators(graph), scheme_named("s8" if symmetric else "u8w8"))
    return writing.model(integer_form.integers(graph, plan, integer_form.MadeUp(graph)), versions)
