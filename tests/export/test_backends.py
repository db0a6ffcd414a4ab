"""The contract suite of export backends: runs over every file in edgekd/export/backends."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.artifact import digest_of_path
from edgekd.errors import ExportError
from edgekd.export import onnx_file
from edgekd.export.backend import BACKENDS, Backend, ExecutedLayer
from edgekd.runtime.session import open_session
from tests.export import quantized
from tests.models import INPUT_SHAPE, TINY, settled


@pytest.fixture(params=BACKENDS.names())
def backend(request: pytest.FixtureRequest) -> Backend:
    return BACKENDS.get(request.param)()


@pytest.fixture
def running(backend: Backend) -> Backend:
    if not backend.runs_here():
        pytest.skip(f"engines of {backend.runtime} run on a GPU, and there is none here")
    return backend


@pytest.mark.parametrize("name", TINY)
def test_engine_computes_the_network_at_two_batches(running: Backend, name: str, tmp_path: Path) -> None:
    model = settled(name)
    onnx_file.write(model, tmp_path / "model.onnx", INPUT_SHAPE)
    engine = running.build(tmp_path / "model.onnx", tmp_path / "engines")
    for batch in (1, 3):
        x = torch.randn(batch, *INPUT_SHAPE)
        (logits,) = open_session(running.runtime, str(engine), batch=batch).run([x.numpy()])
        np.testing.assert_allclose(logits, model(x).detach().numpy(), atol=1e-4)


def test_a_folder_may_be_called_anything(running: Backend, tmp_path: Path) -> None:
    model, folder = settled("residual"), tmp_path / "8 bits, narrow; größer (2)"
    folder.mkdir()
    onnx_file.write(model, folder / "model.onnx", INPUT_SHAPE)
    engine = running.build(folder / "model.onnx", folder / "engines")
    x = torch.randn(2, *INPUT_SHAPE)
    (logits,) = open_session(running.runtime, str(engine), batch=2).run([x.numpy()])
    np.testing.assert_allclose(logits, model(x).detach().numpy(), atol=1e-4)


def test_float_network_is_executed_in_float(running: Backend, tmp_path: Path) -> None:
    onnx_file.write(settled("residual"), tmp_path / "model.onnx", INPUT_SHAPE)
    layers = running.executed(running.build(tmp_path / "model.onnx", tmp_path / "engines"))
    assert [layer.precision for layer in layers if layer.multiplies] == ["fp32"] * 5


def test_quantized_network_is_executed_in_integers(running: Backend, tmp_path: Path) -> None:
    network, path = quantized.written(tmp_path)
    engine = running.build(path, tmp_path / "engines")
    layers = [layer for layer in running.executed(engine) if layer.multiplies]
    assert [layer.precision for layer in layers] == ["int8", "int8"], layers
    x = torch.randn(8, *INPUT_SHAPE)
    (logits,) = open_session(running.runtime, str(engine), batch=8).run([x.numpy()])
    np.testing.assert_allclose(logits, network(x).detach().numpy(), atol=0.1)


def test_building_twice_gives_the_same_digest(running: Backend, tmp_path: Path) -> None:
    path = quantized.written(tmp_path)[1]
    first = digest_of_path(running.build(path, tmp_path / "a"))
    assert digest_of_path(running.build(path, tmp_path / "a")) == first
    assert digest_of_path(running.build(path, tmp_path / "b")) == first


def test_engine_does_not_change_what_is_around_it(running: Backend, tmp_path: Path) -> None:
    path = quantized.written(tmp_path)[1]
    before = path.read_bytes()
    running.executed(running.build(path, tmp_path / "engines"))
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.rglob("*")} <= {"model.onnx", "engines", "openvino", "model.xml", "model.bin"}


def test_unknown_operator_is_refused_by_its_name(backend: Backend, tmp_path: Path) -> None:
    onnx_file.write(settled("mlp"), tmp_path / "model.onnx", INPUT_SHAPE)
    model = onnx.load(tmp_path / "model.onnx")
    model.graph.node[-1].op_type = "Frobnicate"
    onnx.save(model, tmp_path / "model.onnx")
    root = logging.getLogger()
    before = root.level, root.filters[:], root.handlers[:]
    with pytest.raises(ExportError, match="Frobnicate"):
        backend.build(tmp_path / "model.onnx", tmp_path / "engines")
    assert (root.level, root.filters, root.handlers) == before  # what the user logs is heard as before


@pytest.mark.parametrize(
    ("op", "multiplies"),
    [
        *((op, True) for op in ("QLinearConv", "Convolution", "FusedConv", "QGemm", "FullyConnected", "MatMulInteger")),
        *((op, False) for op in ("Convert", "Reorder", "QLinearAdd", "Pooling")),
    ],
)
def test_layers_that_multiply_are_known_by_their_names(op: str, multiplies: bool) -> None:
    assert ExecutedLayer(op, "", "fp32").multiplies is multiplies
