"""Engines that no runtime can open, written without torch; each with what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.measure.tiny_engines import write_onnx, write_openvino


def write_truncated(path: Path) -> Path:
    content = write_onnx(path).read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def write_foreign(path: Path) -> Path:
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    return path


def write_empty(path: Path) -> Path:
    path.touch()
    return path


def write_node(path: Path, op: str, domain: str = "", kind: int = TensorProto.FLOAT) -> Path:
    """Write a network of one operator, known or not, on (batch, 3)."""
    node = helper.make_node(op, ["x"], ["y"], domain=domain)
    ends = [helper.make_tensor_value_info(name, kind, ["batch", 3]) for name in ("x", "y")]
    opsets = [helper.make_opsetid("", 18), *([helper.make_opsetid(domain, 1)] if domain else [])]
    graph = helper.make_graph([node], "one", ends[:1], ends[1:])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def write_without_weights(folder: Path) -> Path:
    write_openvino(write_onnx(folder.with_suffix(".onnx")), folder)
    (folder / "model.bin").unlink()
    return folder
