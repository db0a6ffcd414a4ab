"""Subjects made up, for what never opens an engine."""

from __future__ import annotations

from pathlib import Path

from edgekd.artifact import TensorSpec
from edgekd.bundle import Manifest
from edgekd.gate.subject import Subject
from edgekd.measure.engine import Engine

IMAGE = TensorSpec(name="image", dtype="float32", shape=(None, 3, 4, 4))


def subject(*inputs: TensorSpec, manifest: Manifest | None = None) -> Subject:
    """Return an engine that takes these inputs, an image without any."""
    engine = Engine("net", "given", "onnxruntime", Path("net.onnx"), "d")
    return Subject("net.onnx", engine, inputs or (IMAGE,), (), manifest)


def port(name: str, *shape: int | None, dtype: str = "float32") -> TensorSpec:
    """Return one input."""
    return TensorSpec(name=name, dtype=dtype, shape=shape)
