from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from edgekd.export import divergence, onnx_file
from edgekd.export.backend import BACKENDS, Backend
from tests.export import quantized
from tests.export.running import RUNNING
from tests.models import INPUT_SHAPE, settled

INPUTS = torch.randn(4, *INPUT_SHAPE, generator=torch.Generator().manual_seed(0)).numpy()


def _spoil(path: Path, output: str) -> None:
    """Scale the weight of the node that computes `output`."""
    model = onnx.load(path)
    node = next(node for node in model.graph.node if output in node.output)
    weight = next(tensor for tensor in model.graph.initializer if tensor.name == node.input[1])
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.5), weight.name))
    onnx.save(model, path)


def test_a_faithful_file_diverges_nowhere(tmp_path: Path) -> None:
    for name in ("residual", "depthwise"):
        onnx_file.write(settled(name), tmp_path / "model.onnx", INPUT_SHAPE)
        assert divergence.of_file(settled(name), tmp_path / "model.onnx", INPUTS, 1e-3) is None


def test_the_first_wrong_tensor_of_a_file_is_named_after_its_module(tmp_path: Path) -> None:
    model = settled("residual")
    onnx_file.write(model, tmp_path / "model.onnx", INPUT_SHAPE)
    _spoil(tmp_path / "model.onnx", "batch_norm_1")
    found = divergence.of_file(model, tmp_path / "model.onnx", INPUTS, 1e-3)
    assert found is not None
    assert (found.tensor, found.node, found.op) == ("batch_norm_1", "first_norm/batch_norm_1", "Conv")
    assert found.error > 1e-3
    assert "first_norm" in found.text()


class _Faulty:
    """Another backend whose builder spoils one layer wherever it occurs."""

    def __init__(self, backend: Backend, output: str) -> None:
        self.backend, self.output = backend, output
        self.computes_as = backend.computes_as

    def build(self, onnx_path: Path, folder: Path) -> Path:
        model = onnx.load(onnx_path)
        spoilt = folder / "spoilt.onnx"
        onnx.save(model, spoilt)
        if any(self.output in node.output for node in model.graph.node):
            _spoil(spoilt, self.output)
        return self.backend.build(spoilt, folder)


@pytest.mark.parametrize("name", RUNNING)
def test_the_first_tensor_an_engine_gets_wrong_is_found(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx_file.write(settled("residual"), path, INPUT_SHAPE)
    backend = BACKENDS.get(name)()
    assert divergence.of_engine(backend, path, INPUTS, 1e-3, tmp_path) is None
    for wrong in ("batch_norm", "batch_norm_2", "logits"):
        found = divergence.of_engine(_Faulty(backend, wrong), path, INPUTS, 1e-3, tmp_path)  # type: ignore[arg-type]
        assert found is not None
        assert found.tensor == wrong


@pytest.mark.parametrize("name", RUNNING)
def test_an_integer_engine_follows_its_file(name: str, tmp_path: Path) -> None:
    path = quantized.written(tmp_path)[1]
    assert divergence.of_engine(BACKENDS.get(name)(), path, INPUTS, 0.02, tmp_path) is None
