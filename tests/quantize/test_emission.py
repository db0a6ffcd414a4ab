from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.errors import EdgekdError
from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.models.build import build
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.recipe import ModelSpec
from edgekd.runtime.session import open_session
from tests.export.running import RUNNING
from tests.models import INPUT_SHAPE, settled
from tests.quantize.conftest import Variant


def answers(variant: Variant) -> np.ndarray:
    with torch.no_grad():
        return variant.module(torch.from_numpy(variant.images)).numpy()


@pytest.mark.parametrize("runtime", RUNNING)
def test_every_convolution_and_linear_layer_is_executed_in_integers(
    variant: Variant, runtime: str, tmp_path: Path
) -> None:
    assert_all_integers(variant.path, runtime, tmp_path)


def assert_all_integers(path: Path, runtime: str, folder: Path) -> None:
    backend = BACKENDS.get(runtime)()
    executed = backend.executed(backend.build(path, folder))
    layers = [layer for layer in executed if layer.multiplies]
    assert [layer for layer in layers if layer.precision != "int8"] == []
    expected = sum(node.op_type in {"Conv", "Gemm", "MatMul"} for node in onnx.load(path).graph.node)
    if layers:
        assert len(layers) == expected
    else:  # OpenVINO compiles a chain of linear layers into one kernel
        assert [layer.precision for layer in executed if layer.op == "Subgraph"][-1] == "int8"


@pytest.mark.parametrize("runtime", RUNNING)
@pytest.mark.parametrize(
    "spec",
    [
        ModelSpec(name="resnet", options={"depth": 8, "channels": (8, 16, 16)}),
        ModelSpec(name="mobilenetv2", options={"width": 0.25, "depth": 0.25, "head": 64}),
        ModelSpec(name="mobile-cells", options={"stem": 8, "cells": [{"channels": 8, "kernel": 5}], "head": 16}),
        ModelSpec(name="mobile-cells", options={"cells": [{"channels": 8, "expansion": 2, "squeeze": 4}], "head": 16}),
    ],
    ids=lambda spec: spec.name,
)
def test_built_in_networks_run_in_integers(spec: ModelSpec, runtime: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    shape = (1, 16, 16)
    model = build(spec, shape, 5)
    with torch.no_grad():
        for _ in range(5):
            model(torch.randn(16, *shape))
    images = torch.randn(16, *shape)
    module = prepare(model, images[:2], SCHEMES["u8w7"])
    calibrate(module, images.numpy())
    write(freeze(module), tmp_path / "model.onnx", shape)
    assert_all_integers(tmp_path / "model.onnx", runtime, tmp_path)


@pytest.mark.parametrize("runtime", RUNNING)
def test_answers_change_only_where_the_two_best_logits_are_closer_than_the_error(exact: Variant, runtime: str) -> None:
    expected = answers(exact)
    session = open_session(runtime, str(exact.path), batch=len(exact.images))
    found = session.run([exact.images])[0].copy()
    error = np.abs(found - expected)
    assert error.max() < 0.05 * np.ptp(expected)
    best = np.sort(expected, 1)
    margin = best[:, -1] - best[:, -2]
    flipped = found.argmax(1) != expected.argmax(1)
    assert (margin[flipped] < 2 * error.max(1)[flipped]).all()
    assert flipped.mean() < 0.05


def test_the_frozen_network_and_the_file_hold_integers_only(variant: Variant) -> None:
    frozen = freeze(variant.module)
    with torch.no_grad():
        found = frozen(torch.from_numpy(variant.images)).numpy()
    assert np.abs(found - answers(variant)).max() < 1e-4
    graph = onnx.load(variant.path).graph
    floats = [t for t in graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1]
    assert floats == []
    assert "Relu" not in {node.op_type for node in graph.node}
    assert "Clip" not in {node.op_type for node in graph.node}
    axes = [
        attribute.i
        for node in graph.node
        if node.op_type == "DequantizeLinear"
        for attribute in node.attribute
        if attribute.name == "axis"
    ]
    assert axes
    assert set(axes) == {0}


def test_symmetric_integers_keep_the_relu_and_have_no_zero_point(tmp_path: Path) -> None:
    images = torch.randn(8, *INPUT_SHAPE)
    module = prepare(settled("residual"), images[:2], SCHEMES["s8"])
    calibrate(module, images.numpy())
    write(freeze(module), tmp_path / "model.onnx", INPUT_SHAPE)
    graph = onnx.load(tmp_path / "model.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    points = [constants[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"]
    assert points
    assert all(point.dtype == np.int8 and point == 0 for point in points)
    assert "Relu" in {node.op_type for node in graph.node}


def test_a_bias_that_no_step_can_hold_stays_float(tmp_path: Path) -> None:
    model = settled("mlp")
    with torch.no_grad():
        model.second.bias.fill_(1e9)
    images = torch.randn(8, *INPUT_SHAPE)
    module = prepare(model, images[:2], SCHEMES["u8w7"])
    calibrate(module, images.numpy())
    with torch.no_grad():
        torch.testing.assert_close(freeze(module)(images), module(images))


def test_only_a_prepared_network_can_be_frozen() -> None:
    with pytest.raises(EdgekdError, match="Linear"):
        freeze(torch.nn.Linear(2, 2))
