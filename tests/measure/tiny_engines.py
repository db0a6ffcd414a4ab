"""Engines of a few convolutions, written without torch, and inputs for them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgekd.artifact import digest_of_path
from edgekd.measure.engine import Engine

SHAPE = (1, 8, 8)
CLASSES = 3


def write_onnx(
    path: Path, layers: int = 1, channels: int = 8, seed: int = 0, shape: tuple[int, int, int] = SHAPE
) -> Path:
    """Write a network of `layers` 3x3 convolutions on (N, *shape); more layers cost more."""
    random = np.random.default_rng(seed)
    weights, nodes, tensor, width = [], [], "input", shape[0]
    for layer in range(layers):
        kernel = random.standard_normal((channels, width, 3, 3)).astype(np.float32) * 0.2
        weights.append(numpy_helper.from_array(kernel, f"kernel{layer}"))
        nodes.append(helper.make_node("Conv", [tensor, f"kernel{layer}"], [f"conv{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"conv{layer}"], [f"relu{layer}"]))
        tensor, width = f"relu{layer}", channels
    nodes += [
        helper.make_node("GlobalAveragePool", [tensor], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
    ]
    head = random.standard_normal((channels, CLASSES)).astype(np.float32)
    weights.append(numpy_helper.from_array(head, "head"))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logits"]))
    ends = [("input", ["batch", *shape]), ("logits", ["batch", CLASSES])]
    source, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "tiny", [source], [result], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def write_openvino(source: Path, folder: Path) -> Path:
    """Write the OpenVINO folder of an ONNX file."""
    import openvino

    folder.mkdir()
    openvino.save_model(openvino.convert_model(source), folder / "model.xml", compress_to_fp16=False)
    return folder


def write_inputs(path: Path, count: int = 20, seed: int = 0, shape: tuple[int, int, int] = SHAPE) -> Path:
    """Write (count, *shape) float32 inputs."""
    np.save(path, np.random.default_rng(seed).standard_normal((count, *shape)).astype(np.float32))
    return path


def engine(path: Path, network: str, runtime: str = "onnxruntime") -> Engine:
    """Return a written engine as it is measured."""
    return Engine(network, "fp32", runtime, path, digest_of_path(path))
