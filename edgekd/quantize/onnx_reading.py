"""Float ONNX files made ready for integers: simplified by ONNX Runtime, of a sufficient opset, all shapes known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import numpy_helper, version_converter

from edgekd.disk import scratch
from edgekd.errors import ExportError, UsageError
from edgekd.export.refusal import one_line
from edgekd.onnx_graph import normal_form, operators, source
from edgekd.onnx_graph.graph import Graph, Node

_OF_INTEGERS = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "MatMulNBits")
Opened = tuple[Graph, dict[str, int], list[onnx.ValueInfoProto]]


class Running:
    """A model that is run for some of its tensors."""

    def __init__(self, model: onnx.ModelProto, names: list[str]) -> None:
        exposed = onnx.ModelProto()
        exposed.CopyFrom(model)
        results = {value.name for value in model.graph.output}
        exposed.graph.output.extend(
            onnx.ValueInfoProto(name=name) for name in names if name not in results | _fed_names(model)
        )
        self._session = onnxruntime.InferenceSession(
            exposed.SerializeToString(), _basic(), providers=["CPUExecutionProvider"]
        )
        (self._input,) = [port.name for port in self._session.get_inputs()]
        self._names = names

    def run(self, samples: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the tensors, in order."""
        computed = [name for name in self._names if name != self._input]
        # Asked for nothing, ONNX Runtime gives everything.
        results = self._session.run(computed, {self._input: samples}) if computed else []
        found = dict(zip(computed, results, strict=True))
        return [samples if name == self._input else found[name] for name in self._names]


def opened(path: Path, sample: NDArray[Any], opset: int) -> Opened:
    """Return a file's graph in normal form with all values, the versions of its operators, its inputs and outputs.

    Raises as `edgekd.quantize.onnx_network.OnnxNetwork.read`.
    """
    given, _ = source.opened(path)
    _refuse(given, path)
    model = _simplified(path, opset)
    (port,) = [value for value in model.graph.input if value.name in _fed_names(model)]
    names = [name for node in model.graph.node for name in node.output if name]
    try:
        values = dict(zip(names, Running(model, names).run(sample), strict=True))
    except Exception as error:  # ONNX Runtime's exceptions have no public base class
        raise UsageError(
            f"{path} does not take inputs of shape {'x'.join(map(str, sample.shape))}: {one_line(error)}"
        ) from error
    graph = normal_form.normalised(_graph(model, {**values, port.name: sample}, port.name))
    versions = {entry.domain: entry.version for entry in model.opset_import}
    return graph, versions, [port, *model.graph.output]


def _fed_names(model: onnx.ModelProto) -> set[str]:
    return {value.name for value in model.graph.input} - {tensor.name for tensor in model.graph.initializer}


def _refuse(model: onnx.ModelProto, path: Path) -> None:
    fed = _fed_names(model)
    if len(fed) != 1:
        raise UsageError(f"{path} has {len(fed)} inputs; only networks of one input can be quantized")
    for node in model.graph.node:
        if node.op_type.endswith(_OF_INTEGERS) or "QLinear" in node.op_type:
            raise UsageError(f"{path} is quantized already ({node.op_type} '{node.name}'); give the float network")
        if operators.holds_graph(node):
            raise ExportError(
                f"{path}: {node.op_type} '{node.name}' is control flow, which nobody quantizes; export without it"
            )


def _basic() -> onnxruntime.SessionOptions:
    """Return options with which a graph stays plain ONNX, without integer or blocked kernels of the runtime's own."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return options


def _simplified(path: Path, opset: int) -> onnx.ModelProto:
    """Return the model with constants and BatchNorm folded: what ONNX Runtime calls basic, which stays plain ONNX."""
    with scratch("edgekd-onnx") as folder:
        options = _basic()
        options.optimized_model_filepath = str(folder / "simplified.onnx")
        try:
            onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no public base class
            raise ExportError(f"ONNX Runtime cannot load {path}: {one_line(error)}") from error
        model = onnx.load(options.optimized_model_filepath)
    version = next((entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}), 1)
    if version >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # onnx raises errors of several unrelated kinds
        raise ExportError(
            f"{path} is of ONNX opset {version}, and onnx cannot raise it to {opset}, which its integers "
            f"need: {one_line(error)}; export it with a later opset"
        ) from error


def _graph(model: onnx.ModelProto, values: dict[str, NDArray[Any]], fed: str) -> Graph:
    """Return the operators with the shapes that one sample had; the values of constants are all there."""
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    nodes = []
    for number, node in enumerate(model.graph.node):
        if node.op_type == "Constant":
            constants[node.output[0]] = values[node.output[0]]
            continue
        nodes.append(
            Node(
                operators.qualified(node),
                node.name or f"{node.op_type}_{number}",
                tuple(node.input),
                tuple(node.output),
                operators.attributes(node),
            )
        )
    known = {**{name: np.asarray(value) for name, value in values.items()}, **constants}
    return Graph(
        nodes=tuple(nodes),
        inputs=(fed,),
        outputs=tuple(value.name for value in model.graph.output),
        shapes={name: value.shape for name, value in known.items()},
        types={name: operators.type_name_of(value) for name, value in known.items()},
        constants=frozenset(constants),
        values=constants,
        opset=next(entry.version for entry in model.opset_import if entry.domain in {"", "ai.onnx"}),
    )
