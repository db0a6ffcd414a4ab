"""ONNX Runtime on the CPU: reads the ONNX file itself."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnxruntime

from edgekd.artifact import Format
from edgekd.disk import scratch
from edgekd.errors import ExportError
from edgekd.export.backend import Backend, ExecutedLayer, ExecutedPrecision
from edgekd.export.refusal import one_line

# Operators that hand on what they are given, integers as integers.
_MOVING = {"MaxPool", "Reshape", "Flatten", "Transpose", "Concat", "Squeeze", "Unsqueeze", "Pad", "Relu", "Clip"}
_INTEGERS = {onnx.TensorProto.UINT8, onnx.TensorProto.INT8}


class OnnxRuntime(Backend):
    """The engine is the ONNX file; ONNX Runtime rewrites it for the machine each time it is loaded."""

    runtime = "onnxruntime"
    reads: Format = "onnx"

    def build(self, onnx_path: Path, folder: Path) -> Path:
        """Return the ONNX file, once ONNX Runtime has loaded it."""
        del folder
        _load(onnx_path, _options())
        return onnx_path

    def executed(self, engine: Path) -> list[ExecutedLayer]:
        """Return the operators of the graph ONNX Runtime has rewritten for this machine."""
        with scratch("edgekd-engine") as folder:
            options = _options()
            options.optimized_model_filepath = str(folder / "optimised.onnx")
            _load(engine, options)
            graph = onnx.load(options.optimized_model_filepath).graph
        integers = {tensor.name for tensor in graph.initializer if tensor.data_type in _INTEGERS}
        layers = []
        for node in graph.node:
            precision = _precision(node, integers)
            if node.op_type == "QuantizeLinear" or (precision == "int8" and not node.op_type.endswith("ToFloat")):
                integers.update(node.output)
            if node.op_type not in {"QuantizeLinear", "DequantizeLinear"}:
                layers.append(ExecutedLayer(node.op_type, node.name or node.output[0], precision))
        return layers


def _precision(node: onnx.NodeProto, integers: set[str]) -> ExecutedPrecision:
    if node.op_type == "MatMulNBits":
        return "int4" if {attribute.name: attribute.i for attribute in node.attribute}["bits"] == 4 else "int8"
    counts = node.op_type.startswith(("QLinear", "QGemm", "QAttention")) or "Integer" in node.op_type
    return "int8" if counts or (node.op_type in _MOVING and node.input[0] in integers) else "fp32"


def _options() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3  # saving a graph rewritten for this machine warns that it is
    return options


def _load(path: Path, options: onnxruntime.SessionOptions) -> None:
    try:
        onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no public base class
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} cannot load {path.name}: {one_line(error)}; "
            "use operators it knows, or leave onnxruntime out of the target's runtimes"
        ) from error
