"""A file in, the same network in integers out, and what is said about it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekd import target as targets
from edgekd.errors import ExportError, UsageError
from edgekd.export.onnx_file import write
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig
from edgekd.quantize.post_training import QuantizedFile, decisions, quantize_file
from tests import architectures
from tests.export.running import RUNNING
from tests.models import INPUT_SHAPE, settled
from tools.topologies.mobile import efficientnet

AVX2, ORIN = targets.load("x86-avx2"), targets.load("jetson-orin-nano")


def images(count: int, shape: tuple[int, ...] = INPUT_SHAPE) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, *shape), np.float32) * 0.7 + np.float32(0.2)


def quantized(model: Path, samples: np.ndarray, scheme: str = "u8w7", **options: object) -> QuantizedFile:
    target = options.pop("target", AVX2)
    output = model.with_name(f"{scheme}.onnx")
    return quantize_file(
        model,
        samples,
        target,
        SCHEMES[scheme],
        output,
        config=CalibrationConfig(),
        **options,  # type: ignore[arg-type]
    )


@pytest.fixture
def small(tmp_path: Path) -> Path:
    write(settled("residual"), tmp_path / "model.onnx", INPUT_SHAPE)
    return tmp_path / "model.onnx"


def test_efficientnet_lite0_runs_in_integers_and_stays_what_it_was(tmp_path: Path) -> None:
    network = efficientnet(64, "relu6", squeeze=False)
    onnx.save(network, tmp_path / "model.onnx")
    found = quantized(tmp_path / "model.onnx", images(8, (3, 64, 64)))
    layers = sum(node.op_type in {"Conv", "Gemm", "MatMul"} for node in network.graph.node)
    assert found.layers == layers
    for one in found.executed:
        assert (one.integer, one.floating) == (layers, ())
        assert one.parity.faults == ()
    assert [one.runtime for one in found.executed] == sorted(RUNNING, reverse=True)
    assert found.cosine > 0.95
    assert found.size_mb < 0.35 * found.float_mb
    assert set(found.saturation.values()) == {0.0}


@pytest.mark.parametrize("name", ["unet", "text-encoder"])
def test_pixels_and_texts_are_decided_one_by_one(name: str, tmp_path: Path) -> None:
    samples = architectures.inputs(name, 16)
    write(architectures.settled(name), tmp_path / "model.onnx", tuple(samples.shape[1:]), samples.dtype)
    found = quantized(tmp_path / "model.onnx", samples.numpy())
    assert found.agreement_percent > 90
    assert all(one.parity.agreement_percent > 98 for one in found.executed)
    assert len(decisions(np.zeros((2, 4, 8, 8), np.float32))) == 128
    assert len(decisions(np.zeros((2, 5, 4), np.float32))) == 10


def test_layers_named_by_pattern_stay_in_float(small: Path) -> None:
    found = quantized(small, images(16), keep_float=["head*", "stem*"])
    assert len(found.kept) == 2
    assert found.layers == 3
    for one in found.executed:
        assert one.integer == 3
        assert len(one.floating) == 2
    with pytest.raises(UsageError, match=r"no layer is called 'heads'.*known: "):
        quantized(small, images(16), keep_float=["heads"])


def test_what_would_overflow_on_the_target_is_refused_and_nothing_is_written(small: Path) -> None:
    model = onnx.load(small)
    for tensor in model.graph.initializer:  # weights of one sign: neighbouring products add up
        if len(tensor.dims) == 4:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.abs(onnx.numpy_helper.to_array(tensor)) + 0.1, tensor.name))
    onnx.save(model, small)
    with pytest.raises(ExportError, match=r"would overflow on x86-avx2.*scheme u8w7"):
        quantized(small, images(16), "u8w8")
    assert not small.with_name("u8w8.onnx").exists()


def test_a_file_for_tensorrt_is_symmetric_and_its_parser_takes_it(small: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    found = quantized(small, images(16), "s8", target=ORIN)
    assert found.accepted == ("tensorrt",)
    assert found.executed == ()
    points = {t.name: t for t in onnx.load(found.path).graph.initializer if t.name.endswith(".zero_point")}
    assert {point.data_type for point in points.values()} == {onnx.TensorProto.INT8}
    assert not any(onnx.numpy_helper.to_array(point).any() for point in points.values())


def test_a_network_without_layers_is_refused(tmp_path: Path) -> None:
    from tests.onnx_graph.onnx_graphs import model

    onnx.save(model("g (float[N,3] x) => (float[N,3] y) { y = Relu(x) }"), tmp_path / "model.onnx")
    with pytest.raises(UsageError, match="no layer that could be computed in integers"):
        quantized(tmp_path / "model.onnx", images(4, (3,)))
