"""Cleans the graph that torch's exporter leaves, so that equal networks give equal files."""

from __future__ import annotations

import re

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"


def clean(model: ir.Model, batch: str) -> None:
    """Name nodes after modules, the batch dimension `batch`, and give every dequantized weight its own zero point.

    The exporter's notes are dropped: they hold source code and paths of this machine.
    """
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        _clean_value(value, batch)
    for node in model.graph.all_nodes():
        scopes = [part for part in re.findall(r"'([^']*)'", node.metadata_props.get(_SCOPES, ""))[:-1] if part]
        node.name = "/".join([*scopes[-1:], str(node.outputs[0].name)])
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            _clean_value(value, batch)
    model.graph.metadata_props.clear()
    model.metadata_props.clear()
    _own_zero_points(model)


def _own_zero_points(model: ir.Model) -> None:
    """Give every dequantized weight a zero point of its own, where the exporter stores equal ones once.

    OpenVINO 2026.4 leaves the layers in float where a convolution and a linear layer share one.
    """
    used: set[str] = set()
    for node in model.graph.all_nodes():
        zero_point = node.inputs[2] if node.op_type == "DequantizeLinear" and len(node.inputs) > 2 else None
        if zero_point is None or zero_point.const_value is None or zero_point.name is None:
            continue
        if zero_point.const_value.size > 1 and zero_point.name in used:
            own = ir.Value(
                name=f"{node.outputs[0].name}.zero_point",
                type=zero_point.type,
                shape=zero_point.shape,
                const_value=ir.tensor(zero_point.const_value.numpy()),
            )
            model.graph.register_initializer(own)
            node.replace_input_with(2, own)
        used.add(zero_point.name)


def _clean_value(value: ir.Value, batch: str) -> None:
    value.metadata_props.clear()
    if value.shape is not None and len(value.shape) and isinstance(value.shape[0], ir.SymbolicDim):
        value.shape = ir.Shape([batch, *list(value.shape)[1:]])
