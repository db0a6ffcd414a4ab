"""Names the first tensor at which two executions of one network part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import fx, nn

from edgekd.connection.connection import Connection
from edgekd.export.answers import answers
from edgekd.export.backend import Backend
from edgekd.export.onnx_file import INPUT, OUTPUT, exported
from edgekd.export.parity import relative_difference
from edgekd.export.quiet import quiet

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Divergence:
    """A tensor that differs while all compared ones before it agree."""

    tensor: str
    node: str
    """The ONNX node that computes it, named after the module it came from."""
    op: str
    error: float
    """Largest difference, as a share of the tensor's range."""

    def text(self) -> str:
        """Return the clause for an error message."""
        return (
            f"the first tensor that differs is '{self.tensor}' of {self.op} '{self.node}' ({self.error:.2g} of range)"
        )


def of_file(module: nn.Module, onnx_path: Path, inputs: Array, tolerance: float) -> Divergence | None:
    """Return where an ONNX file leaves the module it was written from, comparing tensors of equal name."""
    computed = _torch_values(module, inputs)
    model = onnx.load(onnx_path)
    shared = [(node, name) for node, name in _tensors(model) if name in computed]
    found = evaluate(model, [name for _, name in shared], inputs)
    for (node, name), value in zip(shared, found, strict=True):
        if error := _error(computed[name], value, tolerance):
            return Divergence(name, node.name, node.op_type, error)
    return None


def of_engine(
    backend: Backend,
    onnx_path: Path,
    inputs: Array,
    tolerance: float,
    folder: Path,
    *,
    connection: Connection | None = None,
) -> Divergence | None:
    """Return where an engine leaves the unoptimised ONNX file.

    Engines are built of the file's first k operators, so that the runtime fuses as it does in the whole; the smallest
    such k that differs is found by halving, since an error once made is handed on.
    """
    model = onnx.load(onnx_path)
    tensors = [(node, name) for node, name in _tensors(model) if node.op_type != "QuantizeLinear"]
    expected = evaluate(model, [name for _, name in tensors], inputs)
    kept = [
        (node, name, value)
        for (node, name), value in zip(tensors, expected, strict=True)
        if value.dtype == np.float32 and len(value) == len(inputs)
    ]

    def error_at(place: int) -> float:
        _, name, value = kept[place]
        part = folder / "part.onnx"
        onnx.save(_ending_at(model, [name]), part)
        built = backend.build(part, folder)
        return _error(value, answers(backend, built, inputs, batch=len(inputs), connection=connection), tolerance)

    low, high = 0, len(kept) - 1
    if high < 0 or not error_at(high):
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if error_at(middle) else (middle + 1, high)
    node, name, _ = kept[low]
    return Divergence(name, node.name, node.op_type, error_at(low))


def evaluate(model: onnx.ModelProto, tensors: list[str], inputs: Array) -> list[Any]:
    """Return the values of `tensors`, computed by ONNX Runtime operator by operator as the file says."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    content = _ending_at(model, tensors).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return list(session.run(tensors, {INPUT: inputs}))


def _ending_at(model: onnx.ModelProto, tensors: list[str]) -> onnx.ModelProto:
    """Return the part of a model that computes `tensors`, with these as its outputs."""
    part = onnx.ModelProto()
    part.CopyFrom(model)
    wanted, nodes = set(tensors), []
    for node in reversed(model.graph.node):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            nodes.append(node)
    del part.graph.node[:], part.graph.output[:]
    part.graph.node.extend(reversed(nodes))
    known = {value.name: value for value in (*model.graph.value_info, *model.graph.output)}
    part.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in tensors)
    kept = [tensor for tensor in model.graph.initializer if tensor.name in wanted]
    del part.graph.initializer[:], part.graph.value_info[:]
    part.graph.initializer.extend(kept)
    return part


def _tensors(model: onnx.ModelProto) -> Iterator[tuple[onnx.NodeProto, str]]:
    fixed = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if all(name in fixed or not name for name in node.input):
            fixed.update(node.output)  # a weight, however it is written
        else:
            yield from ((node, name) for name in node.output if name)


def _error(reference: Array, value: Array, tolerance: float) -> float:
    """Return the largest relative difference, 0 when it is tolerated."""
    if reference.shape != value.shape or not np.isfinite(value).all():
        return float("inf")
    error = float(relative_difference(reference, value).max(initial=0.0))
    return error if error > tolerance else 0.0


def _torch_values(module: nn.Module, inputs: Array) -> dict[str, Array]:
    """Return every tensor of the exported graph by the name it also has in the ONNX file."""
    program = exported(module, inputs.shape[1:])
    with quiet():
        watched = _Watched(program.module(check_guards=False))
    with torch.no_grad():
        logits = watched.run(torch.from_numpy(inputs))
    return watched.seen | {OUTPUT: logits.numpy()}


class _Watched(fx.Interpreter):
    """Runs a graph and keeps the floating-point results of its operators."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.seen: dict[str, Array] = {}

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, torch.Tensor) and result.is_floating_point() and n.op == "call_function":
            self.seen[n.name] = result.numpy().copy()
        return result
