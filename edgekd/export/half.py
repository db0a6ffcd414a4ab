"""Writes a float32 ONNX file in half precision, with casts: a strongly typed engine computes as the file says.

What half precision would spoil stays in float32: operators that sum or exponentiate, and, where sample inputs are
given, operators whose values come near its largest number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekd.disk import whole_file
from edgekd.errors import ExportError
from edgekd.export.divergence import evaluate

LARGEST = 65504.0
"""The largest number of half precision."""
_HEADROOM = 4.0
"""By how much values may exceed those of the samples."""
KEPT = frozenset(
    {
        *("Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization"),
        *(
            "RMSNormalization",
            "LpNormalization",
            "ReduceMean",
            "ReduceSum",
            "ReduceSumSquare",
            "ReduceL2",
            "ReduceProd",
        ),
        *("ReduceLogSumExp", "Exp", "Log", "Pow", "Sqrt", "Reciprocal", "Softplus", "CumSum", "Range"),
    }
)
"""Operators that add up many values, or turn small differences into large ones."""
_FLOAT_INPUTS = {"Resize": {1, 2}, "Upsample": {1}}
"""Inputs that ONNX wants in float32 whatever the others are."""
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "MatMulInteger", "ConvInteger", "DynamicQuantize")
_LONE = ("If", "Loop", "Scan")


def halved(source: Path, destination: Path, samples: NDArray[np.float32] | None = None) -> list[str]:
    """Write the file `source` in half precision and return the names of the nodes that stay in float32.

    Inputs and outputs stay float32. `samples` (N, ...) are values of its only input. Raises ExportError for a quantized
    file, one with control flow, or one that is not float32.
    """
    model = onnx.load(str(source))
    _refuse(model, source)
    pass_ = _Halving(model, _unsafe(model, samples))
    written = pass_.written()
    with whole_file(destination) as unfinished:
        onnx.save(written, str(unfinished))
    return pass_.floats


def _refuse(model: onnx.ModelProto, source: Path) -> None:
    for node in model.graph.node:
        if node.op_type.startswith(_QUANTIZED):
            raise ExportError(f"{source}: {node.op_type} '{node.name}' is quantized; give the float network")
        if node.op_type in _LONE:
            raise ExportError(
                f"{source}: {node.op_type} '{node.name}' is control flow, which has no half precision here"
            )


def _unsafe(model: onnx.ModelProto, samples: NDArray[np.float32] | None) -> set[str]:
    """Return the tensors whose values would come near the largest number."""
    large = {t.name for t in model.graph.initializer if _is_float(t.data_type) and _reach(numpy_helper.to_array(t))}
    if samples is None:
        return large
    names = [name for node in model.graph.node for name in node.output if name]
    values = evaluate(model, names, samples)
    found = zip(names, values, strict=True)
    return large | {name for name, v in found if v.dtype == np.float32 and _reach(v, _HEADROOM)}


def _reach(values: NDArray[Any], headroom: float = 1.0) -> bool:
    return bool(values.size and not np.abs(values).max() * headroom <= LARGEST)


def _is_float(kind: int) -> bool:
    return kind == TensorProto.FLOAT


class _Halving:
    """One pass over a graph in order of execution; every tensor has a precision of its own and casts where needed."""

    def __init__(self, model: onnx.ModelProto, unsafe: set[str]) -> None:
        self._model, self._unsafe = model, unsafe
        self._types = _types(model)
        self._constants = {t.name: t for t in model.graph.initializer}
        self._native: dict[str, int] = {value.name: TensorProto.FLOAT for value in model.graph.input}
        self._nodes: list[onnx.NodeProto] = []
        self._made: dict[tuple[str, int], str] = {}
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._renamed: dict[str, str] = {}
        self.floats: list[str] = []

    def written(self) -> onnx.ModelProto:
        """Return the model in half precision."""
        outputs = {value.name for value in self._model.graph.output}
        for node in self._model.graph.node:
            if node.op_type == "Constant":
                self._keep_constant(node)
            else:
                self._add(node, outputs)
        for name in outputs:
            if name in self._renamed:
                self._nodes.append(_cast(self._renamed[name], name, TensorProto.FLOAT))
        changed = onnx.ModelProto()
        changed.CopyFrom(self._model)
        del changed.graph.node[:], changed.graph.initializer[:], changed.graph.value_info[:]
        changed.graph.node.extend(self._nodes)
        changed.graph.initializer.extend(self._initializers.values())
        onnx.checker.check_model(changed)
        return changed

    def _keep_constant(self, node: onnx.NodeProto) -> None:
        value = next((a.t for a in node.attribute if a.name == "value"), None)
        if value is None:
            self._nodes.append(node)
            return
        tensor = onnx.TensorProto()
        tensor.CopyFrom(value)
        tensor.name = node.output[0]
        self._constants[tensor.name] = tensor
        self._types[tensor.name] = tensor.data_type
        if _is_float(tensor.data_type) and _reach(numpy_helper.to_array(tensor)):
            self._unsafe.add(tensor.name)

    def _add(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        precision = self._precision(node)
        if precision == TensorProto.FLOAT and any(_is_float(self._types.get(n, 0)) for n in node.output):
            self.floats.append(node.name or node.output[0])
        changed = onnx.NodeProto()
        changed.CopyFrom(node)
        kept = _FLOAT_INPUTS.get(node.op_type, set())
        inputs = [
            self._version(name, TensorProto.FLOAT if place in kept else precision) if name else ""
            for place, name in enumerate(node.input)
        ]
        del changed.input[:]
        changed.input.extend(inputs)
        _retype(changed, precision)
        for place, name in enumerate(node.output):
            if _is_float(self._types.get(name, 0)):
                self._native[name] = precision
                if name in outputs and precision != TensorProto.FLOAT:
                    changed.output[place] = self._renamed[name] = f"{name}/half"
        self._nodes.append(changed)

    def _precision(self, node: onnx.NodeProto) -> int:
        touched = {*node.input, *node.output}
        return TensorProto.FLOAT if node.op_type in KEPT or touched & self._unsafe else TensorProto.FLOAT16

    def _version(self, name: str, precision: int) -> str:
        """Return the name of a tensor in a precision, made where there is none yet."""
        if not _is_float(self._types.get(name, 0)):
            if name in self._constants:
                self._initializers.setdefault(name, self._constants[name])
            return name
        if name in self._constants:
            return self._constant(name, precision)
        own = self._renamed.get(name, name)
        if self._native[name] == precision:
            return own
        made = self._made.get((name, precision))
        if made is None:
            made = f"{name}/{'half' if precision == TensorProto.FLOAT16 else 'float'}"
            self._nodes.append(_cast(own, made, precision))
            self._made[name, precision] = made
        return made

    def _constant(self, name: str, precision: int) -> str:
        if precision == TensorProto.FLOAT:
            self._initializers.setdefault(name, self._constants[name])
            return name
        made = f"{name}/half"
        if made not in self._initializers:
            values = numpy_helper.to_array(self._constants[name]).astype(np.float16)
            self._initializers[made] = numpy_helper.from_array(values, made)
        return made


def _types(model: onnx.ModelProto) -> dict[str, int]:
    """Return the element type of every tensor; raises ExportError where one is not known."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=False).graph
    found = {v.name: v.type.tensor_type.elem_type for v in (*graph.input, *graph.output, *graph.value_info)}
    found |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    constants = {node.output[0] for node in graph.node if node.op_type == "Constant"}
    unknown = [name for name in _written(graph.node) if not found.get(name) and name not in constants]
    if unknown:
        raise ExportError(f"the ONNX file does not say of which type the tensor '{unknown[0]}' is")
    return found


def _written(nodes: Sequence[onnx.NodeProto]) -> Iterator[str]:
    yield from (name for node in nodes for name in node.output if name)


def _retype(node: onnx.NodeProto, precision: int) -> None:
    """Let a node that says what type it makes make the other one."""
    for attribute in node.attribute:
        if attribute.name in {"to", "dtype"} and _is_float(attribute.i):
            attribute.i = precision
        elif node.op_type == "ConstantOfShape" and _is_float(attribute.t.data_type):
            kind = np.float16 if precision == TensorProto.FLOAT16 else np.float32
            attribute.t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(attribute.t).astype(kind)))


def _cast(source: str, name: str, precision: int) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [name], name=f"{name}/Cast", to=precision)
