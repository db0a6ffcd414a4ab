from __future__ import annotations

import logging
import time
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from edgekd.errors import ExportError
from edgekd.export import onnx_file, translation
from tests.export.quantized import QuantizedCnn
from tests.models import INPUT_SHAPE, TINY, settled


def _operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


def _run(path: Path, x: Tensor) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["logits"], {"input": x.numpy()})[0]


@pytest.mark.parametrize("name", TINY)
def test_file_computes_the_network_at_batches_never_seen(name: str, tmp_path: Path) -> None:
    model = settled(name)
    onnx_file.write(model, tmp_path / "m.onnx", INPUT_SHAPE)
    for batch in (1, 2, 5):
        x = torch.randn(batch, *INPUT_SHAPE)
        np.testing.assert_allclose(_run(tmp_path / "m.onnx", x), model(x).detach().numpy(), atol=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_batch_norm_is_folded_and_nodes_carry_module_paths_but_no_source(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx_file.write(settled("residual"), path, INPUT_SHAPE)
    assert _operators(path) == {"Conv": 4, "Relu": 3, "Add": 2, "ReduceMean": 1, "Gemm": 1}
    assert any(node.name.startswith("shortcut_norm/") for node in onnx.load(path).graph.node)
    assert b".py" not in path.read_bytes()
    shapes = [[d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in onnx.load(path).graph.input]
    assert shapes == [["batch", *INPUT_SHAPE]]


def test_same_weights_give_the_same_bytes_in_any_memory_format(tmp_path: Path) -> None:
    model = settled("residual")
    onnx_file.write(model, tmp_path / "a.onnx", INPUT_SHAPE)
    onnx_file.write(model.to(memory_format=torch.channels_last), tmp_path / "b.onnx", INPUT_SHAPE)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


def test_training_mode_is_left_as_found_and_never_exported(tmp_path: Path) -> None:
    model = settled("residual")
    expected = model(torch.ones(3, *INPUT_SHAPE)).detach().numpy()
    model.train()
    model.stem_norm.eval()
    onnx_file.write(model, tmp_path / "m.onnx", INPUT_SHAPE)
    assert model.training
    assert not model.stem_norm.training
    np.testing.assert_allclose(_run(tmp_path / "m.onnx", torch.ones(3, *INPUT_SHAPE)), expected, atol=1e-5)


@pytest.mark.parametrize("again", [False, True], ids=["module", "graph of torch.export"])
def test_quantized_network_keeps_integer_weights(again: bool, tmp_path: Path) -> None:
    network: nn.Module = QuantizedCnn().eval()
    x = torch.randn(3, *INPUT_SHAPE)
    expected = network(x).detach().numpy()
    if again:
        network = onnx_file.exported(network, INPUT_SHAPE).module()
    onnx_file.write(network, tmp_path / "m.onnx", INPUT_SHAPE)
    graph = onnx.load(tmp_path / "m.onnx").graph
    weights = {t.name: t.data_type for t in graph.initializer if len(t.dims) == 4}
    assert set(weights.values()) == {onnx.TensorProto.INT8}
    assert _operators(tmp_path / "m.onnx")["QuantizeLinear"] == 3
    np.testing.assert_allclose(_run(tmp_path / "m.onnx", x), expected, atol=0.2)


class _Branch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if x.sum() > 0 else x


class _Singular(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.svdvals(x)


class _Mismatch(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x[:, :, :1]], 1)


@pytest.mark.parametrize(
    ("culprit", "operator"), [(_Branch(), "__bool__"), (_Singular(), "svd"), (_Mismatch(), "torch.cat")]
)
def test_refusal_names_operator_and_module(culprit: nn.Module, operator: str, tmp_path: Path, capfd) -> None:
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.Conv2d(1, 1, 1), culprit))
    with pytest.raises(ExportError, match=r"module '1\.1'") as caught:
        onnx_file.write(model, tmp_path / "m.onnx", INPUT_SHAPE)
    assert operator in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "layer",
    [nn.ReLU6(inplace=True), nn.AdaptiveAvgPool2d(2), nn.BatchNorm2d(4, affine=False)],
    ids=["in place", "needs decomposing", "without weights"],
)
def test_what_the_short_way_cannot_write_the_long_way_does(layer: nn.Module, tmp_path: Path, caplog) -> None:
    model = nn.Sequential(nn.Conv2d(1, 4, 1), layer).eval()
    with caplog.at_level(logging.INFO):
        onnx_file.write(model, tmp_path / "m.onnx", INPUT_SHAPE)
    x = torch.randn(2, *INPUT_SHAPE)
    np.testing.assert_allclose(_run(tmp_path / "m.onnx", x), model(x).detach().numpy(), atol=1e-5)
    assert not [record for record in caplog.records if record.levelno >= logging.INFO]


def test_short_way_is_shorter_than_torch_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model = settled("residual")
    onnx_file.write(model, tmp_path / "warm.onnx", INPUT_SHAPE)

    def seconds() -> float:
        begin = time.process_time()
        onnx_file.write(model, tmp_path / "m.onnx", INPUT_SHAPE)
        return time.process_time() - begin

    short, long = [], []
    for _ in range(2):
        short.append(seconds())
        with monkeypatch.context() as patch:
            patch.setattr(translation, "_mutates", lambda node: True)
            long.append(seconds())
    assert min(short) < min(long)
