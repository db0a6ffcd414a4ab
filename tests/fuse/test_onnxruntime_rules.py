from __future__ import annotations

import random
from math import prod
from pathlib import Path

import onnx
import pytest

from edgekd.fuse.fusion import FUSIONS
from edgekd.fuse.fusions.onnxruntime import OnnxRuntime
from edgekd.fuse.onnxruntime.codes import operators
from edgekd.kernels.probes import KINDS, draw
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.quantized import quantized
from edgekd.profile import Layer
from tests.fuse.onnxruntime_executed import LANES, VIEWS, codes, executed, predicted, rows
from tests.onnx_graph.onnx_graphs import model
from tools.topologies.classics import classic

CONV = "g (float[1,{0},8,8] x) => (float[1,{1},8,8] y) {{ y = Conv<pads=[1,1,1,1], group={2}>(x, w) }}"


def convolution(inputs: int, outputs: int, groups: int = 1) -> onnx.ModelProto:
    return model(CONV.format(inputs, outputs, groups), w=(outputs, inputs // groups, 3, 3))


def probes(scheme: str, seed: int) -> list[onnx.ModelProto]:
    """Return a probe of every kind."""
    drawn = [draw(random.Random(seed + index), kind) for index, kind in enumerate(KINDS)]
    return drawn if scheme == "fp32" else [quantized(probe) for probe in drawn]


@pytest.mark.parametrize(("opset", "code"), [(18, "pool.average"), (19, "pool.average.dilated")])
def test_an_average_pool_that_could_be_dilated_is_another_kernel(opset: int, code: str) -> None:
    network = model(
        "g (float[1,3,8,8] x) => (float[1,3,4,4] y) { y = AveragePool<kernel_shape=[2,2], strides=[2,2]>(x) }"
    )
    network.opset_import[0].version = opset
    (kernel,) = OnnxRuntime().kernels(read(network))
    assert kernel.code == code
    assert operators(code) == {"AveragePool"}


def test_rules_are_found_by_the_name_of_the_runtime() -> None:
    assert isinstance(FUSIONS.get("onnxruntime")(), OnnxRuntime)


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_executed_operators_of_random_probes_are_predicted(scheme: str, tmp_path: Path) -> None:
    wrong = {}
    for probe in probes(scheme, seed=0):
        expected, found = executed(probe, tmp_path), predicted(probe)
        if expected != found:
            wrong[probe.graph.name] = (expected - found, found - expected)
    assert wrong == {}


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "resnet50"])
def test_classics_run_as_predicted_and_all_their_time_is_matched(name: str, scheme: str, tmp_path: Path) -> None:
    network = classic(name) if scheme == "fp32" else quantized(classic(name))
    assert predicted(network) == executed(network, tmp_path)
    profile, sizes = rows(network, tmp_path)
    fusion = OnnxRuntime(LANES)
    kernels = fusion.kernels(read(network))
    numbered = [row._replace(ms=float(number)) for number, row in enumerate(profile, 1)]
    found = fusion.matched(kernels, numbered)
    assert None not in found
    missed = {row.op for row in numbered if row.ms not in found}
    assert missed <= VIEWS
    matched = sum(row.ms for row, numbers in zip(profile, numbered, strict=True) if numbers.ms in found)
    assert matched >= 0.98 * sum(row.ms for row in profile if row.op not in VIEWS)
    for kernel, number in zip(kernels, found, strict=True):
        blocks = -(-kernel.output[1] // LANES) * LANES if len(kernel.output) == 4 else 0
        padded = prod((kernel.output[0], blocks, *kernel.output[2:]))
        assert sizes[int(number or 0) - 1] in {prod(kernel.output), padded}, kernel


@pytest.mark.parametrize(
    ("inputs", "outputs", "groups", "expected"),
    [
        (3, 8, 1, ["conv.nchwc_first", "reorder.out"]),
        (15, 16, 1, ["conv.nchwc_first", "reorder.out"]),
        (18, 16, 1, ["conv.im2col"]),
        (20, 7, 1, ["reorder.in", "conv.nchwc", "reorder.out"]),
        (24, 24, 24, ["reorder.in", "conv.nchwc_depthwise", "reorder.out"]),
        (33, 33, 33, ["conv.depthwise"]),
        (24, 24, 2, ["conv.grouped"]),
        (32, 32, 2, ["reorder.in", "conv.nchwc_grouped", "reorder.out"]),
    ],
)
def test_channels_decide_on_the_blocked_layout(
    inputs: int, outputs: int, groups: int, expected: list[str], tmp_path: Path
) -> None:
    network = convolution(inputs, outputs, groups)
    assert codes(network) == expected
    assert predicted(network) == executed(network, tmp_path)


def test_narrower_blocks_take_in_narrower_groups() -> None:
    assert codes(convolution(16, 16, 2), lanes=8) == ["reorder.in", "conv.nchwc_grouped", "reorder.out"]
    assert codes(convolution(12, 16), lanes=16) == ["conv.nchwc_first", "reorder.out"]
    assert codes(convolution(12, 16), lanes=8) == ["reorder.in", "conv.nchwc", "reorder.out"]


def test_a_convolution_adds_and_activates_in_one_kernel() -> None:
    network = model(
        """g (float[1,16,8,8] x) => (float[1,16,8,8] y)
        { a = Conv(x, v) b = Conv(x, w) s = Add(a, b) r = Relu(s) y = MaxPool<kernel_shape=[1,1]>(r) }""",
        v=(16, 16, 1, 1),
        w=(16, 16, 1, 1),
    )
    kernels = OnnxRuntime().kernels(read(network))
    assert [kernel.code for kernel in kernels] == [
        "reorder.in", "conv.nchwc_pointwise", "conv.nchwc_pointwise", "pool.max.nchwc", "reorder.out",
    ]  # fmt: skip
    last = kernels[2]
    assert last.fused == ("Add", "Relu")
    assert last.inputs == ((1, 16, 8, 8), (1, 16, 8, 8))
    assert last.macs == 16 * 16 * 64


def test_another_shape_costs_a_copy_only_where_memory_is_not_shared() -> None:
    network = model(
        "g (float[1,4,6] x) => (float[24] y) { a = Relu(x) b = Reshape(a, s) c = Relu(b) y = Reshape(c, t) }",
    )
    for name, shape in (("s", [4, 6]), ("t", [24])):
        network.graph.initializer.append(onnx.helper.make_tensor(name, onnx.TensorProto.INT64, [len(shape)], shape))
    assert codes(network) == ["activation.relu", "activation.relu", "copy"]
    assert [kernel.code for kernel in OnnxRuntime(views=True).kernels(read(network))].count("view") == 1


def test_unknown_operators_are_kept() -> None:
    assert codes(model("g (float[1,4] x) => (float[1,4] y) { y = Atanh(x) }")) == ["other.Atanh"]


def test_rows_of_equal_operators_are_not_mixed_up() -> None:
    network = model("g (float[4] x) => (float[4] y) { a = Relu(x) b = Sigmoid(a) y = Relu(b) }")
    kernels = OnnxRuntime().kernels(read(network))
    profile = [Layer(name, op, "", ms, 0.0) for name, op, ms in (("y", "Relu", 3.0), ("b", "Sigmoid", 2.0))]
    assert OnnxRuntime().matched(kernels, profile) == [None, 2.0, 3.0]
    assert OnnxRuntime().matched(kernels, []) == [None, None, None]
