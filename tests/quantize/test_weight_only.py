"""Weights of four bits: what is written, what the runtimes make of it, and that rounding by answers is worth it."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgekd import target as targets
from edgekd.errors import ExportError, TargetError, UsageError
from edgekd.export.onnx_file import write
from edgekd.onnx_graph.graph import read
from edgekd.placement.scheme import WEIGHT_SCHEMES, any_scheme_named, scheme_named
from edgekd.quantize.calibration import CalibrationConfig, Rounding
from edgekd.quantize.lint import lint
from edgekd.quantize.onnx_network import OnnxNetwork
from edgekd.quantize.onnx_reading import Running
from edgekd.quantize.post_training import QuantizedFile
from edgekd.quantize.weight_only import OPSET, quantize_weights
from tests import architectures
from tests.export.running import RUNNING
from tests.onnx_graph.onnx_graphs import model

AVX2 = targets.load("x86-avx2")
THOR = targets.load("jetson-agx-orin-jetpack7")
W4 = WEIGHT_SCHEMES["w4"]
PERCEPTRON = """g (float[N,64] x) => (float[N,10] y) {
    a = Gemm <transB = 1> (x, w, b) r = Relu (a)
    p = MatMul (r, v) s = Add (p, c) t = Tanh (s)
    y = MatMul (t, u)
}"""


def packed(file: Path, samples: np.ndarray, rounding: Rounding = "adaptive", **options: object) -> QuantizedFile:
    target = options.pop("target", AVX2)
    config = CalibrationConfig(rounding=rounding, bias_correction=rounding == "adaptive")
    output = file.with_name(f"{rounding}.onnx")
    return quantize_weights(file, samples, target, W4, output, config=config, **options)  # type: ignore[arg-type]


def said(file: Path, result: str, samples: np.ndarray) -> np.ndarray:
    """Return what a file answers to samples it may never have seen."""
    return Running(onnx.load(file), [result]).run(samples)[0]


@pytest.fixture
def perceptron(tmp_path: Path) -> tuple[Path, np.ndarray]:
    random = np.random.default_rng(0)
    shapes = {"w": (96, 64), "b": (96,), "v": (96, 128), "c": (128,), "u": (128, 10)}
    given = {name: random.normal(size=shape).astype(np.float32) / 8 for name, shape in shapes.items()}
    onnx.save(model(PERCEPTRON, **given), tmp_path / "model.onnx")
    inputs = random.normal(size=(64, 12)) @ random.normal(size=(12, 64))  # fewer causes than inputs
    return tmp_path / "model.onnx", inputs.astype(np.float32)


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, np.ndarray]:
    samples, file = architectures.inputs("text-encoder", 48), tmp_path_factory.mktemp("texts") / "model.onnx"
    write(architectures.settled("text-encoder"), file, tuple(samples.shape[1:]), samples.dtype)
    return file, samples.numpy()


def test_every_product_reads_four_bits_on_both_runtimes(perceptron: tuple[Path, np.ndarray]) -> None:
    found = packed(*perceptron)
    assert (found.scheme, found.layers, found.kept, found.saturation) == ("w4", 3, (), {})
    assert [one.runtime for one in found.executed] == sorted(RUNNING, reverse=True)
    for one in found.executed:
        assert (one.integer, one.floating, one.parity.faults) == (3, (), ())
    assert found.cosine > 0.99
    assert found.size_mb < 0.4 * found.float_mb


def test_the_file_is_plain_onnx_and_stays_near_the_weights(perceptron: tuple[Path, np.ndarray]) -> None:
    file, samples = perceptron
    written = onnx.load(packed(file, samples).path)
    onnx.checker.check_model(written)
    assert {node.domain for node in written.graph.node} == {""}
    assert {entry.domain: entry.version for entry in written.opset_import}[""] == OPSET
    stored = {tensor.name: tensor for tensor in written.graph.initializer}
    layers = OnnxNetwork.read(file, samples[:1]).layers
    unpacked = [node for node in written.graph.node if node.op_type == "DequantizeLinear"]
    assert len(unpacked) == 3
    for node, layer in zip(unpacked, layers.values(), strict=True):
        assert {attribute.name: attribute.i for attribute in node.attribute} == {"axis": 0, "block_size": 32}
        assert stored[node.input[0]].data_type == TensorProto.INT4
        integers = numpy_helper.to_array(stored[node.input[0]]).astype(np.float32)
        steps = np.repeat(numpy_helper.to_array(stored[node.input[1]]), 32, axis=0)
        assert (integers.min(), integers.max()) == (-8, 7)
        inside = np.abs(layer.weight.T / steps) <= 7
        assert (np.abs(integers * steps - layer.weight.T) <= steps * (1 + 1e-6))[inside].all()


def test_rounding_by_answers_beats_rounding_to_the_nearest(texts: tuple[Path, np.ndarray]) -> None:
    file, samples = texts
    (result,) = OnnxNetwork.read(file, samples[:1]).graph.outputs
    expected = said(file, result, samples[32:])
    errors = {}
    for rounding in get_args(Rounding):
        packed(file, samples[:32], rounding)
        errors[rounding] = np.abs(said(file.with_name(f"{rounding}.onnx"), result, samples[32:]) - expected).mean()
    assert errors["adaptive"] < 0.7 * errors["nearest"]


def test_layers_that_are_not_worth_it_or_cannot_be_packed_are_named(texts: tuple[Path, np.ndarray]) -> None:
    found = packed(*texts, "nearest", keep_float=["blocks.0.fc1*"])
    assert found.layers == 7
    asked, few = found.kept
    assert asked.startswith("blocks.0.fc1")
    assert asked.endswith("(as was asked)")
    assert few == "head/logits (having fewer than 1024 weights)"
    assert all(one.integer == 7 for one in found.executed)


def test_what_cannot_be_packed_is_refused_with_the_reasons(tmp_path: Path, perceptron: tuple[Path, np.ndarray]) -> None:
    text = "g (float[N,3,8,8] x) => (float[N,48,1,4] y) { c = Conv (x, w) y = MatMul (c, v) }"
    weights = {"w": np.ones((48, 3, 8, 1), np.float32), "v": np.ones((8, 200), np.float32)}
    onnx.save(model(text.replace("1,4", "1,200"), **weights), tmp_path / "images.onnx")
    with pytest.raises(
        UsageError,
        match=r"no layer whose weights w4 could pack; in float: .*\(being convolutions\); .*"
        r"\(its inputs being no multiple of 32\)",
    ):
        packed(tmp_path / "images.onnx", np.zeros((4, 3, 8, 8), np.float32))
    with pytest.raises(TargetError, match="reads ONNX opsets up to 20, w4 needs 21; quantize with scheme s8"):
        packed(*perceptron, target=targets.load("jetson-orin-nano"))
    with pytest.raises(UsageError, match="scheme 'w4' is of weights alone"):
        scheme_named("w4")
    assert any_scheme_named("w4") == W4
    assert not (tmp_path / "adaptive.onnx").exists()


def test_tensorrts_parser_takes_the_file_and_lint_finds_nothing(perceptron: tuple[Path, np.ndarray]) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = packed(*perceptron, target=THOR)
    assert found.accepted == ("tensorrt",)
    for runtime in ("onnxruntime", "openvino", "tensorrt"):
        assert lint(onnx.load(found.path), runtime, 24) == []


def test_a_packed_file_is_neither_quantized_again_nor_read_as_eight_bits(perceptron: tuple[Path, np.ndarray]) -> None:
    found = packed(*perceptron)
    with pytest.raises(UsageError, match="is quantized already"):
        packed(found.path, perceptron[1])
    with pytest.raises(ExportError, match=r"is of type int4; .* measure this one with `edgekd compare`"):
        read(found.path)
