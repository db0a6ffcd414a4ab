"""What processors without integer dot products really answer, number by number: the engines' own wrong ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.measure import machine
from edgekd.quantize.calibration import Stored
from edgekd.quantize.layer import Geometry, Layer
from edgekd.quantize.saturation import operands, pair_overflow, saturated_products
from edgekd.runtime.session import open_session
from tests.export.running import RUNNING

CHANNELS, SIZE = 32, 8
LAYER = Layer("y", "x", np.zeros((CHANNELS, CHANNELS, 3, 3), np.float32), None, Geometry(pads=(1, 1, 1, 1)), "conv")
ONE = Stored(1.0, 0, "unsigned")
needs_old_processor = pytest.mark.skipif(
    bool({"avx512_vnni", "avx_vnni"}.intersection(machine.probe()["isa"])) or "avx2" not in machine.probe()["isa"],
    reason="this processor has integer dot products, nothing saturates here",
)


def numbers(limit: int) -> tuple[np.ndarray, np.ndarray]:
    """Return bytes (1, C, H, W) and weights of the whole range."""
    random = np.random.default_rng(0)
    bytes_ = random.integers(0, 256, (1, CHANNELS, SIZE, SIZE)).astype(np.float32)
    return bytes_, random.integers(-limit, limit + 1, LAYER.weight.shape).astype(np.int8)


def products(bytes_: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    patches = LAYER.patches(bytes_, SIZE * SIZE, np.random.default_rng(0))
    ((rows, filters),) = operands(LAYER, patches, ONE, weight)
    return rows, filters


def answered(weight: np.ndarray, bytes_: np.ndarray, runtime: str, path: Path) -> np.ndarray:
    """Return what an engine answers to one convolution whose result is written in steps of 2048, (H * W, O)."""
    constants = {
        "one": np.float32(1), "zero": np.uint8(0), "weight": weight, "steps": np.ones(CHANNELS, np.float32),
        "points": np.zeros(CHANNELS, np.int8), "coarse": np.float32(2048), "middle": np.uint8(128),
    }  # fmt: skip
    nodes = [
        helper.make_node("QuantizeLinear", ["input", "one", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "one", "zero"], ["x"]),
        helper.make_node("DequantizeLinear", ["weight", "steps", "points"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1]),
        helper.make_node("QuantizeLinear", ["y", "coarse", "middle"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "coarse", "middle"], ["output"]),
    ]
    shape = [1, CHANNELS, SIZE, SIZE]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("input", "output")]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    answer = open_session(runtime, str(path), threads=1, batch=1).run([bytes_])[0]
    return answer.reshape(CHANNELS, -1).T


def stepped(sums: np.ndarray) -> np.ndarray:
    return (np.clip(np.round(sums / np.float32(2048)) + 128, 0, 255) - 128) * 2048


@needs_old_processor
@pytest.mark.parametrize("runtime", RUNNING)
def test_the_emulation_gives_the_engines_own_wrong_numbers(runtime: str, tmp_path: Path) -> None:
    bytes_, weight = numbers(127)
    rows, filters = products(bytes_, weight)
    found = answered(weight, bytes_, runtime, tmp_path / "model.onnx")
    exact, saturated = stepped(rows @ filters.T), stepped(saturated_products(rows, filters))
    assert (found != exact).mean() > 0.05
    assert (found == saturated).all()
    assert pair_overflow(rows, filters) > 0.01


@pytest.mark.parametrize("runtime", RUNNING)
def test_seven_bit_weights_are_exact_on_every_processor(runtime: str, tmp_path: Path) -> None:
    bytes_, weight = numbers(63)
    rows, filters = products(bytes_, weight)
    assert pair_overflow(rows, filters) == 0.0
    assert (saturated_products(rows, filters) == rows @ filters.T).all()
    assert (answered(weight, bytes_, runtime, tmp_path / "model.onnx") == stepped(rows @ filters.T)).all()
