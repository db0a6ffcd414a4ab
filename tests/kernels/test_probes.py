"""Probe networks run on every runtime, come again from their seed, and cover what people deploy."""

from __future__ import annotations

import hashlib
from collections import Counter
from functools import cache
from math import prod
from random import Random

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper, shape_inference

from edgekd.errors import UsageError
from edgekd.kernels.dice import Dice
from edgekd.kernels.families import backbones, encoders
from edgekd.kernels.probes import GENERATION, KINDS, draft, draw, probe
from edgekd.kernels.segment import Segment
from edgekd.runtime.without_telemetry import openvino

Shapes = dict[str, tuple[int, ...]]


def notes(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


def small_probe(kind: str) -> onnx.ModelProto:
    models = (probe(kind, seed) for seed in range(100))
    return next(model for model in models if int(notes(model)["macs"]) < 2e7)


def shapes(model: onnx.ModelProto) -> Shapes:
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    found = {
        value.name: tuple(size.dim_value for size in value.type.tensor_type.shape.dim)
        for value in (*inferred.value_info, *inferred.input, *inferred.output)
    }
    return found | {tensor.name: tuple(tensor.dims) for tensor in inferred.initializer}


WHOLE = {**backbones.KINDS, **encoders.KINDS}


@cache
def drafts() -> list[Segment]:
    """Five hundred, of kinds as often as they are drawn."""
    dice = Dice(Random(300))
    return [draft(dice.weighted(KINDS), dice.whole(0, 2**32 - 1)) for _ in range(500)]


@cache
def drafts_of(whole: bool) -> list[Segment]:
    """A dozen of every kind of whole networks, or of segments."""
    return [draft(kind, seed) for kind in KINDS if (kind in WHOLE) == whole for seed in range(12)]


def convolutions() -> list[tuple[tuple[int, ...], tuple[int, ...], int]]:
    """Return the shapes of the output and the weights, and the groups, of every convolution of the segments."""
    return [
        (drafted.shapes[node.outputs[0]], drafted.weights[node.inputs[1]].shape, node.attributes["group"])
        for drafted in drafts_of(whole=False)
        for node in drafted.nodes
        if node.op == "Conv"
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_computes_the_same_finite_numbers_on_both_runtimes(kind: str) -> None:
    model = small_probe(kind)
    onnx.checker.check_model(model, full_check=True)
    data = model.SerializeToString()
    port, result = model.graph.input[0], model.graph.output[0]
    assert (port.name, result.type.tensor_type.elem_type) == ("input", onnx.TensorProto.FLOAT)
    shape = [size.dim_value for size in port.type.tensor_type.shape.dim]
    assert shape[0] == 1
    array = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": array})[0]
    assert list(expected.shape) == [size.dim_value for size in result.type.tensor_type.shape.dim]
    assert np.isfinite(expected).all()
    assert np.abs(expected).max() > 0
    core = openvino().Core()
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
    compiled = core.compile_model(core.read_model(data), "CPU", settings)
    found = next(iter(compiled(array).values()))
    np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max(), rtol=0)


def test_a_seed_gives_the_same_network_and_the_metadata_hold_it() -> None:
    model = draw(Random(7))
    assert model.SerializeToString() == draw(Random(7)).SerializeToString()
    made_by = notes(model)
    assert probe(made_by["kind"], int(made_by["seed"])).SerializeToString() == model.SerializeToString()
    assert made_by["generation"] == str(GENERATION)
    assert draw(Random(8)).SerializeToString() != model.SerializeToString()


def test_a_kind_asked_for_is_drawn_and_an_unknown_one_refused() -> None:
    assert notes(draw(Random(1), "fire"))["kind"] == "fire"
    with pytest.raises(UsageError, match="did you mean 'fire'"):
        draw(Random(1), "fires")


def test_every_node_has_a_name_of_its_own_and_every_weight_is_an_ordinary_number() -> None:
    random = Random(1)
    for kind in KINDS:
        graph = draw(random, kind).graph
        names = [node.name for node in graph.node]
        assert all(names)
        assert len(set(names)) == len(names)
        tensors = [tensor.name for tensor in graph.initializer] + [
            value for node in graph.node for value in node.output
        ]
        assert len(set(tensors)) == len(tensors)
        for tensor in graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and 4 < prod(tensor.dims) < 300_000:
                sizes = np.abs(numpy_helper.to_array(tensor))
                assert 1e-4 < sizes.min() < sizes.max() < 4


def test_versions_are_those_that_runtimes_of_old_devices_read() -> None:
    models = [probe("maxima", seed) for seed in range(40)]
    assert {model.opset_import[0].version for model in models} == {17, 18, 19, 20}
    assert max(model.ir_version for model in models) <= 10


def test_work_is_spread_over_orders_of_magnitude() -> None:
    macs = np.array([drafted.macs for drafted in drafts()])
    assert 1e4 / 1.5 <= macs.min() <= 2e5
    assert 3e8 <= macs.max() <= 2e9 * 1.5
    assert np.mean((macs > 2e5 / 1.5) & (macs < 6e8 * 1.5)) > 0.85
    lower, middle, upper = np.quantile(macs, (0.25, 0.5, 0.75))
    assert 1e6 < lower < 1e7 < middle < 5e7 < upper < 2.5e8


def test_segments_are_small_whatever_their_work() -> None:
    counts = np.array([len(drafted.nodes) for drafted in drafts_of(whole=False)])
    assert 3 <= counts.min() <= counts.max() <= 24
    assert np.mean(counts <= 15) > 0.85
    sizes = np.array([drafted.weight_bytes for drafted in drafts_of(whole=False)])
    assert np.mean(sizes <= 40e6) > 0.95
    assert sizes.max() <= 170e6
    assert 1e8 < max(draft("heavy-perceptron", seed).weight_bytes for seed in range(20)) <= 170e6


def test_whole_networks_hold_weights_that_no_first_cache_holds() -> None:
    made = drafts_of(whole=True)
    counts = np.array([len(drafted.nodes) for drafted in made])
    assert 10 <= counts.min() < 30
    assert np.median(counts) > 40
    assert counts.max() <= 260
    sizes = np.array([drafted.weight_bytes for drafted in made])
    assert np.mean(sizes > 1e6) > 0.5
    assert np.mean(sizes > 1e7) > 0.1
    assert sizes.max() <= 110e6
    assert 0.4 < sum(kind.weight for kind in WHOLE.values()) / sum(KINDS.values()) < 0.7


def test_macs_and_shapes_are_those_of_the_network() -> None:
    random = Random(2)
    for kind in KINDS:
        model = draw(random, kind)
        found, macs = shapes(model), 0
        for node in model.graph.node:
            if node.op_type == "Conv":
                macs += prod(found[node.output[0]]) * prod(found[node.input[1]][1:])
            elif node.op_type == "ConvTranspose":
                macs += prod(found[node.input[0]]) * prod(found[node.input[1]][1:])
            elif node.op_type in {"Gemm", "MatMul"}:
                macs += prod(found[node.output[0]]) * found[node.input[0]][-1]
        assert macs == int(notes(model)["macs"])
        drafted = draft(kind, int(notes(model)["seed"]))
        assert drafted.shapes.items() <= found.items()


def test_convolutions_cover_widths_maps_and_windows() -> None:
    made = convolutions()
    widths = np.array([output[1] for output, _, _ in made])
    assert 0.2 < np.mean(widths % 8 != 0) < 0.5
    for low, high in ((1, 8), (8, 32), (32, 128), (128, 512), (512, 2049)):
        assert np.mean((widths >= low) & (widths < high)) > 0.03, (low, high)
    heights = np.array([output[2] for output, _, _ in made])
    for low, high in ((1, 2), (2, 8), (8, 20), (20, 60), (60, 120), (120, 257)):
        assert np.mean((heights >= low) & (heights < high)) > 0.02, (low, high)
    assert np.mean(heights % 2 == 1) > 0.2
    assert np.mean([output[2] != output[3] for output, _, _ in made]) > 0.08
    windows = Counter(weights[2:] for _, weights, _ in made)
    assert min(windows[1, 1], windows[3, 3], windows[5, 5], windows[7, 7]) >= 5
    assert sum(groups == weights[0] > 1 for _, weights, groups in made) > 40
    assert sum(1 < groups < weights[0] for _, weights, groups in made) > 15


def test_operators_of_deployed_networks_all_come() -> None:
    found = {node.op for kind in KINDS for seed in range(12) for node in draft(kind, seed).nodes}
    assert found >= {
        *("Conv", "ConvTranspose", "Gemm", "MatMul", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"),
        *("ReduceMean", "Relu", "Clip", "LeakyRelu", "PRelu", "HardSwish", "HardSigmoid", "Sigmoid", "Tanh", "Elu"),
        *("Softplus", "Gelu", "Erf", "Softmax", "BatchNormalization", "LayerNormalization", "LRN", "Add", "Sub", "Mul"),
        *("Div", "Concat", "Split", "Slice", "Pad", "Resize", "Reshape", "Flatten", "Transpose"),
    }


def test_another_network_for_a_seed_raises_the_generation() -> None:
    several = [draft(kind, seed) for kind in KINDS for seed in range(3)]
    structure = [(drafted.nodes, drafted.shapes, drafted.weights) for drafted in several]
    digest = hashlib.sha256(repr(structure).encode()).hexdigest()[:12]
    assert (GENERATION, digest) == (2, "94c6f5a479b3"), (
        "seeds give other networks: raise GENERATION and renew this digest"
    )
