"""The predicted kernels against the graph OpenVINO executes, in float and in integers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekd.device import probe as machine
from edgekd.device.layers import layers
from edgekd.export.backends.openvino import OpenVino as Backend
from edgekd.fuse.fusion import FUSIONS, lanes
from edgekd.fuse.fusions.openvino import OpenVino
from edgekd.fuse.openvino import matching
from edgekd.kernels.probes import probe
from edgekd.onnx_graph.graph import read
from edgekd.onnx_graph.quantized import quantized
from edgekd.profile import Layer
from edgekd.runtime import without_telemetry
from tests.onnx_graph.onnx_graphs import classic, model

LANES = lanes(machine.identity()["isa"])
"""Of this machine, on which the graphs are executed."""
UNSEEN = {"Input", "Output", "Const", "Reshape"}
FAMILIES = {
    "Convolution": "conv", "Pooling": "pool", "Reduce": "reduce", "Reorder": "reorder", "Lrn": "lrn", "MVN": "mvn",
    "FullyConnected": "fully_connected", "Concatenation": "concat", "Softmax": "softmax", "Transpose": "transpose",
    "ShuffleChannels": "shuffle_channels", "Interpolate": "interpolate", "Split": "split",
}  # fmt: skip
ELEMENTWISE = {"eltwise", "quantize", "dequantize", "qeltwise", "attention", "mlp", "qmlp"}


def filled(name: str, folder: Path) -> Path:
    """Write a classic graph with weights that differ: equal ones are computed once."""
    light = onnx.load(classic(name))
    shapes = {one.name: numpy_helper.to_array(one) for one in light.graph.initializer}
    random = np.random.default_rng(0)
    kept = []
    for node in light.graph.node:
        if node.op_type == "ConstantOfShape":
            value = random.uniform(0.01, 0.1, tuple(shapes[node.input[0]])).astype(np.float32)
            light.graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        else:
            kept.append(node)
    del light.graph.node[:]
    light.graph.node.extend(kept)
    onnx.save(light, folder / f"{name}.onnx")
    return folder / f"{name}.onnx"


def executed(file: Path) -> list[str]:
    """Return the families of the operators OpenVINO executes, in order, constants left out."""
    openvino = without_telemetry.openvino()
    network = openvino.convert_model(file)
    network.reshape({0: [1, *(int(size.get_length()) for size in list(network.input(0).partial_shape)[1:])]})
    hints = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(network, "CPU", hints)
    nodes = compiled.get_runtime_model().get_ordered_ops()
    facts = {node.get_friendly_name(): node.get_rt_info() for node in nodes}
    constant: set[str] = set()
    kinds = []
    for node in sorted(nodes, key=lambda one: int(facts[one.get_friendly_name()]["execOrder"].astype(str))):
        kind = facts[node.get_friendly_name()]["layerType"].astype(str)
        sources = [port.get_source_output().get_node().get_friendly_name() for port in node.inputs()]
        if kind == "Const" or (sources and constant.issuperset(sources)):
            constant.add(node.get_friendly_name())
        elif kind not in UNSEEN:
            kinds.append(FAMILIES.get(kind, "eltwise"))
    return kinds


def predicted(source: Path | onnx.ModelProto) -> list[str]:
    codes = [kernel.code for kernel in OpenVino(LANES).kernels(read(source))]
    families = ["eltwise" if code in ELEMENTWISE else code.split(".")[0] for code in codes]
    return [name if name in FAMILIES.values() else name.removeprefix("q") for name in families]


def measured(file: Path, folder: Path) -> list[Layer]:
    """Return the rows of the built engine's operators."""
    graph = read(file)
    np.save(folder / "input.npy", np.ones(graph.shapes[graph.inputs[0]], np.float32))
    engine = Backend().build(file, folder)
    request: dict[str, Any] = {"runtime": "openvino", "engine": str(engine), "inputs": str(folder / "input.npy")}
    rows = layers({**request, "threads": 1, "batch": 1, "runs": 2, "most_s": 0.05})["rows"]
    return [Layer(**row) for row in rows]


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
@pytest.mark.parametrize("name", ["squeezenet", "shufflenet", "inception_v1"])
def test_classic_graphs_are_executed_as_predicted(name: str, scheme: str, tmp_path: Path) -> None:
    file = filled(name, tmp_path)
    if scheme == "int8":
        onnx.save(quantized(onnx.load(file)), file)
    assert predicted(file) == executed(file)


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_the_time_of_a_profile_is_matched_to_kernels_with_the_same_nodes(scheme: str, tmp_path: Path) -> None:
    file = filled("shufflenet", tmp_path)
    if scheme == "int8":
        onnx.save(quantized(onnx.load(file)), file)
    rows = measured(file, tmp_path)
    kernels = OpenVino(LANES).kernels(read(file))
    found = OpenVino().matched(kernels, rows)
    assert sum(ms for ms in found if ms is not None) >= 0.98 * sum(row.ms for row in rows)
    assert sum(ms for ms in found if ms is not None) <= 1.0001 * sum(row.ms for row in rows)


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_random_probes_are_executed_as_predicted(scheme: str, tmp_path: Path) -> None:
    random = Random(5)
    kinds = ("bottleneck", "inverted", "inception", "shuffled", "squeezed", "chain", "pools", "fire")
    operators = wrong = 0
    for kind in kinds:
        network = probe(kind, random.randrange(2**32))
        onnx.save(network if scheme == "fp32" else quantized(network), tmp_path / "probe.onnx")
        mine, theirs = Counter(predicted(tmp_path / "probe.onnx")), Counter(executed(tmp_path / "probe.onnx"))
        operators += sum(theirs.values())
        wrong += sum(((mine - theirs) + (theirs - mine)).values())
    assert wrong <= 0.04 * operators


