"""Small ONNX models for tests, written as ONNX text, and the nine classic graphs the onnx package brings along."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser

CLASSICS = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
NAMES = (
    "bvlc_alexnet", "densenet121", "inception_v1", "inception_v2", "resnet50", "shufflenet", "squeezenet", "vgg19",
    "zfnet512",
)  # fmt: skip


def classic(name: str) -> Path:
    """Return the file of one of the nine."""
    return CLASSICS / f"light_{name}.onnx"


def model(text: str, **weights: Sequence[int] | np.ndarray) -> onnx.ModelProto:
    """Return the graph in ONNX's text form with `weights` of these values, or of these shapes and random values."""
    built = parser.parse_model('<ir_version: 8, opset_import: ["" : 17]> ' + text)
    random = np.random.default_rng(0)
    for name, given in weights.items():
        value = given if isinstance(given, np.ndarray) else random.uniform(0.1, 1.0, tuple(given)).astype(np.float32)
        built.graph.initializer.append(numpy_helper.from_array(value, name))
    return built
