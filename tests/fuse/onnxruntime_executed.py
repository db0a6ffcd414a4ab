"""What ONNX Runtime really executes of a model, to hold the rules against."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

from edgekd.device import probe
from edgekd.fuse.fusion import lanes
from edgekd.fuse.fusions.onnxruntime import OnnxRuntime, rewritten
from edgekd.fuse.onnxruntime.kernels import is_view
from edgekd.onnx_graph.graph import read
from edgekd.profile import Layer

VIEWS = {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity"}
LANES = lanes(probe.identity()["isa"])
"""Of this machine, on which the models are executed."""
_DTYPES = {"tensor(float)": np.float32}


def executed(model: onnx.ModelProto, folder: Path) -> Counter[tuple[str, str]]:
    """Return how often each operator is in the optimised graph, (domain, operator), without those that may be views."""
    path = folder / "optimised.onnx"
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(path, load_external_data=False).graph.node
    return Counter((_layout("nchwc" in node.domain), node.op_type) for node in nodes if node.op_type not in VIEWS)


def predicted(model: onnx.ModelProto) -> Counter[tuple[str, str]]:
    """Return the same as the rules have it."""
    draft = rewritten(read(model), LANES)
    return Counter((_layout(one.blocked), one.op) for one in draft if one.op not in VIEWS and not is_view(draft, one))


def _layout(blocked: bool) -> str:
    return "blocked" if blocked else "plain"


def codes(model: onnx.ModelProto, lanes: int = 16) -> list[str]:
    """Return the codes of the predicted kernels in order."""
    return [kernel.code for kernel in OnnxRuntime(lanes).kernels(read(model))]


def rows(model: onnx.ModelProto, folder: Path) -> tuple[list[Layer], list[int]]:
    """Return the profile of one run, and how many numbers each row wrote."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {port.name: np.ones(port.shape, _DTYPES[port.type]) for port in session.get_inputs()})
    found, sizes = [], []
    for event in json.loads(Path(session.end_profiling()).read_text(encoding="utf-8")):
        name, _, what = event["name"].rpartition("_kernel_")
        if event.get("cat") == "Node" and what == "time":
            found.append(Layer(name, event["args"]["op_name"], "", event["dur"] / 1e3, 0.0))
            (shape,) = list(event["args"]["output_type_shape"][0].values())
            sizes.append(int(np.prod(shape)))
    return found, sizes
