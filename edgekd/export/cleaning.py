"""Cleans the graph that torch's exporter leaves, so that equal networks give equal files."""

from __future__ import annotations

import hashlib
import re

import onnx_ir as ir

_SCOPES = "pkg.torch.onnx.name_scopes"


def clean(model: ir.Model, batch: str) -> None:
    """Name nodes after modules, the batch dimension `batch`; let equal weights stand once, zero points for themselves.

    The exporter's notes are dropped: they hold source code and paths of this machine.
    """
    _hold_once(model)
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


def _hold_once(model: ir.Model) -> None:
    """Let equal float weights stand once: the exporter gives every layer that shares one a copy, turned its own way."""
    first: dict[tuple[tuple[int, ...], bytes], ir.Value] = {}
    for name, value in list(model.graph.initializers.items()):
        held = value.const_value
        if held is None or held.dtype != ir.DataType.FLOAT or value.is_graph_output():
            continue
        same = first.setdefault((tuple(held.shape.numpy()), hashlib.sha256(held.tobytes()).digest()), value)
        if same is not value:
            value.replace_all_uses_with(same)
            del model.graph.initializers[name]


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
