"""Files are judged by their stored weights, in every way a layer can read them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
import tensorrt_rtx as trt
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edgekd.connection.connection import Connection
from edgekd.errors import ExportError
from edgekd.export import on_target
from edgekd.export.backends.tensorrt_rtx import TensorRtRtx
from edgekd.export.on_target import BuiltThere
from edgekd.export.sparse_layers import is_sparse, refuse_lost, shares
from edgekd.models.two_of_four import largest

RANDOM = np.random.default_rng(0)


def pattern(*shape: int) -> NDArray[np.float32]:
    """Return a weight (outputs, inputs, ...) that is 2:4."""
    weight = RANDOM.standard_normal(shape).astype(np.float32)
    return weight * largest(weight)


def model(*nodes: onnx.NodeProto, **stored: NDArray[Any]) -> onnx.ModelProto:
    constants = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in stored.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 8]) for name in ("x", "y")]
    graph = helper.make_graph(list(nodes), "g", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def node(op: str, inputs: str, output: str = "y", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], name=f"layer/{output}", **attributes)


LAYER = {
    "conv": (node("Conv", "x w"),),
    "gemm": (node("Gemm", "x w", transB=1),),
    "transposed": (node("Transpose", "w", "t", perm=[1, 0]), node("MatMul", "x t")),
    "half": (node("Cast", "w", "t", to=TensorProto.FLOAT16), node("Gemm", "x t", transB=1)),
}


@pytest.mark.parametrize("name", LAYER)
def test_a_weight_is_found_behind_what_passes_it_on(name: str) -> None:
    shape = (8, 8, 3, 3) if name == "conv" else (8, 8)
    assert shares(model(*LAYER[name], w=pattern(*shape))) == {"layer/y": 1.0}
    assert shares(model(*LAYER[name], w=RANDOM.standard_normal(shape)))["layer/y"] == 0.0


def test_the_axis_is_the_one_that_is_added_up() -> None:
    weight = pattern(8, 8)
    for op, attributes in (("MatMul", {}), ("Gemm", {}), ("Gemm", {"transB": 0})):
        assert shares(model(node(op, "x w", **attributes), w=weight.T)) == {"layer/y": 1.0}
        assert shares(model(node(op, "x w", **attributes), w=weight))["layer/y"] < 1


def test_integers_are_zero_at_their_zero_point() -> None:
    kept = largest(RANDOM.standard_normal((8, 8)))
    layer = (node("DequantizeLinear", "w scale point", "t", axis=0), node("Gemm", "x t", transB=1))
    scale, points = np.ones(8, np.float32), np.arange(1, 9, dtype=np.uint8)
    integers = np.where(kept, 100, points[:, None]).astype(np.uint8)
    assert shares(model(*layer, w=integers, scale=scale, point=points)) == {"layer/y": 1.0}
    assert shares(model(*layer, w=integers, scale=scale, point=0 * points)) == {"layer/y": 0.0}
    blocks = np.repeat(points[:, None], 2, axis=1)
    by_block = (node("DequantizeLinear", "w scale point", "t", axis=1, block_size=4), layer[1])
    found = model(*by_block, w=integers, scale=np.ones((8, 2), np.float32), point=blocks)
    assert shares(found) == {"layer/y": 1.0}


def test_what_is_no_stored_weight_is_no_layer() -> None:
    assert shares(model(node("Relu", "x", "r"), node("MatMul", "x r"))) == {}


def file(folder: Path, weight: NDArray[np.float32]) -> Path:
    onnx.save(model(node("Gemm", "x w", transB=1), w=weight), folder / "model.onnx")
    return folder / "model.onnx"


def test_a_file_that_lost_the_pattern_is_refused(tmp_path: Path) -> None:
    weight = pattern(8, 8)
    assert is_sparse(file(tmp_path, weight))
    refuse_lost(file(tmp_path, weight), 1)
    weight[3, :4] += 1e-6
    assert not is_sparse(file(tmp_path, weight))
    refuse_lost(tmp_path / "model.onnx", 0)
    with pytest.raises(ExportError, match=r"1 layers of the network are 2:4, of the file 0"):
        refuse_lost(tmp_path / "model.onnx", 1)


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_tensorrt_rtx_looks_for_zeros_where_there_are_some(
    sparse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, real = [], trt.IBuilderConfig.set_flag

    def spied(config: Any, flag: Any) -> None:
        real(config, flag)
        seen.append(config.get_flag(trt.BuilderFlag.SPARSE_WEIGHTS))

    monkeypatch.setattr(trt.IBuilderConfig, "set_flag", spied)
    weight = pattern(8, 8) if sparse else np.ones((8, 8), np.float32)
    assert TensorRtRtx().build(file(tmp_path, weight), tmp_path).is_file()
    assert seen == ([True] if sparse else [])


class Asked(Exception):
    """What a device was asked to do."""


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_a_device_is_told_to_look_for_zeros(sparse: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def given(value: Any) -> Iterator[Any]:
        yield value

    def ask(request: dict[str, Any], most: float) -> None:
        raise Asked(request["sparse"])

    there = SimpleNamespace(
        sent=str,
        receiving=lambda path: given(str(path)),
        locked=lambda: given(None),
        start=lambda label: given(SimpleNamespace(ask=ask)),
    )
    monkeypatch.setattr(on_target, "reached", lambda connection: given(there))
    weight = pattern(8, 8) if sparse else np.ones((8, 8), np.float32)
    connection: Connection | None = None
    with pytest.raises(Asked) as caught:
        BuiltThere("tensorrt", connection).build(file(tmp_path, weight), tmp_path)
    assert caught.value.args == (sparse,)
