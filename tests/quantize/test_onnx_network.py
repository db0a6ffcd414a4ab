"""Float ONNX files as they come, made ready for integers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import parser

from edgekd.errors import ExportError, UsageError
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.fuse.fusion import FUSIONS
from edgekd.onnx_graph.graph import read
from edgekd.placement.place import place
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.calibration import CalibrationConfig, calibrated
from edgekd.quantize.onnx_network import NOTHING, OnnxNetwork
from edgekd.runtime.session import REFERENCE, open_session
from tests.export.running import RUNNING
from tests.models import INPUT_SHAPE, TINY, settled
from tests.onnx_graph.onnx_graphs import model

S = SCHEMES["u8w7"]


def saved(network: onnx.ModelProto, folder: Path) -> Path:
    onnx.save(network, folder / "model.onnx")
    return folder / "model.onnx"


def answer(path: Path, x: np.ndarray) -> np.ndarray:
    return open_session(REFERENCE, str(path), threads=1, batch=len(x)).run([x])[0].copy()


def checked(path: Path, x: np.ndarray, folder: Path) -> OnnxNetwork:
    """Return the network of a file, once it is shown to compute the same when written in float."""
    network = OnnxNetwork.read(path, x[:1])
    onnx.save(network.written(NOTHING, None), folder / "again.onnx")
    assert np.allclose(answer(folder / "again.onnx", x), answer(path, x), atol=1e-5)
    return network


@pytest.mark.parametrize("name", TINY)
def test_a_network_written_in_float_is_the_same_at_any_batch(name: str, tmp_path: Path) -> None:
    write(settled(name), tmp_path / "model.onnx", INPUT_SHAPE)
    x = np.random.default_rng(0).standard_normal((5, *INPUT_SHAPE), np.float32)
    network = checked(tmp_path / "model.onnx", x, tmp_path)
    written = network.written(NOTHING, None)
    assert written.graph.input[0].type.tensor_type.shape.dim[0].dim_param
    assert written.graph.input[0].name == "input"
    assert written.graph.output[0].name == "logits"
    seen = list(network.watch(x, [network.graph.inputs[0], network.graph.outputs[0]]))
    assert np.allclose(
        np.concatenate([batch[network.graph.outputs[0]] for batch in seen]), answer(tmp_path / "model.onnx", x)
    )


OLD = """<ir_version: 6, opset_import: ["": 9]>
g (float[N,3,9,9] x) => (float[N,4] y) {
  c = Conv<auto_pad="SAME_LOWER", strides=[2,2], kernel_shape=[4,4]>(x, w)
  n = BatchNormalization<epsilon=0.001>(c, s, b, m, v)
  r = Clip<min=0.0, max=6.0>(n)
  p = GlobalAveragePool(r)
  f = Flatten(p)
  y = Gemm<transB=1>(f, k, o)
}"""


def old_network() -> onnx.ModelProto:
    """Return what exporters wrote years ago: paddings by name, a BatchNorm of its own, a clip by attributes."""
    random = np.random.default_rng(0)
    made = parser.parse_model(OLD)
    shapes = {"w": (6, 3, 4, 4), "s": (6,), "b": (6,), "m": (6,), "v": (6,), "k": (4, 6), "o": (4,)}
    for name, shape in shapes.items():
        value = random.standard_normal(shape).astype(np.float32)
        made.graph.initializer.append(onnx.numpy_helper.from_array(np.abs(value) + 0.5 if name == "v" else value, name))
    return made


def test_an_old_file_is_raised_and_its_batch_norm_folded(tmp_path: Path) -> None:
    path, x = saved(old_network(), tmp_path), np.random.default_rng(1).standard_normal((16, 3, 9, 9), np.float32)
    network = checked(path, x, tmp_path)
    assert [node.op for node in network.graph.nodes if node.op == "BatchNormalization"] == []
    (conv,) = [layer for layer in network.layers.values() if layer.geometry is not None]
    assert conv.geometry is not None
    assert conv.geometry.pads == (2, 2, 1, 1)
    plan = place(network.operators, S)
    integers = calibrated(network, x, plan, S, CalibrationConfig())
    onnx.save(network.written(plan, integers), tmp_path / "integers.onnx")
    error = np.abs(answer(tmp_path / "integers.onnx", x) - answer(path, x))
    assert error.mean() < 0.03 * np.ptp(answer(path, x))
    ops = [node.op_type for node in onnx.load(tmp_path / "integers.onnx").graph.node]
    assert "Clip" not in ops
    assert ops.count("QuantizeLinear") == len(plan.tensors)


def test_a_layer_that_stays_in_float_keeps_the_bias_it_had(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((16, 3, 9, 9), np.float32)
    network = OnnxNetwork.read(saved(old_network(), tmp_path), x[:1])
    plan = place(network.operators, S)
    integers = calibrated(network, x, plan, S, CalibrationConfig())
    assert not np.allclose(network.answers(plan, integers, x), network.answers(NOTHING, None, x), atol=1e-3)
    assert np.allclose(network.answers(NOTHING, integers, x), network.answers(NOTHING, None, x), atol=1e-5)


def test_what_the_network_answers_is_what_its_file_says(tmp_path: Path) -> None:
    x = np.random.default_rng(1).standard_normal((16, 3, 9, 9), np.float32)
    network = OnnxNetwork.read(saved(old_network(), tmp_path), x[:1])
    plan = place(network.operators, S)
    integers = calibrated(network, x, plan, S, CalibrationConfig())
    onnx.save(network.written(plan, integers), tmp_path / "integers.onnx")
    assert np.allclose(network.answers(plan, integers, x), answer(tmp_path / "integers.onnx", x), atol=1e-4)


BETWEEN = """<ir_version: 8, opset_import: ["": 17]>
g (float[N,4,9,9] x) => (float[N,8,9,9] y) {
  a = Conv<pads=[1,1,1,1]>(x, wa)
  b = Conv<pads=[1,1,1,1]>(a, wb, bb)
  r = Relu(b)
  y = Conv<pads=[1,1,1,1]>(r, wy)
}"""


@pytest.mark.parametrize("runtime", RUNNING)
def test_a_float_layer_between_integers_is_float_in_every_runtime(runtime: str, tmp_path: Path) -> None:
    random, made = np.random.default_rng(0), parser.parse_model(BETWEEN)
    for name, shape in {"wa": (8, 4, 3, 3), "wb": (8, 8, 3, 3), "wy": (8, 8, 3, 3), "bb": (8,)}.items():
        value = random.standard_normal(shape, np.float32) * np.float32(0.2)
        made.graph.initializer.append(onnx.numpy_helper.from_array(value, name))
    x = random.standard_normal((16, 4, 9, 9), np.float32)
    network = OnnxNetwork.read(saved(made, tmp_path), x[:1])
    plan = place(network.operators, S, floating=["b"])
    assert plan.weights == ("a", "y")
    onnx.save(network.written(plan, calibrated(network, x, plan, S, CalibrationConfig())), tmp_path / "integers.onnx")
    backend = BACKENDS.get(runtime)()
    executed = backend.executed(backend.build(tmp_path / "integers.onnx", tmp_path))
    assert [layer.precision for layer in executed if layer.multiplies] == ["int8", "fp32", "int8"]
    fusion = FUSIONS.get(runtime)()
    kernels = fusion.kernels(read(tmp_path / "integers.onnx", {"x": (1, 4, 9, 9)}))
    assert [kernel.types[1] for kernel in kernels if kernel.weights] == ["s8", "f32", "s8"]


def test_what_cannot_be_quantized_is_refused_in_a_sentence(tmp_path: Path) -> None:
    x = np.zeros((1, 3, 8, 8), np.float32)
    two = model("g (float[N,3] a, float[N,3] b) => (float[N,3] y) { y = Add(a, b) }")
    with pytest.raises(UsageError, match="2 inputs; only networks of one input"):
        OnnxNetwork.read(saved(two, tmp_path), x)
    write(settled("mlp"), tmp_path / "fine.onnx", INPUT_SHAPE)
    with pytest.raises(UsageError, match="does not take inputs of shape 1x3x8x8"):
        OnnxNetwork.read(tmp_path / "fine.onnx", x)
    (tmp_path / "cut.onnx").write_bytes((tmp_path / "fine.onnx").read_bytes()[:-1000])
    with pytest.raises((UsageError, ExportError), match=r"cut\.onnx"):
        OnnxNetwork.read(tmp_path / "cut.onnx", x)


def test_a_network_in_integers_is_not_quantized_again(tmp_path: Path) -> None:
    write(settled("mlp"), tmp_path / "model.onnx", INPUT_SHAPE)
    x = np.random.default_rng(0).standard_normal((4, *INPUT_SHAPE), np.float32)
    network = OnnxNetwork.read(tmp_path / "model.onnx", x[:1])
    plan = place(network.operators, S)
    onnx.save(network.written(plan, calibrated(network, x, plan, S, CalibrationConfig())), tmp_path / "done.onnx")
    with pytest.raises(UsageError, match="quantized already"):
        OnnxNetwork.read(tmp_path / "done.onnx", x[:1])
