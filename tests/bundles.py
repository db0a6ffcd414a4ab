"""A small bundle, made without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgekd import bundle
from edgekd.artifact import TensorSpec
from edgekd.export.backend import BACKENDS
from edgekd.figure import Figure

SHAPE = (3, 8, 8)


def conv_file(path: Path, channels: int = 8, layers: int = 1, shape: tuple[int, ...] = SHAPE, classes: int = 5) -> Path:
    """Write `layers` 3x3 convolutions and a linear head as ONNX."""
    generator = np.random.default_rng(0)
    nodes, weights, last, inputs = [], [], "input", shape[0]
    for layer in range(layers):
        values = generator.normal(0, (9 * inputs) ** -0.5, (channels, inputs, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(values, f"w{layer}"))
        nodes.append(helper.make_node("Conv", [last, f"w{layer}"], [f"c{layer}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        last, inputs = f"r{layer}", channels
    weights.append(numpy_helper.from_array(generator.normal(0, 1, (channels, classes)).astype(np.float32), "head"))
    nodes.append(helper.make_node("GlobalAveragePool", [last], ["pooled"]))
    nodes.append(helper.make_node("Flatten", ["pooled"], ["flat"]))
    nodes.append(helper.make_node("MatMul", ["flat", "head"], ["logits"]))
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("input", onnx.TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", classes])],
        weights,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def written(folder: Path, **size: Any) -> Path:
    """Return a bundle with an engine for every runtime, OpenVINO's chosen."""
    file = conv_file(folder / "build" / "network.onnx", **size)
    shape = size.get("shape", SHAPE)
    description = bundle.Description(
        name="small",
        target="here",
        input=TensorSpec(name="input", dtype="float32", shape=(None, *shape)),
        output=TensorSpec(name="logits", dtype="float32", shape=(None, 5)),
        preprocessing=bundle.Preprocessing(mean=(0.1, 0.2, 0.3)[: shape[0]], std=(0.5, 0.6, 0.7)[: shape[0]]),
        class_names=("a", "b", "c", "d", "e"),
        versions={"onnx": onnx.__version__},
    )
    shipments = [
        bundle.Shipment(
            runtime=runtime,
            network="pruned",
            scheme="fp32",
            engine=BACKENDS.get(runtime)().build(file, folder / "build"),
            onnx=file,
            figures=(Figure(name="latency_ms_p90", value=1.5, origin="device", samples=11),),
        )
        for runtime in ("openvino", "onnxruntime")
    ]
    bundle.write(folder / "bundle", description, shipments)
    return folder / "bundle"
