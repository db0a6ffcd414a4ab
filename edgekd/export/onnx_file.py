"""Writes a network as one ONNX file with a free batch dimension, from torch.export's graph."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from edgekd.disk import whole_file
from edgekd.errors import ExportError
from edgekd.export.refusal import Refusal, first_line
from edgekd.export.translation import onnx_from_program, quiet

INPUT, OUTPUT, BATCH = "input", "logits", "batch"
LARGEST_BATCH = 4096
_SCOPES = "pkg.torch.onnx.name_scopes"


def write(module: nn.Module, path: Path, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> None:
    """Write `module` in inference mode as a single ONNX file.

    `input_shape` is the shape of one input, without the batch, and `dtype` its type, int64 for tokens. The file has the
    input "input" (batch, *input_shape) and the output "logits"; the batch is free from 1 to 4096. BatchNorm is folded
    into the convolution before it, and nodes are named after the module they came from. A weight that layers share
    stands there once, and equal weights give an equal file, byte for byte. The module may also be a graph of
    torch.export that holds `torch.onnx.ops.symbolic` operators.
    Raises ExportError with the operator and the module path where torch.export or the ONNX exporter refuses.
    """
    model = onnx_from_program(exported(module, input_shape, dtype), [INPUT], [OUTPUT])
    _hold_once(model)
    _clean(model)
    _own_zero_points(model)
    with whole_file(path) as unfinished:
        ir.save(model, unfinished)


def exported(module: nn.Module, input_shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> ExportedProgram:
    """Return torch.export's graph of `module` in inference mode with a free batch.

    Raises ExportError where torch.export refuses.
    """
    # Two samples, because a batch of one in the example is taken for a constant.
    example = torch.zeros(2, *input_shape, dtype=dtype, device=next((p.device for p in module.parameters()), None))

    def attempt() -> ExportedProgram:
        shapes = ({0: Dim(BATCH, min=1, max=LARGEST_BATCH)},)
        return torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)

    with _inference(module), quiet():
        try:
            return attempt()
        except Exception as error:  # torch.export passes on whatever the module's own code raises
            refusal = Refusal.of(attempt, module)
            raise ExportError(
                f"torch.export refuses {refusal.operator} in {refusal.place}: {first_line(error)}; "
                "write that module without control flow or shapes that depend on tensor values"
            ) from error


def _clean(model: ir.Model) -> None:
    """Name nodes after modules and drop the exporter's notes: they hold source code and paths of this machine."""
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        _clean_value(value)
    for node in model.graph.all_nodes():
        scopes = [part for part in re.findall(r"'([^']*)'", node.metadata_props.get(_SCOPES, ""))[:-1] if part]
        node.name = "/".join([*scopes[-1:], str(node.outputs[0].name)])
        node.doc_string = None
        node.metadata_props.clear()
        for value in node.outputs:
            _clean_value(value)
    model.graph.metadata_props.clear()
    model.metadata_props.clear()


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


def _clean_value(value: ir.Value) -> None:
    value.metadata_props.clear()
    if value.shape is not None and len(value.shape) and isinstance(value.shape[0], ir.SymbolicDim):
        value.shape = ir.Shape([BATCH, *list(value.shape)[1:]])


@contextmanager
def _inference(module: nn.Module) -> Iterator[None]:
    """Set every submodule to inference; by attribute, because graphs of torch.export refuse `eval()`."""
    before = {part: part.training for part in module.modules()}
    for part in before:
        part.training = False
    try:
        yield
    finally:
        for part, training in before.items():
            part.training = training
