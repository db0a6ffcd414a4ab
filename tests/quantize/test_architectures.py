"""The architecture matrix: what is promised to run in integers does, and computes what its fake-quantized network does.

x86-avx2 is executed here. The arithmetic of x86-vnni, 8-bit weights, is that of ONNX Runtime's `x64quantprecision`,
which any processor can run. TensorRT's symmetric files are given to the parser and builder of TensorRT-RTX.
"""

from __future__ import annotations

import collections
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import fx

from edgekd.export.backend import BACKENDS
from edgekd.export.onnx_file import write
from edgekd.placement.graph import WEIGHTED
from edgekd.placement.scheme import SCHEMES
from edgekd.quantize.emission import freeze
from edgekd.quantize.layerwise import Layerwise, compare_layers
from edgekd.quantize.prepare import calibrate, prepare
from edgekd.quantize.torch_network import prepared
from tests.architectures import ARCHITECTURES, PRETRAINED, inputs, settled
from tests.export.running import RUNNING

IN_ONNXRUNTIME = {"add": "QLinearAdd", "concat": "QLinearConcat"}
COMPARED = 16
NETWORKS = [*ARCHITECTURES, *(pytest.param(name, marks=pytest.mark.slow) for name in PRETRAINED)]


@dataclass(frozen=True)
class Made:
    name: str
    module: fx.GraphModule
    path: Path
    samples: np.ndarray

    def placed(self, *kinds: str | None) -> int:
        decided = prepared(self.module)
        return sum(decided.operators[name].kind in kinds for name in decided.plan.integers)


def made(name: str, scheme: str, folder: Path) -> Made:
    samples = inputs(name, 32)
    module = prepare(settled(name), samples[:2], SCHEMES[scheme])
    calibrate(module, samples.numpy())
    write(freeze(module), folder / "model.onnx", tuple(samples.shape[1:]), samples.dtype)
    return Made(name, module, folder / "model.onnx", samples.numpy())


@pytest.fixture(scope="module", params=NETWORKS)
def seven(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    return made(request.param, "u8w7", tmp_path_factory.mktemp("seven"))


@pytest.mark.parametrize("runtime", RUNNING)
def test_all_that_is_promised_runs_in_integers(seven: Made, runtime: str, tmp_path: Path) -> None:
    backend = BACKENDS.get(runtime)()
    executed = backend.executed(backend.build(seven.path, tmp_path))
    integer = [layer for layer in executed if layer.multiplies and layer.precision == "int8"]
    assert len(integer) == seven.placed(*WEIGHTED)
    assert len(integer) >= 5
    counts = collections.Counter(layer.op for layer in executed)
    if runtime == "onnxruntime":
        for kind, op in IN_ONNXRUNTIME.items():
            assert counts[op] == seven.placed(kind)
        assert counts["QLinearAveragePool"] + counts["QLinearGlobalAveragePool"] == seven.placed("average_pool")


@pytest.mark.parametrize("runtime", RUNNING)
def test_no_layer_is_more_than_a_step_off_and_only_close_calls_flip(seven: Made, runtime: str) -> None:
    assert_same(seven, compare_layers(seven.module, seven.path, runtime, seven.samples[:COMPARED]))


def assert_same(network: Made, found: Layerwise) -> None:
    assert max(found.steps.values()) <= 1
    with torch.no_grad():
        expected = network.module(torch.from_numpy(network.samples[:COMPARED])).numpy()
    error = np.abs(found.engine_logits - expected).max(1)
    best = np.sort(expected, 1)
    flipped = found.engine_logits.argmax(1) != expected.argmax(1)
    assert (best[:, -1] - best[:, -2] < 2 * error)[flipped].all()
    assert flipped.mean() <= 0.002 or expected.ndim == 2  # of ten pixels in a thousand; an image in sixteen is a lot
    assert error.mean() < 0.05 * np.ptp(expected)


@pytest.mark.parametrize("name", NETWORKS)
def test_eight_bit_weights_are_exact_where_there_are_integer_dot_products(name: str, tmp_path: Path) -> None:
    network = made(name, "u8w8", tmp_path)

    def run(path: Path, samples: np.ndarray) -> list[np.ndarray]:
        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.x64quantprecision", "1")
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return list(session.run(None, {session.get_inputs()[0].name: samples}))

    assert_same(network, compare_layers(network.module, network.path, "", network.samples[:COMPARED], run))


@pytest.mark.parametrize("name", NETWORKS)
def test_tensorrts_parser_and_builder_take_symmetric_integers(name: str, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    network = made(name, "s8", tmp_path)
    BACKENDS.get("tensorrt-rtx")().build(network.path, tmp_path)
