"""Every line of the support tables, held against the graph that the runtime really executes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekd.errors import UsageError
from edgekd.export.backend import BACKENDS, ExecutedLayer
from edgekd.placement.graph import KINDS
from edgekd.placement.place import QUANTIZED
from edgekd.placement.support import Support, optional_kinds, quantized_kinds, support
from edgekd.schema import from_mapping
from tests.export.running import RUNNING

WIDTH, SIZE = 16, 8


class Probe:
    """A network of Q/DQ pairs written node by node; two integer convolutions of the input stand before the operator."""

    def __init__(self, *, symmetric: bool = False) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._stored: list[onnx.TensorProto] = []
        self._point = np.int8(0) if symmetric else np.uint8(128)
        self.symmetric = symmetric

    def constant(self, value: object) -> str:
        name = f"constant_{len(self._stored)}"
        self._stored.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, op: str, inputs: list[str], **attributes: object) -> str:
        name = f"{op.lower()}_{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [name], name, **attributes))
        return name

    def rounded(self, tensor: str, scale: float = 0.05, point: np.generic | None = None) -> str:
        numbers = [self.constant(np.float32(scale)), self.constant(self._point if point is None else point)]
        return self.add("DequantizeLinear", [self.add("QuantizeLinear", [tensor, *numbers]), *numbers])

    def share(self, tensor: str) -> str:
        """Round what lies between 0 and 1."""
        return (
            self.rounded(tensor, 1 / 127, np.int8(0)) if self.symmetric else self.rounded(tensor, 1 / 255, np.uint8(0))
        )

    def weight(self, *shape: int, axis: int = 0) -> str:
        values = np.random.default_rng(0).integers(-63, 64, shape).astype(np.int8)
        scale, point = np.full(shape[axis], 0.01, np.float32), np.zeros(shape[axis], np.int8)
        return self.add("DequantizeLinear", [self.constant(one) for one in (values, scale, point)], axis=axis)

    def convolution(self, tensor: str) -> str:
        return self.add("Conv", [tensor, self.weight(WIDTH, WIDTH, 3, 3)], pads=[1, 1, 1, 1])

    def model(self, result: str) -> onnx.ModelProto:
        ends = [
            helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, WIDTH, SIZE, SIZE]),
            helper.make_tensor_value_info(self.add("Identity", [result]), TensorProto.FLOAT, None),
        ]
        graph = helper.make_graph(self._nodes, "probe", ends[:1], ends[1:], self._stored)
        imports = [helper.make_opsetid("", 20)]
        return onnx.shape_inference.infer_shapes(helper.make_model(graph, opset_imports=imports, ir_version=9))


def linear(probe: Probe, a: str, _: str) -> str:
    return probe.add("MatMul", [a, probe.weight(SIZE, 24, axis=1)])


def deconvolution(probe: Probe, a: str, _: str) -> str:
    return probe.add("ConvTranspose", [a, probe.weight(WIDTH, WIDTH, 2, 2, axis=1)], strides=[2, 2])


def reshaped(probe: Probe, a: str, _: str) -> str:
    flat = probe.add("Reshape", [a, probe.constant(np.array([0, WIDTH, SIZE * SIZE]))])
    return probe.add("MatMul", [flat, probe.weight(SIZE * SIZE, 24, axis=1)])


OPERATORS: dict[str, Callable[[Probe, str, str], str]] = {
    "conv": lambda probe, a, _: probe.convolution(a),
    "conv_transpose": deconvolution,
    "linear": linear,
    "matmul": lambda probe, a, b: probe.add("MatMul", [a, b]),
    "add": lambda probe, a, b: probe.add("Add", [a, b]),
    "mul": lambda probe, a, b: probe.add("Mul", [a, b]),
    "concat": lambda probe, a, b: probe.add("Concat", [a, b], axis=1),
    "average_pool": lambda probe, a, _: probe.add("AveragePool", [a], kernel_shape=[2, 2], strides=[2, 2]),
    "max_pool": lambda probe, a, _: probe.convolution(probe.add("MaxPool", [a], kernel_shape=[2, 2], strides=[2, 2])),
    "reshape": reshaped,
    "sigmoid": lambda probe, a, _: probe.add("Sigmoid", [a]),
    "softmax": lambda probe, a, _: probe.add("Softmax", [a]),
}
FOUND = {
    "onnxruntime": {
        "conv": "", "conv_transpose": "ConvTranspose", "linear": "", "matmul": "",
        "add": "QLinearAdd", "mul": "QLinearMul", "concat": "QLinearConcat", "average_pool": "QLinearAveragePool",
        "max_pool": "MaxPool", "reshape": "Reshape", "sigmoid": "QLinearSigmoid", "softmax": "QLinearSoftmax",
    },
    "openvino": {
        "conv": "", "conv_transpose": "Deconvolution", "linear": "", "matmul": "",
        "add": "", "mul": "Subgraph", "concat": "Concatenation", "average_pool": "Pooling", "max_pool": "Pooling",
        "reshape": "Reshape", "sigmoid": "", "softmax": "Softmax",
    },
}  # fmt: skip
"""How the runtimes call these operators; "" is a product, or fused into one."""


def executed(kind: str, runtime: str, folder: Path, *, rounded: bool) -> list[ExecutedLayer]:
    probe = Probe()
    x = probe.rounded("input")
    made = OPERATORS[kind](probe, probe.rounded(probe.convolution(x)), probe.rounded(probe.convolution(x), 0.07))
    small = kind in {"sigmoid", "softmax"}
    model = probe.model((probe.share if small else probe.rounded)(made) if rounded else made)
    onnx.save(model, folder / "probe.onnx")
    backend = BACKENDS.get(runtime)()
    return backend.executed(backend.build(folder / "probe.onnx", folder))


def is_integer(layers: list[ExecutedLayer], kind: str, runtime: str) -> bool:
    """Return whether the operator, the last one called so, is one of integers."""
    name = FOUND[runtime][kind]
    matching = [layer for layer in layers if layer.op.startswith(name) and "Transpose" not in layer.op]
    if kind == "max_pool":
        matching = [layer for layer in layers if name in layer.op]
    if not name:
        return all(layer.precision == "int8" for layer in layers if layer.multiplies)
    return bool(matching) and matching[-1].precision == "int8"


@pytest.mark.parametrize("kind", OPERATORS)
@pytest.mark.parametrize("runtime", RUNNING)
def test_a_runtime_executes_what_its_table_says(runtime: str, kind: str, tmp_path: Path) -> None:
    how = support(runtime).computed[kind]
    between = executed(kind, runtime, tmp_path, rounded=True)
    if how == "float":
        fused = kind in support(runtime).fuses
        assert fused or not is_integer(between, kind, runtime)
        return
    if how == "moved":
        alone = [layer for layer in between if layer.multiplies and layer.precision != "int8"]
        assert alone == []
        return
    assert is_integer(between, kind, runtime)
    open_ended = executed(kind, runtime, tmp_path, rounded=False)
    assert is_integer(open_ended, kind, runtime) == (how == "always")


@pytest.mark.parametrize("kind", OPERATORS)
def test_tensorrts_parser_and_builder_take_pairs_around_every_kind(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    probe = Probe(symmetric=True)
    x = probe.rounded("input")
    made = OPERATORS[kind](probe, probe.rounded(probe.convolution(x)), probe.rounded(probe.convolution(x), 0.07))
    onnx.save(probe.model(probe.rounded(made)), tmp_path / "probe.onnx")
    BACKENDS.get("tensorrt-rtx")().build(tmp_path / "probe.onnx", tmp_path)


def test_every_kind_of_every_table_is_tested() -> None:
    for runtime in (*RUNNING, "tensorrt", "tensorrt-rtx"):
        assert set(support(runtime).computed) <= set(OPERATORS) <= set(KINDS)


def test_what_several_runtimes_have_in_common_is_quantized_for_all() -> None:
    assert quantized_kinds(["onnxruntime", "openvino"]) == QUANTIZED
    assert quantized_kinds(["openvino"]) == QUANTIZED | {"conv_transpose"}
    assert optional_kinds(["onnxruntime"]) == {"mul", "matmul", "sigmoid", "softmax"}
    assert optional_kinds(["onnxruntime", "openvino"]) == {"mul", "matmul"}
    assert quantized_kinds(["a-plug-in-of-somebody"]) == QUANTIZED


def test_an_unknown_runtime_or_kind_is_refused() -> None:
    with pytest.raises(UsageError, match=r"openvina.*did you mean 'openvino'"):
        support("openvina")
    plain = support("openvino").plain() | {"computed": {"convv": "always"}}
    with pytest.raises(UsageError, match="convv"):
        from_mapping(Support, plain, "here")
