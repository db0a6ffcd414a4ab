"""Every rule on a file that breaks it, and none on the files edgekd writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

from edgekd.cli.commands import lint as subject
from edgekd.errors import UsageError
from edgekd.export.onnx_file import write
from edgekd.models.two_of_four import largest
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.lint import RULES, lint
from edgekd.quantize.prepare import calibrate, prepare
from tests.models import INPUT_SHAPE, TINY, settled


def written(name: str, scheme: str, folder: Path) -> onnx.ModelProto:
    samples = torch.randn(8, *INPUT_SHAPE)
    module = prepare(settled(name), samples[:2], SCHEMES[scheme])
    calibrate(module, samples.numpy())
    write(freeze(module), folder / "model.onnx", INPUT_SHAPE)
    return onnx.load(folder / "model.onnx")


@pytest.mark.parametrize("name", TINY)
def test_what_edgekd_writes_is_clean(name: str, tmp_path: Path) -> None:
    for scheme, runtimes in {"u8w7": ("onnxruntime", "openvino"), "s8": ("tensorrt", "openvino")}.items():
        network = written(name, scheme, tmp_path)
        assert [finding for runtime in runtimes for finding in lint(network, runtime, 20)] == []


def test_a_file_for_cpus_is_none_for_tensorrt(tmp_path: Path) -> None:
    found = lint(written("residual", "u8w7", tmp_path), "tensorrt")
    assert any("integers have to be symmetric" in one.fault for one in found)
    assert any("unsigned" in one.fault for one in found)
    assert any("a bias is stored as 32-bit integers" in one.fault for one in found)
    assert all("scheme s8" in one.remedy or "float32" in one.remedy for one in found)


def network(*nodes: onnx.NodeProto, **stored: object) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in stored.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)])


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=output, **attributes)


ONE, POINT = np.float32(1), np.int8(0)
QX = (node("QuantizeLinear", "x one point", "qx"), node("DequantizeLinear", "qx one point", "dx"))


def test_a_weight_that_is_rounded_at_run_time_is_found() -> None:
    weight = (node("QuantizeLinear", "w one point", "qw"), node("DequantizeLinear", "qw one point", "dw"))
    found = network(*QX, *weight, node("MatMul", "dx dw", "y"), w=np.ones((4, 4), np.float32), one=ONE, point=POINT)
    for runtime in RULES:
        assert [one.node for one in lint(found, runtime) if "stored weight" in one.fault] == ["qw"]


def test_a_zero_point_that_a_convolution_and_a_product_share_is_found() -> None:
    weights = (
        node("DequantizeLinear", "w steps points", "dw", axis=0),
        node("DequantizeLinear", "v steps points", "dv", axis=1),
    )
    layers = (node("Conv", "dx dw", "c"), node("MatMul", "c dv", "y"))
    found = network(
        *QX, *weights, *layers,
        w=np.ones((4, 4, 1, 1), np.int8), v=np.ones((4, 4), np.int8), steps=np.ones(4, np.float32),
        points=np.zeros(4, np.int8), one=ONE, point=POINT,
    )  # fmt: skip
    assert [one.node for one in lint(found, "openvino")] == ["dw"]
    assert [one.node for one in lint(found, "onnxruntime")] == ["c"]  # its result stays float


def test_pairs_that_are_shared_and_operators_nobody_knows_are_found() -> None:
    twice = node("DequantizeLinear", "qx one point", "again")
    private = helper.make_node("Gelu", ["dx"], ["g"], name="g", domain="com.microsoft")
    found = network(*QX, twice, private, node("Add", "g again", "y"), one=ONE, point=POINT)
    assert {one.node for one in lint(found, "tensorrt")} == {"qx", "g"}
    assert "2 DequantizeLinear read it" in next(one.fault for one in lint(found, "tensorrt") if one.node == "qx")
    direct = network(*QX, node("Cast", "qx", "y", to=TensorProto.FLOAT), one=ONE, point=POINT)
    assert "read by Cast 'y'" in lint(direct, "tensorrt")[0].fault


def test_an_opset_the_parser_does_not_read_is_found() -> None:
    found = network(*QX, node("Relu", "dx", "y"), one=ONE, point=POINT)
    assert lint(found, "tensorrt", 21) == []
    assert "opset 21, the parser reads up to 17" in lint(found, "tensorrt", 17)[0].text()


def test_a_layer_that_is_nearly_two_of_four_is_found_and_one_that_is_or_never_was_is_not() -> None:
    integers = np.random.default_rng(0).integers(1, 100, (16, 16), dtype=np.int8, endpoint=True)
    sparse = integers * largest(integers)
    weight, layer = node("DequantizeLinear", "w steps", "dw", axis=0), node("Gemm", "dx dw", "y", transB=1)

    def findings(stored: np.ndarray, runtime: str = "tensorrt") -> list[tuple[str, str]]:
        found = network(*QX, weight, layer, w=stored, steps=np.ones(16, np.float32), one=ONE, point=POINT)
        return [(one.node, one.fault) for one in lint(found, runtime) if "2:4" in one.fault]

    assert findings(integers) == findings(sparse) == []
    nearly = sparse.copy()
    nearly[:3, :4] = 1
    assert findings(nearly) == [("y", "95.31% of its fours of weights are 2:4, which is not all")]
    assert findings(nearly, "openvino") == []
    nearly[:8, :4] = 1
    assert findings(nearly) == []


def test_a_float_network_and_an_unknown_runtime_are_refused() -> None:
    with pytest.raises(UsageError, match="quantize it first"):
        lint(network(node("Relu", "x", "y")), "openvino")
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        lint(network(*QX, one=ONE, point=POINT), "openvina")


def test_the_command_tells_findings_by_runtime_and_ends_with_their_number(tmp_path: Path) -> None:
    written("residual", "u8w7", tmp_path)

    def linted(*arguments: str):
        command = [str(tmp_path / "model.onnx"), *arguments]
        return CliRunner().invoke(subject.command, command, catch_exceptions=False, standalone_mode=False)

    clean = linted("--target", "x86-avx2")
    assert clean.return_value == 0
    assert clean.stdout.splitlines()[-1] == "clean: model.onnx"
    faulty = linted("--target", "jetson-orin-nano")
    assert faulty.return_value == 7
    assert faulty.stdout.splitlines()[-1].endswith("findings in model.onnx")
    assert all(line.startswith("tensorrt: ") for line in faulty.stdout.splitlines()[:-1])
    assert '"remedy"' in linted("--target", "jetson-orin-nano", "--json").stdout


def test_packed_weights_that_a_runtime_unpacks_or_refuses_are_found() -> None:
    def findings(runtime: str, kind: str, shape: tuple[int, int], axis: int, block: int) -> list[str]:
        integers = np.zeros(shape, helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind)))
        blocks = tuple(-(-size // block) if along == axis else size for along, size in enumerate(shape))
        unpacked = node("DequantizeLinear", "w steps", "d", axis=axis, block_size=block)
        nodes = (unpacked, node("MatMul", "x d", "y"))
        return [one.fault for one in lint(network(*nodes, w=integers, steps=np.ones(blocks, np.float32)), runtime)]

    for runtime in RULES:
        assert findings(runtime, "INT4", (64, 8), 0, 32) == []
    assert "unpacked in every run" in findings("onnxruntime", "INT4", (64, 64), 1, 32)[0]
    assert "unpacked in every run" in findings("onnxruntime", "INT4", (64, 8), 0, 8)[0]
    assert "no multiple of its block_size 32" in findings("openvino", "INT4", (48, 8), 0, 32)[0]
    assert "unsigned" in findings("tensorrt", "UINT4", (64, 8), 0, 32)[0]