def test_a_residual_is_added_by_the_convolution_that_nothing_else_waits_for() -> None:
    text = """block (float[1,16,8,8] x) => (float[1,16,8,8] y, float[1,16,7,7] z) {
        s = Relu(x)
        a = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (s, w)
        b = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (a, v)
        y = Add(b, s)
        z = MaxPool <kernel_shape=[2,2]> (s)
    }"""
    alone = text.replace("z = MaxPool <kernel_shape=[2,2]> (s)", "").replace(", float[1,16,7,7] z", "")
    weights = {"w": (16, 16, 3, 3), "v": (16, 16, 3, 3)}
    fused = [kernel.fused for kernel in OpenVino().kernels(read(model(alone, **weights))) if kernel.code == "conv"]
    apart = [kernel.fused for kernel in OpenVino().kernels(read(model(text, **weights))) if kernel.code == "conv"]
    assert fused == [(), ("Add",)]
    assert apart == [(), ()]


def test_attention_looks_at_every_token() -> None:
    text = """g (float[1,4,20,8] q, float[1,4,8,30] k, float[1,4,30,8] v) => (float[1,4,20,8] y) {
        s = MatMul(q, k)
        p = Softmax <axis=-1> (s)
        y = MatMul(p, v)
    }"""
    kernels = [kernel for kernel in OpenVino().kernels(read(model(text))) if kernel.code == "attention"]
    assert [kernel.window for kernel in kernels] == [30]


def test_an_unknown_operator_is_a_kernel_of_its_own() -> None:
    graph = read(model("g (float[1,4] x) => (float[1,4] y) { y = CumSum(x, axis) }", axis=np.array(1)))
    assert [kernel.code for kernel in OpenVino().kernels(graph)] == ["other.CumSum"]


def test_rows_that_were_renamed_are_found_by_their_place() -> None:
    text = """g (float[1,4,8,8] x) => (float[1,8,8,8] y) {
        a = Conv <kernel_shape=[1,1]> (x, w)
        b = Conv <kernel_shape=[3,3], pads=[1,1,1,1]> (a, v)
        y = Relu(b)
    }"""
    graph = read(model(text, w=(8, 4, 1, 1), v=(8, 8, 3, 3)))
    kernels = OpenVino().kernels(graph)
    names = ["x_abcd_acdb_Multiply_7", "Multiply_7", "Multiply_9", "Multiply_9_acdb_abcd_y/sink_port_0"]
    ops = ["Reorder", "Convolution", "Convolution", "Reorder"]
    rows = [Layer(name, op, "", ms, 0.25) for name, op, ms in zip(names, ops, (1.0, 2.0, 3.0, 4.0), strict=True)]
    assert OpenVino().matched(kernels, rows) == [1.0, 2.0, 3.0, 4.0]
    assert matching.assigned(kernels, rows[1:]) == [None, 0, 1, 2]


def test_the_rules_are_a_plug_in() -> None:
    assert FUSIONS.get("openvino") is OpenVino


@pytest.mark.parametrize(
    ("lanes_of_a_register", "expected"),
    [
        (16, ["pool.max"]),
        (8, ["reorder.blocked", "pool.max", "reorder.blocked"]),
    ],
)
def test_narrower_registers_pool_planar_maps_in_blocks(lanes_of_a_register: int, expected: list[str]) -> None:
    network = model(
        "g (float[1,16,8,8] x) => (float[1,16,4,4] y) { y = MaxPool<kernel_shape=[2,2], strides=[2,2]>(x) }"
    )
    assert [kernel.code for kernel in OpenVino(lanes_of_a_register).kernels(read(network))] == expected


@pytest.mark.parametrize(("lanes_of_a_register", "layouts"), [(16, {"reorder.blocked"}), (8, {"reorder.planar"})])
def test_responses_are_normalised_in_blocks_of_wide_registers(lanes_of_a_register: int, layouts: set[str]) -> None:
    network = model(
        "g (float[1,16,8,8] x) => (float[1,16,8,8] y) { a = Conv(x, w) y = LRN<size=5>(a) }", w=(16, 16, 1, 1)
    )
    codes = {kernel.code for kernel in OpenVino(lanes_of_a_register).kernels(read(network))}
    assert codes - {"conv.pointwise", "lrn", "reorder.channels_last"} == layouts
